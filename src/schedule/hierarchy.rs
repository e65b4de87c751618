//! Hierarchical collectives of large messages: what can be done inside hosts is, and between hosts every rank carries its share.
//!
//! ```text
//!   allreduce      reduce-scatter in the hosts, allreduce of each shard between hosts, all-gather in the hosts
//!   broadcast      scatter in the root's host, each shard along a chain of hosts, all-gather in the hosts
//!   reduce         reduce-scatter in the hosts, each shard along a chain of hosts, gather in the root's host
//!   all-gather     each rail's pieces round the hosts, then all pieces round the ranks of each host
//!   reduce-scatter the same backwards
//! ```
//!
//! For links between hosts that are slower than those inside. Slices overlap the phases: one is between hosts while the next is inside.
//!
//! # Hosts of different sizes
//!
//! A message is cut into shards, each host's ranks share all of them out among themselves, and a shard's rail is its owner on every host. So what goes on between hosts
//! does not know how many ranks a host has, and each host sends and receives just as much.
//!
//! ```text
//!   shards          0   1   2   3
//!   host of 2       0   0   1   1      two rails each
//!   host of 3       2   2   3   4
//! ```
//!
//! With s ranks on the smallest host there are c·s shards. Each of its ranks has c of them, 1/s of the message, and no rank of another host has more: of m ≥ s ranks
//! none has more than ⌈c·s/m⌉ ≤ c. If one had less, that would not speed up the smallest host, which carries as much as any other. So c may be anything,
//! and needs no common multiple of all sizes: it is the least that gives every rank of the largest host a shard, for the sake of the work inside.
//!
//! Blocks take the same shares, of rails instead of shards: [`blocks`].
//!
//! # Costs between hosts
//!
//! Of K hosts and a message of S bytes:
//!
//! | | bytes that a host sends | of them one rank at most | chain |
//! |---|---|---|---|
//! | allreduce | 2(K−1)/K·S | 1/s | 2·⌈log2 K⌉ rounds |
//! | broadcast, reduce | S or nothing | 1/s | K−1 |
//! | all-gather | all blocks but the next host's | about 1/s | K−1 |
//! | reduce-scatter | all blocks but its own | about 1/s | K−1 |
//!
//! An allreduce goes by [`nhr`](super::nhr) between hosts ([`Program`](super::Program)), whose fewer rounds are free here: it sends as much as a ring, and its
//! widest message is no wider than those inside. A broadcast and a reduce go along a [`chain`](super::chain), all of whose links carry something at every moment when
//! there are many slices. All-gathers go by [`ring`], one piece a message: the blocks of several hosts have no simple pattern.
//!
//! # More levels
//!
//! What goes on between hosts is an allreduce, a broadcast or a reduce among them, so it may itself be a hierarchy: of racks of hosts, for instance. [`all_reduce`],
//! [`broadcast`] and [`reduce`] take any schedule there.

use super::blocks::{self, Blocks};
use super::compose::{Then, Within};
use super::rails::{Between, Shards, Turns};
use super::{Schedule, ring, shards};
use crate::types::Grouping;

/// The most shards of one rank. On a host more than so many times as large as the smallest some ranks have none; those that have still carry far less
/// than the ranks of the smallest, and the slice is not cut without end.
const SHARDS_MOST: u32 = 8;

/// The allreduce, by `A` between hosts.
pub type AllReduce<'g, A> =
    Then<Within<'g, shards::ReduceScatter>, Then<Between<Shards<'g>, A>, Within<'g, shards::AllGather>>>;

/// The broadcast, by `B` between hosts.
pub type Broadcast<'g, B> =
    Then<Within<'g, shards::Scatter>, Then<Between<Shards<'g>, B>, Within<'g, shards::AllGather>>>;

/// The reduce, by `R` between hosts.
pub type Reduce<'g, R> =
    Then<Within<'g, shards::ReduceScatter>, Then<Between<Shards<'g>, R>, Within<'g, shards::Gather>>>;

/// The all-gather.
pub type AllGather<'g> = Then<Between<Blocks<'g>, ring::AllGather>, blocks::AllGather<'g>>;

/// The reduce-scatter.
pub type ReduceScatter<'g> = Then<blocks::ReduceScatter<'g>, Between<Blocks<'g>, ring::ReduceScatter>>;

/// The allreduce of rank `rank`. `between` makes the program of one host in an allreduce among hosts, from its number and how many there are; rails may
/// take `turns` so.
///
/// # Panics
///
/// If `between` keeps its own input: it works on what the ranks of a host have summed.
pub fn all_reduce<'g, A: Schedule>(
    grouping: &'g Grouping,
    rank: u32,
    turns: Turns,
    between: impl FnOnce(u32, u32) -> A,
) -> AllReduce<'g, A> {
    let place = Shared::new(grouping, rank);
    let between = between(place.host, grouping.hosts());
    let grain = between.parts();
    let (scatter, gather) =
        (place.inside(grain, shards::ReduceScatter::new), place.inside(grain, shards::AllGather::new));
    Then::new(scatter, Then::new(place.between(turns, between), gather))
}

/// The broadcast from `root`, of rank `rank`. `between` makes the program of one host in a broadcast among hosts, from the root's, its own and how many there are.
pub fn broadcast<'g, B: Schedule>(
    grouping: &'g Grouping,
    root: u32,
    rank: u32,
    between: impl FnOnce(u32, u32, u32) -> B,
) -> Broadcast<'g, B> {
    let place = Shared::new(grouping, rank);
    let between = between(grouping.host_of(root), place.host, grouping.hosts());
    let (grain, here) = (between.parts(), place.here(root));
    let scatter = place.inside(grain, |member, members, parts| shards::Scatter::new(here, member, members, parts));
    Then::new(scatter, Then::new(place.between(Turns::Program, between), place.inside(grain, shards::AllGather::new)))
}

/// The reduce to `root`, of rank `rank`; `between` is as in the [broadcast].
///
/// # Panics
///
/// If `between` keeps its own input: it works on what the ranks of a host have summed.
pub fn reduce<'g, R: Schedule>(
    grouping: &'g Grouping,
    root: u32,
    rank: u32,
    between: impl FnOnce(u32, u32, u32) -> R,
) -> Reduce<'g, R> {
    let place = Shared::new(grouping, rank);
    let between = between(grouping.host_of(root), place.host, grouping.hosts());
    let (grain, here) = (between.parts(), place.here(root));
    let gather = place.inside(grain, |member, members, parts| shards::Gather::new(here, member, members, parts));
    let scatter = place.inside(grain, shards::ReduceScatter::new);
    Then::new(scatter, Then::new(place.between(Turns::Program, between), gather))
}

/// The all-gather of rank `rank`.
pub fn all_gather(grouping: &Grouping, rank: u32) -> AllGather<'_> {
    let blocks = Blocks::new(grouping);
    let host = grouping.host_of(rank);
    let own = blocks.shares(host).of(grouping.place_of(rank));
    let between = ring::AllGather::new(host, grouping.hosts());
    Then::new(Between::new(blocks, own, Turns::Exchange, between), blocks::AllGather::new(blocks, rank))
}

/// The reduce-scatter of rank `rank`.
pub fn reduce_scatter(grouping: &Grouping, rank: u32) -> ReduceScatter<'_> {
    let blocks = Blocks::new(grouping);
    let host = grouping.host_of(rank);
    let own = blocks.shares(host).of(grouping.place_of(rank));
    let between = ring::ReduceScatter::new(host, grouping.hosts());
    Then::new(blocks::ReduceScatter::new(blocks, rank), Between::new(blocks, own, Turns::Exchange, between))
}

/// A rank's place among those that share the shards of a message.
#[derive(Clone, Copy)]
struct Shared<'g> {
    rails: Shards<'g>,
    host: u32,
    member: u32,
    /// The most shards that a rank has which shares its host, if there is one.
    most: Option<u32>,
}

impl<'g> Shared<'g> {
    fn new(grouping: &'g Grouping, rank: u32) -> Self {
        let smallest = grouping.smallest();
        let shards = smallest * grouping.largest().div_ceil(smallest).min(SHARDS_MOST);
        Self {
            rails: Shards { grouping, shards },
            host: grouping.host_of(rank),
            member: grouping.place_of(rank),
            most: grouping.smallest_shared().map(|size| shards.div_ceil(size)),
        }
    }

    /// The number of `root` among the members of this host, if it is one.
    fn here(&self, root: u32) -> Option<u32> {
        let grouping = self.rails.grouping;
        (grouping.host_of(root) == self.host).then(|| grouping.place_of(root))
    }

    /// A schedule inside the host, made from the member, how many members, and how many shards; a shard is `grain` chunks.
    fn inside<S: Schedule>(&self, grain: u32, schedule: impl FnOnce(u32, u32, u32) -> S) -> Within<'g, S> {
        let members = self.rails.grouping.members(self.host);
        let shards = self.rails.shards;
        // Where nothing moves, it is one chunk wide.
        let widest = self.most.map_or(1, |most| most * grain);
        Within::new(members, grain, widest, schedule(self.member, members.len() as u32, shards))
    }

    fn between<S: Schedule>(&self, turns: Turns, inner: S) -> Between<Shards<'g>, S> {
        Between::new(self.rails, self.rails.shares(self.host).of(self.member), turns, inner)
    }
}
