/* A call that one rank's binding refuses reaches the peers at once, as REFUSED and with its reason;
 * where every rank refuses, nothing is lost. Two ranks or more; rank 0 is the one that errs. */
#include "check.h"

int main(void)
{
    kirsh_comm_t *comm = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    const int rank = kirsh_comm_rank(comm);
    float x = 1;

    CHECK_FAILS(kirsh_allreduce(comm, &x, &x, 1, 99, KIRSH_SUM, NULL, NULL), KIRSH_INVALID_ARGUMENT,
                "dtype is 99");
    CHECK_OK(kirsh_allreduce(comm, &x, &x, 1, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL));
    CHECK(x == (float)kirsh_comm_size(comm));

    if (rank == 0) {
        CHECK_FAILS(kirsh_allreduce(comm, &x, &x, 1, 98, KIRSH_SUM, NULL, NULL),
                    KIRSH_INVALID_ARGUMENT, "dtype is 98");
    } else {
        kirsh_options_t options = KIRSH_OPTIONS_INIT;
        options.timeout_ns = 60000000000;
        CHECK_FAILS(kirsh_allreduce(comm, &x, &x, 1, KIRSH_FLOAT32, KIRSH_SUM, &options, NULL),
                    KIRSH_REFUSED, "dtype is 98");
        kirsh_error_info_t info = KIRSH_ERROR_INFO_INIT;
        CHECK_OK(kirsh_error_info(&info));
        CHECK(info.scope == KIRSH_SCOPE_COMMUNICATOR);
        CHECK(info.rank == rank && info.peer == 0 && info.sequence == 2);
        /* The first cause stays. */
        CHECK(kirsh_barrier(comm, NULL, NULL) == KIRSH_REFUSED);
    }
    (void)kirsh_comm_destroy(comm);
    return 0;
}
