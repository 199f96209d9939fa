/* Every collective with equal parts, in place and not, from every root, called, started and planned. Any
 * number of ranks up to 8. */
#include "ways.h"

#define RANKS_MAX 8
#define COUNT_MAX 20000
#define UNTOUCHED (-77)

static kirsh_comm_t *comm;
static int rank, size;

static int64_t a[RANKS_MAX * COUNT_MAX];
static int64_t b[RANKS_MAX * COUNT_MAX];

/* What a rank has at a place. */
static int64_t value(int of, size_t place) { return 1000003 * (int64_t)(of + 1) + (int64_t)place; }

/* The sum of that over the ranks from 0 to the last. */
static int64_t total(int last, size_t place)
{
    int64_t sum = 0;
    for (int of = 0; of <= last; of++) {
        sum += value(of, place);
    }
    return sum;
}

static void fill(int64_t *array, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        array[i] = value(rank, i);
    }
}

static void clear(int64_t *array, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        array[i] = UNTOUCHED;
    }
}

#define EACH(array, count, expected)                                                           \
    do {                                                                                       \
        for (size_t i = 0; i < (count); i++) {                                                 \
            CHECK((array)[i] == (expected));                                                   \
        }                                                                                      \
    } while (0)

static void reducing(enum way way, size_t n)
{
    const size_t all = n * (size_t)size;
    fill(a, n);
    clear(b, n);
    MAKE(allreduce, a, b, n, KIRSH_INT64, KIRSH_SUM);
    EACH(b, n, total(size - 1, i));
    EACH(a, n, value(rank, i));
    MAKE(allreduce, a, a, n, KIRSH_INT64, KIRSH_SUM);
    EACH(a, n, total(size - 1, i));

    for (int root = 0; root < size; root++) {
        fill(a, n);
        clear(b, n);
        MAKE(reduce, a, rank == root ? b : NULL, n, KIRSH_INT64, KIRSH_SUM, root);
        EACH(b, n, rank == root ? total(size - 1, i) : UNTOUCHED);
        EACH(a, n, value(rank, i));
        MAKE(reduce, a, rank == root ? a : NULL, n, KIRSH_INT64, KIRSH_SUM, root);
        EACH(a, n, rank == root ? total(size - 1, i) : value(rank, i));
    }

    const size_t mine = n * (size_t)rank;
    fill(a, all);
    clear(b, n);
    MAKE(reduce_scatter, a, b, n, KIRSH_INT64, KIRSH_SUM);
    EACH(b, n, total(size - 1, mine + i));
    EACH(a, all, value(rank, i));
    MAKE(reduce_scatter, a, a + mine, n, KIRSH_INT64, KIRSH_SUM);
    EACH(a + mine, n, total(size - 1, mine + i));

    fill(a, n);
    clear(b, n);
    MAKE(scan, a, b, n, KIRSH_INT64, KIRSH_SUM);
    EACH(b, n, total(rank, i));
    EACH(a, n, value(rank, i));
    clear(b, n);
    MAKE(exscan, a, b, n, KIRSH_INT64, KIRSH_SUM);
    EACH(b, n, rank == 0 ? UNTOUCHED : total(rank - 1, i));
    MAKE(exscan, a, a, n, KIRSH_INT64, KIRSH_SUM);
    EACH(a, n, rank == 0 ? value(0, i) : total(rank - 1, i));
    fill(a, n);
    MAKE(scan, a, a, n, KIRSH_INT64, KIRSH_SUM);
    EACH(a, n, total(rank, i));
}

static void many(enum way way, size_t n)
{
    /* As many elements in all on every rank, cut in a way of its own. */
    fill(a, 3 * n);
    const size_t cut = (size_t)rank * n / RANKS_MAX;
    const kirsh_array_t arrays[4] = {{a, n}, {NULL, 0}, {a + n, n + cut}, {a + 2 * n + cut, n - cut}};
    MAKE(allreduce_many, arrays, 4, KIRSH_INT64, KIRSH_SUM);
    EACH(a, 3 * n, total(size - 1, i));
    MAKE(allreduce_many, NULL, 0, KIRSH_INT64, KIRSH_SUM);
}

static void moving(enum way way, size_t n)
{
    const size_t all = n * (size_t)size;
    const size_t mine = n * (size_t)rank;
    for (int root = 0; root < size; root++) {
        fill(a, n);
        MAKE(broadcast, a, n, KIRSH_INT64, root);
        EACH(a, n, value(root, i));

        fill(a, n);
        clear(b, all);
        MAKE(gather, a, rank == root ? b : NULL, n, KIRSH_INT64, root);
        EACH(b, all, rank == root ? value((int)(i / n), i % n) : UNTOUCHED);
        if (rank == root) {
            clear(b, all);
            fill(b + mine, n);
        }
        MAKE(gather, rank == root ? b + mine : a, rank == root ? b : NULL, n, KIRSH_INT64, root);
        EACH(b, all, rank == root ? value((int)(i / n), i % n) : UNTOUCHED);

        fill(a, all);
        clear(b, n);
        MAKE(scatter, rank == root ? a : NULL, b, n, KIRSH_INT64, root);
        EACH(b, n, value(root, mine + i));
        MAKE(scatter, rank == root ? a : NULL, rank == root ? a + mine : b, n, KIRSH_INT64, root);
        EACH(rank == root ? a + mine : b, n, value(root, mine + i));
    }

    fill(a, n);
    clear(b, all);
    MAKE(allgather, a, b, n, KIRSH_INT64);
    EACH(b, all, value((int)(i / n), i % n));
    clear(b, all);
    fill(b + mine, n);
    MAKE(allgather, b + mine, b, n, KIRSH_INT64);
    EACH(b, all, value((int)(i / n), i % n));

    fill(a, all);
    clear(b, all);
    MAKE(alltoall, a, b, n, KIRSH_INT64);
    EACH(b, all, value((int)(i / n), mine + i % n));
    MAKE(alltoall, a, a, n, KIRSH_INT64);
    EACH(a, all, value((int)(i / n), mine + i % n));
}

/* 1, 2 and 3 as each type. */
static const struct {
    kirsh_dtype_t dtype;
    size_t bytes;
    unsigned char number[3][16];
} types[] = {
    {KIRSH_INT8, 1, {{1}, {2}, {3}}},
    {KIRSH_UINT8, 1, {{1}, {2}, {3}}},
    {KIRSH_INT16, 2, {{1}, {2}, {3}}},
    {KIRSH_UINT16, 2, {{1}, {2}, {3}}},
    {KIRSH_INT32, 4, {{1}, {2}, {3}}},
    {KIRSH_UINT32, 4, {{1}, {2}, {3}}},
    {KIRSH_INT64, 8, {{1}, {2}, {3}}},
    {KIRSH_UINT64, 8, {{1}, {2}, {3}}},
    {KIRSH_FLOAT16, 2, {{0, 0x3c}, {0, 0x40}, {0, 0x42}}},
    {KIRSH_BFLOAT16, 2, {{0x80, 0x3f}, {0, 0x40}, {0x40, 0x40}}},
    {KIRSH_FLOAT32, 4, {{0, 0, 0x80, 0x3f}, {0, 0, 0, 0x40}, {0, 0, 0x40, 0x40}}},
    {KIRSH_FLOAT64, 8, {{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}, {0, 0, 0, 0, 0, 0, 0, 0x40},
                        {0, 0, 0, 0, 0, 0, 0x08, 0x40}}},
    {KIRSH_COMPLEX64, 8, {{0, 0, 0x80, 0x3f}, {0, 0, 0, 0x40}, {0, 0, 0x40, 0x40}}},
    {KIRSH_COMPLEX128, 16, {{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}, {0, 0, 0, 0, 0, 0, 0, 0x40},
                            {0, 0, 0, 0, 0, 0, 0x08, 0x40}}},
};

/* Every type in one collective: the sum of a one from each rank. Three ranks at most. */
static void every_type(enum way way)
{
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        const size_t bytes = types[t].bytes;
        unsigned char send[3 * 16];
        unsigned char recv[16] = {0};
        for (int i = 0; i < size; i++) {
            memcpy(send + (size_t)i * bytes, types[t].number[0], bytes);
        }
        MAKE(reduce_scatter, send, recv, 1, types[t].dtype, KIRSH_SUM);
        CHECK(memcmp(recv, types[t].number[size - 1], bytes) == 0);
    }
    unsigned char flags[3] = {0, 1, 0};
    unsigned char flag = 9;
    MAKE(reduce_scatter, flags, &flag, 1, KIRSH_BOOL, KIRSH_LOR);
    CHECK(flag == (rank == 1));
    const float both[3][2] = {{0.5f, 2.0f}, {0.5f, 2.0f}, {0.5f, 2.0f}};
    float product[2];
    MAKE(reduce_scatter, both, product, 1, KIRSH_COMPLEX64, KIRSH_PROD);
    /* 0.5 + 2i by itself, squared and cubed. */
    const float powers[3][2] = {{0.5f, 2.0f}, {-3.75f, 2.0f}, {-5.875f, -6.5f}};
    CHECK(product[0] == powers[size - 1][0] && product[1] == powers[size - 1][1]);
    unsigned char eighths[2 * 3];
    MAKE(allgather, "\x7e\x01", eighths, 2, KIRSH_FLOAT8_E4M3FN);
    CHECK(eighths[2 * size - 2] == 0x7e && eighths[2 * size - 1] == 1);
    char word[4 * 3];
    MAKE(allgather, "abc", word, 4, KIRSH_BYTE);
    CHECK(strcmp(word + 4 * (size - 1), "abc") == 0);
}

int main(void)
{
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    rank = kirsh_comm_rank(comm);
    size = kirsh_comm_size(comm);
    CHECK(size <= RANKS_MAX);
    const size_t counts[] = {0, 1, 7, COUNT_MAX};
    for (enum way way = WAY_CALL; way < WAYS; way++) {
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            reducing(way, counts[i]);
            many(way, counts[i]);
            moving(way, counts[i]);
        }
        if (size <= 3) {
            every_type(way);
        }
    }
    CHECK_OK(kirsh_comm_destroy(comm));
    return 0;
}
