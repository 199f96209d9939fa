/* A child that was forked in the middle finds every handle dead and may destroy them; the parent's
 * communicator does not notice. Two ranks or more. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    kirsh_comm_t *comm = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    CHECK_OK(kirsh_barrier(comm, NULL, NULL));
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        float x = 1;
        CHECK(kirsh_allreduce(comm, &x, &x, 1, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL) == KIRSH_FORKED);
        CHECK(kirsh_barrier(comm, NULL, NULL) == KIRSH_FORKED);
        (void)kirsh_comm_destroy(comm);
        _exit(0);
    }
    int32_t one = 1;
    CHECK_OK(kirsh_allreduce(comm, &one, &one, 1, KIRSH_INT32, KIRSH_SUM, NULL, NULL));
    CHECK(one == kirsh_comm_size(comm));
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_OK(kirsh_barrier(comm, NULL, NULL));
    CHECK_OK(kirsh_comm_destroy(comm));
    return 0;
}
