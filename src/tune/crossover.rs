//! Where one algorithm overtakes another, for links that were not measured. Sizes are where the curves crossed on 2 cores of an EPYC, ranks sharing them.

use super::{Allowed, Reach};
use crate::schedule::Algorithm;
use crate::types::CollectiveKind;

const KIB: usize = 1024;

/// The algorithm of `kind` for messages, or blocks, of about `bytes`: the usual one if it is allowed, otherwise the nearest that is.
pub(super) fn algorithm(kind: CollectiveKind, ranks: u32, reach: Reach, bytes: usize, allowed: &Allowed) -> Algorithm {
    let usual = usual(kind, ranks, reach, bytes);
    if allowed.allows(kind, usual) {
        return usual;
    }
    let order: &[_] = if matches!(reach, Reach::Room { .. }) { &super::IN_ROOM } else { order(kind) };
    let is_allowed = |one: &&Algorithm| allowed.allows(kind, **one);
    let nearest = if bytes > 32 * KIB { order.iter().rev().find(is_allowed) } else { order.iter().find(is_allowed) };
    *nearest.expect("at least one that serves is allowed")
}

/// From what waits least to what moves least.
fn order(kind: CollectiveKind) -> &'static [Algorithm] {
    use Algorithm::*;
    match kind {
        CollectiveKind::Reduce | CollectiveKind::Broadcast => {
            &[Binomial, Leaders, Direct, ScatterGather, Hierarchical, Chain]
        }
        CollectiveKind::ReduceScatter | CollectiveKind::AllGather => &[Nhr, Leaders, Direct, Hierarchical, Ring],
        CollectiveKind::Gather | CollectiveKind::Scatter => &[Binomial, Direct],
        CollectiveKind::AllToAll => &[Bruck, Direct],
        CollectiveKind::Barrier => &[Nhr, Leaders, Direct],
        CollectiveKind::AllReduce | CollectiveKind::Send | CollectiveKind::Connect => {
            &[Doubling, Leaders, Direct, Tree, Nhr, Halving, TwoShot, Hierarchical, Ring]
        }
    }
}

fn usual(kind: CollectiveKind, ranks: u32, reach: Reach, bytes: usize) -> Algorithm {
    let all = bytes.saturating_mul(ranks as usize);
    match (kind, reach) {
        (CollectiveKind::AllReduce | CollectiveKind::Connect | CollectiveKind::Send, _) => {
            all_reduce(ranks, reach, bytes)
        }
        // The room has one way for each.
        (_, Reach::Room { .. }) => Algorithm::Direct,
        (CollectiveKind::Reduce | CollectiveKind::Broadcast, _) if ranks <= 2 || bytes <= 32 * KIB => {
            Algorithm::Binomial
        }
        (CollectiveKind::Reduce | CollectiveKind::Broadcast, _) => Algorithm::Chain,
        (CollectiveKind::ReduceScatter | CollectiveKind::AllGather, _) if ranks <= 2 => Algorithm::Direct,
        (CollectiveKind::ReduceScatter | CollectiveKind::AllGather, _) if all <= 256 * KIB => Algorithm::Nhr,
        (CollectiveKind::ReduceScatter | CollectiveKind::AllGather, _) => Algorithm::Ring,
        (CollectiveKind::Gather | CollectiveKind::Scatter, _) if bytes <= 4 * KIB => Algorithm::Binomial,
        (CollectiveKind::Gather | CollectiveKind::Scatter, _) => Algorithm::Direct,
        (CollectiveKind::AllToAll, _) if ranks >= 8 && bytes <= 256 => Algorithm::Bruck,
        (CollectiveKind::AllToAll, _) => Algorithm::Direct,
        (CollectiveKind::Barrier, _) => Algorithm::Nhr,
    }
}

fn all_reduce(ranks: u32, reach: Reach, bytes: usize) -> Algorithm {
    match (reach, ranks) {
        // Direct moves n − 1 times the message to every rank but waits once where two-shot waits twice. So much read in all costs what
        // the second wait does: two ranks are level at 16 to 32 KiB, four (on two cores) at 8 to 16 KiB.
        (Reach::Room { .. }, _) if bytes.saturating_mul(ranks as usize) <= 32 * KIB => Algorithm::Direct,
        (Reach::Room { .. }, _) => Algorithm::TwoShot,
        (Reach::Links { .. }, 2) if bytes <= 16 * KIB => Algorithm::Direct,
        (Reach::Links { .. }, 2) => Algorithm::Ring,
        (Reach::Links { .. }, 3..) if bytes <= 8 * KIB => Algorithm::Doubling,
        (Reach::Links { .. }, 3..) if bytes <= 256 * KIB => Algorithm::Nhr,
        (Reach::Links { .. }, _) => Algorithm::Ring,
    }
}
