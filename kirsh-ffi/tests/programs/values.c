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
    CHECK(stats.operations_allreduce > 0 && stats.operations_broadcast >= 3);
    CHECK(stats.operations_barrier == 1 && stats.operations_send == 0);
    CHECK(stats.plans_built > 0 && stats.choices <= stats.validations);

    /* The figures of all peers make up those of the communicator. */
    kirsh_peer_stats_t peers[16];
    const kirsh_peer_stats_t unset = KIRSH_PEER_STATS_INIT;
    for (int i = 0; i < 16; i++) {
        peers[i] = unset;
    }
    CHECK(size < 16);
    peers[size].rank = 77;
    CHECK_FAILS(kirsh_comm_stats_by_peer(comm, peers, (size_t)size - 1), KIRSH_INVALID_ARGUMENT,
                "out has");
    CHECK_OK(kirsh_comm_stats_by_peer(comm, peers, 16));
    CHECK(peers[size].rank == 77);
    uint64_t sent = 0, received = 0, waited = 0;
    for (int i = 0; i < size; i++) {
        CHECK(peers[i].size == sizeof unset && peers[i].rank == i && peers[i].world_rank == i);
        CHECK(peers[i].direct.frames_sent == 0 && (i != rank || peers[i].control.frames_sent == 0));
        sent += peers[i].collective.bytes_sent;
        received += peers[i].collective.bytes_received;
        waited += peers[i].collective.waited_ns;
    }
    CHECK(sent == stats.bytes_sent && received == stats.bytes_received);
    CHECK(waited <= stats.waited_ns);
    CHECK(size == 1 || (sent > 0 && stats.calls_enter + stats.calls_sendmsg > 0));
    CHECK_OK(kirsh_comm_destroy(comm));
    return 0;
}
