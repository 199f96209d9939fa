/* What is wrong with a collective's arguments is refused by name, touches nothing, and where all ranks err
 * alike they go on; where one does, the others hear why. Any number of ranks up to 8. */
#include "check.h"

#define INVALID(call, text) CHECK_FAILS(call, KIRSH_INVALID_ARGUMENT, text)

int main(void)
{
    kirsh_comm_t *comm = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    const int rank = kirsh_comm_rank(comm);
    const int size = kirsh_comm_size(comm);
    static char room[8];
    kirsh_work_t *const no_work = (kirsh_work_t *)(void *)room;
    kirsh_work_t *work = no_work;
    float x[64], y[64];
    for (int i = 0; i < 64; i++) {
        x[i] = y[i] = 5;
    }

    /* Roots that are no ranks. */
    INVALID(kirsh_reduce(comm, x, y, 2, KIRSH_FLOAT32, KIRSH_SUM, size, NULL, NULL), "root");
    INVALID(kirsh_gather(comm, x, y, 2, KIRSH_FLOAT32, -1, NULL, NULL), "root is -1");
    INVALID(kirsh_scatter(comm, x, y, 2, KIRSH_FLOAT32, size, NULL, &work), "root");
    size_t counts[8] = {2, 2, 2, 2, 2, 2, 2, 2};
    INVALID(kirsh_gatherv(comm, x, 2, y, counts, NULL, KIRSH_FLOAT32, size, NULL, NULL), "root");
    INVALID(kirsh_scatterv(comm, x, counts, NULL, y, 2, KIRSH_FLOAT32, INT32_MIN, NULL, NULL), "root");

    /* Arrays and counts that are not there. */
    INVALID(kirsh_allgather(comm, NULL, y, 2, KIRSH_FLOAT32, NULL, NULL), "send");
    INVALID(kirsh_allgather(comm, x, NULL, 2, KIRSH_FLOAT32, NULL, NULL), "recv");
    INVALID(kirsh_alltoall(comm, NULL, y, 2, KIRSH_FLOAT32, NULL, &work), "send");
    INVALID(kirsh_scan(comm, x, NULL, 2, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL), "recv");
    INVALID(kirsh_allgatherv(comm, x, y, NULL, NULL, KIRSH_FLOAT32, NULL, NULL), "counts of recv");
    INVALID(kirsh_reduce_scatterv(comm, x, y, NULL, NULL, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL),
            "counts of send");
    INVALID(kirsh_alltoallv(comm, x, counts, NULL, y, NULL, NULL, KIRSH_FLOAT32, NULL, &work),
            "counts of recv");
    size_t displacements[8] = {0, 2, 4, 6, 8, 10, 12, 14};
    INVALID(kirsh_allgatherv(comm, x, NULL, counts, displacements, KIRSH_FLOAT32, NULL, NULL), "recv");
    INVALID(kirsh_allreduce_many(comm, NULL, 1, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL), "arrays");
    kirsh_array_t arrays[2] = {{x, 2}, {NULL, 3}};
    INVALID(kirsh_allreduce_many(comm, arrays, 2, KIRSH_FLOAT32, KIRSH_SUM, NULL, &work), "null");

    /* Arrays that overlap, or that no memory holds. */
    INVALID(kirsh_allgather(comm, y + 1, y, 2, KIRSH_FLOAT32, NULL, NULL), "overlap");
    INVALID(kirsh_alltoall(comm, x, x + 1, 2, KIRSH_FLOAT32, NULL, NULL), "overlap");
    INVALID(kirsh_exscan(comm, x, x + 1, 2, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL), "overlap");
    INVALID(kirsh_reduce_scatter(comm, x, x + 2 * rank + 1, 2, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL),
            "overlap");
    arrays[1].data = x + 1;
    INVALID(kirsh_allreduce_many(comm, arrays, 2, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL), "overlap");
    arrays[1].count = SIZE_MAX / 2;
    INVALID(kirsh_allreduce_many(comm, arrays, 2, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL), "arrays[1]");
    INVALID(kirsh_allgather(comm, x, y, SIZE_MAX / 3, KIRSH_FLOAT32, NULL, NULL), "memory");
    displacements[0] = SIZE_MAX / 4;
    INVALID(kirsh_allgatherv(comm, x, y, counts, displacements, KIRSH_FLOAT32, NULL, NULL),
            "recv for rank 0");
    displacements[0] = 0;
    if (size > 1) {
        displacements[1] = 1;
        INVALID(kirsh_allgatherv(comm, x, y, counts, displacements, KIRSH_FLOAT32, NULL, NULL),
                "overlap");
        displacements[1] = 2;
        displacements[0] = 40;
        INVALID(kirsh_allgatherv(comm, y + displacements[rank] + 1, y, counts, displacements,
                                 KIRSH_FLOAT32, NULL, NULL), "overlap");
        displacements[0] = 0;
    }

    /* Numbers of elements that do not fit one another. */
    size_t other[8] = {2, 2, 2, 2, 2, 2, 2, 2};
    other[rank] = 3;
    INVALID(kirsh_alltoallv(comm, x, counts, NULL, y, other, NULL, KIRSH_FLOAT32, NULL, NULL),
            "gives itself 2");

    /* Types, operators, algorithms. */
    INVALID(kirsh_gather(comm, x, y, 2, 99, 0, NULL, NULL), "dtype is 99");
    INVALID(kirsh_scan(comm, x, y, 2, KIRSH_FLOAT32, 77, NULL, NULL), "op is 77");
    CHECK_FAILS(kirsh_scan(comm, x, y, 2, KIRSH_FLOAT32, KIRSH_AVG, NULL, NULL), KIRSH_UNSUPPORTED,
                "avg");
    CHECK_FAILS(kirsh_reduce(comm, x, y, 2, KIRSH_FLOAT32, KIRSH_BAND, 0, NULL, NULL),
                KIRSH_UNSUPPORTED, "band");
    kirsh_options_t options = KIRSH_OPTIONS_INIT;
    options.algorithm = KIRSH_ALGORITHM_DISSEMINATION;
    CHECK_FAILS(kirsh_allgather(comm, x, y, 2, KIRSH_FLOAT32, &options, NULL), KIRSH_UNSUPPORTED,
                "bruck");
    options.algorithm = KIRSH_ALGORITHM_BRUCK;

    /* None of that touched anything. */
    CHECK(work == no_work);
    for (int i = 0; i < 64; i++) {
        CHECK(x[i] == 5 && y[i] == 5);
    }
    x[0] = (float)rank;
    CHECK_OK(kirsh_allgather(comm, x, y, 2, KIRSH_FLOAT32, &options, NULL));
    CHECK(y[2 * (size - 1)] == (float)(size - 1));

    /* One rank alone errs. */
    if (size > 1) {
        if (rank == 0) {
            INVALID(kirsh_allgatherv(comm, x, y, NULL, NULL, KIRSH_FLOAT32, NULL, NULL), "is NULL");
        } else {
            CHECK_FAILS(kirsh_allgatherv(comm, x, y, counts, NULL, KIRSH_FLOAT32, NULL, NULL),
                        KIRSH_REFUSED, "counts of recv is NULL");
        }
    }
    (void)kirsh_comm_destroy(comm);
    return 0;
}
