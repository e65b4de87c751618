/* Every collective and messages on one communicator, out of place and in place, with results that are computed otherwise. */
#ifndef COLLECTIVES_H
#define COLLECTIVES_H

#include "check.h"

enum { RANKS_MAX = 8, COUNT_MAX = 5000 };

/* What element i of block b of rank r holds. */
static int32_t value(int r, int b, size_t i) { return (int32_t)(r * 100000 + b * 10000 + (int)i % 7919); }

static int32_t sum_of(int n, int b, size_t i) {
  int32_t sum = 0;
  for (int r = 0; r < n; r++) sum += value(r, b, i);
  return sum;
}

static void fill(int32_t *at, int r, int blocks, size_t count) {
  for (int b = 0; b < blocks; b++)
    for (size_t i = 0; i < count; i++) at[(size_t)b * count + i] = value(r, b, i);
}

struct stage {
  ncclComm_t comm;
  int n, r;
  size_t count;
  int32_t *a, *b;
};

static void reducing(struct stage s) {
  fill(s.a, s.r, 1, s.count);
  OK(ncclAllReduce(s.a, s.b, s.count, ncclInt32, ncclSum, s.comm, NULL));
  for (size_t i = 0; i < s.count; i++) CHECK(s.b[i] == sum_of(s.n, 0, i));
  OK(ncclAllReduce(s.a, s.a, s.count, ncclInt32, ncclMax, s.comm, NULL));
  for (size_t i = 0; i < s.count; i++) CHECK(s.a[i] == value(s.n - 1, 0, i));

  for (int root = 0; root < s.n; root++) {
    fill(s.a, s.r, 1, s.count);
    OK(ncclReduce(s.a, s.r == root ? s.b : NULL, s.count, ncclInt32, ncclSum, root, s.comm, NULL));
    for (size_t i = 0; i < s.count && s.r == root; i++) CHECK(s.b[i] == sum_of(s.n, 0, i));
    OK(ncclReduce(s.a, s.a, s.count, ncclInt32, ncclSum, root, s.comm, NULL));
    for (size_t i = 0; i < s.count; i++) CHECK(s.a[i] == (s.r == root ? sum_of(s.n, 0, i) : value(s.r, 0, i)));
  }

  fill(s.a, s.r, s.n, s.count);
  OK(ncclReduceScatter(s.a, s.b, s.count, ncclInt32, ncclSum, s.comm, NULL));
  for (size_t i = 0; i < s.count; i++) CHECK(s.b[i] == sum_of(s.n, s.r, i));
  OK(ncclReduceScatter(s.a, s.a + (size_t)s.r * s.count, s.count, ncclInt32, ncclSum, s.comm, NULL));
  for (int b = 0; b < s.n; b++)
    for (size_t i = 0; i < s.count; i++)
      CHECK(s.a[(size_t)b * s.count + i] == (b == s.r ? sum_of(s.n, b, i) : value(s.r, b, i)));
}

static void gathered(struct stage s) {
  for (int b = 0; b < s.n; b++)
    for (size_t i = 0; i < s.count; i++) CHECK(s.b[(size_t)b * s.count + i] == value(b, 0, i));
}

static void moving(struct stage s) {
  size_t own = (size_t)s.r * s.count;
  fill(s.a, s.r, 1, s.count);
  memset(s.b, 0xff, (size_t)s.n * s.count * 4);
  OK(ncclAllGather(s.a, s.b, s.count, ncclInt32, s.comm, NULL));
  gathered(s);
  memset(s.b, 0xff, (size_t)s.n * s.count * 4);
  fill(s.b + own, s.r, 1, s.count);
  OK(ncclAllGather(s.b + own, s.b, s.count, ncclInt32, s.comm, NULL));
  gathered(s);

  for (int root = 0; root < s.n; root++) {
    int here = s.r == root;
    fill(s.a, s.r, 1, s.count);
    OK(ncclBroadcast(here ? s.a : NULL, s.b, s.count, ncclInt32, root, s.comm, NULL));
    for (size_t i = 0; i < s.count; i++) CHECK(s.b[i] == value(root, 0, i));
    OK(ncclBroadcast(s.a, s.a, s.count, ncclInt32, root, s.comm, NULL));
    for (size_t i = 0; i < s.count; i++) CHECK(s.a[i] == value(root, 0, i));
    fill(s.a, s.r, 1, s.count);
    OK(ncclBcast(s.a, s.count, ncclInt32, root, s.comm, NULL));
    for (size_t i = 0; i < s.count; i++) CHECK(s.a[i] == value(root, 0, i));

    fill(s.a, s.r, 1, s.count);
    OK(ncclGather(s.a, here ? s.b : NULL, s.count, ncclInt32, root, s.comm, NULL));
    if (here) gathered(s);
    if (here) fill(s.b + own, s.r, 1, s.count);
    OK(ncclGather(here ? s.b + own : s.a, here ? s.b : NULL, s.count, ncclInt32, root, s.comm, NULL));
    if (here) gathered(s);

    fill(s.a, s.r, s.n, s.count);
    OK(ncclScatter(here ? s.a : NULL, s.b, s.count, ncclInt32, root, s.comm, NULL));
    for (size_t i = 0; i < s.count; i++) CHECK(s.b[i] == value(root, s.r, i));
    OK(ncclScatter(here ? s.a : NULL, here ? s.a + own : s.b, s.count, ncclInt32, root, s.comm, NULL));
    for (size_t i = 0; i < s.count; i++) CHECK((here ? s.a + own : s.b)[i] == value(root, s.r, i));
  }

  fill(s.a, s.r, s.n, s.count);
  OK(ncclAlltoAll(s.a, s.b, s.count, ncclInt32, s.comm, NULL));
  for (int b = 0; b < s.n; b++)
    for (size_t i = 0; i < s.count; i++) CHECK(s.b[(size_t)b * s.count + i] == value(b, s.r, i));
}

static void messages(struct stage s) {
  int next = (s.r + 1) % s.n, previous = (s.r + s.n - 1) % s.n;
  fill(s.a, s.r, s.n, s.count);
  OK(ncclGroupStart());
  OK(ncclRecv(s.b, s.count, ncclInt32, previous, s.comm, NULL));
  OK(ncclSend(s.a, s.count, ncclInt32, next, s.comm, NULL));
  OK(ncclGroupEnd());
  for (size_t i = 0; i < s.count; i++) CHECK(s.b[i] == value(previous, 0, i));
  if (s.n == 1) return;
  /* Without a group, one after the other. */
  if (s.r == 0) OK(ncclSend(s.a, s.count, ncclInt32, 1, s.comm, NULL));
  if (s.r == 1) OK(ncclRecv(s.b, s.count, ncclInt32, 0, s.comm, NULL));
  for (size_t i = 0; i < s.count && s.r == 1; i++) CHECK(s.b[i] == value(0, 0, i));
  /* Everything to everybody, the own part included, in nested groups. */
  OK(ncclGroupStart());
  for (int peer = 0; peer < s.n; peer++) {
    OK(ncclGroupStart());
    OK(ncclSend(s.a + (size_t)peer * s.count, s.count, ncclInt32, peer, s.comm, NULL));
    OK(ncclRecv(s.b + (size_t)peer * s.count, s.count, ncclInt32, peer, s.comm, NULL));
    OK(ncclGroupEnd());
  }
  OK(ncclGroupEnd());
  for (int b = 0; b < s.n; b++)
    for (size_t i = 0; i < s.count; i++) CHECK(s.b[(size_t)b * s.count + i] == value(b, s.r, i));
}

static void with_settings(struct stage s) {
  ncclCollConfig_t config = NCCL_COLLCONFIG_INITIALIZER;
  config.minCTAs = 2;
  config.algSelection = "ring";
  config.forceAlgSelection = 0;
  fill(s.a, s.r, s.n, s.count);
  OK(ncclAllReduceConfig(s.a, s.b, s.count, ncclInt32, ncclSum, s.comm, NULL, &config));
  for (size_t i = 0; i < s.count; i++) CHECK(s.b[i] == sum_of(s.n, 0, i));
  config.size = 64; /* an older caller's */
  OK(ncclAllGatherConfig(s.a, s.b, s.count, ncclInt32, s.comm, NULL, &config));
  gathered(s);
  OK(ncclReduceConfig(s.a, s.b, s.count, ncclInt32, ncclMin, 0, s.comm, NULL, NULL));
  OK(ncclReduceScatterConfig(s.a, s.b, s.count, ncclInt32, ncclSum, s.comm, NULL, &config));
  for (size_t i = 0; i < s.count; i++) CHECK(s.b[i] == sum_of(s.n, s.r, i));
  OK(ncclBroadcastConfig(s.a, s.b, s.count, ncclInt32, 0, s.comm, NULL, &config));
  OK(ncclAlltoAllConfig(s.a, s.b, s.count, ncclInt32, s.comm, NULL, &config));
  for (size_t i = 0; i < s.count; i++) CHECK(s.b[i] == value(0, s.r, i));
  OK(ncclGatherConfig(s.a, s.b, s.count, ncclInt32, 0, s.comm, NULL, &config));
  OK(ncclScatterConfig(s.a, s.b, s.count, ncclInt32, 0, s.comm, NULL, &config));
  for (size_t i = 0; i < s.count; i++) CHECK(s.b[i] == value(0, s.r, i));
}

static void operators(struct stage s) {
  ncclRedOp_t op, later;
  float mine = (float)(s.r + 1), in[4] = {1, 2, 3, 4}, out[4];
  float expected = (float)(s.n * (s.n + 1)) / 2;
  OK(ncclRedOpCreatePreMulSum(&op, &mine, ncclFloat32, ncclScalarHostImmediate, s.comm));
  OK(ncclRedOpCreatePreMulSum(&later, &mine, ncclFloat32, ncclScalarDevice, s.comm));
  mine = 2 * mine;
  OK(ncclAllReduce(in, out, 4, ncclFloat32, op, s.comm, NULL));
  for (int i = 0; i < 4; i++) CHECK(out[i] == in[i] * expected);
  OK(ncclAllReduce(in, out, 4, ncclFloat32, later, s.comm, NULL));
  for (int i = 0; i < 4; i++) CHECK(out[i] == in[i] * 2 * expected);
  FAILS(ncclAllReduce(in, out, 2, ncclFloat64, op, s.comm, NULL), ncclInvalidArgument, "made for float");
  OK(ncclRedOpDestroy(op, s.comm));
  OK(ncclRedOpDestroy(later, s.comm));
  FAILS(ncclRedOpDestroy(op, s.comm), ncclInvalidArgument, "no ncclRedOp_t");
  FAILS(ncclAllReduce(in, out, 4, ncclFloat32, op, s.comm, NULL), ncclInvalidArgument, "no ncclRedOp_t");
  OK(ncclAllReduce(in, out, 4, ncclFloat32, ncclAvg, s.comm, NULL));
  for (int i = 0; i < 4; i++) CHECK(out[i] == in[i]);
}

/* All of it, on this thread's rank of `comm`. */
static void every_call(ncclComm_t comm) {
  static const size_t counts[] = {0, 1, 3, COUNT_MAX};
  struct stage s;
  s.comm = comm;
  OK(ncclCommCount(comm, &s.n));
  OK(ncclCommUserRank(comm, &s.r));
  CHECK(s.n <= RANKS_MAX);
  s.a = (int32_t *)malloc(sizeof(int32_t) * RANKS_MAX * COUNT_MAX);
  s.b = (int32_t *)malloc(sizeof(int32_t) * RANKS_MAX * COUNT_MAX);
  CHECK(s.a != NULL && s.b != NULL);
  for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
    s.count = counts[c];
    reducing(s);
    moving(s);
    messages(s);
    with_settings(s);
  }
  operators(s);
  free(s.a);
  free(s.b);
}

#endif
