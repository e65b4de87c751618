/* Whatever hangs, since a rank does not come, is ended from another thread by an abort: both return within a second, and the communicator's other ranks
 * hear of it. */
#define _GNU_SOURCE
#include "check.h"
#include "clock.h"
#include <pthread.h>
#include <unistd.h>

/* What hangs, on rank 0 of two that are threads; and how it then ends. */
struct hanging {
  ncclResult_t (*call)(ncclComm_t comm);
  ncclResult_t code;
  const char *words;
  ncclComm_t comm;
  double ended;
  volatile int begun;
};

/* The handle of what is made while the maker hangs. */
static ncclComm_t volatile in_the_making;

static ncclResult_t all_reduce(ncclComm_t comm) {
  float data = 1;
  return ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comm, NULL);
}

static ncclResult_t receive(ncclComm_t comm) {
  float data = 1;
  return ncclRecv(&data, 1, ncclFloat, 1, comm, NULL);
}

static ncclResult_t wait_for_signal(ncclComm_t comm) {
  ncclWaitSignalDesc_t one = {1, 1, 0, 0};
  return ncclWaitSignal(1, &one, comm, NULL);
}

static ncclResult_t open_window(ncclComm_t comm) {
  void *memory;
  ncclWindow_t window;
  ncclResult_t result;
  OK(ncclMemAlloc(&memory, 4096));
  result = ncclCommWindowRegister(comm, memory, 4096, &window, 0);
  CHECK(window == NULL && ncclMemFree(memory) == ncclSuccess);
  return result;
}

static ncclResult_t split(ncclComm_t comm) {
  ncclResult_t result = ncclCommSplit(comm, 0, 0, (ncclComm_t *)&in_the_making, NULL);
  CHECK(in_the_making == NULL);
  return result;
}

static ncclResult_t split_revoked(ncclComm_t comm) {
  OK(ncclCommRevoke(comm, NCCL_REVOKE_DEFAULT));
  return split(comm);
}

static ncclResult_t grow(ncclComm_t comm) {
  ncclResult_t result = ncclCommGrow(comm, 4, NULL, -1, (ncclComm_t *)&in_the_making, NULL);
  CHECK(in_the_making == NULL);
  return result;
}

static ncclResult_t in_a_group(ncclComm_t comm) {
  float data = 1, other = 1;
  OK(ncclGroupStart());
  OK(ncclRecv(&other, 1, ncclFloat, 1, comm, NULL));
  OK(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comm, NULL));
  return ncclGroupEnd();
}

/* Of three ranks without the last: the second does not come. */
static ncclResult_t shrink(ncclComm_t comm) {
  int excluded[1] = {2};
  ncclResult_t result = ncclCommShrink(comm, excluded, 1, (ncclComm_t *)&in_the_making, NULL, NCCL_SHRINK_ABORT);
  CHECK(in_the_making == NULL);
  return result;
}

static void *hang(void *argument) {
  struct hanging *hanging = (struct hanging *)argument;
  hanging->begun = 1;
  FAILS(hanging->call(hanging->comm), hanging->code, hanging->words);
  hanging->ended = now();
  return NULL;
}

/* A while in which the other thread comes deep into its wait. */
static void wait_a_while(void) {
  struct timespec pause = {0, 300 * 1000 * 1000};
  nanosleep(&pause, NULL);
}

/* One that hangs, aborted by its own handle, or by that of what it makes. */
static void ends(struct hanging hanging, int by_child) {
  enum { RANKS = 3 };
  ncclComm_t comms[RANKS];
  pthread_t thread;
  ncclResult_t state = ncclSuccess;
  ncclWindow_t windows[RANKS];
  void *memory;
  double begin;
  OK(ncclCommInitAll(comms, RANKS, NULL));
  OK(ncclMemAlloc(&memory, RANKS * 4096));
  if (hanging.call == wait_for_signal) { /* signals need a window */
    OK(ncclGroupStart());
    for (int rank = 0; rank < RANKS; rank++) OK(ncclCommWindowRegister(comms[rank], (char *)memory + rank * 4096, 4096, &windows[rank], 0));
    OK(ncclGroupEnd());
  }
  hanging.comm = comms[0];
  in_the_making = NULL;
  CHECK(pthread_create(&thread, NULL, hang, &hanging) == 0);
  while (!hanging.begun || (by_child && in_the_making == NULL)) usleep(1000);
  wait_a_while();
  begin = now();
  OK(ncclCommAbort(by_child ? in_the_making : comms[0]));
  CHECK(now() - begin < 1.0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(hanging.ended - begin < 1.0);
  for (int rank = by_child ? 0 : 1; rank < RANKS; rank++) {
    if (rank > 0) {
      FAILS(all_reduce(comms[rank]), ncclRemoteError, "rank 0 reported");
      OK(ncclCommGetAsyncError(comms[rank], &state));
      CHECK(state == ncclRemoteError);
    }
    begin = now();
    OK(ncclCommAbort(comms[rank]));
    CHECK(now() - begin < 1.0);
  }
  OK(ncclMemFree(memory));
}

static void hanging_calls(void) {
  enum { CALLS = 5 }; /* what follows makes communicators */
  const struct hanging all[] = {
      {all_reduce, ncclRemoteError, "aborted", NULL, 0, 0},       {receive, ncclRemoteError, "aborted", NULL, 0, 0},
      {wait_for_signal, ncclRemoteError, "aborted", NULL, 0, 0},  {open_window, ncclRemoteError, "aborted", NULL, 0, 0},
      {in_a_group, ncclRemoteError, "aborted", NULL, 0, 0},       {split, ncclInvalidUsage, "cancelled", NULL, 0, 0},
      {split_revoked, ncclInvalidUsage, "cancelled", NULL, 0, 0}, {shrink, ncclInvalidUsage, "cancelled", NULL, 0, 0},
      {grow, ncclInvalidUsage, "cancelled", NULL, 0, 0},
  };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    ends(all[i], 0);
    if (i >= CALLS) ends(all[i], 1);
  }
}

/* What is made in the background ends with its parent, whether it has begun or not. */
static void made_in_the_background(void) {
  ncclComm_t comms[3], made;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclResult_t state = ncclInProgress;
  int excluded[1] = {2};
  double begin;
  config.blocking = 0;
  OK(ncclCommInitAll(comms, 3, NULL));
  CHECK(ncclCommShrink(comms[0], excluded, 1, &made, &config, NCCL_SHRINK_ABORT) == ncclInProgress);
  begin = now();
  OK(ncclCommAbort(comms[0]));
  CHECK(now() - begin < 1.0);
  while (state == ncclInProgress) {
    OK(ncclCommGetAsyncError(made, &state));
    CHECK(now() - begin < 1.0);
    usleep(1000);
  }
  CHECK(state == ncclInvalidUsage);
  OK(ncclCommDestroy(made));
  for (int rank = 1; rank < 3; rank++) OK(ncclCommAbort(comms[rank]));
}

/* Ranks do not come: a communicator that joins in the background can be aborted at once. */
static void a_lonely_rank(void) {
  ncclUniqueId id;
  ncclComm_t comm;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclResult_t state = ncclSuccess;
  float data = 1;
  double begin;
  int count;
  config.blocking = 0;
  OK(ncclGetUniqueId(&id));
  CHECK(ncclCommInitRankConfig(&comm, 2, id, 0, &config) == ncclInProgress);
  OK(ncclCommGetAsyncError(comm, &state));
  CHECK(state == ncclInProgress);
  FAILS(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comm, NULL), ncclInvalidArgument, "still joining");
  FAILS(ncclCommCount(comm, &count), ncclInvalidArgument, "still joining");
  begin = now();
  OK(ncclCommAbort(comm));
  CHECK(now() - begin < 1.0);
}

struct joining {
  ncclUniqueId id;
  /* One that grows, if there is one. */
  ncclComm_t parent;
  ncclComm_t volatile comm;
  ncclResult_t ended;
};

static void *join(void *argument) {
  struct joining *joining = (struct joining *)argument;
  ncclComm_t *comm = (ncclComm_t *)&joining->comm;
  if (joining->parent == NULL) {
    joining->ended = ncclCommInitRank(comm, 2, joining->id, 0);
  } else {
    joining->ended = ncclCommGrow(joining->parent, 2, NULL, -1, comm, NULL);
  }
  return NULL;
}

/* A rank that joins is aborted by another thread, by its own handle, which is there already, or by its parent's. */
static void an_aborted_join(ncclComm_t parent, int by_parent) {
  struct joining joining;
  ncclUniqueId id;
  pthread_t thread;
  double begin;
  memset(&joining, 0, sizeof joining);
  joining.parent = parent;
  if (parent == NULL) OK(ncclGetUniqueId(&joining.id));
  else OK(ncclCommGetUniqueId(parent, &id)); /* which growing takes */
  CHECK(pthread_create(&thread, NULL, join, &joining) == 0);
  while (joining.comm == NULL) usleep(1000);
  begin = now();
  OK(ncclCommAbort(by_parent ? parent : joining.comm));
  CHECK(now() - begin < 1.0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(now() - begin < 1.0); /* joining takes 60 seconds if nobody comes */
  CHECK(joining.ended == ncclInvalidUsage);
  CHECK(joining.comm == NULL);
  if (parent != NULL && !by_parent) {
    /* Whole, unless its ranks had not agreed yet. */
    ncclResult_t result = all_reduce(parent);
    CHECK(result == ncclSuccess || result == ncclRemoteError);
    OK(ncclCommAbort(parent));
  }
}

int main(void) {
  ncclComm_t parent;
  hanging_calls();
  made_in_the_background();
  a_lonely_rank();
  an_aborted_join(NULL, 0);
  for (int by_parent = 0; by_parent < 2; by_parent++) {
    OK(ncclCommInitAll(&parent, 1, NULL));
    an_aborted_join(parent, by_parent);
  }
  return 0;
}
