//! Every collective by every algorithm that serves it, as one type.

use super::rails::Turns;
use super::{AllReduce, Schedule, Step};
use super::{binomial, bruck, chain, flat, hierarchy, leaders, nhr, ring, scatter_gather, two_shot};
use crate::types::{Algorithm, CollectiveKind, Grouping};

/// The program of one rank in one collective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the schedules'")]
pub enum Program<'g> {
    AllReduce(AllReduce),
    FlatRooted(flat::Rooted),
    FlatReduceScatter(two_shot::ReduceScatter),
    FlatAllGather(two_shot::AllGather),
    FlatAllToAll(flat::AllToAll),
    RingReduceScatter(ring::ReduceScatter),
    RingAllGather(ring::AllGather),
    NhrReduceScatter(nhr::ReduceScatter),
    NhrAllGather(nhr::AllGather),
    BinomialBroadcast(binomial::Broadcast),
    BinomialReduce(binomial::Reduce),
    BinomialGather(binomial::Gather),
    BinomialScatter(binomial::Scatter),
    ChainBroadcast(chain::Broadcast),
    ChainReduce(chain::Reduce),
    ScatterGatherBroadcast(scatter_gather::Broadcast),
    ScatterGatherReduce(scatter_gather::Reduce),
    BruckAllToAll(bruck::AllToAll),
    HierarchicalAllReduce(hierarchy::AllReduce<'g, nhr::Nhr>),
    HierarchicalBroadcast(hierarchy::Broadcast<'g, chain::Broadcast>),
    HierarchicalReduce(hierarchy::Reduce<'g, chain::Reduce>),
    HierarchicalReduceScatter(hierarchy::ReduceScatter<'g>),
    HierarchicalAllGather(hierarchy::AllGather<'g>),
    LeadersAllReduce(leaders::AllReduce<'g>),
    LeadersBroadcast(leaders::Broadcast<'g>),
    LeadersReduce(leaders::Reduce<'g>),
    LeadersReduceScatter(leaders::ReduceScatter<'g>),
    LeadersAllGather(leaders::AllGather<'g>),
}

impl<'g> Program<'g> {
    /// The program of rank `rank` of those of `grouping` for `kind` by `algorithm`, with this root if the kind has one; `None` if the algorithm does not
    /// [serve](Algorithm::serving) it. A barrier is an all-gather of no elements. Only `hierarchical` and `leaders` ask who shares a host.
    pub fn new(
        kind: CollectiveKind,
        root: u32,
        algorithm: Algorithm,
        rank: u32,
        grouping: &'g Grouping,
    ) -> Option<Self> {
        use Algorithm::{Binomial, Bruck, Chain, Direct, Hierarchical, Leaders, Nhr, Ring, ScatterGather};
        use CollectiveKind as Kind;
        let size = grouping.size();
        if matches!(algorithm, Hierarchical | Leaders) {
            return Self::over_hosts(kind, root, algorithm, rank, grouping);
        }
        Some(match (kind, algorithm) {
            (Kind::AllReduce, _) if AllReduce::ALGORITHMS.contains(&algorithm) => {
                Self::AllReduce(AllReduce::new(algorithm, rank, size))
            }
            (Kind::Broadcast, Direct) => Self::FlatRooted(flat::Rooted::broadcast(root, rank, size)),
            (Kind::Broadcast, Binomial) => Self::BinomialBroadcast(binomial::Broadcast::new(root, rank, size)),
            (Kind::Broadcast, Chain) => Self::ChainBroadcast(chain::Broadcast::new(root, rank, size)),
            (Kind::Broadcast, ScatterGather) => {
                Self::ScatterGatherBroadcast(scatter_gather::broadcast(root, rank, size))
            }
            (Kind::Reduce, Direct) => Self::FlatRooted(flat::Rooted::reduce(root, rank, size)),
            (Kind::Reduce, Binomial) => Self::BinomialReduce(binomial::Reduce::new(root, rank, size)),
            (Kind::Reduce, Chain) => Self::ChainReduce(chain::Reduce::new(root, rank, size)),
            (Kind::Reduce, ScatterGather) => Self::ScatterGatherReduce(scatter_gather::reduce(root, rank, size)),
            (Kind::Gather, Direct) => Self::FlatRooted(flat::Rooted::gather(root, rank, size)),
            (Kind::Gather, Binomial) => Self::BinomialGather(binomial::Gather::new(root, rank, size)),
            (Kind::Scatter, Direct) => Self::FlatRooted(flat::Rooted::scatter(root, rank, size)),
            (Kind::Scatter, Binomial) => Self::BinomialScatter(binomial::Scatter::new(root, rank, size)),
            (Kind::ReduceScatter, Direct) => Self::FlatReduceScatter(two_shot::ReduceScatter::new(rank, size)),
            (Kind::ReduceScatter, Ring) => Self::RingReduceScatter(ring::ReduceScatter::new(rank, size)),
            (Kind::ReduceScatter, Nhr) => Self::NhrReduceScatter(nhr::ReduceScatter::new(rank, size)),
            (Kind::AllGather | Kind::Barrier, Direct) => Self::FlatAllGather(two_shot::AllGather::new(rank, size)),
            (Kind::AllGather, Ring) => Self::RingAllGather(ring::AllGather::new(rank, size)),
            (Kind::AllGather | Kind::Barrier, Nhr) => Self::NhrAllGather(nhr::AllGather::new(rank, size)),
            (Kind::AllToAll, Direct) => Self::FlatAllToAll(flat::AllToAll::new(rank, size)),
            (Kind::AllToAll, Bruck) => Self::BruckAllToAll(bruck::AllToAll::new(rank, size)),
            _ => return None,
        })
    }

    /// The programs that know of hosts.
    fn over_hosts(
        kind: CollectiveKind,
        root: u32,
        algorithm: Algorithm,
        rank: u32,
        grouping: &'g Grouping,
    ) -> Option<Self> {
        use Algorithm::{Hierarchical, Leaders};
        use CollectiveKind as Kind;
        Some(match (kind, algorithm) {
            (Kind::AllReduce, Hierarchical) => {
                Self::HierarchicalAllReduce(hierarchy::all_reduce(grouping, rank, Turns::Exchange, nhr::all_reduce))
            }
            (Kind::Broadcast, Hierarchical) => {
                Self::HierarchicalBroadcast(hierarchy::broadcast(grouping, root, rank, chain::Broadcast::new))
            }
            (Kind::Reduce, Hierarchical) => {
                Self::HierarchicalReduce(hierarchy::reduce(grouping, root, rank, chain::Reduce::new))
            }
            (Kind::ReduceScatter, Hierarchical) => {
                Self::HierarchicalReduceScatter(hierarchy::reduce_scatter(grouping, rank))
            }
            (Kind::AllGather, Hierarchical) => Self::HierarchicalAllGather(hierarchy::all_gather(grouping, rank)),
            (Kind::AllReduce, Leaders) => Self::LeadersAllReduce(leaders::all_reduce(grouping, rank)),
            (Kind::Broadcast, Leaders) => Self::LeadersBroadcast(leaders::broadcast(grouping, root, rank)),
            (Kind::Reduce, Leaders) => Self::LeadersReduce(leaders::reduce(grouping, root, rank)),
            (Kind::ReduceScatter, Leaders) => Self::LeadersReduceScatter(leaders::reduce_scatter(grouping, rank)),
            (Kind::AllGather | Kind::Barrier, Leaders) => Self::LeadersAllGather(leaders::all_gather(grouping, rank)),
            _ => return None,
        })
    }
}

impl Algorithm {
    /// The algorithms that serve a collective.
    pub const fn serving(kind: CollectiveKind) -> &'static [Self] {
        match kind {
            CollectiveKind::AllReduce => &[
                Self::Direct,
                Self::TwoShot,
                Self::Ring,
                Self::Tree,
                Self::Doubling,
                Self::Halving,
                Self::Nhr,
                Self::Hierarchical,
                Self::Leaders,
            ],
            CollectiveKind::Broadcast | CollectiveKind::Reduce => {
                &[Self::Direct, Self::Binomial, Self::Chain, Self::ScatterGather, Self::Hierarchical, Self::Leaders]
            }
            CollectiveKind::ReduceScatter | CollectiveKind::AllGather => {
                &[Self::Direct, Self::Ring, Self::Nhr, Self::Hierarchical, Self::Leaders]
            }
            // What the root sends or takes is as much by any way, and so it is between any two hosts of an all-to-all.
            CollectiveKind::Gather | CollectiveKind::Scatter => &[Self::Direct, Self::Binomial],
            CollectiveKind::AllToAll => &[Self::Direct, Self::Bruck],
            CollectiveKind::Barrier => &[Self::Direct, Self::Nhr, Self::Leaders],
            CollectiveKind::Send | CollectiveKind::Connect => &[],
        }
    }
}

/// The same expression on whichever schedule it is.
macro_rules! each {
    ($self:ident, $schedule:ident => $value:expr) => {
        match $self {
            Self::AllReduce($schedule) => $value,
            Self::FlatRooted($schedule) => $value,
            Self::FlatReduceScatter($schedule) => $value,
            Self::FlatAllGather($schedule) => $value,
            Self::FlatAllToAll($schedule) => $value,
            Self::RingReduceScatter($schedule) => $value,
            Self::RingAllGather($schedule) => $value,
            Self::NhrReduceScatter($schedule) => $value,
            Self::NhrAllGather($schedule) => $value,
            Self::BinomialBroadcast($schedule) => $value,
            Self::BinomialReduce($schedule) => $value,
            Self::BinomialGather($schedule) => $value,
            Self::BinomialScatter($schedule) => $value,
            Self::ChainBroadcast($schedule) => $value,
            Self::ChainReduce($schedule) => $value,
            Self::ScatterGatherBroadcast($schedule) => $value,
            Self::ScatterGatherReduce($schedule) => $value,
            Self::BruckAllToAll($schedule) => $value,
            Self::HierarchicalAllReduce($schedule) => $value,
            Self::HierarchicalBroadcast($schedule) => $value,
            Self::HierarchicalReduce($schedule) => $value,
            Self::HierarchicalReduceScatter($schedule) => $value,
            Self::HierarchicalAllGather($schedule) => $value,
            Self::LeadersAllReduce($schedule) => $value,
            Self::LeadersBroadcast($schedule) => $value,
            Self::LeadersReduce($schedule) => $value,
            Self::LeadersReduceScatter($schedule) => $value,
            Self::LeadersAllGather($schedule) => $value,
        }
    };
}

impl Schedule for Program<'_> {
    #[inline]
    fn parts(&self) -> u32 {
        each!(self, schedule => schedule.parts())
    }

    #[inline]
    fn len(&self) -> u32 {
        each!(self, schedule => schedule.len())
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        each!(self, schedule => schedule.step(pc))
    }

    fn keeps_own(&self) -> bool {
        each!(self, schedule => schedule.keeps_own())
    }

    fn widest(&self) -> u32 {
        each!(self, schedule => schedule.widest())
    }

    fn credits(&self) -> u32 {
        each!(self, schedule => schedule.credits())
    }

    fn reduces(&self) -> bool {
        each!(self, schedule => schedule.reduces())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collective_is_served_by_what_serves_it_and_nothing_else() {
        for kind in CollectiveKind::ALL {
            for algorithm in Algorithm::ALL {
                let grouping = Grouping::new(&[0, 0, 1, 2, 2]);
                let program = Program::new(kind, 1, algorithm, 2, &grouping);
                assert_eq!(program.is_some(), Algorithm::serving(kind).contains(&algorithm), "{kind:?} by {algorithm}");
            }
        }
    }

    #[test]
    fn one_rank_alone_has_nothing_to_do() {
        for kind in CollectiveKind::ALL {
            for &algorithm in Algorithm::serving(kind) {
                let grouping = Grouping::one_host(1);
                let program = Program::new(kind, 0, algorithm, 0, &grouping).expect("it serves");
                assert!(program.is_empty() && !program.keeps_own() && !program.reduces(), "{kind:?} by {algorithm}");
                assert!(program.widest() >= 1 && program.parts() >= 1, "{kind:?} by {algorithm}");
            }
        }
    }

    #[test]
    fn a_program_is_a_few_words() {
        // Three phases of a hierarchy with their seams; all others are half of it.
        assert!(size_of::<Program<'_>>() <= 160, "{} bytes", size_of::<Program<'_>>());
    }
}
