/* A process that has CUDA's driver: host memory works as ever, memory of a device is refused wherever it is given. */
#define _GNU_SOURCE
#include "check.h"
#include <dlfcn.h>
#include <sys/mman.h>

int main(void) {
  void *driver = dlopen("libcuda.so.1", RTLD_NOW);
  uint64_t *first = driver == NULL ? NULL : (uint64_t *)dlsym(driver, "first_of_device");
  ncclComm_t comm;
  ncclRedOp_t op;
  void *handle;
  float host[4] = {1, 2, 3, 4};
  float *device = (float *)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(first != NULL && device != MAP_FAILED);
  OK(ncclCommInitAll(&comm, 1, NULL));
  OK(ncclAllReduce(host, host, 4, ncclFloat, ncclSum, comm, NULL));
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
