/* Ranks that call different things both hear of it, and the communicator is over. Two ranks. */
#include "check.h"

int main(void)
{
    kirsh_comm_t *comm = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    const int rank = kirsh_comm_rank(comm);
    float x[4] = {1, 2, 3, 4};
    const size_t count = rank == 0 ? 3 : 4;
    CHECK(kirsh_allreduce(comm, x, x, count, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL) == KIRSH_MISMATCH);
    kirsh_error_info_t info = KIRSH_ERROR_INFO_INIT;
    CHECK_OK(kirsh_error_info(&info));
    CHECK(info.status == KIRSH_MISMATCH && info.scope == KIRSH_SCOPE_COMMUNICATOR);
    CHECK(info.rank == rank && info.peer == 1 - rank && info.sequence == 0);
    CHECK(strcmp(info.operation, "allreduce") == 0);
    CHECK(strchr(info.message, '3') != NULL && strchr(info.message, '4') != NULL);
    kirsh_work_t *work = NULL;
    CHECK(kirsh_barrier(comm, NULL, NULL) == KIRSH_MISMATCH);
    /* A started call learns it from its handle. */
    CHECK_OK(kirsh_barrier(comm, NULL, &work));
    CHECK(kirsh_work_wait(work, KIRSH_FOREVER) == KIRSH_MISMATCH);
    CHECK(kirsh_work_test(work) == KIRSH_MISMATCH);
    kirsh_work_destroy(work);
    (void)kirsh_comm_destroy(comm);
    return 0;
}
