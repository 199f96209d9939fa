/* kirsh_work_destroy() of an operation under way blocks until the buffer is the caller's again. Two
 * ranks; a second communicator is the signal between them. */
#include "check.h"

#define COUNT (4u << 20)

int main(void)
{
    kirsh_comm_t *comm = NULL;
    kirsh_comm_t *gate = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    CHECK_OK(kirsh_comm_create(NULL, &gate));
    const int rank = kirsh_comm_rank(comm);
    float *x = malloc(COUNT * sizeof *x);
    CHECK(x != NULL);
    for (size_t i = 0; i < COUNT; i++) {
        x[i] = (float)(rank + 1);
    }
    kirsh_work_t *work = NULL;
    if (rank == 1) {
        CHECK_OK(kirsh_barrier(gate, NULL, NULL));
    }
    CHECK_OK(kirsh_allreduce(comm, x, x, COUNT, KIRSH_FLOAT32, KIRSH_SUM, NULL, &work));
    if (rank == 0) {
        CHECK(kirsh_work_test(work) == KIRSH_PENDING);
        CHECK_OK(kirsh_barrier(gate, NULL, NULL));
    }
    kirsh_work_destroy(work);
    /* Whole, and nobody writes here any more. */
    for (size_t i = 0; i < COUNT; i++) {
        CHECK(x[i] == 3);
    }
    free(x);
    CHECK_OK(kirsh_comm_destroy(gate));
    CHECK_OK(kirsh_comm_destroy(comm));
    return 0;
}
