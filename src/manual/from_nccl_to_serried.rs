//! From NCCL to serried: programs written to NCCL's interface, on host memory.
//!
//! # To begin
//!
//! `ffi/install.sh PREFIX` builds and installs `libnccl.so.2`, `libnccl_static.a`, `nccl.h` and a pkg-config file for each library. A program links to
//! one of them, or is told to take the shared one instead of NCCL:
//!
//! ```text
//! cc program.c $(pkg-config --cflags --libs nccl)
//! cc program.c $(pkg-config --cflags --libs nccl-static)
//! LD_PRELOAD=PREFIX/lib/libnccl.so.2 program
//! ```
//!
//! `ffi/examples` has programs to start from. `ncclParamGetParameter` has a key that NCCL has not, `SERRIED_VERSION`: it tells which library
//! a program has.
//!
//! # What is the same
//!
//! Names, numbers, layouts and prototypes of NCCL 2.32, and every exported symbol; `ncclX` is weak and has a strong twin `pncclX`. Older callers' smaller
//! structures are read as far as their version goes.
//!
//! | what | as in NCCL |
//! |---|---|
//! | communicators | unique ids, InitRank, InitAll, InitRankConfig (also non-blocking), InitRankScalable, Split, Shrink, Grow, Finalize, Destroy, Abort, Revoke |
//! | calls | all collectives, with all types and operators, in place and not; PreMulSum; Send and Recv; the `Config` variants |
//! | groups | nested, over several communicators; one thread may hold several ranks |
//! | memory | MemAlloc, Register, windows; PutSignal, Signal, WaitSignal |
//! | errors | result codes, GetLastError, GetAsyncError |
//!
//! # What differs
//!
//! * **Memory is the host's, and a call has ended when it returns**, or when the GroupEnd does that it belongs to. In a process that has CUDA's driver when it makes a
//!   communicator, a call first waits for what its stream holds (`cuStreamQuery`, for `SERRIED_TIMEOUT` at most; of the default stream, on a thread that has a context); elsewhere
//!   streams are not looked at. Memory of a CUDA device is
//!   refused with `ncclInvalidUsage`; managed memory is the host's, too.
//! * **`ncclGetLastError` has a sentence** that names rank, peer and call, of this thread's last failure.
//! * **Ranks that disagree get an error** (`ncclInvalidUsage`) that names both calls, where NCCL hangs or corrupts.
//! * **A dead rank is known in milliseconds**, whatever the timeouts of the network are; the other ranks get `ncclRemoteError`. `ncclCommShrink` with
//!   `NCCL_SHRINK_ABORT` goes on without it, and `ncclCommGrow` takes a new rank in.
//! * **`ncclCommAbort` ends joining**, too, by the handle that the caller's place has from the start, and what is being made of a communicator: the blocked call
//!   returns `ncclInvalidUsage`. Who aborts what is being made while the ranks of its parent still agree on it breaks the parent,
//!   too; later, the other ranks of what was to be made wait for this one until their time limit. Waiting for a CUDA stream is not ended before that limit.
//! * **Handles are checked**: one that is foreign, stale or destroyed is `ncclInvalidArgument`.
//! * **Buffers that overlap** otherwise than in place are refused. In a group, the collectives on one communicator are made in the order of their calls, and may
//!   use the same memory; messages, and calls on different communicators, that use what another call of the group writes are refused.
//! * **A refused call counts as made** (null, overlap, an unknown type), since its rank cannot know what the others do: they get `ncclInvalidUsage`, unless they refuse it, too. So it
//!   is with a split, a growth (but for its new ranks) and the opening of a window, unless the communicator was revoked. A message that is refused was not sent.
//! * **One refused call refuses its group**: none of its calls is made, and of communicators and windows that it was to make the handles become null.
//! * **A group with a communicator that is not to block** makes all its communicators in the background, and returns `ncclInProgress`. It must not call what they are made of.
//! * **After a fork** the child cannot use its parent's communicators, nor free what `ncclMemAlloc` gave (`ncclInvalidUsage`), and is in none of its parent's groups; but it can make its own. `dlclose` leaves the library in memory.
//! * **Results** are the same bits on every rank; see [`accuracy`](super::accuracy).
//! * **`ncclGroupSimulateEnd`** estimates by the schedules that were chosen, for a machine like the one on which they were measured; puts as messages, and waits as nothing.
//! * **`ncclCommRevoke`** ends the other ranks' calls, too. What was revoked can be split, shrunk and destroyed, as in NCCL; a communicator
//!   that is made so can grow.
//! * **`ncclCommGrow`** takes null from the ranks that are there, as NCCL's guide says, or the id from one of them; the new ranks give it.
//! * **Puts** go over a TCP stream between each two ranks, also on one host, and a thread of each rank takes them: signals need a window, too. A put has left when the call returns. In a
//!   group, puts come before the other calls and waits after them.
//! * **`ncclCommInitRankScalable`** uses the first id: joining is by a tree in any case.
//! * **Nothing of a communicator lies on a device**, so `ncclCommSuspend` only refuses calls until it is resumed, and `ncclCommMemStats` counts 0 bytes.
//!
//! # What is missing
//!
//! | what | says |
//! |---|---|
//! | functions for kernels of a device: DevComm, Team (but World), Gin, Lsa, multimem, Cft | `ncclInvalidUsage`; `ncclCommQueryProperties` says that there is no such support |
//! | encryption (`ncclSetEncryption` with a pre-shared key) | `ncclInvalidUsage`; no encryption can be asked for, and ranks prove to each other that they know the unique id in any case |
//! | network and tuner plugins, a `netName` but `Socket` and `IB` | `ncclInvalidUsage` |
//! | a forced `algSelection` of one call | `ncclInvalidArgument`; as a hint it is passed over |
//!
//! # Environment
//!
//! A `SERRIED_` variable wins over the `NCCL_` one of the same meaning; the [list of all](super::environment_variables) has both. `NCCL_CONF_FILE`, or
//! `~/.nccl.conf`, and `/etc/nccl.conf` set the same variables, a line `NAME=value` each, where the environment does not.
//!
//! | variable | here |
//! |---|---|
//! | `NCCL_DEBUG` | `VERSION`, `WARN`, `INFO`, `TRACE`, on the standard output, with NCCL's words: `Bootstrap : Using`, `NET/IB : Using`, `Channel 00/0 : 0[0] -> 1[0] via SHM`, `via NET/Socket/0`, `Algo RING`, `Init COMPLETE` |
//! | `NCCL_DEBUG_SUBSYS` | NCCL's words; unless set, all but `COLL` and `CALL` |
//! | `NCCL_DEBUG_FILE` | where the lines go from `WARN` on; `%h` and `%p` are the host's name and the process' number |
//! | `NCCL_SOCKET_IFNAME`, `NCCL_SOCKET_FAMILY` | as in NCCL |
//! | `NCCL_SOCKET_NTHREADS`, `NCCL_NSOCKS_PERTHREAD` | their product is the number of sockets per pair of ranks, 16 at most; a negative one is as unset |
//! | `NCCL_IB_HCA`, `NCCL_IB_GID_INDEX`, `NCCL_IB_ADDR_FAMILY`, `NCCL_IB_ADDR_RANGE`, `NCCL_IB_ROCE_VERSION_NUM` | as in NCCL |
//! | `NCCL_IB_TIMEOUT`, `NCCL_IB_RETRY_CNT`, `NCCL_IB_TC`, `NCCL_IB_SL`, `NCCL_IB_QPS_PER_CONNECTION` | as in NCCL; retries are 6 unless set. `NCCL_IB_TC` wins over the `trafficClass` of a communicator's settings |
//! | `NCCL_IB_DISABLE` | unless 0: no RDMA |
//! | `NCCL_NET` | `Socket`: no RDMA; `IB`: no TCP, so shared memory inside of hosts and RDMA between them, and `ncclInvalidUsage` on a rank whose RDMA does not work |
//! | `NCCL_SHM_DISABLE` | unless 0: no shared memory between ranks |
//! | `NCCL_ALGO` | the algorithms that may run, with `^` and by collective as there; names and entries that serried has nothing for are left out, and named in the warning |
//! | `NCCL_COMM_ID` | `address:port` at which rank 0 waits: then every rank makes the id by itself |
//! | `NCCL_PROTO`, `NCCL_BUFFSIZE`, `NCCL_MIN_NCHANNELS`, `NCCL_MAX_NCHANNELS`, `NCCL_TOPO_FILE`, `NCCL_TOPO_DUMP_FILE`, `NCCL_P2P_DISABLE`, `NCCL_CROSS_NIC`, and every other | no meaning |
//!
//! Numbers are decimal or, with `0x`, hexadecimal; where NCCL would take its default instead of what is no number, here that is an error.
//! What is set and has no meaning is named in one warning, by rank 0 of the first communicator. `ncclParamGet…` reads all variables that have one.
//!
//! # What it costs
//!
//! `ncclAllReduce` of 8 bytes takes longer than the Rust call by 37 ns on a communicator of one rank, and by as much on one of two ranks on cores of their own
//! (`cargo bench --bench overhead`, on two cores of a Xeon, Cascade Lake, 2.5 GHz). On an AMD EPYC (Zen 3) in a virtual machine, six runs: 3 to 20 ns with one rank; with two, 29 to 40 in
//! four of them, and 61 and 69 in two in which the Rust call took about twice as long as in the fastest, too, perhaps since the host ran both ranks on one core.
//!
//! # PyTorch
//!
//! A build of PyTorch with CUDA needs every symbol of NCCL when it is imported, and finds them: with 2.15.0 for CUDA 13.2 the command below succeeds, and all
//! 51 functions that `libtorch_cuda.so` takes from NCCL are bound to serried (`LD_DEBUG=bindings`). Its tensors on devices are refused, as above.
//!
//! ```text
//! LD_PRELOAD=PREFIX/lib/libnccl.so.2 python -c "import torch.distributed"
//! ```
