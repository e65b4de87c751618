/* Four ranks as processes, which allreduce a vector: the shape of every program that uses NCCL, without devices.
 *
 *   cc allreduce.c $(pkg-config --cflags --libs nccl) && ./a.out
 */
#define _GNU_SOURCE
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRY(call)                                                                                        \
  do {                                                                                                   \
    ncclResult_t result = (call);                                                                        \
    if (result != ncclSuccess) {                                                                         \
      fprintf(stderr, "%s: %s: %s\n", #call, ncclGetErrorString(result), ncclGetLastError(NULL));        \
      exit(1);                                                                                           \
    }                                                                                                    \
  } while (0)

enum { RANKS = 4, COUNT = 1 << 20 };

static void run(int rank, ncclUniqueId id) {
  ncclComm_t comm;
  void *memory;
  float *data;
  TRY(ncclCommInitRank(&comm, RANKS, id, rank));
  /* Any memory will do; this can be mapped by the ranks beside, which saves copies. */
  TRY(ncclMemAlloc(&memory, COUNT * sizeof(float)));
  data = (float *)memory;
  for (int i = 0; i < COUNT; i++) data[i] = (float)rank;
  /* There is no stream: the call has ended when it returns. */
  TRY(ncclAllReduce(data, data, COUNT, ncclFloat, ncclSum, comm, NULL));
  if (rank == 0) printf("sum of the ranks: %g\n", data[0]);
  TRY(ncclMemFree(memory));
  TRY(ncclCommDestroy(comm));
}

int main(void) {
  int status, failed = 0;
  ncclUniqueId id;
  TRY(ncclGetUniqueId(&id));
  for (int rank = 0; rank < RANKS; rank++) {
    pid_t child = fork();
    if (child < 0) return perror("fork"), 1;
    if (child == 0) {
      run(rank, id);
      exit(0);
    }
  }
  while (wait(&status) > 0) failed |= status;
  return failed != 0;
}
