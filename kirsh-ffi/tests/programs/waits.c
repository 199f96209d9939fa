/* Waiting for all and for any of several operations. Two ranks. A second communicator is the signal between
 * them, so that nothing depends on timing. */
#include "check.h"

int main(void)
{
    kirsh_comm_t *comm = NULL;
    kirsh_comm_t *gate = NULL;
    kirsh_comm_t *doomed = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    CHECK_OK(kirsh_comm_create(NULL, &gate));
    CHECK_OK(kirsh_comm_create(NULL, &doomed));
    const int rank = kirsh_comm_rank(comm);
    int64_t x[3] = {1, 2, 3};
    size_t index = 99;

    if (rank == 1) {
        for (int i = 0; i < 3; i++) {
            CHECK_OK(kirsh_barrier(gate, NULL, NULL));
            CHECK_OK(kirsh_allreduce(comm, &x[i], &x[i], 1, KIRSH_INT64, KIRSH_SUM, NULL, NULL));
        }
        CHECK_OK(kirsh_comm_abort(doomed, "no more"));
        CHECK_OK(kirsh_barrier(gate, NULL, NULL));
        CHECK_OK(kirsh_barrier(comm, NULL, NULL));
        (void)kirsh_comm_destroy(doomed);
        CHECK_OK(kirsh_comm_destroy(gate));
        CHECK_OK(kirsh_comm_destroy(comm));
        return 0;
    }

    /* Nothing to wait for. */
    kirsh_work_t *works[5] = {NULL, NULL, NULL, NULL, NULL};
    CHECK_OK(kirsh_work_wait_all(NULL, 0, 0));
    CHECK_OK(kirsh_work_wait_all(works, 5, 0));
    CHECK_OK(kirsh_work_wait_any(works, 5, 0, &index));
    CHECK(index == 5);
    CHECK_OK(kirsh_work_wait_any(NULL, 0, 0, &index));
    CHECK(index == 0);
    CHECK_FAILS(kirsh_work_wait_all(NULL, 1, 0), KIRSH_INVALID_ARGUMENT, "works is NULL");
    CHECK_FAILS(kirsh_work_wait_any(NULL, 1, 0, &index), KIRSH_INVALID_ARGUMENT, "works is NULL");
    CHECK_FAILS(kirsh_work_wait_any(works, 5, 0, NULL), KIRSH_INVALID_ARGUMENT, "index_out is NULL");
    CHECK_FAILS(kirsh_work_wait_all(works, 5, -1), KIRSH_INVALID_ARGUMENT, "timeout_ns is -1");

    /* One after the other, with gaps, in the order in which they were started. */
    const size_t places[3] = {4, 0, 2};
    for (int i = 0; i < 3; i++) {
        CHECK_OK(kirsh_allreduce(comm, &x[i], &x[i], 1, KIRSH_INT64, KIRSH_SUM, NULL,
                                 &works[places[i]]));
    }
    index = 99;
    CHECK(kirsh_work_wait_any(works, 5, 1000000, &index) == KIRSH_PENDING);
    CHECK(kirsh_work_wait_all(works, 5, 1000000) == KIRSH_PENDING);
    CHECK(index == 99);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(kirsh_barrier(gate, NULL, NULL));
        CHECK_OK(kirsh_work_wait_any(works, 5, KIRSH_FOREVER, &index));
        CHECK(index == places[i] && x[i] == 2 * (i + 1));
        kirsh_work_destroy(works[index]);
        works[index] = NULL;
    }
    CHECK(kirsh_work_wait_all(works, 5, 1000000) == KIRSH_PENDING);
    CHECK_OK(kirsh_barrier(gate, NULL, NULL));
    CHECK_OK(kirsh_work_wait_all(works, 5, 0));
    CHECK(x[2] == 6);
    CHECK_OK(kirsh_work_wait_any(works, 5, 0, &index));
    CHECK(index == 2);

    /* The first failure ends the wait for all, and is what any gives, with its index. */
    CHECK_OK(kirsh_barrier(comm, NULL, &works[0]));
    CHECK_OK(kirsh_barrier(doomed, NULL, &works[3]));
    kirsh_work_destroy(works[2]);
    works[2] = NULL;
    CHECK_FAILS(kirsh_work_wait_all(works, 5, 0), KIRSH_ABORTED, "no more");
    CHECK(kirsh_work_test(works[0]) == KIRSH_PENDING);
    CHECK_FAILS(kirsh_work_wait_any(works, 5, 0, &index), KIRSH_ABORTED, "no more");
    CHECK(index == 3);
    kirsh_work_destroy(works[3]);
    CHECK_OK(kirsh_barrier(gate, NULL, NULL));
    CHECK_OK(kirsh_work_wait_all(works, 1, 0));
    kirsh_work_destroy(works[0]);
    (void)kirsh_comm_destroy(doomed);
    CHECK_OK(kirsh_comm_destroy(gate));
    CHECK_OK(kirsh_comm_destroy(comm));
    return 0;
}
