/* Started operations: pending until the peers come, over afterwards. Two ranks. A second communicator
 * is the signal between them, so that nothing depends on timing. */
#include "check.h"

int main(void)
{
    kirsh_comm_t *comm = NULL;
    kirsh_comm_t *gate = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    CHECK_OK(kirsh_comm_create(NULL, &gate));
    const int rank = kirsh_comm_rank(comm);
    float x[4] = {1, 2, 3, (float)rank};
    double y = 10.0 * rank;
    kirsh_work_t *reduce = NULL;
    kirsh_work_t *spread = NULL;
    kirsh_work_t *meet = NULL;

    if (rank == 1) {
        CHECK_OK(kirsh_barrier(gate, NULL, NULL));
    }
    CHECK_OK(kirsh_allreduce(comm, x, x, 4, KIRSH_FLOAT32, KIRSH_SUM, NULL, &reduce));
    CHECK_OK(kirsh_broadcast(comm, &y, 1, KIRSH_FLOAT64, 1, NULL, &spread));
    CHECK_OK(kirsh_barrier(comm, NULL, &meet));
    CHECK(reduce != NULL && spread != NULL && meet != NULL);
    if (rank == 0) {
        /* The peer has not come, and cannot before the gate. */
        CHECK(kirsh_work_test(reduce) == KIRSH_PENDING);
        CHECK(kirsh_work_wait(reduce, 20000000) == KIRSH_PENDING);
        CHECK(kirsh_work_wait(meet, 1) == KIRSH_PENDING);
        CHECK_FAILS(kirsh_work_wait(reduce, -1), KIRSH_INVALID_ARGUMENT, "timeout_ns is -1");
        CHECK(kirsh_work_test(reduce) == KIRSH_PENDING);
        CHECK_OK(kirsh_barrier(gate, NULL, NULL));
    }
    CHECK_OK(kirsh_work_wait(reduce, KIRSH_FOREVER));
    CHECK(x[0] == 2 && x[1] == 4 && x[2] == 6 && x[3] == 1);
    CHECK_OK(kirsh_work_wait(spread, 0));
    CHECK(y == 10);
    CHECK_OK(kirsh_work_wait(meet, KIRSH_FOREVER));
    /* As often as you ask. */
    CHECK_OK(kirsh_work_wait(reduce, 1));
    CHECK_OK(kirsh_work_test(reduce));
    kirsh_work_destroy(reduce);
    kirsh_work_destroy(spread);
    kirsh_work_destroy(meet);
    CHECK_OK(kirsh_comm_destroy(gate));
    CHECK_OK(kirsh_comm_destroy(comm));
    return 0;
}
