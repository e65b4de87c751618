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
  for (int rank = 0; rank < ranks; rank++) OK(ncclCommAbort(comms[rank]));

  // A group that is only simulated is closed.
  OK(ncclGroupStart());
  ncclSimInfo_t simulated = NCCL_SIM_INFO_INITIALIZER;
  FAILS(ncclGroupSimulateEnd(&simulated), ncclInvalidUsage, "not supported");
  FAILS(ncclGroupEnd(), ncclInvalidUsage, "no open group");
}

int main() {
  in_threads();
  in_one_thread();
  return 0;
}
