/* serried's C interface. Names, numbers and signatures are NCCL's, so a program written to NCCL builds against either.
 * What is declared here is what libnccl.so.2 of this project exports, and no more. */
#ifndef SERRIED_NCCL_H
#define SERRIED_NCCL_H

/* The version of NCCL's interface that this header follows: major, minor, patch, and all in one as X*10000 + Y*100 + Z. */
#define NCCL_MAJOR 2
#define NCCL_MINOR 32
#define NCCL_PATCH 0
#define NCCL_SUFFIX ""
#define NCCL_VERSION(X, Y, Z) ((X) * 10000 + (Y) * 100 + (Z))
#define NCCL_VERSION_CODE NCCL_VERSION(NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH)

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  ncclSuccess = 0,
  ncclUnhandledCudaError = 1,
  ncclSystemError = 2,
  ncclInternalError = 3,
  ncclInvalidArgument = 4,
  ncclInvalidUsage = 5,
  ncclRemoteError = 6,
  ncclInProgress = 7,
  ncclTimeout = 8,
  ncclNumResults = 9
} ncclResult_t;

/* Stores NCCL_VERSION_CODE of the library. A null pointer is ncclInvalidArgument. */
ncclResult_t ncclGetVersion(int *version);
ncclResult_t pncclGetVersion(int *version);

/* A sentence for a result code: static, never null, not to be freed. */
const char *ncclGetErrorString(ncclResult_t result);
const char *pncclGetErrorString(ncclResult_t result);

/* serried's own version, which is another thing than the version of the interface. A null pointer is ncclInvalidArgument, and then
 * nothing is stored. Only serried exports this symbol, so looking it up tells which library was loaded. */
ncclResult_t serriedGetVersion(int *major, int *minor, int *patch);

#ifdef __cplusplus
}
#endif

#endif
