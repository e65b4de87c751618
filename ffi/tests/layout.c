/* Every number, size and place of nccl.h: what programs that were compiled against NCCL's header rely on. C99 and C++11. */
#include "check.h"
#include "prototypes_in_c.h"

#define SAME(a, b) CHECK((long long)(a) == (long long)(b))
#define AT(type, field, place) SAME(offsetof(type, field), place)

static void numbers(void) {
  SAME(ncclSuccess, 0); SAME(ncclUnhandledCudaError, 1); SAME(ncclSystemError, 2); SAME(ncclInternalError, 3);
  SAME(ncclInvalidArgument, 4); SAME(ncclInvalidUsage, 5); SAME(ncclRemoteError, 6); SAME(ncclInProgress, 7);
  SAME(ncclTimeout, 8); SAME(ncclNumResults, 9);
  SAME(ncclInt8, 0); SAME(ncclChar, 0); SAME(ncclUint8, 1); SAME(ncclInt32, 2); SAME(ncclInt, 2); SAME(ncclUint32, 3);
  SAME(ncclInt64, 4); SAME(ncclUint64, 5); SAME(ncclFloat16, 6); SAME(ncclHalf, 6); SAME(ncclFloat32, 7);
  SAME(ncclFloat, 7); SAME(ncclFloat64, 8); SAME(ncclDouble, 8); SAME(ncclBfloat16, 9); SAME(ncclFloat8e4m3, 10);
  SAME(ncclFloat8e5m2, 11); SAME(ncclNumTypes, 12);
  SAME(ncclSum, 0); SAME(ncclProd, 1); SAME(ncclMax, 2); SAME(ncclMin, 3); SAME(ncclAvg, 4); SAME(ncclNumOps, 5);
  SAME(ncclMaxRedOp, 0x7fffffff);
  SAME(ncclScalarDevice, 0); SAME(ncclScalarHostImmediate, 1);
  SAME(ncclStatGpuMemSuspend, 0); SAME(ncclStatGpuMemSuspended, 1); SAME(ncclStatGpuMemPersist, 2); SAME(ncclStatGpuMemTotal, 3);
  SAME(NCCL_CONFIG_UNDEF_INT, INT_MIN); SAME(NCCL_SPLIT_NOCOLOR, -1); SAME(NCCL_API_MAGIC, 0xcafebeefU);
  SAME(NCCL_SHRINK_DEFAULT, 0); SAME(NCCL_SHRINK_ABORT, 1); SAME(NCCL_REVOKE_DEFAULT, 0); SAME(NCCL_WIN_DEFAULT, 0);
  SAME(NCCL_WIN_COLL_SYMMETRIC, 1); SAME(NCCL_WIN_STRICT_ORDERING, 2); SAME(NCCL_WIN_GIN_ONLY, 4);
  SAME(NCCL_WIN_REQUIRED_ALIGNMENT, 4096); SAME(NCCL_SUSPEND_MEM, 1);
  SAME(NCCL_CTA_POLICY_DEFAULT, 0); SAME(NCCL_CTA_POLICY_EFFICIENCY, 1); SAME(NCCL_CTA_POLICY_ZERO, 2);
  SAME(NCCL_ENCRYPTION_MODE_NONE, 0); SAME(NCCL_ENCRYPTION_MODE_PSK, 1);
  SAME(NCCL_CFT_TEAM_FLAT, 0); SAME(NCCL_CFT_TEAM_HIER_MULTIMEM, 1); SAME(NCCL_CFT_TEAM_HIER_LSA, 2);
  SAME(NCCL_GIN_TYPE_NONE, 0); SAME(NCCL_GIN_TYPE_PROXY, 2); SAME(NCCL_GIN_TYPE_GDAKI, 3); SAME(NCCL_GIN_TYPE_GPI, 4);
  SAME(NCCL_GIN_CONNECTION_NONE, 0); SAME(NCCL_GIN_CONNECTION_FULL, 1); SAME(NCCL_GIN_CONNECTION_RAIL, 2);
  SAME(NCCL_UNIQUE_ID_BYTES, 128); SAME(NCCL_VERSION_CODE, NCCL_VERSION(2, 32, 0)); SAME(NCCL_VERSION(2, 8, 3), 2803);
  CHECK(NCCL_CONFIG_UNDEF_PTR == NULL && NCCL_COMM_NULL == NULL && NCCL_UNDEF_FLOAT == -1.0f);
}

static void sizes(void) {
  SAME(sizeof(ncclResult_t), 4); SAME(sizeof(ncclDataType_t), 4); SAME(sizeof(ncclRedOp_t), 4);
  SAME(sizeof(ncclScalarResidence_t), 4); SAME(sizeof(ncclCommMemStat_t), 4); SAME(sizeof(ncclUniqueId), 128);
  SAME(sizeof(ncclConfig_t), 120); SAME(sizeof(ncclCollConfig_t), 72); SAME(sizeof(ncclSimInfo_t), 24);
  SAME(sizeof(ncclEncryptionConfig_t), 32); SAME(sizeof(ncclWaitSignalDesc_t), 16); SAME(sizeof(ncclConfigExt_t), 24);
  SAME(sizeof(ncclTeam_t), 12); SAME(sizeof(ncclCommProperties_t), 144); SAME(sizeof(ncclMultimemHandle_t), sizeof(void *));
  SAME(sizeof(ncclCftTeamMode_t), 4); SAME(sizeof(ncclGinType_t), 4); SAME(sizeof(ncclGinConnectionType_t), 4);
}

static void places(void) {
  AT(ncclConfig_t, size, 0); AT(ncclConfig_t, magic, 8); AT(ncclConfig_t, version, 12); AT(ncclConfig_t, blocking, 16);
  AT(ncclConfig_t, cgaClusterSize, 20); AT(ncclConfig_t, minCTAs, 24); AT(ncclConfig_t, maxCTAs, 28);
  AT(ncclConfig_t, netName, 32); AT(ncclConfig_t, splitShare, 40); AT(ncclConfig_t, trafficClass, 44);
  AT(ncclConfig_t, commName, 48); AT(ncclConfig_t, collnetEnable, 56); AT(ncclConfig_t, CTAPolicy, 60);
  AT(ncclConfig_t, shrinkShare, 64); AT(ncclConfig_t, nvlsCTAs, 68); AT(ncclConfig_t, nChannelsPerNetPeer, 72);
  AT(ncclConfig_t, nvlinkCentricSched, 76); AT(ncclConfig_t, graphUsageMode, 80); AT(ncclConfig_t, numRmaCtx, 84);
  AT(ncclConfig_t, maxP2pPeers, 88); AT(ncclConfig_t, graphStreamOrdering, 92); AT(ncclConfig_t, launchOrderImplicit, 96);
  AT(ncclConfig_t, numRmaSig, 100); AT(ncclConfig_t, rmaEagerInit, 104); AT(ncclConfig_t, hostCftMode, 108);
  AT(ncclConfig_t, nvlsHostMode, 112);
  AT(ncclCollConfig_t, size, 0); AT(ncclCollConfig_t, magic, 8); AT(ncclCollConfig_t, version, 12); AT(ncclCollConfig_t, ext, 16);
  AT(ncclCollConfig_t, minCTAs, 24); AT(ncclCollConfig_t, maxCTAs, 28); AT(ncclCollConfig_t, nvlsCTAs, 32);
  AT(ncclCollConfig_t, cgaClusterSize, 36); AT(ncclCollConfig_t, algSelection, 40);
  AT(ncclCollConfig_t, forceAlgSelection, 48); AT(ncclCollConfig_t, CTAPolicy, 52);
  AT(ncclCollConfig_t, userProfilerTag, 56); AT(ncclCollConfig_t, launchCompletionEvent, 64);
  AT(ncclConfigExt_t, next, 0); AT(ncclConfigExt_t, key, 8); AT(ncclConfigExt_t, val, 16);
  AT(ncclSimInfo_t, size, 0); AT(ncclSimInfo_t, magic, 8); AT(ncclSimInfo_t, version, 12); AT(ncclSimInfo_t, estimatedTime, 16);
  AT(ncclEncryptionConfig_t, size, 0); AT(ncclEncryptionConfig_t, magic, 8); AT(ncclEncryptionConfig_t, version, 12);
  AT(ncclEncryptionConfig_t, mode, 16); AT(ncclEncryptionConfig_t, psk, 24);
  AT(ncclWaitSignalDesc_t, opCnt, 0); AT(ncclWaitSignalDesc_t, peer, 4); AT(ncclWaitSignalDesc_t, sigIdx, 8);
  AT(ncclWaitSignalDesc_t, ctx, 12);
  AT(ncclTeam_t, nRanks, 0); AT(ncclTeam_t, rank, 4); AT(ncclTeam_t, stride, 8);
  AT(ncclMultimemHandle_t, mcBasePtr, 0);
  AT(ncclCommProperties_t, size, 0); AT(ncclCommProperties_t, magic, 8); AT(ncclCommProperties_t, version, 12);
  AT(ncclCommProperties_t, rank, 16); AT(ncclCommProperties_t, nRanks, 20); AT(ncclCommProperties_t, cudaDev, 24);
  AT(ncclCommProperties_t, nvmlDev, 28); AT(ncclCommProperties_t, deviceApiSupport, 32);
  AT(ncclCommProperties_t, multimemSupport, 33); AT(ncclCommProperties_t, ginType, 36); AT(ncclCommProperties_t, nLsaTeams, 40);
  AT(ncclCommProperties_t, hostRmaSupport, 44); AT(ncclCommProperties_t, railedGinType, 48);
  AT(ncclCommProperties_t, commHash, 56); AT(ncclCommProperties_t, ginMinStride, 64);
  AT(ncclCommProperties_t, ginConnectionType, 68); AT(ncclCommProperties_t, ginSupport, 72);
  AT(ncclCommProperties_t, devCommRuntimeVersionSize, 136);
}

static void initializers(void) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclCollConfig_t call = NCCL_COLLCONFIG_INITIALIZER;
  ncclSimInfo_t simulation = NCCL_SIM_INFO_INITIALIZER;
  ncclEncryptionConfig_t encryption = NCCL_ENCRYPTION_CONFIG_INITIALIZER;
  CHECK(config.size == 120 && config.magic == 0xcafebeef && config.version == 23200);
  CHECK(config.blocking == INT_MIN && config.netName == NULL && config.splitShare == INT_MIN && config.commName == NULL);
  CHECK(config.nvlsHostMode == INT_MIN);
  CHECK(call.size == 72 && call.forceAlgSelection == 1 && call.CTAPolicy == INT_MIN && call.launchCompletionEvent == NULL);
  CHECK(simulation.magic == 0x74685283 && simulation.estimatedTime == -1.0f);
  ncclCommProperties_t properties = NCCL_COMM_PROPERTIES_INITIALIZER;
  CHECK(properties.size == 144 && properties.magic == 0xcafebeef && properties.version == 23200 && !properties.deviceApiSupport);
  CHECK(encryption.size == 32 && encryption.mode == 0 && encryption.psk == NULL);
}

int main(void) {
  numbers();
  sizes();
  places();
  initializers();
  return 0;
}
