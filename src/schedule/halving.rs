//! Recursive halving and doubling: a reduce-scatter that exchanges halves, quarters, eighths, and an all-gather that
//! retraces it.
//!
//! ```text
//!   n = 4, chunks 0 1 2 3:
//!   0 ⇄ 1, 2 ⇄ 3   even ranks keep 0 1, odd ones 2 3
//!   0 ⇄ 2, 1 ⇄ 3   0 keeps 0, 2 keeps 1, 1 keeps 2, 3 keeps 3      and back
//! ```
//!
//! Rabenseifner's allreduce ("Optimization of Collective Reduction Operations", 2004), vector halving with distance
//! doubling: the nearest neighbour gets the largest message, each message is one contiguous run, and rank r ends with
//! the chunk whose number is r with its bits reversed. For other numbers of ranks than powers of two see [`Folded`],
//! which costs 2·S more.
//!
//! A rank sends 2·log2 n messages, one after the other, and 2(n−1)/n·S bytes; it reduces (n−1)/n·S bytes.

use super::compose::Then;
use super::{Chunks, Folded, Schedule, Step};

/// Halving and doubling, for any number of ranks.
pub type Halving = Folded<Then<ReduceScatter, AllGather>>;

/// The allreduce of rank `rank` of `size`.
pub fn all_reduce(rank: u32, size: u32) -> Halving {
    Folded::new(rank, size, |rank, size| Then::new(ReduceScatter::new(rank, size), AllGather::new(rank, size)))
}

/// Recursive halving between a power of two of ranks; rank r ends with the chunk whose number is r with its bits
/// reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReduceScatter(Butterfly);

/// Recursive doubling of what [`ReduceScatter`] left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllGather(Butterfly);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Butterfly {
    rank: u32,
    rounds: u32,
}

impl Butterfly {
    fn new(rank: u32, size: u32) -> Self {
        assert!(size.is_power_of_two(), "recursive halving is for powers of two, not {size} ranks");
        Self { rank, rounds: size.trailing_zeros() }
    }

    fn size(&self) -> u32 {
        1 << self.rounds
    }

    /// What a rank still holds after round `k` of halving: bit k of its number has chosen the half, the bits before it
    /// the larger parts.
    #[inline]
    fn held(&self, rank: u32, k: u32) -> Chunks {
        let choices = rank & ((2 << k) - 1);
        Chunks::run(choices.reverse_bits() >> (32 - self.rounds), self.size() >> (k + 1))
    }

    fn widest(&self) -> u32 {
        (self.size() / 2).max(1)
    }
}

impl ReduceScatter {
    /// Rank `rank` of `size`.
    ///
    /// # Panics
    ///
    /// If `size` is no power of two.
    pub fn new(rank: u32, size: u32) -> Self {
        Self(Butterfly::new(rank, size))
    }
}

impl Schedule for ReduceScatter {
    #[inline]
    fn parts(&self) -> u32 {
        self.0.size()
    }

    #[inline]
    fn len(&self) -> u32 {
        2 * self.0.rounds
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let k = pc / 2;
        let partner = self.0.rank ^ (1 << k);
        if pc.is_multiple_of(2) {
            return Step::Send { to: partner, chunks: self.0.held(partner, k) };
        }
        let complete = k + 1 == self.0.rounds;
        Step::RecvReduce { from: partner, chunks: self.0.held(self.0.rank, k), complete }
    }

    fn widest(&self) -> u32 {
        self.0.widest()
    }

    fn reduces(&self) -> bool {
        self.0.rounds > 0
    }
}

impl AllGather {
    /// Rank `rank` of `size`.
    ///
    /// # Panics
    ///
    /// If `size` is no power of two.
    pub fn new(rank: u32, size: u32) -> Self {
        Self(Butterfly::new(rank, size))
    }
}

impl Schedule for AllGather {
    #[inline]
    fn parts(&self) -> u32 {
        self.0.size()
    }

    #[inline]
    fn len(&self) -> u32 {
        2 * self.0.rounds
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let k = self.0.rounds - 1 - pc / 2;
        let partner = self.0.rank ^ (1 << k);
        if pc.is_multiple_of(2) {
            return Step::Send { to: partner, chunks: self.0.held(self.0.rank, k) };
        }
        Step::Recv { from: partner, chunks: self.0.held(partner, k) }
    }

    fn widest(&self) -> u32 {
        self.0.widest()
    }

    fn reduces(&self) -> bool {
        false
    }
}
