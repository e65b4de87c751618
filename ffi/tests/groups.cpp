// Groups: what comes in which order, on which communicator; and what a refused, failed or simulated group leaves behind.
#include "check.h"
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

// Runs `rank` as every rank of a communicator, each on a thread of its own.
static void ranks(int size, const std::function<void(ncclComm_t, int)> &rank) {
  ncclUniqueId id;
  OK(ncclGetUniqueId(&id));
  std::vector<std::thread> threads;
  for (int number = 0; number < size; number++) {
    threads.emplace_back([size, number, id, &rank] {
      ncclComm_t comm;
      OK(ncclCommInitRank(&comm, size, id, number));
      rank(comm, number);
      OK(ncclCommDestroy(comm));
    });
  }
  for (auto &thread : threads) thread.join();
}

static void sum(float *from, float *into, ncclComm_t comm) { OK(ncclAllReduce(from, into, 1, ncclFloat, ncclSum, comm, nullptr)); }

// A communicator's collectives keep their order, whatever memory each rank uses.
static void order_is_kept() {
  ranks(2, [](ncclComm_t comm, int rank) {
    float x = 1, y = 10, z = 2;
    OK(ncclGroupStart());
    sum(&x, &x, comm);
    rank == 1 ? sum(&z, &z, comm) : sum(&x, &x, comm);
    sum(&y, &y, comm);
    OK(ncclGroupEnd());
    CHECK(y == 20 && (rank == 1 ? z : x) == 4);
  });
  ranks(3, [](ncclComm_t comm, int rank) {
    float x = 1, y = 10;
    OK(ncclGroupStart());
    OK(ncclReduce(&x, &x, 1, ncclFloat, ncclSum, 0, comm, nullptr));
    OK(ncclReduce(&x, &x, 1, ncclFloat, ncclSum, 1, comm, nullptr));
    OK(ncclReduce(&y, &y, 1, ncclFloat, ncclSum, 0, comm, nullptr));
    OK(ncclGroupEnd());
    CHECK(x == (rank == 0 ? 3 : rank == 1 ? 5 : 1) && y == (rank == 0 ? 30 : 10));
  });
}

// One thread holds both ranks, and only one of them uses the same memory twice.
static void nobody_waits_for_a_rank_of_its_own_thread() {
  ncclComm_t comms[2];
  float x[2] = {1, 1}, z = 2;
  OK(ncclCommInitAll(comms, 2, nullptr));
  OK(ncclGroupStart());
  for (int rank = 0; rank < 2; rank++) {
    float *second = rank == 0 ? &x[rank] : &z;
    sum(&x[rank], &x[rank], comms[rank]);
    sum(second, second, comms[rank]);
  }
  OK(ncclGroupEnd());
  CHECK(x[0] == 4 && z == 4);
  // Between communicators there is no order.
  OK(ncclGroupStart());
  for (int rank = 0; rank < 2; rank++) sum(&z, &z, comms[rank]);
  FAILS(ncclGroupEnd(), ncclInvalidArgument, "same memory");
  for (int rank = 0; rank < 2; rank++) OK(ncclCommDestroy(comms[rank]));
}

// Two windows of one communicator are the same two on all ranks.
static void windows_are_opened_in_order() {
  ranks(3, [](ncclComm_t comm, int rank) {
    for (int round = 0; round < 10; round++) {
      void *memory[2];
      ncclWindow_t windows[2];
      int values[2] = {100 + rank, 200 + rank}, next = (rank + 1) % 3, previous = (rank + 2) % 3;
      ncclWaitSignalDesc_t both = {2, previous, 0, 0};
      OK(ncclGroupStart());
      for (int i = 0; i < 2; i++) {
        OK(ncclMemAlloc(&memory[i], 4096));
        OK(ncclCommWindowRegister(comm, memory[i], 4096, &windows[i], NCCL_WIN_DEFAULT));
      }
      OK(ncclGroupEnd());
      for (int i = 0; i < 2; i++) OK(ncclPutSignal(&values[i], 1, ncclInt, next, windows[i], 0, 0, 0, 0, comm, nullptr));
      OK(ncclWaitSignal(1, &both, comm, nullptr));
      for (int i = 0; i < 2; i++) CHECK(*static_cast<int *>(memory[i]) == 100 * (i + 1) + previous);
      for (int i = 0; i < 2; i++) OK(ncclCommWindowDeregister(comm, windows[i]));
      for (int i = 0; i < 2; i++) OK(ncclMemFree(memory[i]));
    }
  });
}

// Two splits of one communicator are the same two on all ranks, also in the background.
static void splits_are_made_in_order() {
  for (int blocking = 0; blocking < 2; blocking++) {
    ranks(3, [blocking](ncclComm_t comm, int rank) {
      for (int round = 0; round < 10; round++) {
        ncclComm_t all, pair;
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        ncclResult_t state = ncclInProgress;
        int count = 0, number = -1;
        config.blocking = blocking;
        OK(ncclGroupStart());
        OK(ncclCommSplit(comm, 0, -rank, &all, &config));
        OK(ncclCommSplit(comm, rank == 0 ? 1 : 2, rank, &pair, &config));
        CHECK(ncclGroupEnd() == (blocking ? ncclSuccess : ncclInProgress));
        while (state == ncclInProgress) {
          OK(ncclCommGetAsyncError(comm, &state));
          std::this_thread::yield();
        }
        CHECK(state == ncclSuccess);
        OK(ncclCommCount(all, &count));
        OK(ncclCommUserRank(all, &number));
        CHECK(count == 3 && number == 2 - rank);
        OK(ncclCommCount(pair, &count));
        CHECK(count == (rank == 0 ? 1 : 2));
        OK(ncclCommDestroy(all));
        OK(ncclCommDestroy(pair));
      }
    });
  }
}

// A call of all ranks, which makes no sense if it is `wrong`, and why.
struct Call {
  const char *why;
  ncclResult_t (*make)(ncclComm_t comm, bool wrong);
};

// A call that one rank refuses ends on the others, too, alone and in a group; what all refuse they go on after.
static void a_refused_call_is_known_to_all() {
  alignas(4096) static char memory[2][4096];
  static ncclComm_t made[2];
  static ncclWindow_t window;
  static float z[2];
  const Call calls[] = {
      {"no ncclDataType_t",
       [](ncclComm_t comm, bool wrong) {
         float *own = &z[wrong];
         return ncclAllReduce(own, own, 1, wrong ? ncclNumTypes : ncclFloat, ncclSum, comm, nullptr);
       }},
      {"color is -2", [](ncclComm_t comm, bool wrong) { return ncclCommSplit(comm, wrong ? -2 : 0, 0, &made[wrong], nullptr); }},
      {"nRanks is 2",
       [](ncclComm_t comm, bool wrong) { return ncclCommGrow(comm, wrong ? 2 : 3, nullptr, -1, &made[wrong], nullptr); }},
      {"winFlags are 0x8",
       [](ncclComm_t comm, bool wrong) { return ncclCommWindowRegister(comm, memory[wrong], 4096, &window, wrong ? 8 : 0); }},
  };
  for (const Call &call : calls) {
    // Alone, and after so many others of a group.
    for (int others : {-1, 1, 200}) {
      std::atomic<int> heard(0);
      ranks(2, [&](ncclComm_t comm, int rank) {
        float x = 1, y = 1;
        FAILS(ncclAllReduce(nullptr, &x, 1, ncclFloat, ncclSum, comm, nullptr), ncclInvalidArgument, "sendbuff is NULL");
        FAILS(call.make(comm, true), ncclInvalidArgument, call.why);
        sum(&x, &x, comm);
        CHECK(x == 2);
        if (others > 0) OK(ncclGroupStart());
        for (int other = 0; other < others; other++) sum(&y, &y, comm);
        ncclResult_t ended = call.make(comm, rank == 0);
        if (others > 0) ended = ncclGroupEnd();
        CHECK(ended == (rank == 0 ? ncclInvalidArgument : ncclInvalidUsage));
        CHECK(strstr(ncclGetLastError(comm), rank == 0 ? call.why : "which that rank refused") != nullptr);
        // The rank that refuses is still there when the other hears of it.
        for (heard++; heard < 2;) std::this_thread::yield();
      });
    }
  }
}

// What is made in the background comes neither before calls of its group nor after them.
static void a_parent_is_not_called_meanwhile() {
  ncclComm_t comm, made;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclWaitSignalDesc_t once = {1, 0, 0, 0};
  float x = 1;
  config.blocking = 0;
  OK(ncclCommInitAll(&comm, 1, nullptr));
  OK(ncclGroupStart());
  OK(ncclCommSplit(comm, 0, 0, &made, &config));
  sum(&x, &x, comm);
  FAILS(ncclGroupEnd(), ncclInvalidUsage, "in the background");
  CHECK(made == nullptr);
  OK(ncclGroupStart());
  OK(ncclCommSplit(comm, 0, 0, &made, &config));
  OK(ncclWaitSignal(1, &once, comm, nullptr));
  FAILS(ncclGroupEnd(), ncclInvalidUsage, "in the background");
  CHECK(made == nullptr);
  OK(ncclCommDestroy(comm));
}

// What is kept and not made has no handle, holds no memory, and has not begun.
static void what_is_not_made_leaves_nothing() {
  ncclComm_t comm;
  OK(ncclCommInitAll(&comm, 1, nullptr));
  for (int simulated = 0; simulated < 2; simulated++) {
    for (int blocking = 0; blocking < 2; blocking++) {
      void *memory, *found;
      ncclWindow_t window, before;
      ncclComm_t made;
      ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
      ncclSimInfo_t info = NCCL_SIM_INFO_INITIALIZER;
      ncclResult_t state = ncclInternalError;
      config.blocking = blocking;
      OK(ncclMemAlloc(&memory, 4096));
      OK(ncclGroupStart());
      OK(ncclCommWindowRegister(comm, memory, 4096, &window, NCCL_WIN_DEFAULT));
      OK(ncclCommSplit(comm, 0, 0, &made, &config));
      before = window;
      CHECK(window != nullptr && made != nullptr);
      if (simulated) {
        FAILS(ncclGroupSimulateEnd(&info), ncclInvalidUsage, "simulating the making");
      } else {
        FAILS(ncclSend(memory, 1, ncclFloat, 7, comm, nullptr), ncclInvalidArgument, "peer is 7");
        FAILS(ncclGroupEnd(), ncclInvalidArgument, "peer is 7");
      }
      CHECK(window == nullptr && made == nullptr);
      FAILS(ncclWinGetUserPtr(comm, before, &found), ncclInvalidArgument, "win is none");
      OK(ncclCommGetAsyncError(comm, &state));
      CHECK(state == ncclSuccess);
      OK(ncclMemFree(memory));
    }
  }
  OK(ncclCommDestroy(comm));
}

int main() {
  // What hangs is to be known soon.
  CHECK(setenv("SERRIED_TIMEOUT", "30", 1) == 0);
  order_is_kept();
  nobody_waits_for_a_rank_of_its_own_thread();
  windows_are_opened_in_order();
  splits_are_made_in_order();
  a_refused_call_is_known_to_all();
  a_parent_is_not_called_meanwhile();
  what_is_not_made_leaves_nothing();
  return 0;
}
