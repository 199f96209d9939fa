/* Means in which each rank has a weight. Any number of ranks up to 8. */
#include "check.h"

int main(void)
{
    kirsh_comm_t *comm = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    const int rank = kirsh_comm_rank(comm);
    const int size = kirsh_comm_size(comm);
    double weight = rank; /* rank 0 has nothing to say, unless it is alone */
    double weighed = 0, total = 0;
    for (int r = 0; r < size; r++) {
        weighed += r * (r + 1.0);
        total += r;
    }
    if (size == 1) {
        weight = total = weighed = 1;
    }
    const double mean = weighed / total;
    kirsh_options_t options = KIRSH_OPTIONS_INIT;
    CHECK(options.weight == NULL);
    options.weight = &weight;

    double x[8];
    for (int i = 0; i < 8; i++) {
        x[i] = rank + 1;
    }
    double out[8];
    const double tiny = 1e-12;
#define CLOSE(value, expected) CHECK((value) - (expected) < tiny && (expected) - (value) < tiny)
    CHECK_OK(kirsh_allreduce(comm, x, out, 8, KIRSH_FLOAT64, KIRSH_AVG, &options, NULL));
    CLOSE(out[0], mean);
    CLOSE(out[7], mean);
    CHECK_OK(kirsh_reduce(comm, x, out, 2, KIRSH_FLOAT64, KIRSH_AVG, size - 1, &options, NULL));
    if (rank == size - 1) {
        CLOSE(out[1], mean);
    }
    out[0] = 0;
    CHECK_OK(kirsh_reduce_scatter(comm, x, out, 1, KIRSH_FLOAT64, KIRSH_AVG, &options, NULL));
    CLOSE(out[0], mean);

    /* Started; the weight is read during the call. */
    kirsh_work_t *work = NULL;
    const double kept = weight;
    out[0] = 0;
    CHECK_OK(kirsh_allreduce(comm, x, out, 8, KIRSH_FLOAT64, KIRSH_AVG, &options, &work));
    weight = -1;
    CHECK_OK(kirsh_work_wait(work, 0));
    kirsh_work_destroy(work);
    CLOSE(out[0], mean);

    /* Refused by all alike: nothing is lost. */
    CHECK_FAILS(kirsh_allreduce(comm, x, out, 8, KIRSH_FLOAT64, KIRSH_AVG, &options, NULL),
                KIRSH_INVALID_ARGUMENT, "weight is -1");
    weight = 0;
    CHECK_FAILS(kirsh_allreduce(comm, x, out, 8, KIRSH_FLOAT64, KIRSH_AVG, &options, NULL),
                KIRSH_INVALID_ARGUMENT, "sum up to 0");
    CHECK_FAILS(kirsh_allreduce(comm, x, out, 8, KIRSH_FLOAT64, KIRSH_SUM, &options, NULL),
                KIRSH_INVALID_ARGUMENT, "weight is for avg");
    weight = kept;
    int32_t n = 1;
    CHECK_FAILS(kirsh_allreduce(comm, &n, &n, 1, KIRSH_INT32, KIRSH_AVG, &options, NULL),
                KIRSH_UNSUPPORTED, "avg is not defined on int32");

    /* Prepared once, with the weights of that moment. */
    kirsh_plan_t *plan = NULL;
    CHECK_OK(kirsh_plan_allreduce(comm, x, out, 8, KIRSH_FLOAT64, KIRSH_AVG, &options, &plan));
    for (int round = 0; round < 3; round++) {
        out[7] = 0;
        CHECK_OK(kirsh_plan_run(plan, NULL));
        CLOSE(out[7], mean);
    }
    kirsh_plan_destroy(plan);

    /* Where only some give one they all hear of it. */
    if (size > 1) {
        options.weight = rank == 0 ? NULL : &weight;
        CHECK(kirsh_allreduce(comm, x, out, 8, KIRSH_FLOAT64, KIRSH_AVG, &options, NULL)
              == KIRSH_MISMATCH);
    }
    (void)kirsh_comm_destroy(comm);
    return 0;
}
