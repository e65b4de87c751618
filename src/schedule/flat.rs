//! Flat: whoever has something for another sends it straight there. One message deep; the root of a rooted one talks to everybody.
//!
//! The root sends or receives n − 1 messages, the others one each; in an exchange everybody sends n − 1, to the next rank first, so that nobody is everybody's
//! first target.

use super::direct::RankOrder;
use super::{Chunks, Schedule, Step, ahead, behind};

/// What is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Broadcast,
    Reduce,
    Gather,
    Scatter,
}

/// A rooted collective: between the root and every other rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rooted {
    what: What,
    root: u32,
    rank: u32,
    size: u32,
}

impl Rooted {
    /// The root sends its message to all.
    pub fn broadcast(root: u32, rank: u32, size: u32) -> Self {
        Self { what: What::Broadcast, root, rank, size }
    }

    /// The root folds everybody's message, in the order of ranks.
    pub fn reduce(root: u32, rank: u32, size: u32) -> Self {
        Self { what: What::Reduce, root, rank, size }
    }

    /// The root takes everybody's block.
    pub fn gather(root: u32, rank: u32, size: u32) -> Self {
        Self { what: What::Gather, root, rank, size }
    }

    /// The root gives everybody a block.
    pub fn scatter(root: u32, rank: u32, size: u32) -> Self {
        Self { what: What::Scatter, root, rank, size }
    }

    fn fold(&self) -> RankOrder {
        RankOrder { rank: self.rank, size: self.size, chunk: 0 }
    }
}

impl Schedule for Rooted {
    fn parts(&self) -> u32 {
        if matches!(self.what, What::Gather | What::Scatter) { self.size } else { 1 }
    }

    #[inline]
    fn len(&self) -> u32 {
        match (self.rank == self.root, self.what) {
            (true, What::Reduce) if self.size > 1 => self.fold().len(),
            (true, _) => self.size - 1,
            (false, _) => 1,
        }
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let peer = if self.rank == self.root { ahead(self.rank, (pc + 1) % self.size, self.size) } else { self.root };
        let whole = Chunks::one(0);
        match (self.rank == self.root, self.what) {
            (true, What::Broadcast) => Step::Send { to: peer, chunks: whole },
            (false, What::Broadcast) => Step::Recv { from: peer, chunks: whole },
            (true, What::Reduce) => self.fold().step(pc),
            (false, What::Reduce) => Step::Send { to: peer, chunks: whole },
            (true, What::Gather) => Step::Recv { from: peer, chunks: Chunks::one(peer) },
            (false, What::Gather) => Step::Send { to: peer, chunks: Chunks::one(self.rank) },
            (true, What::Scatter) => Step::Send { to: peer, chunks: Chunks::one(peer) },
            (false, What::Scatter) => Step::Recv { from: peer, chunks: Chunks::one(self.rank) },
        }
    }

    fn keeps_own(&self) -> bool {
        self.what == What::Reduce && self.rank == self.root && self.fold().keeps_own()
    }

    fn widest(&self) -> u32 {
        1
    }

    fn reduces(&self) -> bool {
        self.what == What::Reduce && self.size > 1
    }
}

/// Everybody gives everybody a block, in pairs: chunk i is for the rank i ahead, and comes from the one i behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllToAll {
    rank: u32,
    size: u32,
}

impl AllToAll {
    /// Rank `rank` of `size`.
    pub fn new(rank: u32, size: u32) -> Self {
        Self { rank, size }
    }
}

impl Schedule for AllToAll {
    fn parts(&self) -> u32 {
        self.size
    }

    #[inline]
    fn len(&self) -> u32 {
        2 * (self.size - 1)
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let distance = pc / 2 + 1;
        let chunks = Chunks::one(distance);
        if pc.is_multiple_of(2) {
            Step::Send { to: ahead(self.rank, distance, self.size), chunks }
        } else {
            Step::Recv { from: behind(self.rank, distance, self.size), chunks }
        }
    }

    fn widest(&self) -> u32 {
        1
    }

    fn reduces(&self) -> bool {
        false
    }
}
