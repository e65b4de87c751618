// A process that gets no more threads: what one rank cannot begin ends on the other, too, and what needs no thread goes on.
#include "check.h"
#include <atomic>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

static rlim_t address_space() {
  unsigned long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  CHECK(file != nullptr && fscanf(file, "%lu", &pages) == 1 && fclose(file) == 0);
  return rlim_t(pages) * rlim_t(sysconf(_SC_PAGESIZE));
}

static std::atomic<int> here(0);

static void all_are_here(int times) {
  for (here++; here < 2 * times;) std::this_thread::yield();
}

static void rank(ncclUniqueId id, int number, int blocking) {
  ncclComm_t comm, other, made;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  rlimit before, none;
  float x = 1, y = 1;
  OK(ncclCommInitRank(&comm, 2, id, number));
  OK(ncclCommSplit(comm, 0, 0, &other, nullptr));
  // All links are there.
  OK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr));
  OK(ncclAllReduce(&y, &y, 1, ncclFloat, ncclSum, other, nullptr));
  all_are_here(1);
  CHECK(getrlimit(RLIMIT_AS, &before) == 0);
  none = before;
  // Less than a thread's stack is left.
  none.rlim_cur = address_space() + (1 << 20);
  all_are_here(2);
  if (number == 0) CHECK(setrlimit(RLIMIT_AS, &none) == 0);
  all_are_here(3);
  ncclResult_t ended;
  config.blocking = blocking;
  if (number == 1) {
    ended = blocking ? ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr) : ncclCommSplit(comm, 0, 0, &made, nullptr);
  } else {
    OK(ncclGroupStart());
    if (blocking) {
      // The first is the thread's that cannot be had.
      OK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr));
      OK(ncclAllReduce(&y, &y, 1, ncclFloat, ncclSum, other, nullptr));
    } else {
      OK(ncclCommSplit(comm, 0, 0, &made, &config));
    }
    ended = ncclGroupEnd();
  }
  CHECK(ended == (number == 0 ? ncclSystemError : ncclInvalidUsage));
  CHECK(strstr(ncclGetLastError(comm), number == 0 ? "starting a thread" : "which that rank refused") != nullptr);
  if (number == 1 && blocking) OK(ncclAllReduce(&y, &y, 1, ncclFloat, ncclSum, other, nullptr));
  CHECK(y == (blocking ? 4 : 2));
  all_are_here(4);
  if (number == 0) CHECK(setrlimit(RLIMIT_AS, &before) == 0);
  all_are_here(5);
  OK(ncclCommDestroy(other));
  OK(ncclCommDestroy(comm));
}

// The argument says what there is no thread for: calls on a second communicator, or making one in the background.
int main(int argc, char **argv) {
  ncclUniqueId id;
  int blocking = argc == 2 && strcmp(argv[1], "calls") == 0;
  CHECK(blocking || (argc == 2 && strcmp(argv[1], "making") == 0));
  // What hangs is to be known soon.
  CHECK(setenv("SERRIED_TIMEOUT", "30", 1) == 0);
  OK(ncclGetUniqueId(&id));
  std::thread first(rank, id, 0, blocking);
  rank(id, 1, blocking);
  first.join();
  return 0;
}
