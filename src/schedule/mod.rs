//! Schedules: what each rank sends, receives and reduces, as pure functions of (rank, number of ranks, step).
//!
//! No clock, no I/O, no `unsafe`, no allocation. A schedule is the straight-line program of *one rank* for *one slice* of
//! the message; pipelining is how many slices are in flight. There is no receive-from-any and no select, so the ranks are
//! a Kahn process network: the result cannot depend on timing, and one symbolic run ([`proof`]) speaks for all
//! interleavings. The engine runs a schedule, the proof executes it on symbols, the tuner prices it.
//!
//! # The storage a schedule works on
//!
//! A rank has its *own input* and an *accumulator* of the same size, both cut into [`Schedule::parts`] chunks. A chunk is
//! *written* once a receiving step has put something into its accumulator.
//!
//! * `Send` of a chunk moves the accumulator if that chunk is written, otherwise the own input.
//! * `Recv` overwrites the accumulator.
//! * `RecvReduce` sets the accumulator to `accumulator ⊕ incoming` if written, otherwise to `own input ⊕ incoming`.
//! * `ReduceOwn` sets the accumulator, which must be written, to `accumulator ⊕ own input`.
//!
//! In an in-place call both are the same memory, so a schedule that reads its own input of a chunk after it has written that
//! chunk says so by [`Schedule::keeps_own`], and the engine keeps a copy. ⊕ is commutative to the bit, but not associative.

/// A set of chunks of a slice: `first`, `first + stride`, …, `count` of them, each modulo the schedule's `parts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chunks {
    /// The first chunk's index.
    pub first: u32,
    /// The distance from one chunk to the next, modulo `parts`.
    pub stride: u32,
    /// How many chunks; at least 1.
    pub count: u32,
}

impl Chunks {
    /// The one chunk `index`.
    pub const fn one(index: u32) -> Self {
        Self { first: index, stride: 1, count: 1 }
    }

    /// `count` neighbouring chunks from `first` on.
    pub const fn run(first: u32, count: u32) -> Self {
        Self { first, stride: 1, count }
    }

    /// The index of the `k`-th chunk of the set, in a slice of `parts` chunks.
    #[inline]
    pub const fn index(&self, k: u32, parts: u32) -> u32 {
        ((self.first as u64 + self.stride as u64 * k as u64) % parts as u64) as u32
    }

    /// The indices of all chunks of the set, in order.
    pub fn indices(self, parts: u32) -> impl Iterator<Item = u32> {
        (0..self.count).map(move |k| self.index(k, parts))
    }
}

/// One step of a rank's program. Each `Send` is one message, met by one `Recv` or `RecvReduce` of as many chunks at `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Send these chunks to a rank.
    Send {
        /// The receiving rank.
        to: u32,
        /// What is sent, in this order.
        chunks: Chunks,
    },
    /// Receive these chunks as they are.
    Recv {
        /// The sending rank.
        from: u32,
        /// Where they go.
        chunks: Chunks,
    },
    /// Receive and reduce into these chunks.
    RecvReduce {
        /// The sending rank.
        from: u32,
        /// Where they go.
        chunks: Chunks,
        /// Every rank's contribution is in these chunks now (so an average is divided here).
        complete: bool,
    },
    /// Reduce the own input into these chunks, which must hold something received.
    ReduceOwn {
        /// Which chunks.
        chunks: Chunks,
        /// Every rank's contribution is in these chunks now.
        complete: bool,
    },
}

/// The program of one rank for one slice.
pub trait Schedule {
    /// Into how many chunks a slice is cut.
    fn parts(&self) -> u32;

    /// How many steps the program has.
    fn len(&self) -> u32;

    /// Whether the program has no step (one rank alone).
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Step number `pc`, which is below `len()`.
    fn step(&self, pc: u32) -> Step;

    /// Whether a chunk's own input is read after its accumulator has been written.
    fn keeps_own(&self) -> bool {
        false
    }

    /// The most chunks that one step moves: a slot must hold them.
    fn widest(&self) -> u32;
}
