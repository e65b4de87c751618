//! Rooted collectives of large messages in two halves: what a root would have to send or take n − 1 times is spread over everybody.
//!
//! A broadcast is a scatter (down the binomial tree) and an all-gather (round the ring), after van de Geijn; a reduce is a reduce-scatter (round the ring) and
//! a gather (up the tree). Every rank sends about 2·S bytes, however many ranks there are.

use super::compose::Then;
use super::{binomial, ring};

/// The broadcast.
pub type Broadcast = Then<binomial::Scatter, ring::AllGather>;

/// The reduce.
pub type Reduce = Then<ring::ReduceScatter, binomial::Gather>;

/// The broadcast from `root`, of rank `rank` of `size`.
pub fn broadcast(root: u32, rank: u32, size: u32) -> Broadcast {
    Then::new(binomial::Scatter::new(root, rank, size), ring::AllGather::new(rank, size))
}

/// The reduce to `root`, of rank `rank` of `size`.
pub fn reduce(root: u32, rank: u32, size: u32) -> Reduce {
    Then::new(ring::ReduceScatter::new(rank, size), binomial::Gather::new(root, rank, size))
}
