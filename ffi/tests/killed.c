/* A rank is killed while the others are in a call: they get an error, go on without it, and abort within a second; so does one whose peer just
 * never comes, from another thread, in a call or while it joins. */
#define _GNU_SOURCE
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RANKS = 3, VICTIM = 1 };

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

/* The survivors, whose communicator this is, take in a new rank, which has waited for their id. */
static void grow_back(ncclComm_t survivors, int spare) {
  static float data[1000];
  ncclComm_t grown;
  ncclUniqueId id;
  int rank;
  OK(ncclCommUserRank(survivors, &rank));
  if (rank == 0) {
    OK(ncclCommGetUniqueId(survivors, &id));
    CHECK(write(spare, &id, sizeof id) == sizeof id);
  }
  OK(ncclCommGrow(survivors, RANKS, rank == 0 ? &id : NULL, -1, &grown, NULL));
  data[0] = 1;
  OK(ncclAllReduce(data, data, 1000, ncclFloat, ncclSum, grown, NULL));
  CHECK(data[0] == RANKS);
  OK(ncclCommDestroy(grown));
}

static void join_survivors(int spare) {
  static float data[1000];
  ncclComm_t grown;
  ncclUniqueId id;
  ssize_t came = read(spare, &id, sizeof id);
  if (came == 0) return; /* nobody grows */
  CHECK(came == sizeof id);
  OK(ncclCommGrow(NULL, RANKS, &id, RANKS - 1, &grown, NULL));
  data[0] = 1;
  OK(ncclAllReduce(data, data, 1000, ncclFloat, ncclSum, grown, NULL));
  CHECK(data[0] == RANKS);
  OK(ncclCommDestroy(grown));
}

static void survive(ncclComm_t comm, int rank, int ready, int shrinks, int spare) {
  static float data[1000];
  ncclResult_t state = ncclSuccess;
  ncclComm_t made;
  int dead[1] = {VICTIM}, ranks;
  double begin;
  OK(ncclAllReduce(data, data, 1000, ncclFloat, ncclSum, comm, NULL));
  CHECK(write(ready, "r", 1) == 1);
  if (rank == VICTIM) pause();
  /* The victim never comes to this one. */
  FAILS(ncclAllReduce(data, data, 1000, ncclFloat, ncclSum, comm, NULL), ncclRemoteError, "rank 1 died");
  begin = now();
  OK(ncclCommGetAsyncError(comm, &state));
  CHECK(state == ncclRemoteError);
  FAILS(ncclAllReduce(data, data, 1000, ncclFloat, ncclSum, comm, NULL), ncclRemoteError, "rank 1");
  if (shrinks) {
    FAILS(ncclCommShrink(comm, dead, 1, &made, NULL, NCCL_SHRINK_DEFAULT), ncclRemoteError, "rank 1");
    OK(ncclCommShrink(comm, dead, 1, &made, NULL, NCCL_SHRINK_ABORT));
    FAILS(ncclAllReduce(data, data, 1000, ncclFloat, ncclSum, comm, NULL), ncclInvalidUsage, "aborted");
    OK(ncclCommCount(made, &ranks));
    CHECK(ranks == RANKS - 1);
    data[0] = 1;
    OK(ncclAllReduce(data, data, 1000, ncclFloat, ncclSum, made, NULL));
    CHECK(data[0] == RANKS - 1);
    grow_back(made, spare);
    OK(ncclCommDestroy(made));
    begin = now();
  }
  OK(ncclCommAbort(comm));
  CHECK(now() - begin < 1.0);
  FAILS(ncclCommAbort(comm), ncclInvalidArgument, "destroyed");
}

static void a_killed_rank(int shrinks) {
  ncclUniqueId id;
  pid_t children[RANKS], spare;
  int ready[2], waiting[2], status;
  char bytes[RANKS];
  OK(ncclGetUniqueId(&id));
  CHECK(pipe(ready) == 0 && pipe(waiting) == 0);
  spare = fork();
  CHECK(spare >= 0);
  if (spare == 0) {
    CHECK(close(waiting[1]) == 0);
    join_survivors(waiting[0]);
    _exit(0);
  }
  for (int rank = 0; rank < RANKS; rank++) {
    children[rank] = fork();
    CHECK(children[rank] >= 0);
    if (children[rank] == 0) {
      ncclComm_t comm;
      OK(ncclCommInitRank(&comm, RANKS, id, rank));
      survive(comm, rank, ready[1], shrinks, waiting[1]);
      _exit(0);
    }
  }
  CHECK(close(waiting[1]) == 0);
  for (int have = 0; have < RANKS;) {
    ssize_t more = read(ready[0], bytes, sizeof bytes);
    CHECK(more > 0);
    have += (int)more;
  }
  CHECK(kill(children[VICTIM], SIGKILL) == 0);
  for (int rank = 0; rank < RANKS; rank++) {
    CHECK(waitpid(children[rank], &status, 0) == children[rank]);
    CHECK(rank == VICTIM ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  CHECK(waitpid(spare, &status, 0) == spare && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(close(ready[0]) == 0 && close(ready[1]) == 0 && close(waiting[0]) == 0);
}

struct hanging {
  ncclComm_t comm;
  double ended;
};

static void *hang(void *argument) {
  struct hanging *hanging = (struct hanging *)argument;
  float data = 1;
  FAILS(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, hanging->comm, NULL), ncclRemoteError, "aborted");
  hanging->ended = now();
  return NULL;
}

static void *revoked(void *argument) {
  struct hanging *hanging = (struct hanging *)argument;
  float data = 1;
  /* It is in the call by then, or comes too late for it. */
  ncclResult_t result = ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, hanging->comm, NULL);
  CHECK(result == ncclRemoteError || result == ncclInvalidUsage);
  return NULL;
}

/* Rank 1 never calls; rank 0 hangs, until another thread aborts it. */
static void a_hanging_call(void) {
  ncclComm_t comms[2];
  struct hanging hanging;
  pthread_t thread;
  struct timespec pause = {0, 300 * 1000 * 1000};
  ncclResult_t state = ncclSuccess;
  double begin;
  float data = 1;
  OK(ncclCommInitAll(comms, 2, NULL));
  hanging.comm = comms[0];
  CHECK(pthread_create(&thread, NULL, hang, &hanging) == 0);
  nanosleep(&pause, NULL); /* long enough for the call to be deep in its wait */
  begin = now();
  OK(ncclCommAbort(comms[0]));
  CHECK(now() - begin < 1.0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(hanging.ended - begin < 1.0);
  /* The other rank hears of it. */
  FAILS(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comms[1], NULL), ncclRemoteError, "rank 0 reported");
  OK(ncclCommGetAsyncError(comms[1], &state));
  CHECK(state == ncclRemoteError);
  begin = now();
  OK(ncclCommAbort(comms[1]));
  CHECK(now() - begin < 1.0);
}

/* Both ranks of a communicator, which works, and is then destroyed. */
static void sum_of_two(ncclComm_t one, ncclComm_t two) {
  float data = 1, other = 1;
  int ranks;
  OK(ncclGroupStart());
  OK(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, one, NULL));
  OK(ncclAllReduce(&other, &other, 1, ncclFloat, ncclSum, two, NULL));
  OK(ncclGroupEnd());
  OK(ncclCommCount(one, &ranks));
  CHECK(ranks == 2 && data == 2 && other == 2);
  OK(ncclCommDestroy(one));
  OK(ncclCommDestroy(two));
}

/* What is revoked is stopped and kept, and those who go on split or shrink it. */
static void a_revoked_communicator(void) {
  ncclComm_t comms[3], made[3];
  struct hanging hanging;
  pthread_t thread;
  ncclResult_t state = ncclInternalError;
  int excluded[1] = {2};
  float data = 1;
  double begin = now();
  OK(ncclCommInitAll(comms, 3, NULL));
  hanging.comm = comms[0];
  CHECK(pthread_create(&thread, NULL, revoked, &hanging) == 0);
  for (int rank = 0; rank < 3; rank++) OK(ncclCommRevoke(comms[rank], NCCL_REVOKE_DEFAULT));
  CHECK(pthread_join(thread, NULL) == 0 && now() - begin < 5);
  OK(ncclCommGetAsyncError(comms[0], &state));
  CHECK(state == ncclSuccess);
  FAILS(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comms[0], NULL), ncclInvalidUsage, "revoked");
  FAILS(ncclCommGrow(comms[0], 4, NULL, -1, &made[0], NULL), ncclInvalidUsage, "split, shrunk and destroyed");
  FAILS(ncclCommFinalize(comms[0]), ncclInvalidArgument, "split, shrunk and destroyed");
  /* Split, with a rank in no part, and then shrunk. */
  OK(ncclGroupStart());
  for (int rank = 0; rank < 3; rank++) OK(ncclCommSplit(comms[rank], rank == 0 ? NCCL_SPLIT_NOCOLOR : 0, -rank, &made[rank], NULL));
  OK(ncclGroupEnd());
  CHECK(made[0] == NULL);
  sum_of_two(made[1], made[2]);
  OK(ncclGroupStart());
  for (int rank = 0; rank < 2; rank++) OK(ncclCommShrink(comms[rank], excluded, 1, &made[rank], NULL, NCCL_SHRINK_DEFAULT));
  OK(ncclGroupEnd());
  sum_of_two(made[0], made[1]);
  for (int rank = 0; rank < 3; rank++) OK(ncclCommDestroy(comms[rank]));
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
  int rank;
  ncclComm_t volatile comm;
  ncclResult_t ended;
};

static void *join(void *argument) {
  struct joining *joining = (struct joining *)argument;
  joining->ended = ncclCommInitRank((ncclComm_t *)&joining->comm, 2, joining->id, joining->rank);
  return NULL;
}

/* A rank that joins is aborted by another thread; if the others come then, it has no communicator. */
static void an_aborted_join(void) {
  struct joining first, second;
  pthread_t threads[2];
  double begin;
  memset(&first, 0, sizeof first);
  OK(ncclGetUniqueId(&first.id));
  second = first;
  second.rank = 1;
  CHECK(pthread_create(&threads[0], NULL, join, &first) == 0);
  while (first.comm == NULL) usleep(1000);
  begin = now();
  OK(ncclCommAbort(first.comm));
  CHECK(now() - begin < 5.0); /* joining takes 60 seconds if nobody comes */
  CHECK(pthread_create(&threads[1], NULL, join, &second) == 0);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(first.ended == ncclInvalidUsage && first.comm == NULL);
  if (second.ended == ncclSuccess) {
    float data = 1;
    FAILS(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, second.comm, NULL), ncclRemoteError, "rank 0");
    OK(ncclCommAbort(second.comm));
  }
}

int main(void) {
  a_killed_rank(0);
  a_killed_rank(1);
  a_hanging_call();
  a_revoked_communicator();
  a_lonely_rank();
  an_aborted_join();
  return 0;
}
