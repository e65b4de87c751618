//! Two-shot: each rank reduces one chunk of everybody's and hands the result to everybody. Two messages deep.
//!
//! ```text
//!   chunk j:   every r ──xr[j]──▶ j      j: ((x0 ⊕ x1) ⊕ x2) ⊕ …      j ──result──▶ every r
//! ```
//!
//! The flat reduce-scatter and all-gather, for ranks that all reach each other equally fast. Chunk j is reduced in the
//! order of ranks, so its result is, to the bit, what [`super::direct`] computes.
//!
//! A rank sends 2(n−1) messages and 2(n−1)/n·S bytes, and reduces (n−1)/n·S bytes.

use super::compose::Then;
use super::direct::RankOrder;
use super::{Chunks, Schedule, Step, ahead, behind};

/// The two-shot allreduce.
pub type TwoShot = Then<ReduceScatter, AllGather>;

/// The allreduce of rank `rank` of `size`.
pub fn all_reduce(rank: u32, size: u32) -> TwoShot {
    Then::new(ReduceScatter::new(rank, size), AllGather::new(rank, size))
}

/// Chunk j of everybody goes straight to rank j.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReduceScatter {
    rank: u32,
    size: u32,
}

impl ReduceScatter {
    /// Rank `rank` of `size`.
    pub fn new(rank: u32, size: u32) -> Self {
        Self { rank, size }
    }

    #[inline]
    fn fold(&self) -> RankOrder {
        RankOrder { rank: self.rank, size: self.size, chunk: self.rank }
    }
}

impl Schedule for ReduceScatter {
    #[inline]
    fn parts(&self) -> u32 {
        self.size
    }

    #[inline]
    fn len(&self) -> u32 {
        self.size - 1 + self.fold().len()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let sends = self.size - 1;
        if pc < sends {
            let to = ahead(self.rank, pc + 1, self.size);
            return Step::Send { to, chunks: Chunks::one(to) };
        }
        self.fold().step(pc - sends)
    }

    fn keeps_own(&self) -> bool {
        self.fold().keeps_own()
    }

    fn widest(&self) -> u32 {
        1
    }

    fn reduces(&self) -> bool {
        self.size > 1
    }
}

/// Chunk j goes from rank j straight to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllGather {
    rank: u32,
    size: u32,
}

impl AllGather {
    /// Rank `rank` of `size`.
    pub fn new(rank: u32, size: u32) -> Self {
        Self { rank, size }
    }
}

impl Schedule for AllGather {
    #[inline]
    fn parts(&self) -> u32 {
        self.size
    }

    #[inline]
    fn len(&self) -> u32 {
        2 * (self.size - 1)
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let sends = self.size - 1;
        if pc < sends {
            return Step::Send { to: ahead(self.rank, pc + 1, self.size), chunks: Chunks::one(self.rank) };
        }
        let from = behind(self.rank, pc - sends + 1, self.size);
        Step::Recv { from, chunks: Chunks::one(from) }
    }

    fn widest(&self) -> u32 {
        1
    }

    fn reduces(&self) -> bool {
        false
    }
}
