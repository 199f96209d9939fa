/* Abort ends the communicator on every rank, with its reason. Two ranks or more; rank 0 aborts. */
#include "check.h"

int main(void)
{
    kirsh_comm_t *comm = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    if (kirsh_comm_rank(comm) == 0) {
        kirsh_work_t *work = NULL;
        CHECK_OK(kirsh_barrier(comm, NULL, NULL));
        CHECK_OK(kirsh_comm_abort(comm, "the loss is not a number"));
        CHECK(kirsh_barrier(comm, NULL, &work) == KIRSH_ABORTED);
        CHECK(work == NULL);
    } else {
        CHECK_OK(kirsh_barrier(comm, NULL, NULL));
        CHECK(kirsh_barrier(comm, NULL, NULL) == KIRSH_ABORTED);
    }
    CHECK(strstr(kirsh_last_error(), "the loss is not a number") != NULL);
    (void)kirsh_comm_destroy(comm);
    return 0;
}
