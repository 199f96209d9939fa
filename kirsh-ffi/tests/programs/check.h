/* What the test programs share: a check that says where it failed, and two ranks' signal. */
#ifndef CHECK_H
#define CHECK_H

#include <kirsh.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__,        \
                    #condition, kirsh_last_error());                                           \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

#define CHECK_OK(call) CHECK((call) == KIRSH_OK)

/* The call fails in this way, and the thread's last error says this. */
#define CHECK_FAILS(call, status, text)                                                        \
    do {                                                                                       \
        CHECK((call) == (status));                                                             \
        CHECK(strstr(kirsh_last_error(), (text)) != NULL);                                     \
    } while (0)

#endif
