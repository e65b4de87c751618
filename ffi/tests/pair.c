/* Two forked ranks allreduce once. With an argument each makes the id by itself, as programs do whose NCCL_COMM_ID says where to meet. */
#define _GNU_SOURCE
#include "check.h"
#include <sys/wait.h>
#include <unistd.h>

static void run(int rank, ncclUniqueId id) {
  ncclComm_t comm;
  float data = 1;
  OK(ncclCommInitRank(&comm, 2, id, rank));
  OK(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comm, NULL));
  CHECK(data == 2);
  OK(ncclCommDestroy(comm));
}

int main(int argc, char **argv) {
  int status, failed = 0;
  ncclUniqueId id;
  (void)argv;
  memset(&id, 0, sizeof id);
  if (argc == 1) OK(ncclGetUniqueId(&id));
  for (int rank = 0; rank < 2; rank++) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      if (argc > 1) OK(ncclGetUniqueId(&id));
      run(rank, id);
      exit(0);
    }
  }
  while (wait(&status) > 0) failed |= status;
  return failed != 0;
}
