/* Prepared calls: run many times on changing contents, by some ranks only, blocking and started. Any number
 * of ranks. */
#define _DEFAULT_SOURCE /* for MAP_ANONYMOUS */
#include "check.h"

#include <sys/mman.h>

#define COUNT 5000

static float x[COUNT];
static int64_t part[64];

int main(void)
{
    kirsh_comm_t *comm = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    const int rank = kirsh_comm_rank(comm);
    const int size = kirsh_comm_size(comm);
    const float sum = (float)(size * (size - 1)) / 2; /* of the ranks */
    kirsh_plan_t *reduce = NULL;
    kirsh_plan_t *gather = NULL;
    kirsh_plan_t *meet = NULL;
    kirsh_options_t options = KIRSH_OPTIONS_INIT;
    options.timeout_ns = 60000000000;
    options.name = "prepared";
    CHECK_OK(kirsh_plan_allreduce(comm, x, x, COUNT, KIRSH_FLOAT32, KIRSH_SUM, &options, &reduce));
    CHECK_OK(kirsh_plan_allgather(comm, part + rank, part, 1, KIRSH_INT64, NULL, &gather));
    CHECK_OK(kirsh_plan_barrier(comm, NULL, &meet));
    kirsh_stats_t before = KIRSH_STATS_INIT;
    CHECK_OK(kirsh_comm_stats(comm, &before));
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < COUNT; i++) {
            x[i] = (float)(rank + round + i % 3);
        }
        kirsh_work_t *work = NULL;
        if (round % 3 == 0) {
            CHECK_OK(kirsh_plan_run(reduce, NULL));
        } else if (round % 3 == 1) {
            CHECK_OK(kirsh_plan_run(reduce, &work));
            CHECK_OK(kirsh_work_wait(work, 0));
            kirsh_work_destroy(work);
        } else if (rank % 2 == 0) {
            /* The same call, whoever has prepared it. */
            CHECK_OK(kirsh_plan_run(reduce, NULL));
        } else {
            CHECK_OK(kirsh_allreduce(comm, x, x, COUNT, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL));
        }
        for (int i = 0; i < COUNT; i++) {
            CHECK(x[i] == sum + (float)(size * (round + i % 3)));
        }
        part[rank] = round + rank;
        CHECK_OK(kirsh_plan_run(gather, NULL));
        for (int r = 0; r < size; r++) {
            CHECK(part[r] == round + r);
        }
        CHECK_OK(kirsh_plan_run(meet, NULL));
    }
    kirsh_stats_t after = KIRSH_STATS_INIT;
    CHECK_OK(kirsh_comm_stats(comm, &after));
    CHECK(after.operations - before.operations == 90);

    /* A started run may outlive its plan. */
    kirsh_work_t *last = NULL;
    CHECK_OK(kirsh_plan_run(meet, &last));
    kirsh_plan_destroy(meet);
    CHECK_OK(kirsh_work_wait(last, 0));
    kirsh_work_destroy(last);

    /* More elements than 32 bits count. Only addresses: a plan that does not run touches nothing. */
    const size_t vast = ((size_t)1 << 32) + 5;
    void *send = mmap(NULL, vast * 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *recv = mmap(NULL, vast * 2 * (size_t)size, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(send != MAP_FAILED && recv != MAP_FAILED);
    kirsh_plan_t *huge = NULL;
    CHECK_OK(kirsh_plan_allgather(comm, send, recv, vast, KIRSH_BFLOAT16, NULL, &huge));
    kirsh_plan_destroy(huge);
    CHECK(munmap(send, vast * 2) == 0 && munmap(recv, vast * 2 * (size_t)size) == 0);

    /* What is wrong is said when it is prepared, by all alike. */
    kirsh_plan_t *const nothing = NULL;
    kirsh_plan_t *none = nothing;
    CHECK_FAILS(kirsh_plan_scan(comm, x, x + 1, 9, KIRSH_FLOAT32, KIRSH_SUM, NULL, &none),
                KIRSH_INVALID_ARGUMENT, "overlap");
    CHECK_FAILS(kirsh_plan_scan(comm, x, x, 9, 99, KIRSH_SUM, NULL, &none), KIRSH_INVALID_ARGUMENT,
                "dtype is 99");
    CHECK_FAILS(kirsh_plan_scan(comm, x, x, 9, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL),
                KIRSH_INVALID_ARGUMENT, "plan_out is NULL");
    CHECK(none == nothing);
    CHECK_FAILS(kirsh_plan_run(NULL, NULL), KIRSH_INVALID_ARGUMENT, "plan is NULL");
    kirsh_plan_destroy(NULL);
    CHECK_OK(kirsh_plan_run(reduce, NULL));

    CHECK_OK(kirsh_comm_destroy(comm));
    CHECK_FAILS(kirsh_plan_run(reduce, NULL), KIRSH_CLOSED, "closed");
    CHECK_FAILS(kirsh_plan_run(reduce, &last), KIRSH_CLOSED, "closed");
    kirsh_plan_destroy(reduce);
    kirsh_plan_destroy(gather);
    return 0;
}
