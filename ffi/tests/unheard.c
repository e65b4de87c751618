/* Nobody hears what is said on the standard error: a pipe that nobody reads, and a process that no signal ends, as Python's are. */
#define _GNU_SOURCE
#include "check.h"
#include <signal.h>
#include <unistd.h>

int main(void) {
  int ends[2];
  ncclComm_t comm;
  ncclUniqueId id;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclResult_t state = ncclInProgress;
  CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR && pipe(ends) == 0 && close(ends[0]) == 0 && dup2(ends[1], 2) == 2);
  /* One that is remarked upon, and one of which it is said that it does not work. */
  CHECK(setenv("NCCL_PROTO", "LL", 1) == 0 && setenv("NCCL_DEBUG_FILE", "/none/such", 1) == 0);
  if (getenv("NCCL_DEBUG") != NULL) CHECK(dup2(ends[1], 1) == 1);
  config.blocking = 0;
  OK(ncclGetUniqueId(&id));
  CHECK(ncclCommInitRankConfig(&comm, 1, id, 0, &config) == ncclInProgress);
  for (int tries = 0; state == ncclInProgress && tries < 10000; tries++) {
    OK(ncclCommGetAsyncError(comm, &state));
    usleep(1000);
  }
  CHECK(state == ncclSuccess);
  OK(ncclCommDestroy(comm));
  for (int round = 0; round < 2; round++) {
    OK(ncclCommInitAll(&comm, 1, NULL));
    OK(ncclCommDestroy(comm));
  }
  ncclParamDumpAll();
  return 0;
}
