/* A rank is killed while the others are in a call: they get an error, go on without it, and abort within a second. What is revoked is stopped, and
 * goes on as others. */
#define _GNU_SOURCE
#include "check.h"
#include "clock.h"
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RANKS = 3, VICTIM = 1 };

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

static void *revoked(void *comm) {
  float data = 1;
  /* It is in the call by then, or comes too late for it. */
  ncclResult_t result = ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, (ncclComm_t)comm, NULL);
  CHECK(result == ncclRemoteError || result == ncclInvalidUsage);
  return NULL;
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
  pthread_t thread;
  ncclResult_t state = ncclInternalError;
  int excluded[1] = {2};
  float data = 1;
  double begin = now();
  OK(ncclCommInitAll(comms, 3, NULL));
  CHECK(pthread_create(&thread, NULL, revoked, comms[0]) == 0);
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

int main(void) {
  a_killed_rank(0);
  a_killed_rank(1);
  a_revoked_communicator();
  return 0;
}
