//! Bruck: an exchange of small blocks in ⌈log2 n⌉ rounds instead of n − 1.
//!
//! ```text
//!   chunk i has i ranks to go; in round k whatever has bit k in its number goes 2^k ranks ahead:
//!   round 0: 1 3 5 7 …      round 1: 2 3 6 7 …      round 2: 4 5 6 7 …
//! ```
//!
//! After Bruck and others, "Efficient algorithms for all-to-all communications in multiport message-passing systems" (1997). A block travels once for each bit of its
//! distance, so about log2(n)/2 times: worth it while a message costs more than its bytes.
//!
//! A rank sends ≤ 2·⌈log2 n⌉ messages (two in a round whose last run is cut off by the end of the circle) and log2(n)/2·S bytes.

use super::{Chunks, Place, Schedule, Step, ahead, behind};

/// The program of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllToAll {
    rank: u32,
    size: u32,
    rounds: u32,
}

impl AllToAll {
    /// Rank `rank` of `size`.
    pub fn new(rank: u32, size: u32) -> Self {
        Self { rank, size, rounds: size.next_power_of_two().trailing_zeros() }
    }

    /// The chunks of round `k` in whole runs of 2^k.
    fn runs(&self, k: u32) -> Option<Chunks> {
        let runs = self.size >> (k + 1);
        let place = Place { offset: 0, grain: 1 << k, parts: self.size };
        (runs > 0).then(|| Chunks::strided(1, 2, runs).placed(place, 2 * runs + 1))
    }

    /// Those of the last run, if the circle ends within it.
    fn tail(&self, k: u32) -> Option<Chunks> {
        let first = (2 * (self.size >> (k + 1)) + 1) << k;
        (first < self.size).then(|| Chunks::run(first, (self.size - first).min(1 << k)))
    }

    /// The messages of a round.
    fn messages(&self, k: u32) -> impl Iterator<Item = Chunks> {
        self.runs(k).into_iter().chain(self.tail(k))
    }
}

impl Schedule for AllToAll {
    fn parts(&self) -> u32 {
        self.size
    }

    fn len(&self) -> u32 {
        2 * (0..self.rounds).map(|k| self.messages(k).count() as u32).sum::<u32>()
    }

    fn step(&self, pc: u32) -> Step {
        let all = (0..self.rounds).flat_map(|k| self.messages(k).map(move |chunks| (k, chunks)));
        let (k, chunks) = all.into_iter().nth(pc as usize / 2).expect("asked for below the length");
        // Each message is met by one the other way before the next: a link has one slot for certain.
        if pc.is_multiple_of(2) {
            Step::Send { to: ahead(self.rank, 1 << k, self.size), chunks }
        } else {
            Step::Recv { from: behind(self.rank, 1 << k, self.size), chunks }
        }
    }

    fn widest(&self) -> u32 {
        (self.size / 2).max(1)
    }

    fn reduces(&self) -> bool {
        false
    }
}
