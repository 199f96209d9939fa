/* The collectives with a count for each rank: packed, with displacements, in place and not, called, started
 * and planned. Any number of ranks up to 8. */
#include "ways.h"

#define RANKS_MAX 8
#define ROOM 100000
#define UNTOUCHED (-77)

static kirsh_comm_t *comm;
static int rank, size;

static int32_t a[ROOM];
static int32_t b[ROOM];

/* How many elements belong to each rank, where they lie behind one another, and where they lie in reverse
 * order with room between. */
static size_t counts[RANKS_MAX];
static size_t packed[RANKS_MAX];
static size_t spread[RANKS_MAX];
static size_t all;

static int32_t value(int of, size_t place) { return 100000 * (of + 1) + (int32_t)place; }

static void clear(int32_t *array)
{
    for (size_t i = 0; i < ROOM; i++) {
        array[i] = UNTOUCHED;
    }
}

/* Every rank has a count but rank 1, which has none. */
static void lay_out(size_t unit)
{
    all = 0;
    for (int r = 0; r < size; r++) {
        counts[r] = r == 1 ? 0 : unit * (size_t)(r + 1);
        packed[r] = all;
        all += counts[r];
    }
    size_t next = 3;
    for (int r = size - 1; r >= 0; r--) {
        spread[r] = next;
        next += counts[r] + 2;
    }
    CHECK(next <= ROOM);
}

/* Each rank's part is what this rank should have; all else is as it was. */
static void check_parts(const int32_t *array, const size_t *places)
{
    size_t touched = 0;
    for (int r = 0; r < size; r++) {
        for (size_t i = 0; i < counts[r]; i++) {
            CHECK(array[places[r] + i] == value(r, i));
        }
    }
    for (size_t i = 0; i < ROOM; i++) {
        touched += array[i] != UNTOUCHED;
    }
    CHECK(touched == all);
}

static void fill(int32_t *array, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        array[i] = value(rank, i);
    }
}

/* All parts, each as its rank is to get it. */
static void fill_parts(int32_t *array, const size_t *places)
{
    clear(array);
    for (int r = 0; r < size; r++) {
        for (size_t i = 0; i < counts[r]; i++) {
            array[places[r] + i] = value(r, i);
        }
    }
}

static void check_own(const int32_t *array, int32_t times)
{
    for (size_t i = 0; i < counts[rank]; i++) {
        CHECK(array[i] == times * value(rank, i));
    }
}

static void gathering(enum way way, const size_t *displacements, const size_t *places)
{
    const size_t mine = counts[rank];
    clear(a);
    clear(b);
    fill(a, mine);
    MAKE(allgatherv, a, b, counts, displacements, KIRSH_INT32);
    check_parts(b, places);
    clear(b);
    fill(b + places[rank], mine);
    MAKE(allgatherv, b + places[rank], b, counts, displacements, KIRSH_INT32);
    check_parts(b, places);

    for (int root = 0; root < size; root++) {
        const int rooted = rank == root;
        clear(b);
        MAKE(gatherv, a, mine, rooted ? b : NULL, rooted ? counts : NULL,
             rooted ? displacements : NULL, KIRSH_INT32, root);
        if (rooted) {
            check_parts(b, places);
            clear(b);
            fill(b + places[rank], mine);
        }
        MAKE(gatherv, rooted ? b + places[rank] : a, mine, rooted ? b : NULL,
             rooted ? counts : NULL, rooted ? displacements : NULL, KIRSH_INT32, root);
        if (rooted) {
            check_parts(b, places);
        }
    }
}

static void scattering(enum way way, const size_t *displacements, const size_t *places)
{
    const size_t mine = counts[rank];
    fill_parts(a, places);
    clear(b);
    MAKE(reduce_scatterv, a, b, counts, displacements, KIRSH_INT32, KIRSH_SUM);
    check_own(b, size);
    CHECK(b[mine] == UNTOUCHED);
    MAKE(reduce_scatterv, a, a + places[rank], counts, displacements, KIRSH_INT32, KIRSH_SUM);
    check_own(a + places[rank], size);

    fill_parts(a, places);
    for (int root = 0; root < size; root++) {
        const int rooted = rank == root;
        clear(b);
        MAKE(scatterv, rooted ? a : NULL, rooted ? counts : NULL, rooted ? displacements : NULL, b,
             mine, KIRSH_INT32, root);
        check_own(b, 1);
        CHECK(b[mine] == UNTOUCHED);
        MAKE(scatterv, rooted ? a : NULL, rooted ? counts : NULL, rooted ? displacements : NULL,
             rooted ? a + places[rank] : b, mine, KIRSH_INT32, root);
        check_own(rooted ? a + places[rank] : b, 1);
    }
}

/* Rank r sends counts[s] + r elements to rank s. */
static void exchanging(enum way way, int displaced)
{
    size_t sent[RANKS_MAX], received[RANKS_MAX], from[RANKS_MAX], into[RANKS_MAX];
    size_t next_sent = 0, next_received = displaced ? 1 : 0;
    clear(a);
    clear(b);
    for (int r = 0; r < size; r++) {
        sent[r] = counts[r] + (size_t)rank;
        received[r] = counts[rank] + (size_t)r;
        from[r] = next_sent;
        into[r] = next_received;
        next_sent += sent[r] + (displaced ? 4 : 0);
        next_received += received[r] + (displaced ? 5 : 0);
        CHECK(next_sent <= ROOM && next_received <= ROOM);
        for (size_t i = 0; i < sent[r]; i++) {
            a[from[r] + i] = value(rank, i) + 1000000 * (r + 1);
        }
    }
    MAKE(alltoallv, a, sent, displaced ? from : NULL, b, received, displaced ? into : NULL,
         KIRSH_INT32);
    for (int r = 0; r < size; r++) {
        for (size_t i = 0; i < received[r]; i++) {
            CHECK(b[into[r] + i] == value(r, i) + 1000000 * (rank + 1));
        }
        CHECK(b[into[r] + received[r]] == UNTOUCHED || !displaced);
    }
    CHECK(b[0] == UNTOUCHED || !displaced);
}

int main(void)
{
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    rank = kirsh_comm_rank(comm);
    size = kirsh_comm_size(comm);
    CHECK(size <= RANKS_MAX);
    for (enum way way = WAY_CALL; way < WAYS; way++) {
        for (size_t unit = 1; unit < 10000; unit = unit * 90 + 11) {
            lay_out(unit);
            gathering(way, NULL, packed);
            gathering(way, packed, packed);
            gathering(way, spread, spread);
            scattering(way, NULL, packed);
            scattering(way, spread, spread);
            exchanging(way, 0);
            exchanging(way, 1);
        }
    }
    CHECK_OK(kirsh_comm_destroy(comm));
    return 0;
}
