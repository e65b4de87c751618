//! NHR, the non-uniform hierarchical ring: logarithmic steps and optimal bandwidth for *any* number of ranks.
//!
//! ```text
//!   reduce-scatter, round k = 0, 1, …:   r ──about n/2^(k+1) chunks──▶ r − 2^k
//!   all-gather:                          the same rounds in reverse, the other way
//! ```
//!
//! From Huawei's HCCL. In round k rank r gives away the sums that end at ranks d, d − 2^(k+1), d − 2·2^(k+1), …, where
//! d = r − 2^k, as far as they go round the circle; what ends at r itself stays. Half of everything goes to the nearest
//! neighbour, and the farther a message goes the less it carries.
//!
//! A rank sends 2·⌈log2 n⌉ messages, one after the other, and 2(n−1)/n·S bytes; it reduces (n−1)/n·S bytes.

use super::compose::Then;
use super::{Chunks, Schedule, Step, ahead, behind};

/// The NHR allreduce.
pub type Nhr = Then<ReduceScatter, AllGather>;

/// The allreduce of rank `rank` of `size`.
pub fn all_reduce(rank: u32, size: u32) -> Nhr {
    Then::new(ReduceScatter::new(rank, size), AllGather::new(rank, size))
}

/// Sums move toward the rank that they end at, the nearest half first; chunk r ends at rank r.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReduceScatter(Circle);

/// The reduce-scatter's rounds in reverse: what came together now spreads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllGather(Circle);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Circle {
    rank: u32,
    size: u32,
    rounds: u32,
}

impl Circle {
    fn new(rank: u32, size: u32) -> Self {
        Self { rank, size, rounds: size.next_power_of_two().trailing_zeros() }
    }

    /// The chunks whose way leads, in round `k`, into `rank`: its own, and every 2^(k+1)-th before it.
    #[inline]
    fn chunks_into(&self, rank: u32, k: u32) -> Chunks {
        let count = (u64::from(self.size) - 1 + (1 << k)) >> (k + 1);
        // In the last round, when twice the distance is a whole circle or more, one chunk is left and the stride means
        // nothing.
        let stride = u64::from(self.size).saturating_sub(2 << k);
        Chunks::strided(rank, stride as u32, count as u32)
    }

    /// The rank 2^k before this one, where the reduce-scatter's round `k` leads.
    #[inline]
    fn behind(&self, k: u32) -> u32 {
        behind(self.rank, 1 << k, self.size)
    }

    /// The rank 2^k after this one.
    #[inline]
    fn ahead(&self, k: u32) -> u32 {
        ahead(self.rank, 1 << k, self.size)
    }

    fn widest(&self) -> u32 {
        (self.size / 2).max(1)
    }
}

impl ReduceScatter {
    /// Rank `rank` of `size`.
    pub fn new(rank: u32, size: u32) -> Self {
        Self(Circle::new(rank, size))
    }
}

impl Schedule for ReduceScatter {
    #[inline]
    fn parts(&self) -> u32 {
        self.0.size
    }

    #[inline]
    fn len(&self) -> u32 {
        2 * self.0.rounds
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let k = pc / 2;
        if pc.is_multiple_of(2) {
            let to = self.0.behind(k);
            return Step::Send { to, chunks: self.0.chunks_into(to, k) };
        }
        let complete = k + 1 == self.0.rounds;
        Step::RecvReduce { from: self.0.ahead(k), chunks: self.0.chunks_into(self.0.rank, k), complete }
    }

    fn widest(&self) -> u32 {
        self.0.widest()
    }

    fn reduces(&self) -> bool {
        self.0.size > 1
    }
}

impl AllGather {
    /// Rank `rank` of `size`.
    pub fn new(rank: u32, size: u32) -> Self {
        Self(Circle::new(rank, size))
    }
}

impl Schedule for AllGather {
    #[inline]
    fn parts(&self) -> u32 {
        self.0.size
    }

    #[inline]
    fn len(&self) -> u32 {
        2 * self.0.rounds
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let k = self.0.rounds - 1 - pc / 2;
        if pc.is_multiple_of(2) {
            return Step::Send { to: self.0.ahead(k), chunks: self.0.chunks_into(self.0.rank, k) };
        }
        let from = self.0.behind(k);
        Step::Recv { from, chunks: self.0.chunks_into(from, k) }
    }

    fn widest(&self) -> u32 {
        self.0.widest()
    }

    fn reduces(&self) -> bool {
        false
    }
}
