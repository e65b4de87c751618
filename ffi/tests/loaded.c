/* The library is loaded at run time and closed while its threads run; they go on, and it can be loaded again. */
#define _GNU_SOURCE
#include "nccl.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static void *find(void *library, const char *name) {
  void *found = dlsym(library, name);
  if (found == NULL) fprintf(stderr, "%s\n", name);
  return found;
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  for (int round = 0; round < 3; round++) {
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    ncclResult_t (*init)(ncclComm_t *, int, const int *);
    ncclResult_t (*destroy)(ncclComm_t);
    void *found[2];
    ncclComm_t comms[2];
    if (library == NULL) return puts(dlerror()), 3;
    found[0] = find(library, "ncclCommInitAll");
    found[1] = find(library, "ncclCommDestroy");
    if (found[0] == NULL || found[1] == NULL) return 4;
    memcpy(&init, &found[0], sizeof init);
    memcpy(&destroy, &found[1], sizeof destroy);
    if (init(comms, 2, NULL) != ncclSuccess) return 5;
    for (int rank = 0; rank < 2; rank++)
      if (destroy(comms[rank]) != ncclSuccess) return 6;
    if (dlclose(library) != 0) return 7;
  }
  return 0;
}
