/* Asks for versions and error texts, which needs no communicator. Prints the versions; exits with the number of the check that failed. */
#include "nccl.h"
#include <stdio.h>
#include <string.h>

#define CHECK(number, condition)                              \
  do {                                                        \
    if (!(condition)) {                                       \
      fprintf(stderr, "check %d: %s\n", number, #condition);  \
      return number;                                          \
    }                                                         \
  } while (0)

int main(void) {
  int version = -1, twin = -1, length = -1;
  const char *own = NULL;
  CHECK(1, ncclGetVersion(&version) == ncclSuccess);
  CHECK(2, version == NCCL_VERSION_CODE);
  CHECK(3, pncclGetVersion(&twin) == ncclSuccess && twin == version);
  CHECK(4, ncclGetVersion(NULL) == ncclInvalidArgument);
  CHECK(5, pncclGetVersion(NULL) == ncclInvalidArgument);

  CHECK(6, ncclParamGetParameter("SERRIED_VERSION", &own, NULL) == ncclInvalidArgument);
  CHECK(7, own == NULL);
  CHECK(8, ncclParamGetParameter("SERRIED_VERSION", &own, &length) == ncclSuccess && length == (int)strlen(own));

  /* Every code has its own sentence, and a number that is no code has one too. */
  for (int a = 0; a <= ncclNumResults; a++) {
    const char *text = ncclGetErrorString((ncclResult_t)a);
    CHECK(9, text != NULL && strlen(text) > 5);
    CHECK(10, strcmp(text, pncclGetErrorString((ncclResult_t)a)) == 0);
    for (int b = 0; b < a; b++) CHECK(11, strcmp(text, ncclGetErrorString((ncclResult_t)b)) != 0);
  }
  CHECK(12, strcmp(ncclGetErrorString((ncclResult_t)-7), ncclGetErrorString((ncclResult_t)12345)) == 0);

  printf("%d %s\n", version, own);
  return 0;
}
