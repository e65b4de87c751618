//! Direct: everybody sends its whole input to everybody, and everybody reduces everything. One message deep.
//!
//! ```text
//!   0 ──x0──▶ 1, 2, 3        every rank: ((x0 ⊕ x1) ⊕ x2) ⊕ x3
//!   1 ──x1──▶ 2, 3, 0
//!   2 ──x2──▶ 3, 0, 1
//!   3 ──x3──▶ 0, 1, 2
//! ```
//!
//! The flat exchange of the smallest messages, where latency is all. ⊕ is not associative, so that all ranks end with
//! the same bits each folds strictly in the order of ranks, its own input in its turn; a rank from 2 on therefore
//! begins with what it receives and needs its own input later. Sends are staggered (r+1, r+2, …) so that no rank is
//! everybody's first target.
//!
//! A rank sends n−1 messages and (n−1)·S bytes, and reduces (n−1)·S bytes.

use super::{Chunks, Schedule, Step, ahead};

/// The program of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direct {
    rank: u32,
    size: u32,
    fold: RankOrder,
}

impl Direct {
    /// Rank `rank` of `size`.
    pub fn new(rank: u32, size: u32) -> Self {
        Self { rank, size, fold: RankOrder { rank, size, chunk: 0 } }
    }
}

impl Schedule for Direct {
    fn parts(&self) -> u32 {
        1
    }

    #[inline]
    fn len(&self) -> u32 {
        self.size - 1 + self.fold.len()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let sends = self.size - 1;
        if pc < sends {
            return Step::Send { to: ahead(self.rank, pc + 1, self.size), chunks: Chunks::one(0) };
        }
        self.fold.step(pc - sends)
    }

    fn keeps_own(&self) -> bool {
        self.fold.keeps_own()
    }

    fn widest(&self) -> u32 {
        1
    }

    fn reduces(&self) -> bool {
        self.size > 1
    }
}

/// One rank folds one chunk of everybody's into its own, strictly in the order of ranks: ((x0 ⊕ x1) ⊕ x2) ⊕ …
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RankOrder {
    pub(super) rank: u32,
    pub(super) size: u32,
    pub(super) chunk: u32,
}

impl RankOrder {
    /// Ranks 0 and 1 begin with their own input, since x1 ⊕ x0 is x0 ⊕ x1; later ranks put theirs in when its turn
    /// comes.
    #[inline]
    pub(super) fn keeps_own(&self) -> bool {
        self.rank > 1
    }

    #[inline]
    pub(super) fn len(&self) -> u32 {
        if self.keeps_own() { self.size } else { self.size - 1 }
    }

    #[inline]
    pub(super) fn step(&self, pc: u32) -> Step {
        let chunks = Chunks::one(self.chunk);
        let complete = pc + 1 == self.len();
        if !self.keeps_own() {
            let from = if pc < self.rank { pc } else { pc + 1 };
            return Step::RecvReduce { from, chunks, complete };
        }
        match pc {
            0 => Step::Recv { from: 0, chunks },
            turn if turn == self.rank => Step::ReduceOwn { chunks, complete },
            from => Step::RecvReduce { from, chunks, complete },
        }
    }
}
