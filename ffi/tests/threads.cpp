// Ranks as threads of one process, and all of them in one thread by groups.
#include "collectives.h"
#include <thread>
#include <vector>

static const int ranks = 4;

static void in_threads() {
  ncclUniqueId id;
  OK(ncclGetUniqueId(&id));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; rank++) {
    threads.emplace_back([rank, id] {
      ncclComm_t comm;
      OK(ncclCommInitRank(&comm, ranks, id, rank));
      every_call(comm);
      OK(ncclCommDestroy(comm));
    });
  }
  for (auto &thread : threads) thread.join();
}

// What is only simulated is not made; more takes longer.
static void simulated_groups(ncclComm_t *comms, std::vector<double> &data) {
  float times[2];
  std::vector<double> before(data);
  for (int large = 0; large < 2; large++) {
    ncclSimInfo_t simulated = NCCL_SIM_INFO_INITIALIZER;
    OK(ncclGroupStart());
    OK(ncclAllReduce(data.data(), data.data(), large ? 1000 : 1, ncclDouble, ncclSum, comms[0], nullptr));
    OK(ncclSend(data.data(), 1, ncclDouble, 1, comms[1], nullptr));
    OK(ncclGroupSimulateEnd(&simulated));
    times[large] = simulated.estimatedTime;
  }
  CHECK(times[0] > 0 && times[1] > times[0]);
  CHECK(data == before);
  ncclSimInfo_t wrong = NCCL_SIM_INFO_INITIALIZER;
  wrong.magic = 1;
  OK(ncclGroupStart());
  FAILS(ncclGroupSimulateEnd(&wrong), ncclInvalidArgument, "NCCL_SIM_INFO_INITIALIZER");
  OK(ncclGroupStart());
  FAILS(ncclGroupSimulateEnd(nullptr), ncclInvalidArgument, "simInfo is NULL");
}

static void windows_in_groups(ncclComm_t *comms) {
  void *memory[ranks];
  ncclWindow_t windows[ranks];
  int values[ranks];
  OK(ncclGroupStart());
  for (int rank = 0; rank < ranks; rank++) {
    OK(ncclMemAlloc(&memory[rank], 4096));
    OK(ncclCommWindowRegister(comms[rank], memory[rank], 4096, &windows[rank], NCCL_WIN_COLL_SYMMETRIC));
  }
  OK(ncclGroupEnd());
  float times[2];
  for (int large = 0; large < 2; large++) {
    ncclSimInfo_t simulated = NCCL_SIM_INFO_INITIALIZER;
    OK(ncclGroupStart());
    OK(ncclPutSignal(memory[0], large ? 1024 : 1, ncclInt, 1, windows[0], 0, 0, 0, 0, comms[0], nullptr));
    OK(ncclGroupSimulateEnd(&simulated));
    times[large] = simulated.estimatedTime;
  }
  CHECK(times[0] > 0 && times[1] > times[0]);
  // Each waits for its left neighbour, and puts to its right one: the waits come last.
  OK(ncclGroupStart());
  for (int rank = 0; rank < ranks; rank++) {
    ncclWaitSignalDesc_t wanted = {2, (rank + ranks - 1) % ranks, 0, 0};
    OK(ncclWaitSignal(1, &wanted, comms[rank], nullptr));
    values[rank] = 100 + rank;
    OK(ncclPutSignal(&values[rank], 1, ncclInt, (rank + 1) % ranks, windows[rank], 64, 0, 0, 0, comms[rank], nullptr));
    OK(ncclSignal((rank + 1) % ranks, 0, 0, 0, comms[rank], nullptr));
  }
  OK(ncclGroupEnd());
  for (int rank = 0; rank < ranks; rank++) {
    CHECK(static_cast<int *>(memory[rank])[16] == 100 + (rank + ranks - 1) % ranks);
    OK(ncclCommWindowDeregister(comms[rank], windows[rank]));
    OK(ncclMemFree(memory[rank]));
  }
}

static void in_one_thread() {
  ncclComm_t comms[ranks], halves[ranks];
  const int devices[ranks] = {3, 1, 0, 2};
  OK(ncclCommInitAll(comms, ranks, devices));
  std::vector<std::vector<double>> data(ranks), gathered(ranks);
  for (int rank = 0; rank < ranks; rank++) {
    int device = -1;
    OK(ncclCommCuDevice(comms[rank], &device));
    CHECK(device == devices[rank]);
    data[rank].assign(1000, rank + 1);
    gathered[rank].assign(1000 * ranks, 0);
  }
  // Twice the same memory in one group: one after the other.
  OK(ncclGroupStart());
  for (int rank = 0; rank < ranks; rank++) {
    double *at = data[rank].data();
    OK(ncclAllReduce(at, at, 1000, ncclDouble, ncclSum, comms[rank], nullptr));
    OK(ncclAllReduce(at, at, 1000, ncclDouble, ncclSum, comms[rank], nullptr));
    OK(ncclAllGather(at, gathered[rank].data(), 1000, ncclDouble, comms[rank], nullptr));
  }
  OK(ncclGroupEnd());
  const double sum = ranks * (ranks + 1) / 2 * ranks;
  for (int rank = 0; rank < ranks; rank++) {
    for (double value : data[rank]) CHECK(value == sum);
    for (double value : gathered[rank]) CHECK(value == sum);
  }
  // A message of memory that a collective writes has no order.
  OK(ncclGroupStart());
  for (int rank = 0; rank < ranks; rank++) {
    double *at = data[rank].data();
    OK(ncclAllReduce(at, at, 1000, ncclDouble, ncclSum, comms[rank], nullptr));
    OK(ncclSend(at, 10, ncclDouble, (rank + 1) % ranks, comms[rank], nullptr));
    OK(ncclRecv(gathered[rank].data(), 10, ncclDouble, (rank + ranks - 1) % ranks, comms[rank], nullptr));
  }
  FAILS(ncclGroupEnd(), ncclInvalidArgument, "same memory");
  // One refused call refuses the group: nothing is made, so nobody waits.
  OK(ncclGroupStart());
  for (int rank = 0; rank < ranks; rank++) {
    ncclResult_t expected = rank == 2 ? ncclInvalidArgument : ncclSuccess;
    ncclDataType_t type = rank == 2 ? ncclNumTypes : ncclDouble;
    CHECK(ncclAllReduce(data[rank].data(), gathered[rank].data(), 10, type, ncclSum, comms[rank], nullptr) == expected);
  }
  FAILS(ncclGroupEnd(), ncclInvalidArgument, "ncclDataType_t");
  FAILS(ncclGroupEnd(), ncclInvalidUsage, "no open group");

  // Splitting in a group, and joining in a group.
  OK(ncclGroupStart());
  for (int rank = 0; rank < ranks; rank++) OK(ncclCommSplit(comms[rank], rank % 2, rank, &halves[rank], nullptr));
  OK(ncclGroupEnd());
  OK(ncclGroupStart());
  for (int rank = 0; rank < ranks; rank++)
    OK(ncclBroadcast(data[rank].data(), gathered[rank].data(), 1000, ncclDouble, 1, halves[rank], nullptr));
  OK(ncclGroupEnd());
  for (int rank = 0; rank < ranks; rank++) OK(ncclCommDestroy(halves[rank]));
  for (int rank = 0; rank < ranks; rank++) OK(ncclCommFinalize(comms[rank]));
  for (int rank = 0; rank < ranks; rank++) OK(ncclCommDestroy(comms[rank]));

  ncclUniqueId id;
  OK(ncclGetUniqueId(&id));
  OK(ncclGroupStart());
  for (int rank = 0; rank < ranks; rank++) OK(ncclCommInitRank(&comms[rank], ranks, id, rank));
  OK(ncclGroupEnd());
  OK(ncclGroupStart());
  for (int rank = 0; rank < ranks; rank++)
    OK(ncclAllReduce(data[rank].data(), gathered[rank].data(), 1000, ncclDouble, ncclMin, comms[rank], nullptr));
  OK(ncclGroupEnd());
  simulated_groups(comms, data[0]);
  windows_in_groups(comms);
  for (int rank = 0; rank < ranks; rank++) OK(ncclCommAbort(comms[rank]));

  // A group that is only simulated is closed.
  OK(ncclGroupStart());
  ncclSimInfo_t simulated = NCCL_SIM_INFO_INITIALIZER;
  OK(ncclGroupSimulateEnd(&simulated));
  CHECK(simulated.estimatedTime == 0);
  FAILS(ncclGroupEnd(), ncclInvalidUsage, "no open group");
}

int main() {
  in_threads();
  in_one_thread();
  return 0;
}
