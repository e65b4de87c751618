/* A process that has CUDA's driver: host memory works as ever, after what the stream holds; memory of a device is refused wherever it is given. */
#define _GNU_SOURCE
#include "check.h"
#include <dlfcn.h>
#include <sys/mman.h>

static float host[4] = {1, 2, 3, 4};
static ncclComm_t comm;
static cudaStream_t of_stream;
static int result;

static int queries;

/* What a stream holds: work on host memory, which takes a while. */
static int copy(void *stream) {
  CHECK(stream == (void *)of_stream);
  if (++queries % 3 != 0) return 600;
  host[0] = 7;
  return result;
}

/* What never ends. */
static int hang(void *stream) {
  (void)stream;
  return 600;
}

/* A call comes after what its stream holds, and a group after what all of its streams hold when it ends. */
static void streams(int (**work)(void *)) {
  cudaStream_t stream = (cudaStream_t)(uintptr_t)64;
  float sum[4];
  of_stream = stream;
  *work = copy;
  OK(ncclAllReduce(host, sum, 4, ncclFloat, ncclSum, comm, stream));
  CHECK(sum[0] == 7 && sum[1] == 2);
  host[0] = 1;
  OK(ncclGroupStart());
  OK(ncclAllReduce(host, sum, 4, ncclFloat, ncclSum, comm, stream));
  CHECK(host[0] == 1);
  OK(ncclGroupEnd());
  CHECK(sum[0] == 7);
  result = 700;
  FAILS(ncclAllReduce(host, sum, 4, ncclFloat, ncclSum, comm, stream), ncclUnhandledCudaError, "CUDA error 700");
  OK(ncclGroupStart());
  OK(ncclAllReduce(host, sum, 4, ncclFloat, ncclSum, comm, stream));
  FAILS(ncclGroupEnd(), ncclUnhandledCudaError, "CUDA error 700");
  /* The default stream of a process that does not use CUDA. */
  result = 201;
  FAILS(ncclAllReduce(host, sum, 4, ncclFloat, ncclSum, comm, stream), ncclUnhandledCudaError, "CUDA error 201");
  of_stream = NULL;
  OK(ncclAllReduce(host, sum, 4, ncclFloat, ncclSum, comm, NULL));
  *work = hang;
  CHECK(setenv("SERRIED_TIMEOUT", "0.1", 1) == 0);
  FAILS(ncclAllReduce(host, sum, 4, ncclFloat, ncclSum, comm, stream), ncclTimeout, "not done within 100ms");
  CHECK(unsetenv("SERRIED_TIMEOUT") == 0);
  *work = NULL;
}

int main(void) {
  void *driver = dlopen("libcuda.so.1", RTLD_NOW);
  uint64_t *first = driver == NULL ? NULL : (uint64_t *)dlsym(driver, "first_of_device");
  ncclRedOp_t op;
  void *handle;
  float *device = (float *)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(first != NULL && device != MAP_FAILED);
  OK(ncclCommInitAll(&comm, 1, NULL));
  OK(ncclAllReduce(host, host, 4, ncclFloat, ncclSum, comm, NULL));
  streams((int (**)(void *))dlsym(driver, "work"));
  *first = (uint64_t)(uintptr_t)device;
  FAILS(ncclAllReduce(device, device, 4, ncclFloat, ncclSum, comm, NULL), ncclInvalidUsage, "memory of a CUDA device");
  FAILS(ncclSend(device, 4, ncclFloat, 0, comm, NULL), ncclInvalidUsage, "memory of a CUDA device");
  FAILS(ncclCommRegister(comm, device, 4096, &handle), ncclInvalidUsage, "memory of a CUDA device");
  FAILS(ncclRedOpCreatePreMulSum(&op, device, ncclFloat, ncclScalarDevice, comm), ncclInvalidUsage, "memory of a CUDA device");
  OK(ncclGroupStart());
  FAILS(ncclAllReduce(device, device, 4, ncclFloat, ncclSum, comm, NULL), ncclInvalidUsage, "memory of a CUDA device");
  FAILS(ncclGroupEnd(), ncclInvalidUsage, "memory of a CUDA device");
  *first = UINT64_MAX;
  OK(ncclAllReduce(host, host, 4, ncclFloat, ncclSum, comm, NULL));
  OK(ncclCommDestroy(comm));
  return 0;
}
