/* serried's C interface. Names, numbers, layouts and signatures are NCCL's, so a program written to NCCL builds against either.
 *
 * Buffers are host memory. A call has ended when it returns, or when the ncclGroupEnd does that it belongs to. It begins when its stream holds
 * nothing any more, in a process that has CUDA; elsewhere streams are not looked at.
 * Every function returns a code; ncclGetLastError has the sentence that goes with it. What is marked "refused" returns ncclInvalidUsage.
 * Functions may be called from any thread; the calls on one communicator must come in the same order on all of its ranks. */
#ifndef SERRIED_NCCL_H
#define SERRIED_NCCL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where CUDA is installed, its types are used; elsewhere a stream is an opaque pointer. */
#if defined(__has_include)
#if __has_include(<cuda_runtime.h>)
#include <cuda_runtime.h>
#define SERRIED_HAS_CUDA 1
#endif
#endif
#ifndef SERRIED_HAS_CUDA
typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
#endif

/* The version of NCCL's interface that this header follows: major, minor, patch, and all in one as X*10000 + Y*100 + Z. */
#define NCCL_MAJOR 2
#define NCCL_MINOR 32
#define NCCL_PATCH 0
#define NCCL_SUFFIX ""
#define NCCL_VERSION(X, Y, Z) (((X) <= 2 && (Y) <= 8) ? (X) * 1000 + (Y) * 100 + (Z) : (X) * 10000 + (Y) * 100 + (Z))
#define NCCL_VERSION_CODE 23200

/* Declares a function under its name and under its p name, by which an interposer that defines the first reaches the library. */
#define SERRIED_NCCL(result, name, arguments) \
  result name arguments;                      \
  result p##name arguments

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Handles and numbers ---- */

typedef struct ncclComm *ncclComm_t;
typedef struct ncclWindow_vidmem *ncclWindow_t;
typedef struct ncclParamHandle *ncclParamHandle_t;
#define NCCL_COMM_NULL NULL

#define NCCL_UNIQUE_ID_BYTES 128
typedef struct {
  char internal[NCCL_UNIQUE_ID_BYTES];
} ncclUniqueId;

typedef enum {
  ncclSuccess = 0,
  ncclUnhandledCudaError = 1,
  ncclSystemError = 2,     /* the system refused memory, descriptors, sockets */
  ncclInternalError = 3,
  ncclInvalidArgument = 4,
  ncclInvalidUsage = 5,    /* not now, not here, not supported; also ranks that call different things */
  ncclRemoteError = 6,     /* another rank failed, or the way to it */
  ncclInProgress = 7,
  ncclTimeout = 8,
  ncclNumResults = 9
} ncclResult_t;

typedef enum {
  ncclSum = 0,
  ncclProd = 1,
  ncclMax = 2,
  ncclMin = 3,
  ncclAvg = 4,
  ncclNumOps = 5,          /* operators that are made have this number or a larger one */
  ncclMaxRedOp = 0x7fffffff
} ncclRedOp_t;

typedef enum {
  ncclInt8 = 0, ncclChar = 0,
  ncclUint8 = 1,
  ncclInt32 = 2, ncclInt = 2,
  ncclUint32 = 3,
  ncclInt64 = 4,
  ncclUint64 = 5,
  ncclFloat16 = 6, ncclHalf = 6,
  ncclFloat32 = 7, ncclFloat = 7,
  ncclFloat64 = 8, ncclDouble = 8,
  ncclBfloat16 = 9,
  ncclFloat8e4m3 = 10,
  ncclFloat8e5m2 = 11,
  ncclNumTypes = 12
} ncclDataType_t;

typedef enum {
  ncclScalarDevice = 0,       /* read by each call: it must be there until the last has ended */
  ncclScalarHostImmediate = 1 /* read when the operator is made */
} ncclScalarResidence_t;

typedef enum {
  ncclStatGpuMemSuspend = 0,
  ncclStatGpuMemSuspended = 1,
  ncclStatGpuMemPersist = 2,
  ncclStatGpuMemTotal = 3
} ncclCommMemStat_t;

#define NCCL_CONFIG_UNDEF_INT INT_MIN
#define NCCL_CONFIG_UNDEF_PTR NULL
#define NCCL_UNDEF_FLOAT -1.0f
#define NCCL_SPLIT_NOCOLOR -1
#define NCCL_API_MAGIC 0xcafebeef

#define NCCL_WIN_DEFAULT 0x00
#define NCCL_WIN_COLL_SYMMETRIC 0x01
#define NCCL_WIN_STRICT_ORDERING 0x02
#define NCCL_WIN_GIN_ONLY 0x04
#define NCCL_WIN_REQUIRED_ALIGNMENT 4096

#define NCCL_CTA_POLICY_DEFAULT 0x00
#define NCCL_CTA_POLICY_EFFICIENCY 0x01
#define NCCL_CTA_POLICY_ZERO 0x02

#define NCCL_SHRINK_DEFAULT 0x00
#define NCCL_SHRINK_ABORT 0x01
#define NCCL_REVOKE_DEFAULT 0x00
#define NCCL_SUSPEND_MEM 0x01

#define NCCL_ENCRYPTION_MODE_NONE 0
#define NCCL_ENCRYPTION_MODE_PSK 1

/* ---- Structures. Each begins with its size, a magic number and a version: make it by its initializer. A caller built against an
 * older header gives a smaller one of an earlier version, whose missing fields are unset. ---- */

/* Of the settings, blocking, netName (Socket, IB) and trafficClass (of RDMA; 0 to 255) are honoured, the last two unless the environment says
 * otherwise. cgaClusterSize, minCTAs, maxCTAs, splitShare and shrinkShare are checked and have no effect; the rest is not looked at. */
typedef struct ncclConfig_v23200 {
  size_t size;
  unsigned int magic;
  unsigned int version;
  int blocking;
  int cgaClusterSize;
  int minCTAs;
  int maxCTAs;
  const char *netName;
  int splitShare;
  int trafficClass;
  const char *commName;
  int collnetEnable;
  int CTAPolicy;
  int shrinkShare;
  int nvlsCTAs;
  int nChannelsPerNetPeer;
  int nvlinkCentricSched;
  int graphUsageMode;
  int numRmaCtx;
  int maxP2pPeers;
  int graphStreamOrdering;
  int launchOrderImplicit;
  int numRmaSig;
  int rmaEagerInit;
  int hostCftMode;
  int nvlsHostMode;
} ncclConfig_t;

#define NCCL_CONFIG_INITIALIZER                                                                                          \
  {                                                                                                                      \
    sizeof(ncclConfig_t), NCCL_API_MAGIC, NCCL_VERSION_CODE, /* size, magic, version */                                  \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,            /* blocking, cgaClusterSize */                              \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,            /* minCTAs, maxCTAs */                                      \
    NCCL_CONFIG_UNDEF_PTR, NCCL_CONFIG_UNDEF_INT,            /* netName, splitShare */                                   \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_PTR,            /* trafficClass, commName */                                \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,            /* collnetEnable, CTAPolicy */                              \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,            /* shrinkShare, nvlsCTAs */                                 \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,            /* nChannelsPerNetPeer, nvlinkCentricSched */               \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,            /* graphUsageMode, numRmaCtx */                             \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,            /* maxP2pPeers, graphStreamOrdering */                      \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,            /* launchOrderImplicit, numRmaSig */                        \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,            /* rmaEagerInit, hostCftMode */                             \
    NCCL_CONFIG_UNDEF_INT                                    /* nvlsHostMode */                                          \
  }

/* A vendor's own option of one call; all of them are passed over. */
typedef struct ncclConfigExt {
  struct ncclConfigExt *next;
  struct {
    int vendorId;
    int optionId;
  } key;
  union {
    int i;
    const char *s;
    void *raw;
  } val;
} ncclConfigExt_t;

/* Of one call's settings, a forced algSelection and launchCompletionEvent are refused; the rest has no effect. */
typedef struct ncclCollConfig_v23200 {
  size_t size;
  unsigned int magic;
  unsigned int version;
  ncclConfigExt_t *ext;
  int minCTAs;
  int maxCTAs;
  int nvlsCTAs;
  int cgaClusterSize;
  const char *algSelection;
  int forceAlgSelection;
  int CTAPolicy;
  uint64_t userProfilerTag;
  cudaEvent_t launchCompletionEvent;
} ncclCollConfig_t;

#define NCCL_COLLCONFIG_INITIALIZER                                                                                      \
  {                                                                                                                      \
    sizeof(ncclCollConfig_t), NCCL_API_MAGIC, NCCL_VERSION_CODE, NCCL_CONFIG_UNDEF_PTR, /* size … ext */                 \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,                                       /* minCTAs, maxCTAs */           \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,                                       /* nvlsCTAs, cgaClusterSize */   \
    NCCL_CONFIG_UNDEF_PTR, 1, NCCL_CONFIG_UNDEF_INT, /* algSelection, forceAlgSelection, CTAPolicy */                    \
    0, NULL                                          /* userProfilerTag, launchCompletionEvent */                        \
  }

typedef struct ncclSimInfo_v22200 {
  size_t size;
  unsigned int magic;
  unsigned int version;
  float estimatedTime;
} ncclSimInfo_t;

#define NCCL_SIM_INFO_INITIALIZER \
  { sizeof(ncclSimInfo_t), 0x74685283, NCCL_VERSION_CODE, NCCL_UNDEF_FLOAT }

typedef struct ncclEncryptionConfig_v23200 {
  size_t size;
  unsigned int magic;
  unsigned int version;
  int mode;
  const char *psk;
} ncclEncryptionConfig_t;

#define NCCL_ENCRYPTION_CONFIG_INITIALIZER \
  { sizeof(ncclEncryptionConfig_t), NCCL_API_MAGIC, NCCL_VERSION_CODE, NCCL_ENCRYPTION_MODE_NONE, NCCL_CONFIG_UNDEF_PTR }

typedef struct {
  int opCnt;
  int peer;
  int sigIdx;
  int ctx;
} ncclWaitSignalDesc_t;

/* ---- Versions and errors ---- */

/* Stores NCCL_VERSION_CODE of the library. */
SERRIED_NCCL(ncclResult_t, ncclGetVersion, (int *version));
/* A sentence for a result code: static, never null, not to be freed. */
SERRIED_NCCL(const char *, ncclGetErrorString, (ncclResult_t result));
/* The sentence of this thread's last failure or, if it had none, of the process'. Valid until the same thread asks again. */
SERRIED_NCCL(const char *, ncclGetLastError, (ncclComm_t comm));
/* Read again what NCCL_DEBUG and the variables beside it ask for. */
SERRIED_NCCL(void, ncclResetDebugInit, (void));
void ncclResetDebugInitInternal(void);

/* ---- Communicators. A place for a handle stays until the group has ended, if there is one: if nothing is made, NULL is stored. Several that
 * a group makes of one communicator are made in the order of their calls; if one is not to block, the group does not. ---- */

SERRIED_NCCL(ncclResult_t, ncclGetUniqueId, (ncclUniqueId *uniqueId));
SERRIED_NCCL(ncclResult_t, ncclCommInitRank, (ncclComm_t *comm, int nranks, ncclUniqueId commId, int rank));
SERRIED_NCCL(ncclResult_t, ncclCommInitRankConfig, (ncclComm_t *comm, int nranks, ncclUniqueId commId, int rank, ncclConfig_t *config));
SERRIED_NCCL(ncclResult_t, ncclCommInitRankScalable,
             (ncclComm_t *newcomm, int nranks, int myrank, int nId, ncclUniqueId *commIds, ncclConfig_t *config));
SERRIED_NCCL(ncclResult_t, ncclCommInitAll, (ncclComm_t *comm, int ndev, const int *devlist));
SERRIED_NCCL(ncclResult_t, ncclCommSplit, (ncclComm_t comm, int color, int key, ncclComm_t *newcomm, ncclConfig_t *config));
/* Called by the ranks that stay, alone. */
SERRIED_NCCL(ncclResult_t, ncclCommShrink, (ncclComm_t comm, int *excludeRanksList, int excludeRanksCount, ncclComm_t *newcomm,
                                            ncclConfig_t *config, int shrinkFlags));
/* An id for new ranks. The ranks of comm give NULL to ncclCommGrow, also the one that made the id; or one of them gives the id, whoever made it. */
SERRIED_NCCL(ncclResult_t, ncclCommGetUniqueId, (ncclComm_t comm, ncclUniqueId *uniqueId));
SERRIED_NCCL(ncclResult_t, ncclCommGrow, (ncclComm_t comm, int nRanks, const ncclUniqueId *uniqueId, int rank,
                                          ncclComm_t *newcomm, ncclConfig_t *config));
/* NULL is nothing to finalize, destroy, abort or revoke. What was finalized or revoked is not finalized or revoked again. */
SERRIED_NCCL(ncclResult_t, ncclCommFinalize, (ncclComm_t comm));
SERRIED_NCCL(ncclResult_t, ncclCommDestroy, (ncclComm_t comm));
/* Ends the calls that run, on all ranks; joining, by the handle that is there already; and the making of others of comm. What is aborted while
 * the ranks of its parent agree on it breaks the parent, which waits for this rank. */
SERRIED_NCCL(ncclResult_t, ncclCommAbort, (ncclComm_t comm));
/* Ends the calls that run, on all ranks; what is left is splitting, shrinking and destroying it. */
SERRIED_NCCL(ncclResult_t, ncclCommRevoke, (ncclComm_t comm, int revokeFlags));
SERRIED_NCCL(ncclResult_t, ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t *asyncError));
SERRIED_NCCL(ncclResult_t, ncclCommCount, (const ncclComm_t comm, int *count));
SERRIED_NCCL(ncclResult_t, ncclCommCuDevice, (const ncclComm_t comm, int *device));
SERRIED_NCCL(ncclResult_t, ncclCommUserRank, (const ncclComm_t comm, int *rank));
SERRIED_NCCL(ncclResult_t, ncclCommSuspend, (ncclComm_t comm, int flags));
SERRIED_NCCL(ncclResult_t, ncclCommResume, (ncclComm_t comm));
SERRIED_NCCL(ncclResult_t, ncclCommMemStats, (ncclComm_t comm, ncclCommMemStat_t stat, uint64_t *value));
/* Refused, unless no encryption is asked for. */
SERRIED_NCCL(ncclResult_t, ncclSetEncryption, (const ncclEncryptionConfig_t *config));

/* ---- Memory ---- */

/* Zeroed host memory on pages of its own, which the other ranks of the host can map. It stays the process' that asked for it: a forked child
 * does not free it. */
SERRIED_NCCL(ncclResult_t, ncclMemAlloc, (void **ptr, size_t size));
SERRIED_NCCL(ncclResult_t, ncclMemFree, (void *ptr));
SERRIED_NCCL(ncclResult_t, ncclCommRegister, (const ncclComm_t comm, void *buff, size_t size, void **handle));
SERRIED_NCCL(ncclResult_t, ncclCommDeregister, (const ncclComm_t comm, void *handle));
/* A collective call: all ranks open a window together. The place for its handle is as a communicator's. */
SERRIED_NCCL(ncclResult_t, ncclCommWindowRegister, (ncclComm_t comm, void *buff, size_t size, ncclWindow_t *win, int winFlags));
SERRIED_NCCL(ncclResult_t, ncclCommWindowDeregister, (ncclComm_t comm, ncclWindow_t win));
SERRIED_NCCL(ncclResult_t, ncclWinGetUserPtr, (ncclComm_t comm, ncclWindow_t win, void **outUserPtr));

/* ---- Operators ---- */

SERRIED_NCCL(ncclResult_t, ncclRedOpCreatePreMulSum,
             (ncclRedOp_t *op, void *scalar, ncclDataType_t datatype, ncclScalarResidence_t residence, ncclComm_t comm));
SERRIED_NCCL(ncclResult_t, ncclRedOpDestroy, (ncclRedOp_t op, ncclComm_t comm));

/* ---- Collectives. Each has a variant with settings of one call. In place: the same buffer twice or, where a buffer has a block for each
 * rank, the other one at the own block's place. Buffers that overlap otherwise are refused. A call that is refused counts as made: the other ranks
 * get ncclInvalidUsage, unless they refuse it, too. ---- */

#define SERRIED_NCCL_COLLECTIVE(name, ...)                                                    \
  SERRIED_NCCL(ncclResult_t, name, (__VA_ARGS__, ncclComm_t comm, cudaStream_t stream));      \
  SERRIED_NCCL(ncclResult_t, name##Config,                                                    \
               (__VA_ARGS__, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t *config))

SERRIED_NCCL_COLLECTIVE(ncclAllReduce, const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op);
SERRIED_NCCL_COLLECTIVE(ncclReduce, const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op,
                        int root);
SERRIED_NCCL_COLLECTIVE(ncclReduceScatter, const void *sendbuff, void *recvbuff, size_t recvcount, ncclDataType_t datatype,
                        ncclRedOp_t op);
SERRIED_NCCL_COLLECTIVE(ncclBroadcast, const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t datatype, int root);
SERRIED_NCCL_COLLECTIVE(ncclAllGather, const void *sendbuff, void *recvbuff, size_t sendcount, ncclDataType_t datatype);
SERRIED_NCCL_COLLECTIVE(ncclGather, const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t datatype, int root);
SERRIED_NCCL_COLLECTIVE(ncclScatter, const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t datatype, int root);
/* Not in place. */
SERRIED_NCCL_COLLECTIVE(ncclAlltoAll, const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t datatype);
SERRIED_NCCL(ncclResult_t, ncclBcast,
             (void *buff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream));

/* ---- Messages. Ranks that send to each other, or in a circle, do it in a group. ---- */

SERRIED_NCCL(ncclResult_t, ncclSend,
             (const void *sendbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm, cudaStream_t stream));
SERRIED_NCCL(ncclResult_t, ncclRecv,
             (void *recvbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm, cudaStream_t stream));
/* One-sided: a rank writes into a window of another, from byte peerWinOffset on, and signals it; the other only waits for signals. All three need
 * a window, or to have had one. A sigIdx and a ctx are 0 to 65535; flags are 0. */
SERRIED_NCCL(ncclResult_t, ncclPutSignal,
             (const void *localbuff, size_t count, ncclDataType_t datatype, int peer, ncclWindow_t peerWin, size_t peerWinOffset,
              int sigIdx, int ctx, unsigned int flags, ncclComm_t comm, cudaStream_t stream));
SERRIED_NCCL(ncclResult_t, ncclSignal, (int peer, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm, cudaStream_t stream));
SERRIED_NCCL(ncclResult_t, ncclWaitSignal, (int nDesc, ncclWaitSignalDesc_t *signalDescs, ncclComm_t comm, cudaStream_t stream));

/* ---- Groups. The collectives on one communicator are made in the order of their calls. Memory that a message, or calls on two communicators,
 * write and use has no order, and is refused. One call that is refused refuses the group. ---- */

SERRIED_NCCL(ncclResult_t, ncclGroupStart, (void));
SERRIED_NCCL(ncclResult_t, ncclGroupEnd, (void));
/* Closes the group without making its calls; an estimate in microseconds. */
SERRIED_NCCL(ncclResult_t, ncclGroupSimulateEnd, (ncclSimInfo_t *simInfo));

/* ---- Parameters: the environment variables that the library reads, as text; empty if unset ---- */

SERRIED_NCCL(ncclResult_t, ncclParamBind, (ncclParamHandle_t *out, const char *key));
SERRIED_NCCL(ncclResult_t, ncclParamGetI8, (ncclParamHandle_t h, int8_t *out));
SERRIED_NCCL(ncclResult_t, ncclParamGetI16, (ncclParamHandle_t h, int16_t *out));
SERRIED_NCCL(ncclResult_t, ncclParamGetI32, (ncclParamHandle_t h, int32_t *out));
SERRIED_NCCL(ncclResult_t, ncclParamGetI64, (ncclParamHandle_t h, int64_t *out));
SERRIED_NCCL(ncclResult_t, ncclParamGetU8, (ncclParamHandle_t h, uint8_t *out));
SERRIED_NCCL(ncclResult_t, ncclParamGetU16, (ncclParamHandle_t h, uint16_t *out));
SERRIED_NCCL(ncclResult_t, ncclParamGetU32, (ncclParamHandle_t h, uint32_t *out));
SERRIED_NCCL(ncclResult_t, ncclParamGetU64, (ncclParamHandle_t h, uint64_t *out));
SERRIED_NCCL(ncclResult_t, ncclParamGetStr, (ncclParamHandle_t h, const char **out));
SERRIED_NCCL(ncclResult_t, ncclParamGet, (ncclParamHandle_t h, void *out, int maxLen, int *len));
SERRIED_NCCL(ncclResult_t, ncclParamGetParameter, (const char *key, const char **value, int *valueLen));
SERRIED_NCCL(ncclResult_t, ncclParamGetAllParameterKeys, (const char ***table, int *tableLen));
SERRIED_NCCL(void, ncclParamDumpAll, (void));

/* ---- For programs on a device. ncclCommQueryProperties says that there are none; teams of all ranks can be had; the rest is refused. ---- */

typedef struct ncclTeam {
  int nRanks, rank, stride;
} ncclTeam_t;
typedef struct ncclMultimemHandle {
  void *mcBasePtr;
} ncclMultimemHandle_t;
typedef struct ncclDevComm ncclDevComm_t;
typedef struct ncclDevCommRequirements ncclDevCommRequirements_t;
typedef struct ncclDevResourceRequirements ncclDevResourceRequirements_t;
typedef struct ncclLsaBarrierHandle ncclLsaBarrierHandle_t;
typedef struct ncclGinBarrierHandle ncclGinBarrierHandle_t;
typedef struct ncclGinOutboxHandle ncclGinOutboxHandle_t;
typedef struct ncclGinInboxA2AHandle ncclGinInboxA2AHandle_t;
typedef struct ncclLLA2AHandle ncclLLA2AHandle_t;
typedef uint32_t ncclCftLeId;
typedef enum { NCCL_CFT_TEAM_FLAT, NCCL_CFT_TEAM_HIER_MULTIMEM, NCCL_CFT_TEAM_HIER_LSA } ncclCftTeamMode_t;
typedef enum { NCCL_GIN_TYPE_NONE = 0, NCCL_GIN_TYPE_PROXY = 2, NCCL_GIN_TYPE_GDAKI = 3, NCCL_GIN_TYPE_GPI = 4 } ncclGinType_t;
typedef enum { NCCL_GIN_CONNECTION_NONE, NCCL_GIN_CONNECTION_FULL, NCCL_GIN_CONNECTION_RAIL } ncclGinConnectionType_t;

typedef struct ncclCommProperties {
  size_t size;
  unsigned int magic;
  unsigned int version;
  int rank;
  int nRanks;
  int cudaDev;
  int nvmlDev;
  bool deviceApiSupport;
  bool multimemSupport;
  ncclGinType_t ginType;
  int nLsaTeams;
  bool hostRmaSupport;
  ncclGinType_t railedGinType;
  uint64_t commHash;
  int ginMinStride;
  ncclGinConnectionType_t ginConnectionType;
  bool ginSupport[64];
  size_t devCommRuntimeVersionSize;
} ncclCommProperties_t;

#define NCCL_COMM_PROPERTIES_INITIALIZER                                                                              \
  {                                                                                                                   \
    sizeof(ncclCommProperties_t), NCCL_API_MAGIC, NCCL_VERSION_CODE, 0, 0, 0, 0, false, false, NCCL_GIN_TYPE_NONE, 0, \
        false, NCCL_GIN_TYPE_NONE, 0, 0, NCCL_GIN_CONNECTION_NONE, {false}, 0                                         \
  }

SERRIED_NCCL(ncclResult_t, ncclCommQueryProperties, (ncclComm_t comm, ncclCommProperties_t *props));
SERRIED_NCCL(ncclTeam_t, ncclTeamWorld, (ncclComm_t comm));
SERRIED_NCCL(ncclTeam_t, ncclTeamLsa, (ncclComm_t comm));
SERRIED_NCCL(ncclTeam_t, ncclTeamRail, (ncclComm_t comm));
SERRIED_NCCL(ncclTeam_t, ncclTeamCft, (ncclComm_t comm, ncclCftTeamMode_t mode));
SERRIED_NCCL(ncclTeam_t, ncclTeamCftMultimem, (ncclComm_t comm));
SERRIED_NCCL(int, ncclTeamRankToWorld, (ncclComm_t comm, ncclTeam_t team, int rank));
SERRIED_NCCL(int, ncclTeamRankToLsa, (ncclComm_t comm, ncclTeam_t team, int rank));
SERRIED_NCCL(ncclResult_t, ncclDevCommCreate, (ncclComm_t comm, const ncclDevCommRequirements_t *reqs, ncclDevComm_t *outDevComm));
SERRIED_NCCL(ncclResult_t, ncclDevCommDestroy, (ncclComm_t comm, const ncclDevComm_t *devComm));
SERRIED_NCCL(ncclResult_t, ncclGetLsaMultimemDevicePointer, (ncclWindow_t window, size_t offset, void **outPtr));
SERRIED_NCCL(ncclResult_t, ncclGetMultimemDevicePointer,
             (ncclWindow_t window, size_t offset, ncclMultimemHandle_t multimem, void **outPtr));
SERRIED_NCCL(ncclResult_t, ncclGetLsaDevicePointer, (ncclWindow_t window, size_t offset, int lsaRank, void **outPtr));
SERRIED_NCCL(ncclResult_t, ncclGetPeerDevicePointer, (ncclWindow_t window, size_t offset, int peer, void **outPtr));
SERRIED_NCCL(ncclResult_t, ncclGetMultimemDeviceLeInfo, (ncclWindow_t window, size_t offset, ncclCftLeId *leId, size_t *leOffset));
SERRIED_NCCL(ncclResult_t, ncclGetCftDeviceLeInfo,
             (ncclWindow_t window, size_t offset, int peerCft, ncclTeam_t cftTeam, ncclCftLeId *leId, size_t *leOffset));
SERRIED_NCCL(ncclResult_t, ncclGetPeerDeviceLeInfo,
             (ncclWindow_t window, size_t offset, int peerWorld, ncclCftLeId *leId, size_t *leOffset));
SERRIED_NCCL(ncclResult_t, ncclLsaBarrierCreateRequirement,
             (ncclTeam_t team, int nBarriers, ncclLsaBarrierHandle_t *outHandle, ncclDevResourceRequirements_t *outReq));
SERRIED_NCCL(ncclResult_t, ncclGinBarrierCreateRequirement, (ncclComm_t comm, ncclTeam_t team, int nBarriers,
                                                             ncclGinBarrierHandle_t *outHandle, ncclDevResourceRequirements_t *outReq));
SERRIED_NCCL(ncclResult_t, ncclGinOutboxCreateRequirement,
             (int nBlocks, int size_log2, ncclGinOutboxHandle_t *outHandle, ncclDevResourceRequirements_t *outReq));
SERRIED_NCCL(ncclResult_t, ncclGinInboxA2ACreateRequirement, (ncclTeam_t peers, int nBlocks, int size_log2,
                                                              ncclGinInboxA2AHandle_t *outHandle, ncclDevResourceRequirements_t *outReq));
SERRIED_NCCL(int, ncclLLA2ACalcSlots, (int maxElts, int maxEltSize));
SERRIED_NCCL(ncclResult_t, ncclLLA2ACreateRequirement,
             (int nBlocks, int nSlots, ncclLLA2AHandle_t *outHandle, ncclDevResourceRequirements_t *outReq));

#ifdef __cplusplus
}
#endif

#endif
