//! Hierarchical collectives of small messages: one rank of each host, its leader, speaks for it, so that as few messages as can be wait for each other between hosts.
//!
//! ```text
//!   allreduce      up the binomial tree of each host, doubling between leaders, down the tree
//!   broadcast      down the binomial tree of leaders, then of each host
//!   reduce         up the trees of the hosts, then of the leaders
//!   all-gather     each rank's block to its leader, dissemination between leaders, all blocks down the tree of each host
//!   reduce-scatter the same backwards
//! ```
//!
//! A root leads its host, so what it says or hears takes no way round inside. Between K hosts an allreduce is ⌈log2 K⌉ messages deep, at most one more if K is
//! no power of two, and a broadcast or reduce ⌊log2 K⌋. A leader sends the whole message each time. Where ranks are numbered host by host, an
//! all-gather or a reduce-scatter is ⌈log2 K⌉ deep, too, and a leader sends the blocks of K − 1 hosts: see [`dissemination`].

use super::compose::{Then, Within, WithinBlocks};
use super::rails::{Between, Leader, Turns};
use super::{Schedule, binomial, dissemination, doubling, flat};
use crate::types::Grouping;

/// The allreduce.
pub type AllReduce<'g> = Then<
    Within<'g, binomial::Reduce>,
    Then<Between<Leader<'g>, doubling::AnyDoubling>, Within<'g, binomial::Broadcast>>,
>;

/// The broadcast.
pub type Broadcast<'g> = Then<Between<Leader<'g>, binomial::Broadcast>, Within<'g, binomial::Broadcast>>;

/// The reduce.
pub type Reduce<'g> = Then<Within<'g, binomial::Reduce>, Between<Leader<'g>, binomial::Reduce>>;

/// The all-gather.
pub type AllGather<'g> =
    Then<WithinBlocks<'g, flat::Rooted>, Then<dissemination::AllGather<'g>, Within<'g, binomial::Broadcast>>>;

/// The reduce-scatter.
pub type ReduceScatter<'g> =
    Then<Within<'g, binomial::Reduce>, Then<dissemination::ReduceScatter<'g>, WithinBlocks<'g, flat::Rooted>>>;

/// The allreduce of rank `rank`.
pub fn all_reduce(grouping: &Grouping, rank: u32) -> AllReduce<'_> {
    let place = Led::new(grouping, 0, rank);
    let between = place.between(doubling::all_reduce(place.host, grouping.hosts()));
    Then::new(place.inside(1, binomial::Reduce::new), Then::new(between, place.inside(1, binomial::Broadcast::new)))
}

/// The broadcast from `root`, of rank `rank`.
pub fn broadcast(grouping: &Grouping, root: u32, rank: u32) -> Broadcast<'_> {
    let place = Led::new(grouping, root, rank);
    let between = binomial::Broadcast::new(grouping.host_of(root), place.host, grouping.hosts());
    Then::new(place.between(between), place.inside(1, binomial::Broadcast::new))
}

/// The reduce to `root`, of rank `rank`.
pub fn reduce(grouping: &Grouping, root: u32, rank: u32) -> Reduce<'_> {
    let place = Led::new(grouping, root, rank);
    let between = binomial::Reduce::new(grouping.host_of(root), place.host, grouping.hosts());
    Then::new(place.inside(1, binomial::Reduce::new), place.between(between))
}

/// The all-gather of rank `rank`.
pub fn all_gather(grouping: &Grouping, rank: u32) -> AllGather<'_> {
    let place = Led::new(grouping, 0, rank);
    let all = place.inside(grouping.size(), binomial::Broadcast::new);
    Then::new(place.blocks(flat::Rooted::gather), Then::new(dissemination::AllGather::new(grouping, rank), all))
}

/// The reduce-scatter of rank `rank`.
pub fn reduce_scatter(grouping: &Grouping, rank: u32) -> ReduceScatter<'_> {
    let place = Led::new(grouping, 0, rank);
    let all = place.inside(grouping.size(), binomial::Reduce::new);
    Then::new(all, Then::new(dissemination::ReduceScatter::new(grouping, rank), place.blocks(flat::Rooted::scatter)))
}

/// A rank's place on its host, which has a leader.
struct Led<'g> {
    leader: Leader<'g>,
    host: u32,
    rank: u32,
}

impl<'g> Led<'g> {
    fn new(grouping: &'g Grouping, root: u32, rank: u32) -> Self {
        Self { leader: Leader { grouping, root }, host: grouping.host_of(rank), rank }
    }

    /// A schedule inside the host for the whole slice, which is so many chunks, made from the leader, the member and how many members.
    fn inside<S: Schedule>(&self, chunks: u32, schedule: impl FnOnce(u32, u32, u32) -> S) -> Within<'g, S> {
        // Where no host has anything to do inside, it is one chunk wide.
        let widest = if self.leader.grouping.largest() > 1 { chunks } else { 1 };
        Within::new(self.members(), chunks, widest, self.of_host(schedule))
    }

    /// The same for one block of each member.
    fn blocks<S: Schedule>(&self, schedule: impl FnOnce(u32, u32, u32) -> S) -> WithinBlocks<'g, S> {
        WithinBlocks::new(self.members(), self.leader.grouping.size(), self.of_host(schedule))
    }

    fn members(&self) -> &'g [u32] {
        self.leader.grouping.members(self.host)
    }

    fn of_host<S>(&self, schedule: impl FnOnce(u32, u32, u32) -> S) -> S {
        let grouping = self.leader.grouping;
        let (leader, member) = (grouping.place_of(self.leader.of(self.host)), grouping.place_of(self.rank));
        schedule(leader, member, self.members().len() as u32)
    }

    /// A schedule between leaders, of which the other ranks have no step.
    fn between<S: Schedule>(&self, inner: S) -> Between<Leader<'g>, S> {
        let leads = self.leader.of(self.host) == self.rank;
        Between::new(self.leader, 0..u32::from(leads), Turns::Program, inner)
    }
}
