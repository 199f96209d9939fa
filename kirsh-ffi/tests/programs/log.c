/* The log reaches a callback, at its level and no deeper, until it is taken away. Two ranks. */
#include "check.h"

#include <pthread.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int lines;
static int deepest;

static void note(void *user, kirsh_log_level_t level, const char *text)
{
    pthread_mutex_lock(&mutex);
    CHECK(user == &lines);
    CHECK(text != NULL && strchr(text, '\n') == NULL);
    lines++;
    deepest = level > deepest ? level : deepest;
    pthread_mutex_unlock(&mutex);
}

int main(void)
{
    CHECK_FAILS(kirsh_set_log(note, &lines, 9), KIRSH_INVALID_ARGUMENT, "level is 9");
    CHECK_OK(kirsh_set_log(note, &lines, KIRSH_LOG_TRACE));
    kirsh_comm_t *comm = NULL;
    CHECK_OK(kirsh_comm_create(NULL, &comm));
    CHECK_OK(kirsh_barrier(comm, NULL, NULL));
    pthread_mutex_lock(&mutex);
    CHECK(lines > 0);
    CHECK(deepest >= KIRSH_LOG_INFO);
    pthread_mutex_unlock(&mutex);

    CHECK_OK(kirsh_set_log(NULL, NULL, KIRSH_LOG_TRACE));
    /* Nobody is in the callback any more, so no lock is needed to look. */
    const int before = lines;
    CHECK_OK(kirsh_barrier(comm, NULL, NULL));
    CHECK_OK(kirsh_comm_destroy(comm));
    CHECK(lines == before);
    return 0;
}
