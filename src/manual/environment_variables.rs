//! Environment variables: every one that serried reads, and who wins when several speak.
//!
//! What a program sets in code wins over the environment; a `SERRIED_` variable wins over the `NCCL_` one of the same meaning, which is
//! read so that a job's existing settings go on working. An empty variable counts as unset. A value that cannot be understood is an
//! error ([`Error::Setting`](crate::Error::Setting)) that names the variable, and never silently a default.
//!
//! # Who am I
//!
//! | variable | value |
//! |---|---|
//! | `SERRIED_RANK`, `SERRIED_SIZE` | this process' rank and the number of ranks |
//! | `SERRIED_LOCAL_RANK` | this process' number among the ranks of its host; only told to the program |
//! | `SERRIED_ID` | the unique id in its text form: where to meet, and the secret. Treat it like a password |
//! | `SERRIED_ROOT` | `host:port` of the rendezvous, if there is no unique id |
//! | `SERRIED_SECRET` | the secret that goes with `SERRIED_ROOT` or with a launcher's address |
//!
//! Without these, the launcher's own are read: `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR` and `MASTER_PORT` (torchrun); `OMPI_COMM_WORLD_RANK`,
//! `OMPI_COMM_WORLD_SIZE` and `OMPI_COMM_WORLD_LOCAL_RANK` (Open MPI); `PMI_RANK`, `PMI_SIZE` and `MPI_LOCALRANKID` (MPICH, Intel MPI);
//! `SLURM_PROCID`, `SLURM_NTASKS`, `SLURM_LOCALID` and what names the job (Slurm). A launcher's job has no secret of its own: unless
//! `SERRIED_SECRET` is set, its identifiers stand in for one, which keeps other jobs out but not somebody who means harm.
//!
//! # Network
//!
//! | variable | value |
//! |---|---|
//! | `SERRIED_SOCKET_IFNAME`, `NCCL_SOCKET_IFNAME` | interfaces to use: prefixes by comma; `^` in front excludes them, `=` takes them as whole names |
//! | `SERRIED_SOCKET_FAMILY`, `NCCL_SOCKET_FAMILY` | `AF_INET` or `AF_INET6` |
//! | `SERRIED_PORT_RANGE` | `lo-hi`: the ports that listeners may take |
//!
//! # RDMA
//!
//! Each has an `NCCL_` twin of the same meaning.
//!
//! | variable | value |
//! |---|---|
//! | `SERRIED_IB_HCA`, `NCCL_IB_HCA` | devices to use, as in `mlx5_0:1,mlx5_2`: prefixes by comma, each with a port if it has one, in order of preference; `^` in front excludes them, `=` takes them as whole names |
//! | `SERRIED_IB_GID_INDEX`, `NCCL_IB_GID_INDEX` | the address's place in the port's table; -1, as unset, chooses: RoCE v2, routable before link-local, version 4 before 6 |
//! | `SERRIED_IB_ROCE_VERSION_NUM`, `NCCL_IB_ROCE_VERSION_NUM` | `1` or `2`: which RoCE the address must be of; 2 unless set |
//! | `SERRIED_IB_ADDR_FAMILY`, `NCCL_IB_ADDR_FAMILY` | `AF_INET` or `AF_INET6`: what the address must be |
//! | `SERRIED_IB_ADDR_RANGE`, `NCCL_IB_ADDR_RANGE` | the network that the address must be in, as in `10.0.0.0/8` |
//! | `SERRIED_IB_TC`, `NCCL_IB_TC` | traffic class, 0 to 255: of RoCE v2, DSCP × 4 + ECN |
//! | `SERRIED_IB_SL`, `NCCL_IB_SL` | service level, 0 to 15 |
//! | `SERRIED_IB_TIMEOUT`, `NCCL_IB_TIMEOUT` | wait for an acknowledgement 4.096 µs × 2^this, 1 to 31; 20 unless set |
//! | `SERRIED_IB_RETRY_CNT`, `NCCL_IB_RETRY_CNT` | how often to try again, 0 to 7; 6 unless set. At 7 some devices (rxe) never give up, and a lost link shows only where the control plane loses the peer, too |
//! | `SERRIED_IB_QPS_PER_CONNECTION`, `NCCL_IB_QPS_PER_CONNECTION` | queue pairs per connection, 1 to 16 (NCCL takes up to 128); 1 unless set |
//!
//! # Time limits, in seconds
//!
//! | variable | what it limits |
//! |---|---|
//! | `SERRIED_INIT_TIMEOUT` | joining, until all ranks have come |
//! | `SERRIED_CONNECT_TIMEOUT` | connecting links, and exchanges between ranks outside of calls; unless set, as `SERRIED_INIT_TIMEOUT` |
//! | `SERRIED_SILENCE` | how long nothing may be heard from a rank before it counts as lost |
//! | `SERRIED_TIMEOUT` | one operation, although all ranks live |
//!
//! # Choice
//!
//! | variable | value |
//! |---|---|
//! | `SERRIED_TRANSPORT` | `auto`, `shm`, `tcp`, `verbs`, or `shm+verbs`, which is `auto` without TCP |
//! | `SERRIED_ALGO` | the algorithms that may run, by [name](super::choosing_an_algorithm): `auto`, `ring`, `ring,tree`, `^tree`, or for each collective its own, `allreduce:ring;broadcast:^chain`; the same on all ranks |
//! | `SERRIED_PROBE` | `auto` measures the network unless rank 0 finds on its disk what was measured lately, `anew` measures it, `off` does not; the same on all ranks |
//! | `SERRIED_PROBE_AGE` | how long what was measured serves, in seconds; a day unless set |
//! | `SERRIED_PROBE_DIR` | where rank 0 keeps it; unless set, `serried` in the user's cache directory (`XDG_CACHE_HOME`, or `.cache` in `HOME`) |
//! | `SERRIED_SOCKETS` | TCP sockets per pair of ranks; unset is one for each interface, of those as fast as the fastest. One fills most links, a network that spreads load by connection wants several |
//! | `SERRIED_HOST_ID` | the host that this rank claims to be on, so that one machine can play several |
//!
//! # Programs written to NCCL's interface
//!
//! Read by `libnccl.so.2` alone; what each does there is in [From NCCL to serried](super::from_nccl_to_serried).
//!
//! | variable | value |
//! |---|---|
//! | `NCCL_ALGO` | as `SERRIED_ALGO`; names and entries that serried has nothing for are left out |
//! | `NCCL_SOCKET_NTHREADS`, `NCCL_NSOCKS_PERTHREAD` | numbers, whose product is that of sockets per pair of ranks |
//! | `NCCL_SHM_DISABLE`, `NCCL_IB_DISABLE` | a number; unless it is 0: no shared memory between ranks, no RDMA |
//! | `NCCL_NET` | `Socket` or `IB` |
//! | `NCCL_COMM_ID` | `address:port` at which rank 0 waits |
//! | `NCCL_CONF_FILE` | a file of such variables, in place of `~/.nccl.conf` |
//! | `NCCL_DEBUG_SUBSYS`, `NCCL_DEBUG_FILE` | of what `NCCL_DEBUG` is to speak, and where to |
//!
//! # Programs
//!
//! | variable | value |
//! |---|---|
//! | `SERRIED_LOG`, `NCCL_DEBUG` | what the `serried` program logs: a filter of `tracing-subscriber`, or NCCL's `WARN`, `INFO`, `TRACE`; `libnccl.so.2` reads `NCCL_DEBUG`, as NCCL does |
//! | `NCCL_TESTS_MIN_BW` | `serried perf` fails if the average bus bandwidth is below 0.9 of it, in GB/s |
