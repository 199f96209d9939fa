/* Makes a collective call in one of three ways, all of which must do the same. */
#ifndef WAYS_H
#define WAYS_H

#include "check.h"

enum way { WAY_CALL, WAY_START, WAY_PLAN, WAYS };

/* kirsh_NAME(comm, ...) or kirsh_plan_NAME(comm, ...), without options. Expects `comm` and `way`. */
#define MAKE(name, ...)                                                                        \
    do {                                                                                       \
        kirsh_work_t *work_ = NULL;                                                            \
        kirsh_plan_t *plan_ = NULL;                                                            \
        switch (way) {                                                                         \
        case WAY_CALL:                                                                         \
            CHECK_OK(kirsh_##name(comm, __VA_ARGS__, NULL, NULL));                             \
            break;                                                                             \
        case WAY_START:                                                                        \
            CHECK_OK(kirsh_##name(comm, __VA_ARGS__, NULL, &work_));                           \
            CHECK_OK(kirsh_work_wait(work_, KIRSH_FOREVER));                                   \
            break;                                                                             \
        default:                                                                               \
            CHECK_OK(kirsh_plan_##name(comm, __VA_ARGS__, NULL, &plan_));                      \
            CHECK_OK(kirsh_plan_run(plan_, NULL));                                             \
            break;                                                                             \
        }                                                                                      \
        kirsh_work_destroy(work_);                                                             \
        kirsh_plan_destroy(plan_);                                                             \
    } while (0)

#endif
