//! Ring: each rank talks to its two neighbours only, and every link carries the same at every moment.
//!
//! ```text
//!   reduce-scatter (n = 4):   chunk 3 starts at rank 0, picks up rank 1's, 2's, and at rank 3 it is whole
//!   all-gather:               chunk 3 goes on round: 0, 1, 2
//! ```
//!
//! The bandwidth-optimal allreduce of Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
//! workstations" (2009). Chunk c is summed in the order c+1, c+2, …, c and ends at rank c.
//!
//! A rank sends 2(n−1) messages, one after the other, and 2(n−1)/n·S bytes; it reduces (n−1)/n·S bytes.

use super::compose::Then;
use super::{Chunks, Schedule, Step, ahead, behind};

/// The ring allreduce.
pub type Ring = Then<ReduceScatter, AllGather>;

/// The allreduce of rank `rank` of `size`.
pub fn all_reduce(rank: u32, size: u32) -> Ring {
    Then::new(ReduceScatter::new(rank, size), AllGather::new(rank, size))
}

/// Each chunk goes once round the ring and gathers everybody's contribution; chunk r ends at rank r.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReduceScatter(Neighbours);

/// Each chunk r goes once round the ring from rank r on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllGather(Neighbours);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Neighbours {
    rank: u32,
    size: u32,
    next: u32,
    previous: u32,
}

impl Neighbours {
    fn new(rank: u32, size: u32) -> Self {
        let one = 1 % size;
        Self { rank, size, next: ahead(rank, one, size), previous: behind(rank, one, size) }
    }

    #[inline]
    fn len(&self) -> u32 {
        2 * (self.size - 1)
    }

    /// The chunk `distance` ranks behind, at most one whole round.
    #[inline]
    fn chunk_behind(&self, distance: u32) -> Chunks {
        Chunks::one(if distance == self.size { self.rank } else { behind(self.rank, distance, self.size) })
    }
}

impl ReduceScatter {
    /// Rank `rank` of `size`.
    pub fn new(rank: u32, size: u32) -> Self {
        Self(Neighbours::new(rank, size))
    }
}

impl Schedule for ReduceScatter {
    #[inline]
    fn parts(&self) -> u32 {
        self.0.size
    }

    #[inline]
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let round = pc / 2;
        if pc.is_multiple_of(2) {
            return Step::Send { to: self.0.next, chunks: self.0.chunk_behind(round + 1) };
        }
        let complete = round + 2 == self.0.size;
        Step::RecvReduce { from: self.0.previous, chunks: self.0.chunk_behind(round + 2), complete }
    }

    fn widest(&self) -> u32 {
        1
    }

    fn reduces(&self) -> bool {
        self.0.size > 1
    }
}

impl AllGather {
    /// Rank `rank` of `size`.
    pub fn new(rank: u32, size: u32) -> Self {
        Self(Neighbours::new(rank, size))
    }
}

impl Schedule for AllGather {
    #[inline]
    fn parts(&self) -> u32 {
        self.0.size
    }

    #[inline]
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let round = pc / 2;
        if pc.is_multiple_of(2) {
            return Step::Send { to: self.0.next, chunks: self.0.chunk_behind(round) };
        }
        Step::Recv { from: self.0.previous, chunks: self.0.chunk_behind(round + 1) }
    }

    fn widest(&self) -> u32 {
        1
    }

    fn reduces(&self) -> bool {
        false
    }
}
