/* Abort ends the communicator on every rank, with its reason. Two ranks or more; rank 0 aborts. */
#include "check.h"

int main(void)
{
    kirsh_comm_t *comm = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    if (kirsh_comm_rank(comm) == 0) {
        CHECK_OK(kirsh_barrier(comm, NULL, NULL));
        CHECK_OK(kirsh_comm_abort(comm, "the loss is not a number"));
        CHECK(kirsh_barrier(comm, NULL, NULL) == KIRSH_ABORTED);
    } else {
        /* Word of the abort may overtake the end of the barrier that rank 0 has left. */
        if (kirsh_barrier(comm, NULL, NULL) != KIRSH_ABORTED) {
            CHECK(kirsh_barrier(comm, NULL, NULL) == KIRSH_ABORTED);
        }
    }
    CHECK(strstr(kirsh_last_error(), "the loss is not a number") != NULL);
    (void)kirsh_comm_destroy(comm);
    return 0;
}
