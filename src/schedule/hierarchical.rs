//! Hierarchical allreduce: reduce-scatter inside each host, allreduce of each shard between hosts, all-gather inside
//! each host.
//!
//! ```text
//!   host 0: ranks 0 1 2        rank 0 ⇄ 3: shard 0
//!   host 1: ranks 3 4 5        rank 1 ⇄ 4: shard 1      each on a rail of its own
//!                              rank 2 ⇄ 5: shard 2
//! ```
//!
//! For links between hosts that are slower than those inside: with m ranks on each of N hosts, a host sends 2(N−1)/N·S
//! where a flat schedule sends as much through one rank, and each of its m ranks carries one m-th of it. Slices overlap
//! the phases: one is between hosts while the next is inside.
//!
//! Only the composition is here; the three schedules are the caller's choice.

use super::compose::{Group, Then, Within};
use super::{Place, Scatter, Schedule};

/// A hierarchical allreduce made of a reduce-scatter, an allreduce and an all-gather.
pub type Hierarchical<R, A, G> = Then<Within<R>, Then<Within<A>, Within<G>>>;

/// Ranks on hosts, as many on each, numbered host by host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// How many hosts.
    pub hosts: u32,
    /// How many ranks on each.
    pub ranks_per_host: u32,
}

impl Hosts {
    /// How many ranks in all.
    pub const fn size(&self) -> u32 {
        self.hosts * self.ranks_per_host
    }
}

/// The allreduce of rank `rank`. Each of the three makes a rank's program from its number and how many take part:
/// `scatter` and `gather` inside a host, `between` between hosts. The latter works on what the reduce-scatter left, so
/// it must not keep its own input.
///
/// # Panics
///
/// If `between` keeps its own input, or if `scatter` and `gather` cut a slice differently.
pub fn all_reduce<R: Scatter, A: Schedule, G: Schedule>(
    hosts: Hosts,
    rank: u32,
    scatter: impl FnOnce(u32, u32) -> R,
    between: impl FnOnce(u32, u32) -> A,
    gather: impl FnOnce(u32, u32) -> G,
) -> Hierarchical<R, A, G> {
    let Hosts { hosts, ranks_per_host } = hosts;
    let (host, local) = (rank / ranks_per_host, rank % ranks_per_host);
    let inside = Group { base: host * ranks_per_host, stride: 1 };
    let across = Group { base: local, stride: ranks_per_host };

    let (scatter, gather) = (scatter(local, ranks_per_host), gather(local, ranks_per_host));
    let between = between(host, hosts);
    assert!(!between.keeps_own() || scatter.is_empty(), "a schedule between hosts works on sums, not on its own input");

    let grain = between.parts();
    let whole = Place { offset: 0, grain, parts: grain * scatter.parts() };
    let scatter = Within::new(inside, whole, scatter);
    let between = Within::new(across, scatter.shard(grain), between);
    Then::new(scatter, Then::new(between, Within::new(inside, whole, gather)))
}
