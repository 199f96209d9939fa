/* Creating, using and destroying, again and again, in one place to meet. Any number of ranks. */
#include "check.h"

int main(void)
{
    for (int round = 0; round < 3; round++) {
        kirsh_comm_t *comm = NULL;
        CHECK_OK(kirsh_comm_create(NULL, &comm));
        int32_t x = round + kirsh_comm_rank(comm);
        const int32_t highest = round + kirsh_comm_size(comm) - 1;
        CHECK_OK(kirsh_allreduce(comm, &x, &x, 1, KIRSH_INT32, KIRSH_MAX, NULL, NULL));
        CHECK(x == highest);
        CHECK_OK(kirsh_comm_destroy(comm));
    }
    return 0;
}
