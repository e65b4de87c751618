//! Recursive doubling: in round k rank r exchanges everything that it has summed with rank r xor 2^k.
//!
//! ```text
//!   n = 4:   0 ⇄ 1, 2 ⇄ 3     then     0 ⇄ 2, 1 ⇄ 3
//! ```
//!
//! The classic butterfly of small messages (Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication
//! Operations in MPICH", 2005). Both ranks of a pair sum the same two values, and ⊕ commutes to the bit, so all ranks
//! end with the same bits. For other numbers of ranks than powers of two see [`Folded`].
//!
//! A rank sends log2 n messages, one after the other, and log2 n·S bytes, and reduces as many.

use super::{Chunks, Folded, Schedule, Step};

/// The recursive doubling allreduce, for any number of ranks.
pub type AnyDoubling = Folded<Doubling>;

/// The allreduce of rank `rank` of `size`.
pub fn all_reduce(rank: u32, size: u32) -> AnyDoubling {
    Folded::new(rank, size, Doubling::new)
}

/// Recursive doubling between a power of two of ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubling {
    rank: u32,
    rounds: u32,
}

impl Doubling {
    /// Rank `rank` of `size`.
    ///
    /// # Panics
    ///
    /// If `size` is no power of two.
    pub fn new(rank: u32, size: u32) -> Self {
        assert!(size.is_power_of_two(), "recursive doubling is for powers of two, not {size} ranks");
        Self { rank, rounds: size.trailing_zeros() }
    }
}

impl Schedule for Doubling {
    fn parts(&self) -> u32 {
        1
    }

    #[inline]
    fn len(&self) -> u32 {
        2 * self.rounds
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let k = pc / 2;
        let partner = self.rank ^ (1 << k);
        if pc.is_multiple_of(2) {
            return Step::Send { to: partner, chunks: Chunks::one(0) };
        }
        Step::RecvReduce { from: partner, chunks: Chunks::one(0), complete: k + 1 == self.rounds }
    }

    fn widest(&self) -> u32 {
        1
    }

    fn reduces(&self) -> bool {
        self.rounds > 0
    }
}
