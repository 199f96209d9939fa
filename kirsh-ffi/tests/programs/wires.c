/* Elements that travel in fewer bytes. Any number of ranks up to 8. */
#include "check.h"

#define COUNT 5000

static float in[COUNT], out[COUNT], first[COUNT], all[8 * COUNT];

static const kirsh_wire_t formats[] = {KIRSH_WIRE_BF16, KIRSH_WIRE_F16, KIRSH_WIRE_INT8};

/* Whether a value is within this share of the largest one's size of what it should be. */
static int close_to(float value, double expected, double error)
{
    return value - expected <= error && expected - value <= error;
}

/* Whether every rank has the bytes that rank 0 has. */
static void same_on_all(kirsh_comm_t *comm, const float *x, size_t count)
{
    memcpy(first, x, count * sizeof *x);
    CHECK_OK(kirsh_broadcast(comm, first, count * sizeof *x, KIRSH_BYTE, 0, NULL, NULL));
    CHECK(memcmp(first, x, count * sizeof *x) == 0);
}

int main(void)
{
    kirsh_comm_t *comm = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    const int rank = kirsh_comm_rank(comm);
    const int size = kirsh_comm_size(comm);
    const double sum = size * (size + 1) / 2.0; /* of rank + 1 */
    kirsh_options_t options = KIRSH_OPTIONS_INIT;
    CHECK(options.wire == KIRSH_WIRE_DEFAULT);

    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        options.wire = formats[f];
        /* Numbers up to size + 1: as coarse as a block of int8 may be, some times over. */
        const double error = (size + 1) * sum / 100;
        for (int i = 0; i < COUNT; i++) {
            in[i] = (float)((rank + 1) * (i % 999 + 1) / 1000.0);
        }
        kirsh_stats_t before = KIRSH_STATS_INIT, after = KIRSH_STATS_INIT;
        CHECK_OK(kirsh_comm_stats(comm, &before));
        CHECK_OK(kirsh_allreduce(comm, in, out, COUNT, KIRSH_FLOAT32, KIRSH_SUM, &options, NULL));
        CHECK_OK(kirsh_comm_stats(comm, &after));
        const uint64_t sent = after.bytes_sent - before.bytes_sent;
        const uint64_t plain = 2 * (uint64_t)(size - 1) * COUNT * sizeof(float) / (uint64_t)size;
        CHECK(10 * sent <= plain * (formats[f] == KIRSH_WIRE_INT8 ? 3 : 6));
        for (int i = 0; i < COUNT; i++) {
            CHECK(close_to(out[i], sum * (i % 999 + 1) / 1000.0, error));
        }
        same_on_all(comm, out, COUNT);

        /* Started, in place. */
        kirsh_work_t *work = NULL;
        memcpy(all, in, sizeof in);
        CHECK_OK(kirsh_allreduce(comm, all, all, COUNT, KIRSH_FLOAT32, KIRSH_SUM, &options, &work));
        CHECK_OK(kirsh_work_wait(work, 0));
        kirsh_work_destroy(work);
        CHECK(memcmp(all, out, sizeof out) == 0);

        /* Prepared. */
        kirsh_plan_t *plan = NULL;
        CHECK_OK(kirsh_plan_allreduce(comm, in, all, COUNT, KIRSH_FLOAT32, KIRSH_SUM, &options, &plan));
        for (int round = 0; round < 2; round++) {
            memset(all, 0, sizeof out);
            CHECK_OK(kirsh_plan_run(plan, NULL));
            CHECK(memcmp(all, out, sizeof out) == 0);
        }
        kirsh_plan_destroy(plan);

        const size_t part = COUNT / (size_t)size;
        CHECK_OK(kirsh_reduce_scatter(comm, in, out, part, KIRSH_FLOAT32, KIRSH_AVG, &options, NULL));
        for (size_t i = 0; i < part; i++) {
            const size_t at = (size_t)rank * part + i;
            CHECK(close_to(out[i], sum / size * (double)(at % 999 + 1) / 1000.0, error));
        }
        CHECK_OK(kirsh_allgather(comm, in, all, COUNT, KIRSH_FLOAT32, &options, NULL));
        for (int i = 0; i < size * COUNT; i++) {
            const double given = (i / COUNT + 1) * (i % COUNT % 999 + 1) / 1000.0;
            CHECK(close_to(all[i], given, error));
        }
        for (int r = 0; r < size; r++) {
            same_on_all(comm, all + r * COUNT, COUNT);
        }
    }

    /* What cannot be encoded is refused, by all alike. */
    options.wire = KIRSH_WIRE_INT8;
    double wide = 1;
    CHECK_FAILS(kirsh_allreduce(comm, &wide, &wide, 1, KIRSH_FLOAT64, KIRSH_SUM, &options, NULL),
                KIRSH_UNSUPPORTED, "wire=int8 of float64");
    CHECK_FAILS(kirsh_allreduce(comm, out, out, 1, KIRSH_FLOAT32, KIRSH_PROD, &options, NULL),
                KIRSH_UNSUPPORTED, "wire=int8 with prod");
    CHECK_FAILS(kirsh_broadcast(comm, out, 1, KIRSH_FLOAT32, 0, &options, NULL), KIRSH_UNSUPPORTED,
                "wire=int8 in broadcast");
    options.algorithm = KIRSH_ALGORITHM_TREE;
    CHECK_FAILS(kirsh_allreduce(comm, out, out, 1, KIRSH_FLOAT32, KIRSH_SUM, &options, NULL),
                KIRSH_UNSUPPORTED, "wire=int8 with tree");

    /* Where ranks want different formats they hear which. */
    if (size > 1) {
        options = (kirsh_options_t)KIRSH_OPTIONS_INIT;
        options.wire = rank == 0 ? KIRSH_WIRE_BF16 : KIRSH_WIRE_NONE;
        CHECK_FAILS(kirsh_allreduce(comm, out, out, COUNT, KIRSH_FLOAT32, KIRSH_SUM, &options, NULL),
                    KIRSH_MISMATCH, "bf16");
    }
    (void)kirsh_comm_destroy(comm);

    /* A communicator whose calls are encoded unless they say otherwise. */
    kirsh_config_t config = KIRSH_CONFIG_INIT;
    config.wire = KIRSH_WIRE_BF16;
    CHECK_OK(kirsh_comm_create(&config, &comm));
    float x[2] = {1.0f + 1.0f / 1024, 1.0f};
    float plain[2] = {x[0], x[1]};
    CHECK_OK(kirsh_allreduce(comm, x, x, 2, KIRSH_FLOAT32, KIRSH_MAX, NULL, NULL));
    CHECK(x[0] == (size == 1 ? plain[0] : 1.0f) && x[1] == 1.0f);
    options = (kirsh_options_t)KIRSH_OPTIONS_INIT;
    options.wire = KIRSH_WIRE_NONE;
    CHECK_OK(kirsh_allreduce(comm, plain, plain, 2, KIRSH_FLOAT32, KIRSH_MAX, &options, NULL));
    CHECK(plain[0] == 1.0f + 1.0f / 1024);
    CHECK_OK(kirsh_allreduce(comm, &wide, &wide, 1, KIRSH_FLOAT64, KIRSH_MAX, NULL, NULL));
    CHECK_OK(kirsh_comm_destroy(comm));
    return 0;
}
