//! RDMA over Converged Ethernet (RoCE): which device, address and traffic class serried takes, what the network must do, what limits there
//! are, and what each error means.
//!
//! # In short
//!
//! Nothing has to be set where a host has one active RoCE port with an address that the other hosts reach. Two ranks that share no memory try RDMA
//! first: they exchange addresses, connect, and each writes something into the other's memory. If that works they use it; if not they take TCP, and say why
//! at the warning level. `SERRIED_TRANSPORT=verbs` makes a pair that cannot use RDMA an error instead, and
//! `shm+verbs` does so for pairs that share no memory.
//!
//! Ask before the job does:
//!
//! ```text
//! serried probe                                  this host: devices, ports, addresses, limits, and what pairs of ranks would use
//! mpirun -n 16 -H a:8,b:8 serried probe          a job: what each pair really uses, and why nothing better
//! serried probe --ranks 2 --transport verbs      whether two ranks of this host can use RDMA, and if not, why
//! ```
//!
//! Nothing is needed to build; at run time `libibverbs.so.1` and the device's provider library (Debian: `libibverbs1`, `ibverbs-providers`).
//!
//! # Device and port
//!
//! Every active port counts unless `SERRIED_IB_HCA` (or `NCCL_IB_HCA`, as with every variable below) says otherwise. The ranks of a host spread over those
//! ports that are as fast as the first: rank `i` of the host takes port `i` modulo their number. The order of preference is that of the variable, then speed.
//!
//! | value | takes |
//! |---|---|
//! | `mlx5_0:1,mlx5_2` | port 1 of devices whose name begins with `mlx5_0`, then every port of `mlx5_2…` |
//! | `=mlx5_1` | exactly `mlx5_1`, and not `mlx5_10` |
//! | `^mlx5_bond` | all but those |
//!
//! `SERRIED_IB_QPS_PER_CONNECTION` gives a pair of ranks more queue pairs (1 to 16). Networks that spread load by connection (ECMP) want 2 to 4.
//! A pair's pieces go to whichever queue pair has the least to do.
//!
//! # Address: the GID
//!
//! A port has a table of addresses, the GIDs, one for each address of its network interface and RoCE version. RoCE v2 travels in UDP and is routed; v1 stays in one
//! Ethernet segment. Among v2 GIDs (`SERRIED_IB_ROCE_VERSION_NUM`) serried takes the one that leads farthest, a routable one before a link-local
//! one, IPv4 before IPv6. `SERRIED_IB_ADDR_FAMILY` and `SERRIED_IB_ADDR_RANGE=10.0.0.0/8` narrow that down; `SERRIED_IB_GID_INDEX=3` points at one
//! and ends the choice. Prefer the range to the index: indices change with the order in which addresses are added, and may differ from host to host.
//!
//! When a device says that its table has changed, serried looks whether its address is still at its place. One that stays away for 5 s ends the links, with
//! an error that says what is there instead; a communicator made afterwards chooses anew.
//!
//! # Traffic class, PFC and ECN
//!
//! RoCE was made for a network that drops nothing. Priority flow control (PFC) makes Ethernet such a one: a switch whose buffer for one of eight priorities fills up
//! tells its neighbour to pause that priority. It must be on for the same priority on every port of the way, hosts included, and packets must carry the mark
//! that sorts them into it. A pause spreads backwards, and where ways form a circle it can lock the network up, so PFC is a safety net for short bursts and not a means against
//! constant congestion. Watch `rx_prio*_pause` and `tx_prio*_pause` (`ethtool -S`): counts that grow all the time mean that something else is wrong.
//!
//! Explicit congestion notification (ECN) keeps queues short before anybody must pause: a switch marks packets when its queue is longer than a threshold, the receiving card
//! reports the mark, and the sending card slows that flow down (DCQCN). It needs thresholds on the switches that are reached before PFC's, and the reaction points
//! switched on at the cards (`/sys/class/net/*/ecn/` on Mellanox). Both sort by the traffic class in the packets, which `SERRIED_IB_TC` sets: DSCP × 4 + ECN
//! bits, so DSCP 26 with ECN 2 is 106. `SERRIED_IB_SL` sets the service level, the priority of untagged schemes and of InfiniBand. Ask who runs the switches which class is
//! lossless; with the wrong one everything works until the network is full, and then throughput falls to a fraction while cards send again what was dropped.
//!
//! # What is sent again, and when a link is lost
//!
//! A packet that is not acknowledged is sent again after 4.096 µs × 2^`SERRIED_IB_TIMEOUT` (20: 4 s), `SERRIED_IB_RETRY_CNT` times (6). So a card alone takes half a minute
//! to notice that a peer has gone. serried does not wait for that: the control plane names a dead process within a second, and a port that has had no link for 5 s ends its links.
//! On a lossy network a shorter timeout (14: 67 ms) recovers sooner.
//!
//! # Limits
//!
//! * **Locked memory.** The memory of a link, 2 MiB, and every [`Memory`](crate::Memory) or [`Registered`](crate::Registered) buffer that is sent without a copy stay locked. A
//!   process without `CAP_IPC_LOCK` may lock as much as `ulimit -l` says, often 8 MiB or 64 KiB: raise it with `ulimit -l unlimited`, systemd's `LimitMEMLOCK=infinity`,
//!   `docker run --ulimit memlock=-1`, or in Slurm `PropagateResourceLimitsExcept=MEMLOCK` with the daemon's own limit raised. `serried probe` prints the limit.
//! * **Links.** Ranks connect when an algorithm needs it: two links a rank for a ring, ⌈log2 n⌉ for most others, n − 1 for `direct` and `twoshot`.
//! * **Without a copy.** A payload of 16 KiB and more that lies in one listed buffer and is offered whole is read by the card where it lies. Smaller ones are copied, as that is
//!   faster than waiting for the card. The receiver copies from its slot, or reduces from there. A buffer that was dropped stays locked until the next call notices.
//!
//! # Containers
//!
//! A container needs the device files (`--device=/dev/infiniband`), the limit (`--ulimit memlock=-1`) or `--cap-add=IPC_LOCK`, and `libibverbs` with its provider inside. GIDs belong
//! to network namespaces: with host networking the container sees the host's; with a macvlan or SR-IOV interface of its own those of that interface, if the RDMA device is in
//! the namespace too (`rdma dev set … netns …` in exclusive mode) or the host's system is shared (`rdma system show`). With a plain bridge (docker's default) a port has no GID that fits, and
//! ranks take TCP.
//!
//! # What the errors mean
//!
//! | text | meaning, and what to do |
//! |---|---|
//! | `libibverbs.so.1 cannot be opened` | the library is not installed, or not in the container |
//! | `libibverbs finds no RDMA in this kernel` | the kernel has no `ib_uverbs`, or `/dev/infiniband` is not there |
//! | `there is no RDMA device` | no driver has found one: `ibv_devices`, `rdma link` |
//! | `the setting of devices (SERRIED_IB_HCA, NCCL_IB_HCA) leaves it out` | the variable does not name this device |
//! | `the port is down` | no cable, no partner, or the interface is not up |
//! | `the port has no GID` | the port's network interface has no address |
//! | `no GID fits (…)` | each address with the reason against it: another version, family or network than asked for |
//! | `there is no GID at index …` | the variable points at nothing; what is there follows |
//! | `the port has no LID` | InfiniBand: no subnet manager has set the port up |
//! | `cannot register … bytes: this process may lock … bytes` | the limit on locked memory, above |
//! | `ibv_modify_qp to RTR: …` | the kernel does not know the way to the peer's address: no route, or no answer to ARP |
//! | `nothing came through within …` | both ends are connected, but packets do not arrive: another network, a firewall for UDP port 4791, a VLAN, packets larger than a switch takes |
//! | `… differ: … here, … there` | two ranks run different versions of serried, or were given different numbers of queue pairs |
//! | `an RDMA write failed: transport retry counter exceeded` | the peer's card did not answer: the network on the way, or its process died; the control plane usually says which |
//! | `… RNR retry counter exceeded` | the peer had nothing to receive into, which the protocol rules out: report it |
//! | `… remote access error` | the peer's memory is gone or was never this link's: its process is ending, or it is another job's: report it if neither |
//! | `… Work Request Flushed Error` | a consequence: the queue pair broke before; the error before it says why |
//! | `has had no link for … s (port error)` | the cable or the switch port, for more than 5 s |
//! | `its address … at index … has changed to …` | the interface's address was taken away while the job ran |
//! | `…: local catastrophic error` | the device broke, or was taken away: see the kernel's log |
//!
//! # Without the hardware
//!
//! Linux' software RoCE runs on any interface: `rdma link add rxe0 type rxe netdev eth0`. It behaves as a card does but for speed, and knows only the first
//! network namespace. `tools/softroce/run` in serried's repository boots an emulated machine with such devices, without root.
