/* Ranks as forked processes: every call; communicators made of others; joining in the background. */
#define _GNU_SOURCE
#include "collectives.h"
#include <sys/wait.h>
#include <unistd.h>

enum { RANKS = 3 };

/* Each is for one communicator; made before the ranks part. */
static ncclUniqueId first_id, scalable_ids[2], background_id, grouped_id;

static ncclResult_t settled(ncclComm_t comm) {
  ncclResult_t state = ncclInProgress;
  while (state == ncclInProgress) {
    OK(ncclCommGetAsyncError(comm, &state));
    usleep(1000);
  }
  return state;
}

static void asked(ncclComm_t comm, int rank, int ranks) {
  int value = -1;
  ncclResult_t state = ncclInternalError;
  ncclCommProperties_t properties = NCCL_COMM_PROPERTIES_INITIALIZER;
  ncclTeam_t world = ncclTeamWorld(comm);
  OK(ncclCommCount(comm, &value));
  CHECK(value == ranks);
  OK(ncclCommUserRank(comm, &value));
  CHECK(value == rank);
  OK(ncclCommCuDevice(comm, &value));
  CHECK(value == 0);
  OK(ncclCommGetAsyncError(comm, &state));
  CHECK(state == ncclSuccess);
  OK(ncclCommQueryProperties(comm, &properties));
  CHECK(properties.rank == rank && properties.nRanks == ranks && !properties.deviceApiSupport);
  CHECK(properties.size == sizeof properties && properties.magic == NCCL_API_MAGIC);
  CHECK(world.nRanks == ranks && world.rank == rank && world.stride == 1);
  CHECK(ncclTeamRankToWorld(comm, world, 0) == 0);
  CHECK(ncclTeamRankToWorld(comm, world, ranks) == -1);
  /* All know it by the same number. */
  uint64_t hashes[RANKS + 1];
  OK(ncclAllGather(&properties.commHash, hashes, 1, ncclUint64, comm, NULL));
  for (int other = 0; other < ranks; other++) CHECK(hashes[other] == properties.commHash);
}

static void suspended(ncclComm_t comm) {
  float data = 1;
  uint64_t is = 7, bytes = 7;
  OK(ncclCommSuspend(comm, NCCL_SUSPEND_MEM));
  FAILS(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comm, NULL), ncclInvalidUsage, "suspended");
  OK(ncclCommMemStats(comm, ncclStatGpuMemSuspended, &is));
  OK(ncclCommMemStats(comm, ncclStatGpuMemTotal, &bytes));
  CHECK(is == 1 && bytes == 0);
  OK(ncclCommResume(comm));
  FAILS(ncclCommResume(comm), ncclInvalidUsage, "not suspended");
  FAILS(ncclCommMemStats(comm, (ncclCommMemStat_t)9, &is), ncclInvalidArgument, "ncclCommMemStat_t");
  OK(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comm, NULL));
  CHECK(data == RANKS);
}

static void derived(ncclComm_t comm, int rank) {
  ncclComm_t made = (ncclComm_t)1;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  int excluded[1] = {1};
  /* Reversed. */
  OK(ncclCommSplit(comm, 4, -rank, &made, NULL));
  asked(made, RANKS - 1 - rank, RANKS);
  every_call(made);
  OK(ncclCommDestroy(made));
  /* Rank 0 alone is left out. */
  OK(ncclCommSplit(comm, rank == 0 ? NCCL_SPLIT_NOCOLOR : 0, 0, &made, NULL));
  CHECK((made == NULL) == (rank == 0));
  if (made != NULL) asked(made, rank - 1, RANKS - 1);
  if (made != NULL) OK(ncclCommDestroy(made));
  FAILS(ncclCommSplit(comm, -2, 0, &made, NULL), ncclInvalidArgument, "color");
  /* Rank 1 does not take part. */
  if (rank != 1) {
    OK(ncclCommShrink(comm, excluded, 1, &made, NULL, NCCL_SHRINK_DEFAULT));
    asked(made, rank == 0 ? 0 : 1, RANKS - 1);
    every_call(made);
    OK(ncclCommDestroy(made));
  } else {
    FAILS(ncclCommShrink(comm, excluded, 1, &made, NULL, NCCL_SHRINK_DEFAULT), ncclInvalidArgument, "excluded");
  }
  FAILS(ncclCommShrink(comm, excluded, 1, &made, NULL, 2), ncclInvalidArgument, "shrinkFlags");
  FAILS(ncclCommShrink(comm, excluded, 0, &made, NULL, NCCL_SHRINK_DEFAULT), ncclInvalidArgument, "excludeRanksCount");
  /* No more of the list is read than ranks can be excluded. */
  FAILS(ncclCommShrink(comm, excluded, 1 << 30, &made, NULL, NCCL_SHRINK_DEFAULT), ncclInvalidArgument, "at least this one stays");
  /* In the background. */
  config.blocking = 0;
  CHECK(ncclCommSplit(comm, 0, rank, &made, &config) == ncclInProgress);
  CHECK(settled(comm) == ncclSuccess && settled(made) == ncclSuccess);
  asked(made, rank, RANKS);
  OK(ncclCommDestroy(made));
}

/* Ranks 0 and 1 are a communicator; rank 2 comes to it. */
static void grown(ncclComm_t comm, int rank, const int *pipe_to_new) {
  ncclComm_t pair, made;
  ncclUniqueId id;
  OK(ncclCommSplit(comm, rank == 2 ? NCCL_SPLIT_NOCOLOR : 0, 0, &pair, NULL));
  if (rank == 0) {
    OK(ncclCommGetUniqueId(pair, &id));
    CHECK(write(pipe_to_new[1], &id, sizeof id) == sizeof id);
  }
  if (rank == 2) CHECK(read(pipe_to_new[0], &id, sizeof id) == sizeof id);
  /* The rank that made the id need not give it. */
  if (rank == 2) OK(ncclCommGrow(NULL, RANKS, &id, 2, &made, NULL));
  else OK(ncclCommGrow(pair, RANKS, NULL, -1, &made, NULL));
  asked(made, rank, RANKS);
  every_call(made);
  OK(ncclCommDestroy(made));
  /* An id serves once. */
  if (pair != NULL) FAILS(ncclCommGrow(pair, RANKS, NULL, -1, &made, NULL), ncclInvalidArgument, "no rank of comm has a unique id");
  if (pair != NULL) FAILS(ncclCommGrow(pair, 2, NULL, -1, &made, NULL), ncclInvalidArgument, "nRanks");
  if (pair != NULL) OK(ncclCommDestroy(pair));
}

/* Each writes into the others' windows, of plain memory and of the library's; a signal comes after what was put before it. */
static void one_sided(ncclComm_t comm, int rank) {
  static int mine[3000];
  void *plain, *given;
  ncclWaitSignalDesc_t all[RANKS];
  CHECK(posix_memalign(&plain, NCCL_WIN_REQUIRED_ALIGNMENT, RANKS * sizeof mine) == 0);
  OK(ncclMemAlloc(&given, RANKS * sizeof mine));
  void *memory[2];
  memory[0] = plain;
  memory[1] = given;
  for (int kind = 0; kind < 2; kind++) {
    ncclWindow_t window;
    OK(ncclCommWindowRegister(comm, memory[kind], RANKS * sizeof mine, &window, NCCL_WIN_COLL_SYMMETRIC));
    for (int i = 0; i < 3000; i++) mine[i] = i * (rank + 1) + kind;
    for (int peer = 0; peer < RANKS; peer++) {
      size_t place = (size_t)rank * sizeof mine;
      OK(ncclPutSignal(mine, 3000, ncclInt, peer, window, place, 3, 1, 0, comm, NULL));
      all[peer] = (ncclWaitSignalDesc_t){1, peer, 3, 1};
    }
    OK(ncclWaitSignal(RANKS, all, comm, NULL));
    for (int from = 0; from < RANKS; from++)
      for (int i = 0; i < 3000; i++) CHECK(((int *)memory[kind])[from * 3000 + i] == i * (from + 1) + kind);
    OK(ncclCommWindowDeregister(comm, window));
  }
  OK(ncclMemFree(given));
  free(plain);
}

/* A child cannot go on with what its parent holds, and the parent can. */
static void forked_again(ncclComm_t comm) {
  float data = 1, kept = 1;
  int status;
  pid_t child;
  OK(ncclGroupStart());
  OK(ncclAllReduce(&kept, &kept, 1, ncclFloat, ncclSum, comm, NULL));
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    ncclComm_t own;
    FAILS(ncclGroupEnd(), ncclInvalidUsage, "no open group");
    OK(ncclGroupStart());
    OK(ncclGroupEnd());
    FAILS(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comm, NULL), ncclInvalidUsage, "forked");
    FAILS(ncclCommDestroy(comm), ncclInvalidUsage, "forked");
    OK(ncclCommInitAll(&own, 1, NULL));
    OK(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, own, NULL));
    OK(ncclCommDestroy(own));
    exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  OK(ncclGroupEnd());
  CHECK(kept == RANKS);
  OK(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comm, NULL));
  CHECK(data == RANKS);
}

/* Nor can it free memory, which the parent's peers may have mapped; forked before there is a communicator. */
static void memory_stays_the_parents(void) {
  void *memory;
  int status;
  pid_t child;
  OK(ncclMemAlloc(&memory, 4096));
  child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    void *own;
    FAILS(ncclMemFree(memory), ncclInvalidUsage, "forked");
    OK(ncclMemAlloc(&own, 4096));
    OK(ncclMemFree(own));
    exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  OK(ncclMemFree(memory));
}

/* Rank 0 revokes while the others may be in a call; then each of them does. They go on by splitting what was revoked. */
static void revoked(ncclComm_t comm, int rank) {
  ncclComm_t made;
  float data = 1;
  ncclResult_t result;
  do result = ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comm, NULL);
  while (rank != 0 && result == ncclSuccess);
  CHECK(result == (rank == 0 ? ncclSuccess : ncclRemoteError));
  OK(ncclCommRevoke(comm, NCCL_REVOKE_DEFAULT));
  FAILS(ncclCommRevoke(comm, NCCL_REVOKE_DEFAULT), ncclInvalidArgument, "revoked");
  FAILS(ncclCommFinalize(comm), ncclInvalidArgument, "revoked");
  OK(ncclCommSplit(comm, 0, -rank, &made, NULL));
  asked(made, RANKS - 1 - rank, RANKS);
  every_call(made);
  OK(ncclCommDestroy(made));
  OK(ncclCommSplit(comm, 0, 0, &made, NULL));
  asked(made, rank, RANKS);
  OK(ncclCommDestroy(made));
  FAILS(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comm, NULL), ncclInvalidUsage, "revoked");
}

static void run(int rank, const int *pipe_to_new) {
  ncclComm_t comm, background;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  OK(ncclCommInitRank(&comm, RANKS, first_id, rank));
  asked(comm, rank, RANKS);
  every_call(comm);
  suspended(comm);
  derived(comm, rank);
  grown(comm, rank, pipe_to_new);
  one_sided(comm, rank);
  forked_again(comm);
  OK(ncclCommFinalize(comm));
  FAILS(ncclCommFinalize(comm), ncclInvalidArgument, "finalized");
  FAILS(ncclCommRevoke(comm, NCCL_REVOKE_DEFAULT), ncclInvalidArgument, "finalized");
  OK(ncclCommDestroy(comm));
  FAILS(ncclCommDestroy(comm), ncclInvalidArgument, "destroyed");

  OK(ncclCommInitRankScalable(&comm, RANKS, rank, 2, scalable_ids, NULL));
  asked(comm, rank, RANKS);
  revoked(comm, rank);
  OK(ncclCommDestroy(comm));

  config.blocking = 0;
  OK(ncclGroupStart());
  OK(ncclCommInitRankConfig(&background, RANKS, grouped_id, rank, &config));
  CHECK(ncclGroupEnd() == ncclInProgress);
  CHECK(settled(background) == ncclSuccess);
  asked(background, rank, RANKS);
  OK(ncclCommDestroy(background));
  CHECK(ncclCommInitRankConfig(&background, RANKS, background_id, rank, &config) == ncclInProgress);
  CHECK(settled(background) == ncclSuccess);
  every_call(background);
  OK(ncclCommDestroy(background));
}

int main(void) {
  int failed = 0, pipe_to_new[2];
  CHECK(pipe(pipe_to_new) == 0);
  memory_stays_the_parents();
  OK(ncclGetUniqueId(&first_id));
  OK(ncclGetUniqueId(&scalable_ids[0]));
  OK(ncclGetUniqueId(&scalable_ids[1]));
  OK(ncclGetUniqueId(&background_id));
  OK(ncclGetUniqueId(&grouped_id));
  for (int rank = 0; rank < RANKS; rank++) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      run(rank, pipe_to_new);
      exit(0);
    }
  }
  for (int rank = 0; rank < RANKS; rank++) {
    int status;
    CHECK(wait(&status) > 0);
    failed |= status;
  }
  return failed != 0;
}
