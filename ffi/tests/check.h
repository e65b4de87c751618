/* How the C tests say what went wrong, and where. */
#ifndef CHECK_H
#define CHECK_H

#include "nccl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                        \
  do {                                                                                                          \
    if (!(condition)) {                                                                                         \
      fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition, ncclGetLastError(NULL));  \
      exit(1);                                                                                                  \
    }                                                                                                           \
  } while (0)

#define OK(call) CHECK((call) == ncclSuccess)

/* The call fails with this code, and the last error has these words. */
#define FAILS(call, code, words)                             \
  do {                                                       \
    CHECK((call) == (code));                                 \
    CHECK(strstr(ncclGetLastError(NULL), words) != NULL);    \
  } while (0)

#endif
