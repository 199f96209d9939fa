/* Every collective gives the right values, in place and not, blocking. Any number of ranks. */
#include "check.h"

#define LARGE 300000

static float large[LARGE];

int main(void)
{
    kirsh_comm_t *comm = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    const int rank = kirsh_comm_rank(comm);
    const int size = kirsh_comm_size(comm);
    CHECK(rank == atoi(getenv("RANK")) && size == atoi(getenv("WORLD_SIZE")));
    CHECK(kirsh_comm_local_rank(comm) == rank && kirsh_comm_local_size(comm) == size);
    const int sum = size * (size + 1) / 2; /* of rank + 1 */

    /* Out of place: the input stays. */
    float in[3] = {(float)rank, 1.0f, -0.5f};
    float out[3] = {9, 9, 9};
    CHECK_OK(kirsh_allreduce(comm, in, out, 3, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL));
    CHECK(out[0] == (float)(sum - size) && out[1] == (float)size && out[2] == -0.5f * (float)size);
    CHECK(in[0] == (float)rank && in[1] == 1.0f && in[2] == -0.5f);

    /* In place. */
    double highest = rank;
    CHECK_OK(kirsh_allreduce(comm, &highest, &highest, 1, KIRSH_FLOAT64, KIRSH_MAX, NULL, NULL));
    CHECK(highest == size - 1);
    int32_t total = rank + 1;
    CHECK_OK(kirsh_allreduce(comm, &total, &total, 1, KIRSH_INT32, KIRSH_SUM, NULL, NULL));
    CHECK(total == sum);
    int64_t product = 2;
    CHECK_OK(kirsh_allreduce(comm, &product, &product, 1, KIRSH_INT64, KIRSH_PROD, NULL, NULL));
    CHECK(product == (int64_t)1 << size);
    float mean = (float)(2 * rank);
    CHECK_OK(kirsh_allreduce(comm, &mean, &mean, 1, KIRSH_FLOAT32, KIRSH_AVG, NULL, NULL));
    CHECK(mean == (float)(size - 1));

    /* Large, under every algorithm, with options. */
    for (kirsh_algorithm_t algorithm = KIRSH_ALGORITHM_AUTO; algorithm <= KIRSH_ALGORITHM_TREE;
         algorithm++) {
        for (int i = 0; i < LARGE; i++) {
            large[i] = (float)(rank + i % 7);
        }
        kirsh_options_t options = KIRSH_OPTIONS_INIT;
        options.algorithm = algorithm;
        options.timeout_ns = 60000000000;
        options.name = "large";
        CHECK_OK(kirsh_allreduce(comm, large, large, LARGE, KIRSH_FLOAT32, KIRSH_SUM, &options, NULL));
        for (int i = 0; i < LARGE; i++) {
            CHECK(large[i] == (float)(sum - size + size * (i % 7)));
        }
    }

    /* Each rank's own factor. */
    kirsh_options_t scaled = KIRSH_OPTIONS_INIT;
    scaled.scale = rank + 1;
    float one = 1;
    CHECK_OK(kirsh_allreduce(comm, &one, &one, 1, KIRSH_FLOAT32, KIRSH_PREMUL_SUM, &scaled, NULL));
    CHECK(one == (float)sum);

    /* Broadcast from the last rank, bytes and numbers. */
    char greeting[6] = "?????";
    if (rank == size - 1) {
        memcpy(greeting, "hello", 6);
    }
    CHECK_OK(kirsh_broadcast(comm, greeting, sizeof greeting, KIRSH_BYTE, size - 1, NULL, NULL));
    CHECK(strcmp(greeting, "hello") == 0);
    uint16_t numbers[2] = {(uint16_t)rank, 7};
    CHECK_OK(kirsh_broadcast(comm, numbers, 2, KIRSH_UINT16, 0, NULL, NULL));
    CHECK(numbers[0] == 0 && numbers[1] == 7);

    /* Nothing at all, which allows NULL. */
    CHECK_OK(kirsh_allreduce(comm, NULL, NULL, 0, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL));
    CHECK_OK(kirsh_broadcast(comm, NULL, 0, KIRSH_FLOAT32, 0, NULL, NULL));
    CHECK_OK(kirsh_barrier(comm, NULL, NULL));

    kirsh_stats_t stats = KIRSH_STATS_INIT;
    CHECK_OK(kirsh_comm_stats(comm, &stats));
    CHECK(stats.operations >= 10);
    CHECK(stats.size == sizeof stats);
    CHECK_OK(kirsh_comm_destroy(comm));
    return 0;
}
