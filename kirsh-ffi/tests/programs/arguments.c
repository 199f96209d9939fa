/* What can never work is refused by the name of the argument, writes no output, and leaves a world of
 * one rank, where nobody else waits, usable. One rank. */
#include "check.h"

static char room[256];

int main(void)
{
    CHECK(strcmp(kirsh_last_error(), "") == 0);
    kirsh_error_info_t info = KIRSH_ERROR_INFO_INIT;
    CHECK_OK(kirsh_error_info(&info));
    CHECK(info.status == KIRSH_OK && strcmp(info.message, "") == 0);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", KIRSH_VERSION_MAJOR, KIRSH_VERSION_MINOR,
             KIRSH_VERSION_PATCH);
    CHECK(strcmp(kirsh_version(), version) == 0);
    CHECK(strcmp(kirsh_status_string(KIRSH_PEER_LOST), "peer lost") == 0);
    CHECK(strcmp(kirsh_status_string(12345), "unknown status") == 0);

    /* Creating. */
    kirsh_comm_t *const nowhere = (kirsh_comm_t *)room;
    kirsh_comm_t *comm = nowhere;
    CHECK_FAILS(kirsh_comm_create(NULL, NULL), KIRSH_INVALID_ARGUMENT, "comm_out is NULL");
    kirsh_config_t config = KIRSH_CONFIG_INIT;
    config.size = 0;
    CHECK_FAILS(kirsh_comm_create(&config, &comm), KIRSH_INVALID_ARGUMENT, "KIRSH_CONFIG_INIT");
    config.size = sizeof config;
    config.rank = -5;
    CHECK_FAILS(kirsh_comm_create(&config, &comm), KIRSH_INVALID_ARGUMENT, "config->rank is -5");
    config.rank = 0; /* and no world size */
    config.rendezvous = "tcp://127.0.0.1:1";
    CHECK(kirsh_comm_create(&config, &comm) == KIRSH_CONFIGURATION);
    CHECK(comm == nowhere);

    /* The config of a newer header: taken while what is new in it is unset. */
    struct {
        kirsh_config_t known;
        uint64_t unknown[2];
    } newer = {KIRSH_CONFIG_INIT, {0, 1}};
    newer.known.size = sizeof newer;
    CHECK_FAILS(kirsh_comm_create(&newer.known, &comm), KIRSH_INVALID_ARGUMENT, "newer kirsh.h");
    newer.unknown[1] = 0;
    CHECK_OK(kirsh_comm_create(&newer.known, &comm));
    CHECK_OK(kirsh_comm_destroy(comm));

    /* That of an older one: the first two fields are all it has. */
    struct {
        size_t size;
        int32_t rank;
        int32_t world_size;
    } older = {sizeof older, 0, 1};
    comm = NULL;
    CHECK_OK(kirsh_comm_create((const kirsh_config_t *)(const void *)&older, &comm));
    CHECK(kirsh_comm_size(comm) == 1);

    /* Null handles. */
    kirsh_work_t *const no_work = (kirsh_work_t *)room;
    kirsh_work_t *work = no_work;
    float x = 1;
    CHECK(kirsh_comm_rank(NULL) == -1 && kirsh_comm_size(NULL) == -1);
    CHECK(kirsh_comm_local_rank(NULL) == -1 && kirsh_comm_local_size(NULL) == -1);
    CHECK_FAILS(kirsh_comm_abort(NULL, "x"), KIRSH_INVALID_ARGUMENT, "comm is NULL");
    CHECK_FAILS(kirsh_barrier(NULL, NULL, &work), KIRSH_INVALID_ARGUMENT, "comm is NULL");
    CHECK_FAILS(kirsh_allreduce(NULL, &x, &x, 1, KIRSH_FLOAT32, KIRSH_SUM, NULL, &work),
                KIRSH_INVALID_ARGUMENT, "comm is NULL");
    CHECK_FAILS(kirsh_broadcast(NULL, &x, 1, KIRSH_FLOAT32, 0, NULL, &work), KIRSH_INVALID_ARGUMENT,
                "comm is NULL");
    CHECK_FAILS(kirsh_work_wait(NULL, 0), KIRSH_INVALID_ARGUMENT, "work is NULL");
    CHECK_FAILS(kirsh_work_test(NULL), KIRSH_INVALID_ARGUMENT, "work is NULL");
    CHECK_FAILS(kirsh_comm_stats(comm, NULL), KIRSH_INVALID_ARGUMENT, "out is NULL");
    CHECK_FAILS(kirsh_comm_stats_by_peer(comm, NULL, 1), KIRSH_INVALID_ARGUMENT, "out is NULL");
    CHECK_FAILS(kirsh_error_info(NULL), KIRSH_INVALID_ARGUMENT, "out is NULL");
    CHECK_OK(kirsh_comm_destroy(NULL));
    kirsh_work_destroy(NULL);

    /* Numbers that no enum has, null and overlapping buffers, malformed options. */
    float y[4] = {1, 2, 3, 4};
    CHECK_FAILS(kirsh_allreduce(comm, y, y, 4, 99, KIRSH_SUM, NULL, &work), KIRSH_INVALID_ARGUMENT,
                "dtype is 99");
    CHECK_FAILS(kirsh_allreduce(comm, y, y, 4, KIRSH_FLOAT32, -1, NULL, NULL),
                KIRSH_INVALID_ARGUMENT, "op is -1");
    CHECK_FAILS(kirsh_broadcast(comm, y, 4, KIRSH_FLOAT32, -1, NULL, &work), KIRSH_INVALID_ARGUMENT,
                "root is -1");
    CHECK(kirsh_broadcast(comm, y, 4, KIRSH_FLOAT32, 1, NULL, &work) == KIRSH_INVALID_ARGUMENT);
    CHECK(strstr(kirsh_last_error(), "root") != NULL);
    CHECK(kirsh_allreduce(comm, NULL, y, 4, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL)
          == KIRSH_INVALID_ARGUMENT);
    CHECK(kirsh_allreduce(comm, y, NULL, 4, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL)
          == KIRSH_INVALID_ARGUMENT);
    CHECK(kirsh_allreduce(comm, y, y + 1, 3, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL)
          == KIRSH_INVALID_ARGUMENT);
    CHECK(kirsh_allreduce(comm, y, y, SIZE_MAX, KIRSH_FLOAT32, KIRSH_SUM, NULL, &work)
          == KIRSH_INVALID_ARGUMENT);
    CHECK(kirsh_allreduce(comm, y, y, 4, KIRSH_BYTE, KIRSH_SUM, NULL, NULL) != KIRSH_OK);
    kirsh_options_t options = KIRSH_OPTIONS_INIT;
    options.timeout_ns = -3;
    CHECK_FAILS(kirsh_barrier(comm, &options, &work), KIRSH_INVALID_ARGUMENT,
                "options->timeout_ns is -3");
    options.timeout_ns = 0;
    options.algorithm = 77;
    CHECK_FAILS(kirsh_barrier(comm, &options, NULL), KIRSH_INVALID_ARGUMENT,
                "options->algorithm is 77");
    options.algorithm = KIRSH_ALGORITHM_AUTO;
    options.wire = 4;
    CHECK_FAILS(kirsh_barrier(comm, &options, NULL), KIRSH_INVALID_ARGUMENT, "options->wire is 4");
    options.wire = KIRSH_WIRE_DEFAULT;
    options.size = 12;
    CHECK_FAILS(kirsh_barrier(comm, &options, NULL), KIRSH_INVALID_ARGUMENT, "KIRSH_OPTIONS_INIT");
    CHECK_FAILS(kirsh_comm_refuse(comm, "allreduce", "no batch left"), KIRSH_INVALID_ARGUMENT,
                "no batch left");
    CHECK_FAILS(kirsh_comm_refuse(comm, "sum", ""), KIRSH_INVALID_ARGUMENT, "operation is \"sum\"");
    CHECK(work == no_work);
    CHECK(y[0] == 1 && y[1] == 2 && y[2] == 3 && y[3] == 4);

    /* A refusal has its place among the operations, and names the rank and itself. */
    CHECK(kirsh_allreduce(comm, y, y, 4, 99, KIRSH_SUM, NULL, NULL) == KIRSH_INVALID_ARGUMENT);
    CHECK_OK(kirsh_error_info(&info));
    CHECK(info.status == KIRSH_INVALID_ARGUMENT && info.scope == KIRSH_SCOPE_CALL);
    CHECK(info.rank == 0 && info.peer == -1 && info.sequence > 0);
    CHECK(strcmp(info.operation, "allreduce") == 0);
    CHECK(strcmp(info.message, kirsh_last_error()) == 0);

    /* The communicator is as good as before, and a success leaves the last error alone. */
    CHECK_OK(kirsh_allreduce(comm, y, y, 4, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL));
    CHECK(y[3] == 4);
    CHECK(strstr(kirsh_last_error(), "dtype is 99") != NULL);
    CHECK_OK(kirsh_comm_destroy(comm));
    return 0;
}
