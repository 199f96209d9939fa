/* An operation's own deadline ends it, and says so. Two ranks; rank 1 does not come. */
#include "check.h"

int main(void)
{
    kirsh_comm_t *comm = NULL;
    kirsh_comm_t *gate = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    CHECK_OK(kirsh_comm_create(NULL, &gate));
    if (kirsh_comm_rank(comm) == 0) {
        kirsh_options_t options = KIRSH_OPTIONS_INIT;
        options.timeout_ns = 200000000;
        options.name = "alone";
        float x = 1;
        CHECK(kirsh_allreduce(comm, &x, &x, 1, KIRSH_FLOAT32, KIRSH_SUM, &options, NULL)
              == KIRSH_TIMEOUT);
        kirsh_error_info_t info = KIRSH_ERROR_INFO_INIT;
        CHECK_OK(kirsh_error_info(&info));
        CHECK(info.scope == KIRSH_SCOPE_COMMUNICATOR && info.sequence == 0);
    }
    CHECK_OK(kirsh_barrier(gate, NULL, NULL));
    CHECK_OK(kirsh_comm_destroy(gate));
    (void)kirsh_comm_destroy(comm);
    return 0;
}
