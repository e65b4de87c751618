/* Two ranks in one process, which exchange the borders of their parts by one-sided calls, and the same by messages.
 *
 *   cc halo.c $(pkg-config --cflags --libs nccl) && ./a.out
 */
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>

#define TRY(call)                                                                                        \
  do {                                                                                                   \
    ncclResult_t result = (call);                                                                        \
    if (result != ncclSuccess) {                                                                         \
      fprintf(stderr, "%s: %s: %s\n", #call, ncclGetErrorString(result), ncclGetLastError(NULL));        \
      exit(1);                                                                                           \
    }                                                                                                    \
  } while (0)

enum { RANKS = 2, COUNT = 1024 };

int main(void) {
  ncclComm_t comms[RANKS];
  ncclWindow_t windows[RANKS];
  double *parts[RANKS], borders[RANKS];
  TRY(ncclCommInitAll(comms, RANKS, NULL));
  /* All ranks of a communicator open a window together: in one thread, in a group. */
  TRY(ncclGroupStart());
  for (int rank = 0; rank < RANKS; rank++) {
    void *memory;
    TRY(ncclMemAlloc(&memory, COUNT * sizeof(double)));
    parts[rank] = (double *)memory;
    parts[rank][COUNT - 1] = rank + 0.5;
    TRY(ncclCommWindowRegister(comms[rank], memory, COUNT * sizeof(double), &windows[rank], NCCL_WIN_DEFAULT));
  }
  TRY(ncclGroupEnd());

  /* The last element goes to the other's first. */
  for (int rank = 0; rank < RANKS; rank++)
    TRY(ncclPutSignal(&parts[rank][COUNT - 1], 1, ncclDouble, 1 - rank, windows[rank], 0, 0, 0, 0, comms[rank], NULL));
  for (int rank = 0; rank < RANKS; rank++) {
    ncclWaitSignalDesc_t one = {1, 0, 0, 0};
    one.peer = 1 - rank;
    TRY(ncclWaitSignal(1, &one, comms[rank], NULL));
  }

  TRY(ncclGroupStart());
  for (int rank = 0; rank < RANKS; rank++) {
    TRY(ncclSend(&parts[rank][COUNT - 1], 1, ncclDouble, 1 - rank, comms[rank], NULL));
    TRY(ncclRecv(&borders[rank], 1, ncclDouble, 1 - rank, comms[rank], NULL));
  }
  TRY(ncclGroupEnd());

  for (int rank = 0; rank < RANKS; rank++) {
    printf("rank %d has %g by a put, %g by a message\n", rank, parts[rank][0], borders[rank]);
    if (parts[rank][0] != borders[rank]) return 1;
    TRY(ncclCommWindowDeregister(comms[rank], windows[rank]));
    TRY(ncclMemFree(parts[rank]));
  }
  for (int rank = 0; rank < RANKS; rank++) TRY(ncclCommDestroy(comms[rank]));
  return 0;
}
