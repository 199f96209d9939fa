/* Messages: by tag, from anybody, started, exchanged, and what cannot be asked for. Three ranks. */
#include "check.h"

enum { LONG = 300000 };

int main(void)
{
    kirsh_comm_t *comm = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    const int rank = kirsh_comm_rank(comm), size = kirsh_comm_size(comm);

    /* Tag 2 behind many of tag 1, which lie about unreceived. */
    if (rank == 0) {
        for (int i = 0; i < 200; i++) {
            CHECK_OK(kirsh_send(comm, &i, 1, KIRSH_INT32, 1, 1, NULL, NULL));
        }
        const double last = 2.5;
        CHECK_OK(kirsh_send(comm, &last, 1, KIRSH_FLOAT64, 1, 2, NULL, NULL));
    } else if (rank == 1) {
        double last = 0;
        kirsh_received_t received = {99, 99, 99};
        CHECK_OK(kirsh_recv(comm, &last, 1, KIRSH_FLOAT64, 0, 2, &received, NULL, NULL));
        CHECK(last == 2.5 && received.count == 1 && received.source == 0 && received.tag == 2);
        for (int i = 0; i < 200; i++) {
            int32_t number[2] = {-1, -1};
            CHECK_OK(kirsh_recv(comm, number, 2, KIRSH_INT32, KIRSH_ANY_SOURCE, KIRSH_ANY_TAG, &received,
                                NULL, NULL));
            CHECK(number[0] == i && number[1] == -1 && received.count == 1 && received.tag == 1);
        }
    }

    /* Long ones around the ring, all at once. */
    float *mine = malloc(LONG * sizeof *mine), *other = malloc(LONG * sizeof *other);
    CHECK(mine != NULL && other != NULL);
    for (int i = 0; i < LONG; i++) {
        mine[i] = (float)(rank * 1000 + i % 777);
    }
    const int right = (rank + 1) % size, left = (rank + size - 1) % size;
    kirsh_received_t around;
    CHECK_OK(kirsh_sendrecv(comm, mine, LONG, KIRSH_FLOAT32, right, other, LONG, KIRSH_FLOAT32, left, 7,
                            &around, NULL));
    CHECK(around.count == LONG && around.source == left && around.tag == 7);
    for (int i = 0; i < LONG; i++) {
        CHECK(other[i] == (float)(left * 1000 + i % 777));
    }

    /* Started. */
    kirsh_work_t *works[2] = {NULL, NULL};
    CHECK_OK(kirsh_recv(comm, other, LONG, KIRSH_FLOAT32, left, 8, NULL, NULL, &works[0]));
    CHECK_OK(kirsh_send(comm, mine, LONG / 2, KIRSH_FLOAT32, right, 8, NULL, &works[1]));
    CHECK_OK(kirsh_work_wait_all(works, 2, KIRSH_FOREVER));
    CHECK_OK(kirsh_work_received(works[0], &around));
    CHECK(around.count == LONG / 2 && around.source == left && around.tag == 8);
    CHECK_FAILS(kirsh_work_received(works[1], &around), KIRSH_INVALID_ARGUMENT, "no receive");
    kirsh_work_destroy(works[0]);
    kirsh_work_destroy(works[1]);

    /* Too long: dropped, and the communicator goes on. */
    if (rank == 0) {
        CHECK_OK(kirsh_send(comm, mine, 3, KIRSH_FLOAT32, 1, 9, NULL, NULL));
        CHECK_OK(kirsh_send(comm, mine, 1, KIRSH_FLOAT32, 1, 9, NULL, NULL));
    } else if (rank == 1) {
        kirsh_received_t kept = {7, 7, 7};
        CHECK_FAILS(kirsh_recv(comm, other, 2, KIRSH_FLOAT32, 0, 9, &kept, NULL, NULL), KIRSH_MISMATCH, "3");
        CHECK(kept.count == 7);
        CHECK_OK(kirsh_recv(comm, other, 2, KIRSH_FLOAT32, 0, 9, &kept, NULL, NULL));
        CHECK(kept.count == 1);
    }

    /* What cannot be asked for tells nobody. */
    CHECK_FAILS(kirsh_send(comm, mine, 1, KIRSH_FLOAT32, size, 0, NULL, NULL), KIRSH_INVALID_ARGUMENT, "rank");
    CHECK_FAILS(kirsh_send(comm, mine, 1, KIRSH_FLOAT32, -1, 0, NULL, NULL), KIRSH_INVALID_ARGUMENT, "to is -1");
    CHECK_FAILS(kirsh_send(comm, NULL, 1, KIRSH_FLOAT32, 0, 0, NULL, NULL), KIRSH_INVALID_ARGUMENT, "null");
    CHECK_FAILS(kirsh_recv(comm, mine, 1, KIRSH_FLOAT32, -2, 0, NULL, NULL, NULL), KIRSH_INVALID_ARGUMENT,
                "source is -2");
    CHECK_FAILS(kirsh_recv(comm, mine, 1, KIRSH_FLOAT32, 0, -2, NULL, NULL, NULL), KIRSH_INVALID_ARGUMENT,
                "tag is -2");
    CHECK_FAILS(kirsh_recv(comm, mine, 1, 99, 0, 0, NULL, NULL, NULL), KIRSH_INVALID_ARGUMENT, "99");
    kirsh_work_t *kept = NULL;
    CHECK_FAILS(kirsh_recv(comm, mine, 1, KIRSH_FLOAT32, 0, 0, &around, NULL, &kept), KIRSH_INVALID_ARGUMENT,
                "kirsh_work_received");
    CHECK(kept == NULL);

    CHECK_OK(kirsh_barrier(comm, NULL, NULL));
    CHECK_OK(kirsh_comm_destroy(comm));
    free(mine);
    free(other);
    return 0;
}
