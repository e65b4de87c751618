/* What is refused, by every function that can refuse it, and what the last error then says. One rank, so that nobody waits. */
#define _GNU_SOURCE
#include "check.h"
#include <pthread.h>

/* Every collective has a variant with settings, which are looked at before anything else. */
static void bad_settings(ncclComm_t comm) {
  ncclCollConfig_t bad = NCCL_COLLCONFIG_INITIALIZER;
  float data[2] = {0};
  bad.magic = 0;
  FAILS(ncclAllReduceConfig(data, data, 1, ncclFloat, ncclSum, comm, NULL, &bad), ncclInvalidArgument, "COLLCONFIG");
  FAILS(ncclReduceConfig(data, data, 1, ncclFloat, ncclSum, 0, comm, NULL, &bad), ncclInvalidArgument, "COLLCONFIG");
  FAILS(ncclReduceScatterConfig(data, data, 1, ncclFloat, ncclSum, comm, NULL, &bad), ncclInvalidArgument, "COLLCONFIG");
  FAILS(ncclBroadcastConfig(data, data, 1, ncclFloat, 0, comm, NULL, &bad), ncclInvalidArgument, "COLLCONFIG");
  FAILS(ncclAllGatherConfig(data, data, 1, ncclFloat, comm, NULL, &bad), ncclInvalidArgument, "COLLCONFIG");
  FAILS(ncclGatherConfig(data, data, 1, ncclFloat, 0, comm, NULL, &bad), ncclInvalidArgument, "COLLCONFIG");
  FAILS(ncclScatterConfig(data, data, 1, ncclFloat, 0, comm, NULL, &bad), ncclInvalidArgument, "COLLCONFIG");
  FAILS(ncclAlltoAllConfig(data, data + 1, 1, ncclFloat, comm, NULL, &bad), ncclInvalidArgument, "COLLCONFIG");
}

static void handles(ncclComm_t good) {
  long local = 0;
  ncclComm_t bad[4];
  float data[4] = {0};
  bad[0] = NULL;
  bad[1] = (ncclComm_t)&local;
  bad[2] = (ncclComm_t)((uintptr_t)good ^ (1u << 16)); /* another generation */
  bad[3] = (ncclComm_t)((uintptr_t)good + 1);          /* another slot */
  for (int i = 0; i < 4; i++) {
    const char *words = i == 0 ? "NULL" : "no communicator";
    int number;
    ncclResult_t state;
    void *handle;
    ncclWindow_t window;
    ncclRedOp_t op;
    ncclComm_t made;
    ncclUniqueId id;
    uint64_t value;
    FAILS(ncclAllReduce(data, data, 4, ncclFloat, ncclSum, bad[i], NULL), ncclInvalidArgument, words);
    FAILS(ncclBcast(data, 4, ncclFloat, 0, bad[i], NULL), ncclInvalidArgument, words);
    FAILS(ncclSend(data, 4, ncclFloat, 0, bad[i], NULL), ncclInvalidArgument, words);
    FAILS(ncclRecv(data, 4, ncclFloat, 0, bad[i], NULL), ncclInvalidArgument, words);
    FAILS(ncclCommCount(bad[i], &number), ncclInvalidArgument, words);
    FAILS(ncclCommUserRank(bad[i], &number), ncclInvalidArgument, words);
    FAILS(ncclCommCuDevice(bad[i], &number), ncclInvalidArgument, words);
    FAILS(ncclCommGetAsyncError(bad[i], &state), ncclInvalidArgument, words);
    if (i > 0) FAILS(ncclCommFinalize(bad[i]), ncclInvalidArgument, words);
    if (i > 0) FAILS(ncclCommDestroy(bad[i]), ncclInvalidArgument, words);
    if (i > 0) FAILS(ncclCommAbort(bad[i]), ncclInvalidArgument, words);
    if (i > 0) FAILS(ncclCommRevoke(bad[i], 0), ncclInvalidArgument, words);
    FAILS(ncclCommSuspend(bad[i], NCCL_SUSPEND_MEM), ncclInvalidArgument, words);
    FAILS(ncclCommResume(bad[i]), ncclInvalidArgument, words);
    FAILS(ncclCommMemStats(bad[i], ncclStatGpuMemTotal, &value), ncclInvalidArgument, words);
    FAILS(ncclCommSplit(bad[i], 0, 0, &made, NULL), ncclInvalidArgument, words);
    FAILS(ncclCommShrink(bad[i], &number, 1, &made, NULL, 0), ncclInvalidArgument, words);
    FAILS(ncclCommGetUniqueId(bad[i], &id), ncclInvalidArgument, words);
    FAILS(ncclCommRegister(bad[i], data, 16, &handle), ncclInvalidArgument, words);
    FAILS(ncclCommDeregister(bad[i], &local), ncclInvalidArgument, words);
    FAILS(ncclCommWindowRegister(bad[i], data, 16, &window, 0), ncclInvalidArgument, words);
    FAILS(ncclCommWindowDeregister(bad[i], (ncclWindow_t)&local), ncclInvalidArgument, words);
    FAILS(ncclWinGetUserPtr(bad[i], NULL, &handle), ncclInvalidArgument, words);
    FAILS(ncclRedOpCreatePreMulSum(&op, data, ncclFloat, ncclScalarHostImmediate, bad[i]), ncclInvalidArgument, words);
    FAILS(ncclRedOpDestroy((ncclRedOp_t)5, bad[i]), ncclInvalidArgument, words);
    CHECK(ncclTeamWorld(bad[i]).nRanks == 0);
    if (i > 0) FAILS(ncclCommGrow(bad[i], 2, NULL, -1, &made, NULL), ncclInvalidArgument, words);
  }
}

/* What was never made can be ended. */
static void nothing_ends(ncclComm_t comm) {
  OK(ncclCommFinalize(NULL));
  OK(ncclCommDestroy(NULL));
  OK(ncclCommAbort(NULL));
  OK(ncclCommRevoke(NULL, NCCL_REVOKE_DEFAULT));
  OK(ncclCommDeregister(comm, NULL));
  OK(ncclCommWindowDeregister(comm, NULL));
}

static void nulls(ncclComm_t comm) {
  ncclUniqueId id;
  int device = 0;
  OK(ncclGetUniqueId(&id));
  FAILS(ncclGetUniqueId(NULL), ncclInvalidArgument, "uniqueId is NULL");
  FAILS(ncclCommInitRank(NULL, 1, id, 0), ncclInvalidArgument, "comm is NULL");
  FAILS(ncclCommInitAll(NULL, 1, &device), ncclInvalidArgument, "comm is NULL");
  FAILS(ncclCommSplit(comm, 0, 0, NULL, NULL), ncclInvalidArgument, "newcomm is NULL");
  FAILS(ncclCommShrink(comm, NULL, 1, NULL, NULL, 0), ncclInvalidArgument, "newcomm is NULL");
  FAILS(ncclCommGrow(comm, 2, NULL, -1, NULL, NULL), ncclInvalidArgument, "newcomm is NULL");
  FAILS(ncclCommGetUniqueId(comm, NULL), ncclInvalidArgument, "uniqueId is NULL");
  FAILS(ncclCommCount(comm, NULL), ncclInvalidArgument, "count is NULL");
  FAILS(ncclCommUserRank(comm, NULL), ncclInvalidArgument, "rank is NULL");
  FAILS(ncclCommCuDevice(comm, NULL), ncclInvalidArgument, "device is NULL");
  FAILS(ncclCommGetAsyncError(comm, NULL), ncclInvalidArgument, "asyncError is NULL");
  FAILS(ncclCommMemStats(comm, ncclStatGpuMemTotal, NULL), ncclInvalidArgument, "value is NULL");
  FAILS(ncclCommQueryProperties(comm, NULL), ncclInvalidArgument, "props is NULL");
  FAILS(ncclMemAlloc(NULL, 1), ncclInvalidArgument, "ptr is NULL");
  FAILS(ncclCommRegister(comm, NULL, 1, (void **)&device), ncclInvalidArgument, "buff is NULL");
  FAILS(ncclCommRegister(comm, &device, 4, NULL), ncclInvalidArgument, "handle is NULL");
  FAILS(ncclRedOpCreatePreMulSum(NULL, &device, ncclInt, ncclScalarDevice, comm), ncclInvalidArgument, "op is NULL");
  FAILS(ncclParamBind(NULL, "SERRIED_ALGO"), ncclInvalidArgument, "out is NULL");
  FAILS(ncclGetVersion(NULL), ncclInvalidArgument, "version is NULL");
}

static void arguments(ncclComm_t comm) {
  static float data[64];
  ncclRedOp_t op;
  FAILS(ncclAllReduce(NULL, data, 4, ncclFloat, ncclSum, comm, NULL), ncclInvalidArgument, "sendbuff is NULL");
  FAILS(ncclAllReduce(data, NULL, 4, ncclFloat, ncclSum, comm, NULL), ncclInvalidArgument, "recvbuff is NULL");
  OK(ncclAllReduce(NULL, NULL, 0, ncclFloat, ncclSum, comm, NULL));
  FAILS(ncclAllReduce(data, data, 4, (ncclDataType_t)12, ncclSum, comm, NULL), ncclInvalidArgument, "12 is no ncclDataType_t");
  FAILS(ncclAllReduce(data, data, 4, (ncclDataType_t)-1, ncclSum, comm, NULL), ncclInvalidArgument, "-1 is no ncclDataType_t");
  FAILS(ncclAllReduce(data, data, 4, ncclFloat, (ncclRedOp_t)5, comm, NULL), ncclInvalidArgument, "5 is no ncclRedOp_t");
  FAILS(ncclAllReduce(data, data, 4, ncclFloat, (ncclRedOp_t)-1, comm, NULL), ncclInvalidArgument, "-1 is no ncclRedOp_t");
  FAILS(ncclAllReduce(data, data, SIZE_MAX, ncclFloat, ncclSum, comm, NULL), ncclInvalidArgument, "more than memory");
  FAILS(ncclAllReduce(data, data, SIZE_MAX / 4 - 100, ncclFloat, ncclSum, comm, NULL), ncclInvalidArgument, "more than memory");
  FAILS(ncclAllReduce(data, data + 1, 4, ncclFloat, ncclSum, comm, NULL), ncclInvalidArgument, "overlap");
  FAILS(ncclAlltoAll(data, data, 4, ncclFloat, comm, NULL), ncclInvalidArgument, "overlap");
  FAILS(ncclAllGather(data + 1, data, 4, ncclFloat, comm, NULL), ncclInvalidArgument, "overlap");
  FAILS(ncclReduceScatter(data, data + 1, 4, ncclFloat, ncclSum, comm, NULL), ncclInvalidArgument, "overlap");
  FAILS(ncclReduce(data, data, 4, ncclFloat, ncclSum, 1, comm, NULL), ncclInvalidArgument, "root is 1");
  FAILS(ncclBroadcast(data, data, 4, ncclFloat, -1, comm, NULL), ncclInvalidArgument, "root is -1");
  FAILS(ncclGather(data, data, 4, ncclFloat, 7, comm, NULL), ncclInvalidArgument, "root is 7");
  FAILS(ncclScatter(data, data, 4, ncclFloat, 7, comm, NULL), ncclInvalidArgument, "root is 7");
  FAILS(ncclSend(data, 4, ncclFloat, 1, comm, NULL), ncclInvalidArgument, "peer is 1");
  FAILS(ncclRecv(NULL, 4, ncclFloat, 0, comm, NULL), ncclInvalidArgument, "recvbuff is NULL");
  FAILS(ncclSend(data, 4, ncclFloat, 0, comm, NULL), ncclInvalidArgument, "to itself");
  FAILS(ncclRedOpCreatePreMulSum(&op, NULL, ncclFloat, ncclScalarDevice, comm), ncclInvalidArgument, "scalar is NULL");
  FAILS(ncclRedOpCreatePreMulSum(&op, data, (ncclDataType_t)77, ncclScalarDevice, comm), ncclInvalidArgument, "77");
  FAILS(ncclRedOpCreatePreMulSum(&op, data, ncclFloat, (ncclScalarResidence_t)2, comm), ncclInvalidArgument, "ScalarResidence");
  FAILS(ncclRedOpDestroy(ncclSum, comm), ncclInvalidArgument, "built in");
  FAILS(ncclCommSuspend(comm, 0), ncclInvalidArgument, "NCCL_SUSPEND_MEM");
}

static void joining(void) {
  ncclUniqueId id, garbage;
  ncclComm_t comm = (ncclComm_t)1, both[2];
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclCollConfig_t call = NCCL_COLLCONFIG_INITIALIZER;
  float data = 1;
  int twice[2] = {1, 1}, negative[1] = {-1};
  memset(&garbage, 0x5a, sizeof garbage);
  OK(ncclGetUniqueId(&id));
  FAILS(ncclCommInitRank(&comm, 0, id, 0), ncclInvalidArgument, "nranks is 0");
  FAILS(ncclCommInitRank(&comm, 2, id, 2), ncclInvalidArgument, "rank is 2");
  FAILS(ncclCommInitRank(&comm, 2, id, -1), ncclInvalidArgument, "rank is -1");
  FAILS(ncclCommInitRank(&comm, 1, garbage, 0), ncclInvalidArgument, "unique id");
  FAILS(ncclCommInitRankScalable(&comm, 1, 0, 0, &id, NULL), ncclInvalidArgument, "nId is 0");
  FAILS(ncclCommInitRankScalable(&comm, 1, 0, 1, NULL, NULL), ncclInvalidArgument, "commIds is NULL");
  FAILS(ncclCommInitAll(both, 2, twice), ncclInvalidUsage, "twice");
  FAILS(ncclCommInitAll(both, 1, negative), ncclInvalidArgument, "-1");
  FAILS(ncclCommInitAll(both, 0, NULL), ncclInvalidArgument, "ndev is 0");

  config.magic = 1;
  FAILS(ncclCommInitRankConfig(&comm, 1, id, 0, &config), ncclInvalidArgument, "NCCL_CONFIG_INITIALIZER");
  config.magic = NCCL_API_MAGIC;
  config.size = 8;
  FAILS(ncclCommInitRankConfig(&comm, 1, id, 0, &config), ncclInvalidArgument, "size is 8");
  config.size = sizeof config;
  config.blocking = 2;
  FAILS(ncclCommInitRankConfig(&comm, 1, id, 0, &config), ncclInvalidArgument, "blocking is 2");
  config.blocking = 1;
  config.minCTAs = 4;
  config.maxCTAs = 2;
  FAILS(ncclCommInitRankConfig(&comm, 1, id, 0, &config), ncclInvalidArgument, "minCTAs");
  config.maxCTAs = 0;
  FAILS(ncclCommInitRankConfig(&comm, 1, id, 0, &config), ncclInvalidArgument, "maxCTAs is 0");
  config.maxCTAs = 8;
  config.netName = "pigeon";
  FAILS(ncclCommInitRankConfig(&comm, 1, id, 0, &config), ncclInvalidUsage, "netName");
  /* A caller of the first version: what lies beyond its 24 bytes is not looked at, nor the last four, which are padding. */
  config.size = 24;
  config.version = 21400;
  memset(&config.cgaClusterSize, 0xff, sizeof config.cgaClusterSize);
  OK(ncclCommInitRankConfig(&comm, 1, id, 0, &config));

  bad_settings(comm);
  call.size = 32;
  FAILS(ncclAllReduceConfig(&data, &data, 1, ncclFloat, ncclSum, comm, NULL, &call), ncclInvalidArgument, "size is 32");
  call.size = sizeof call;
  call.algSelection = "ring";
  FAILS(ncclAllReduceConfig(&data, &data, 1, ncclFloat, ncclSum, comm, NULL, &call), ncclInvalidArgument, "algSelection");
  call.forceAlgSelection = 3;
  FAILS(ncclAllReduceConfig(&data, &data, 1, ncclFloat, ncclSum, comm, NULL, &call), ncclInvalidArgument, "forceAlg");
  OK(ncclCommDestroy(comm));
  FAILS(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comm, NULL), ncclInvalidArgument, "destroyed");
}

static void memory(ncclComm_t comm) {
  void *first, *second, *handle, *back;
  ncclWindow_t window;
  static char plain[10000];
  FAILS(ncclSignal(0, 0, 0, 0, comm, NULL), ncclInvalidArgument, "need a window");
  OK(ncclMemAlloc(&first, 10000));
  OK(ncclMemAlloc(&second, 0));
  CHECK(first != NULL && second != NULL && first != second && (uintptr_t)first % 4096 == 0);
  for (int i = 0; i < 10000; i++) CHECK(((char *)first)[i] == 0);
  FAILS(ncclMemAlloc(&back, SIZE_MAX), ncclInvalidArgument, "room");
  FAILS(ncclMemAlloc(&back, (size_t)1 << 45), ncclSystemError, "memory");
  OK(ncclAllReduce(first, first, 1000, ncclFloat, ncclSum, comm, NULL));
  void *buffers[2];
  buffers[0] = first;
  buffers[1] = plain;
  for (int i = 0; i < 2; i++) {
    OK(ncclCommRegister(comm, buffers[i], 10000, &handle));
    OK(ncclAllReduce(buffers[i], buffers[i], 1000, ncclFloat, ncclSum, comm, NULL));
    OK(ncclCommDeregister(comm, handle));
    FAILS(ncclCommDeregister(comm, handle), ncclInvalidArgument, "deregistered");
  }
  FAILS(ncclCommRegister(comm, plain, 0, &handle), ncclInvalidArgument, "size is 0");
  OK(ncclCommWindowRegister(comm, first, 4096, &window, NCCL_WIN_COLL_SYMMETRIC));
  OK(ncclWinGetUserPtr(comm, window, &back));
  CHECK(back == first);
  FAILS(ncclCommDeregister(comm, window), ncclInvalidArgument, "handle");
  OK(ncclCommWindowDeregister(comm, window));
  FAILS(ncclWinGetUserPtr(comm, window, &back), ncclInvalidArgument, "win");
  FAILS(ncclCommWindowRegister(comm, (char *)first + 8, 8, &window, 0), ncclInvalidArgument, "4096");
  FAILS(ncclCommWindowRegister(comm, first, 8, &window, 64), ncclInvalidArgument, "winFlags");
  OK(ncclMemFree(first));
  FAILS(ncclMemFree(first), ncclInvalidArgument, "freed");
  FAILS(ncclMemFree(plain), ncclInvalidArgument, "ncclMemAlloc");
  OK(ncclMemFree(second));
  OK(ncclMemFree(NULL));
}

static void one_sided(ncclComm_t comm) {
  void *memory;
  ncclWindow_t window;
  ncclWaitSignalDesc_t one = {1, 0, 0, 0}, negative = {-1, 0, 0, 0}, stranger = {1, 1, 0, 0};
  int data[4] = {1, 2, 3, 4};
  OK(ncclMemAlloc(&memory, 4096));
  OK(ncclCommWindowRegister(comm, memory, 4096, &window, NCCL_WIN_DEFAULT));
  FAILS(ncclPutSignal(data, 4, ncclInt, 0, NULL, 0, 0, 0, 0, comm, NULL), ncclInvalidArgument, "peerWin is none");
  FAILS(ncclPutSignal(data, 4, ncclInt, 1, window, 0, 0, 0, 0, comm, NULL), ncclInvalidArgument, "peer is 1");
  FAILS(ncclPutSignal(NULL, 4, ncclInt, 0, window, 0, 0, 0, 0, comm, NULL), ncclInvalidArgument, "localbuff is NULL");
  FAILS(ncclPutSignal(data, 4, (ncclDataType_t)12, 0, window, 0, 0, 0, 0, comm, NULL), ncclInvalidArgument, "ncclDataType_t");
  FAILS(ncclPutSignal(data, 4, ncclInt, 0, window, 4084, 0, 0, 0, comm, NULL), ncclInvalidArgument, "beyond the window");
  FAILS(ncclPutSignal(data, 4, ncclInt, 0, window, SIZE_MAX, 0, 0, 0, comm, NULL), ncclInvalidArgument, "beyond the window");
  FAILS(ncclPutSignal(data, 4, ncclInt, 0, window, 0, -1, 0, 0, comm, NULL), ncclInvalidArgument, "sigIdx is -1");
  FAILS(ncclSignal(0, 0, 65536, 0, comm, NULL), ncclInvalidArgument, "ctx is 65536");
  FAILS(ncclSignal(0, 0, 0, 1, comm, NULL), ncclInvalidArgument, "flags");
  FAILS(ncclWaitSignal(0, &one, comm, NULL), ncclInvalidArgument, "nDesc");
  FAILS(ncclWaitSignal(1, NULL, comm, NULL), ncclInvalidArgument, "signalDescs is NULL");
  FAILS(ncclWaitSignal(1, &negative, comm, NULL), ncclInvalidArgument, "opCnt is -1");
  FAILS(ncclWaitSignal(1, &stranger, comm, NULL), ncclInvalidArgument, "peer is 1");
  OK(ncclPutSignal(data, 4, ncclInt, 0, window, 4080, 0, 0, 0, comm, NULL));
  OK(ncclWaitSignal(1, &one, comm, NULL));
  CHECK(memcmp((char *)memory + 4080, data, sizeof data) == 0);
  OK(ncclCommWindowDeregister(comm, window));
  FAILS(ncclCommWindowDeregister(comm, window), ncclInvalidArgument, "deregistered");
  OK(ncclMemFree(memory));
}

/* A value of each width, and one that it cannot hold. */
static void integers(void) {
  ncclParamHandle_t handle;
  int8_t i8 = 0;
  int16_t i16 = 0;
  int32_t i32 = 0;
  int64_t i64 = 0;
  uint8_t u8 = 0;
  uint16_t u16 = 0;
  uint32_t u32 = 0;
  uint64_t u64 = 0;
  OK(ncclParamBind(&handle, "NCCL_IB_TC"));
  CHECK(setenv("NCCL_IB_TC", "106", 1) == 0);
  OK(ncclParamGetI8(handle, &i8));
  OK(ncclParamGetI16(handle, &i16));
  OK(ncclParamGetI32(handle, &i32));
  OK(ncclParamGetI64(handle, &i64));
  OK(ncclParamGetU8(handle, &u8));
  OK(ncclParamGetU16(handle, &u16));
  OK(ncclParamGetU32(handle, &u32));
  OK(ncclParamGetU64(handle, &u64));
  CHECK(i8 == 106 && i16 == 106 && i32 == 106 && i64 == 106 && u8 == 106 && u16 == 106 && u32 == 106 && u64 == 106);
  CHECK(setenv("NCCL_IB_TC", "0x10000000000000000", 1) == 0);
  FAILS(ncclParamGetI8(handle, &i8), ncclInvalidArgument, "no number of this type");
  FAILS(ncclParamGetI16(handle, &i16), ncclInvalidArgument, "no number of this type");
  FAILS(ncclParamGetI32(handle, &i32), ncclInvalidArgument, "no number of this type");
  FAILS(ncclParamGetI64(handle, &i64), ncclInvalidArgument, "no number of this type");
  CHECK(setenv("NCCL_IB_TC", "-1", 1) == 0);
  FAILS(ncclParamGetU8(handle, &u8), ncclInvalidArgument, "no number of this type");
  FAILS(ncclParamGetU16(handle, &u16), ncclInvalidArgument, "no number of this type");
  FAILS(ncclParamGetU32(handle, &u32), ncclInvalidArgument, "no number of this type");
  FAILS(ncclParamGetU64(handle, &u64), ncclInvalidArgument, "no number of this type");
  OK(ncclParamGetI64(handle, &i64));
  CHECK(i64 == -1);
}

static void parameters(void) {
  ncclParamHandle_t handle;
  const char *text, **table;
  int length, bytes;
  int8_t small;
  char copy[16];
  ncclUniqueId id;
  integers();
  OK(ncclParamBind(&handle, "NCCL_IB_TC"));
  CHECK(setenv("NCCL_IB_TC", "0x80", 1) == 0);
  FAILS(ncclParamGetI8(handle, &small), ncclInvalidArgument, "no number of this type");
  OK(ncclParamGetStr(handle, &text));
  CHECK(strcmp(text, "0x80") == 0);
  OK(ncclParamGet(handle, copy, sizeof copy, &bytes));
  CHECK(bytes == 4 && memcmp(copy, "0x80", 4) == 0);
  FAILS(ncclParamGet(handle, copy, 3, &bytes), ncclInvalidArgument, "maxLen is 3");
  OK(ncclParamGetParameter("NCCL_IB_TC", &text, &length));
  CHECK(length == 4 && strcmp(text, "0x80") == 0);
  CHECK(unsetenv("NCCL_IB_TC") == 0);
  OK(ncclParamGetStr(handle, &text));
  CHECK(*text == 0);
  OK(ncclParamGetAllParameterKeys(&table, &length));
  CHECK(length > 30);
  for (int i = 0; i < length; i++) OK(ncclParamBind(&handle, table[i]));
  FAILS(ncclParamBind(&handle, "HOME"), ncclInvalidArgument, "no parameter");
  FAILS(ncclParamGetStr(NULL, &text), ncclInvalidArgument, "h is no handle");
  FAILS(ncclParamGetParameter("HOME", &text, &length), ncclInvalidArgument, "HOME is no parameter");
  FAILS(ncclParamGetParameter(NULL, &text, &length), ncclInvalidArgument, "key is NULL");
  FAILS(ncclParamGetParameter("NCCL_IB_TC", NULL, &length), ncclInvalidArgument, "value is NULL");
  FAILS(ncclParamGetAllParameterKeys(NULL, &length), ncclInvalidArgument, "table is NULL");
  FAILS(ncclParamGetAllParameterKeys(&table, NULL), ncclInvalidArgument, "tableLen is NULL");
  CHECK(setenv("NCCL_SOCKET_NTHREADS", "abc", 1) == 0);
  FAILS(ncclGetUniqueId(&id), ncclInvalidUsage, "NCCL_SOCKET_NTHREADS=\"abc\": expected a number");
  CHECK(unsetenv("NCCL_SOCKET_NTHREADS") == 0);
  ncclParamDumpAll();
}

static void refused(ncclComm_t comm) {
  ncclTeam_t team = {1, 0, 1};
  ncclEncryptionConfig_t encryption = NCCL_ENCRYPTION_CONFIG_INITIALIZER;
  ncclMultimemHandle_t multimem = {NULL};
  void *out;
  FAILS(ncclCommRevoke(comm, 1), ncclInvalidArgument, "NCCL_REVOKE_DEFAULT");
  FAILS(ncclDevCommCreate(comm, NULL, NULL), ncclInvalidUsage, "device");
  FAILS(ncclDevCommDestroy(comm, NULL), ncclInvalidUsage, "device");
  FAILS(ncclGetLsaMultimemDevicePointer(NULL, 0, &out), ncclInvalidUsage, "device");
  FAILS(ncclGetMultimemDevicePointer(NULL, 0, multimem, &out), ncclInvalidUsage, "device");
  FAILS(ncclGetLsaDevicePointer(NULL, 0, 0, &out), ncclInvalidUsage, "device");
  FAILS(ncclGetPeerDevicePointer(NULL, 0, 0, &out), ncclInvalidUsage, "device");
  FAILS(ncclGetMultimemDeviceLeInfo(NULL, 0, NULL, NULL), ncclInvalidUsage, "device");
  FAILS(ncclGetCftDeviceLeInfo(NULL, 0, 0, team, NULL, NULL), ncclInvalidUsage, "device");
  FAILS(ncclGetPeerDeviceLeInfo(NULL, 0, 0, NULL, NULL), ncclInvalidUsage, "device");
  FAILS(ncclLsaBarrierCreateRequirement(team, 1, NULL, NULL), ncclInvalidUsage, "device");
  FAILS(ncclGinBarrierCreateRequirement(comm, team, 1, NULL, NULL), ncclInvalidUsage, "device");
  FAILS(ncclGinOutboxCreateRequirement(1, 1, NULL, NULL), ncclInvalidUsage, "device");
  FAILS(ncclGinInboxA2ACreateRequirement(team, 1, 1, NULL, NULL), ncclInvalidUsage, "device");
  FAILS(ncclLLA2ACreateRequirement(1, 1, NULL, NULL), ncclInvalidUsage, "device");
  CHECK(ncclLLA2ACalcSlots(1, 1) == 0 && ncclTeamRankToLsa(comm, team, 0) == -1);
  CHECK(ncclTeamLsa(comm).nRanks == 0 && ncclTeamRail(comm).nRanks == 0 && ncclTeamCftMultimem(comm).nRanks == 0);
  CHECK(ncclTeamCft(comm, NCCL_CFT_TEAM_FLAT).nRanks == 0);
  OK(ncclSetEncryption(NULL));
  OK(ncclSetEncryption(&encryption));
  encryption.mode = NCCL_ENCRYPTION_MODE_PSK;
  FAILS(ncclSetEncryption(&encryption), ncclInvalidUsage, "encryption");
  ncclResetDebugInit();
  ncclResetDebugInitInternal();
}

static void *another_thread(void *unused) {
  (void)unused;
  /* It has not failed: it hears of what happened to others. */
  CHECK(strstr(ncclGetLastError(NULL), "version is NULL") != NULL);
  return NULL;
}

int main(void) {
  ncclComm_t comm;
  pthread_t thread;
  CHECK(strcmp(ncclGetLastError(NULL), "") == 0);
  joining();
  OK(ncclCommInitAll(&comm, 1, NULL));
  handles(comm);
  nothing_ends(comm);
  nulls(comm);
  CHECK(pthread_create(&thread, NULL, another_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
  arguments(comm);
  memory(comm);
  one_sided(comm);
  parameters();
  refused(comm);
  /* After all that it is as good as before. */
  float data = 3;
  OK(ncclAllReduce(&data, &data, 1, ncclFloat, ncclSum, comm, NULL));
  CHECK(data == 3);
  OK(ncclCommDestroy(comm));
  return 0;
}
