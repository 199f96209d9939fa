/* Communicators made from communicators, and what cannot be asked for. Three ranks. */
#include "check.h"

/* Counts the ranks of a communicator. */
static int counted(kirsh_comm_t *comm)
{
    float x = 1;
    CHECK_OK(kirsh_allreduce(comm, &x, &x, 1, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL));
    return (int)x;
}

int main(void)
{
    kirsh_comm_t *comm = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    const int rank = kirsh_comm_rank(comm);

    /* Ranks 1 and 0, in this order; 2 wants none. */
    kirsh_comm_t *group = comm;
    CHECK_OK(kirsh_comm_split(comm, rank < 2 ? 4000000000 : KIRSH_NO_COLOR, -rank, NULL, &group));
    if (rank == 2) {
        CHECK(group == NULL);
    } else {
        CHECK(kirsh_comm_rank(group) == 1 - rank && kirsh_comm_size(group) == 2);
        CHECK(counted(group) == 2);
    }
    CHECK_OK(kirsh_comm_destroy(group));

    const int32_t list[] = {2, 0};
    kirsh_comm_t *some = NULL;
    CHECK_OK(kirsh_comm_subgroup(comm, list, 2, NULL, &some));
    CHECK((some == NULL) == (rank == 1));
    if (some != NULL) {
        CHECK(kirsh_comm_rank(some) == (rank == 2 ? 0 : 1));
        CHECK(counted(some) == 2);
    }

    /* What every rank refuses leaves all as it was, and the place as it is. */
    const int32_t wrong[] = {0, -3};
    kirsh_comm_t *kept = comm;
    CHECK_FAILS(kirsh_comm_subgroup(comm, wrong, 2, NULL, &kept), KIRSH_INVALID_ARGUMENT, "-3");
    CHECK_FAILS(kirsh_comm_subgroup(comm, NULL, 2, NULL, &kept), KIRSH_INVALID_ARGUMENT, "ranks is NULL");
    CHECK_FAILS(kirsh_comm_split(comm, -2, 0, NULL, &kept), KIRSH_INVALID_ARGUMENT, "color is -2");
    CHECK_FAILS(kirsh_comm_dup(comm, 0, NULL, NULL), KIRSH_INVALID_ARGUMENT, "comm_out is NULL");
    CHECK_FAILS(kirsh_comm_dup(NULL, 0, NULL, &kept), KIRSH_INVALID_ARGUMENT, "comm is NULL");
    CHECK(kept == comm);

    const int32_t mine[] = {rank == 1 ? 1 : 0};
    CHECK_FAILS(kirsh_comm_subgroup(comm, mine, 1, NULL, &kept), KIRSH_MISMATCH, "rank 1 named [1]");
    kirsh_error_info_t info = KIRSH_ERROR_INFO_INIT;
    CHECK_OK(kirsh_error_info(&info));
    CHECK(info.scope == KIRSH_SCOPE_CALL && info.peer == 1);

    /* The parent may go first. */
    kirsh_comm_t *twin = NULL;
    CHECK_OK(kirsh_comm_dup(comm, 1, NULL, &twin));
    CHECK_OK(kirsh_comm_destroy(comm));
    CHECK(counted(twin) == 3);
    if (some != NULL) {
        CHECK(counted(some) == 2);
    }
    CHECK_OK(kirsh_comm_destroy(some));
    CHECK_OK(kirsh_comm_destroy(twin));
    return 0;
}
