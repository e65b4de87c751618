//! Chain: each rank hands the message on to the next. Of a message that is cut into many slices all links carry something at every moment, so it takes little longer than
//! one link needs for it. n − 1 messages deep.
//!
//! A rank sends and receives at most once: S bytes.

use super::{Chunks, Schedule, Step, ahead, behind};

/// A rank's place, counted from the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    rank: u32,
    size: u32,
    number: u32,
}

impl Place {
    fn new(root: u32, rank: u32, size: u32) -> Self {
        Self { rank, size, number: behind(rank, root, size) }
    }

    fn is_first(&self) -> bool {
        self.number == 0
    }

    fn is_last(&self) -> bool {
        self.number + 1 == self.size
    }

    fn next(&self) -> u32 {
        ahead(self.rank, 1, self.size)
    }

    fn previous(&self) -> u32 {
        behind(self.rank, 1, self.size)
    }

    fn len(&self) -> u32 {
        u32::from(!self.is_first()) + u32::from(!self.is_last())
    }
}

/// The root's message goes along the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broadcast(Place);

/// Everybody's messages, reduced on the way, come along the chain to the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduce(Place);

impl Broadcast {
    /// Rank `rank` of `size`.
    pub fn new(root: u32, rank: u32, size: u32) -> Self {
        Self(Place::new(root, rank, size))
    }
}

impl Reduce {
    /// Rank `rank` of `size`.
    pub fn new(root: u32, rank: u32, size: u32) -> Self {
        Self(Place::new(root, rank, size))
    }
}

impl Schedule for Broadcast {
    fn parts(&self) -> u32 {
        1
    }

    #[inline]
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let chunks = Chunks::one(0);
        if pc == 0 && !self.0.is_first() {
            return Step::Recv { from: self.0.previous(), chunks };
        }
        Step::Send { to: self.0.next(), chunks }
    }

    fn widest(&self) -> u32 {
        1
    }

    fn reduces(&self) -> bool {
        false
    }
}

impl Schedule for Reduce {
    fn parts(&self) -> u32 {
        1
    }

    #[inline]
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let chunks = Chunks::one(0);
        if pc == 0 && !self.0.is_last() {
            return Step::RecvReduce { from: self.0.next(), chunks, complete: self.0.is_first() };
        }
        Step::Send { to: self.0.previous(), chunks }
    }

    fn widest(&self) -> u32 {
        1
    }

    fn reduces(&self) -> bool {
        self.0.size > 1
    }
}
