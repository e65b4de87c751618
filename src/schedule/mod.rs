//! Schedules: what each rank sends, receives and reduces, as pure functions of (rank, number of ranks, step).
//!
//! No clock, no I/O, no `unsafe`, no allocation. A schedule is the straight-line program of *one rank* for *one slice*
//! of the message; pipelining is how many slices are in flight. There is no receive-from-any and no select, so the
//! ranks are a Kahn process network: the result cannot depend on timing, and one symbolic run ([`proof`]) speaks for
//! all interleavings. The engine runs a schedule, the proof executes it on symbols, the tuner prices it.
//!
//! # The storage a schedule works on
//!
//! A rank has an *own input* and an *accumulator*, both cut into [`Schedule::parts`] chunks. A chunk
//! is *written* once a receiving step has put something into its accumulator. Which chunks of the input a rank has, and what its
//! accumulator must hold at the end, is the collective's [`Goal`](proof::Goal): in a broadcast only the root has an input, in a gather only the root's
//! accumulator matters. Collectives that move a block for each rank cut each block into as many chunks. A chunk that is wanted and never written is the own input's.
//!
//! * `Send` of a chunk moves the accumulator if that chunk is written, otherwise the own input, which must be there.
//! * `Recv` overwrites the accumulator.
//! * `RecvReduce` sets the accumulator to `accumulator ⊕ incoming` if written, otherwise to `own input ⊕ incoming`.
//! * `ReduceOwn` sets the accumulator, which must be written, to `accumulator ⊕ own input`.
//!
//! In an in-place call both are the same memory, so a schedule that reads its own input of a chunk after it has written
//! that chunk says so by [`Schedule::keeps_own`], and the engine keeps a copy. ⊕ is commutative to the bit, but not
//! associative.
//!
//! A chunk that is sent as chunk `c` is received as chunk `c`: the chunks of a slice may differ in size by an element.
//!
//! # Time
//!
//! A rank does its steps one after the other. A link direction has [`Schedule::credits`] slots, each for one message of
//! [`Schedule::widest`] chunks. A `Send` is done when its message has gone into a free slot, and until there is one the
//! rank waits; a `Recv` or `RecvReduce` waits for its message and frees the slot.
//!
//! So nothing is overwritten while it is being sent: no step begins before the transport has accepted the whole message
//! of a `Send` before it, and what a transport has accepted may be overwritten at once
//! ([`Transport::write`](crate::transport::Transport::write)).
//!
//! An all-to-all names blocks by distance: chunk i of the input is for the rank i ahead, chunk i of the result from the one i behind. So what leaves as
//! chunk i arrives as chunk i in every collective.
//!
//! # The allreduces
//!
//! | | messages a rank, longest chain | bytes sent a rank |
//! |---|---|---|
//! | [`direct`] | n−1, 1 | (n−1)·S |
//! | [`two_shot`] | 2(n−1), 2 | 2(n−1)/n·S |
//! | [`ring`] | 2(n−1), 2(n−1) | 2(n−1)/n·S |
//! | [`tree`] | ≤ 4, 2·⌊log2 n⌋ | ≤ 2·S |
//! | [`doubling`] | log2 n; 2 more in the chain if n is no power of two | log2 n·S |
//! | [`halving`] | 2·log2 n; 2 more in the chain if n is no power of two | 2(n−1)/n·S; 2·S more |
//! | [`nhr`] | 2·⌈log2 n⌉ | 2(n−1)/n·S |
//!
//! [`AllReduce`] is the choice between them. Where ranks share hosts, [`hierarchy`] and [`leaders`] build larger ones out of these, by
//! [`compose`], for this and most other collectives.
//!
//! # The other collectives
//!
//! | | by | the most messages a rank sends, longest chain |
//! |---|---|---|
//! | broadcast, reduce | [`flat`] | n−1 or 1, 1 |
//! | | [`binomial`] | ⌈log2 n⌉ or 1, ⌊log2 n⌋ |
//! | | [`chain`] | 1, n−1: for messages of many slices |
//! | | [`scatter_gather`] | about n + log2 n, each an n-th |
//! | reduce_scatter, all_gather | [`two_shot`], [`ring`], [`nhr`]: the halves of their allreduces | n−1, 1; n−1, n−1; ⌈log2 n⌉, ⌈log2 n⌉ |
//! | gather, scatter | [`flat`], [`binomial`] | as above, of blocks |
//! | all_to_all | [`flat`] | n−1, in pairs |
//! | | [`bruck`] | ≤ 2·⌈log2 n⌉ |
//! | all but gather, scatter, all_to_all, barrier | [`hierarchy`], of large messages | one rail a rank: see there |
//! | all but gather, scatter, all_to_all | [`leaders`], of small messages | between K hosts ⌈log2 K⌉, of an allreduce one more if K is no power of two |
//!
//! [`Program`] is the choice among all. A barrier is an all-gather of no elements, a [`Message`] one send or one receive.

mod algorithm;
pub mod binomial;
pub mod blocks;
pub mod bruck;
pub mod chain;
mod chunks;
pub mod compose;
pub mod direct;
pub mod dissemination;
pub mod doubling;
pub mod flat;
mod fold;
pub mod halving;
pub mod hierarchy;
pub mod leaders;
mod message;
pub mod nhr;
mod program;
pub mod proof;
pub mod rails;
pub mod ring;
pub mod scatter_gather;
pub mod shards;
mod shares;
pub mod tree;
pub mod two_shot;

pub use crate::types::{Algorithm, Grouping};
pub use algorithm::AllReduce;
pub use chunks::{Chunks, Place};
pub use fold::Folded;
pub use message::Message;
pub use program::Program;

/// One step of a rank's program. Each `Send` is one message, met by one `Recv` or `RecvReduce` of as many chunks at
/// `to`.
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

impl Step {
    /// The chunks that the step moves.
    #[inline]
    pub const fn chunks(&self) -> Chunks {
        match *self {
            Self::Send { chunks, .. }
            | Self::Recv { chunks, .. }
            | Self::RecvReduce { chunks, .. }
            | Self::ReduceOwn { chunks, .. } => chunks,
        }
    }

    /// The same step with its peer and its chunks renamed.
    #[inline]
    fn renamed(self, rank: impl Fn(u32) -> u32, place: impl Fn(Chunks) -> Chunks) -> Self {
        match self {
            Self::Send { to, chunks } => Self::Send { to: rank(to), chunks: place(chunks) },
            Self::Recv { from, chunks } => Self::Recv { from: rank(from), chunks: place(chunks) },
            Self::RecvReduce { from, chunks, complete } => {
                Self::RecvReduce { from: rank(from), chunks: place(chunks), complete }
            }
            Self::ReduceOwn { chunks, complete } => Self::ReduceOwn { chunks: place(chunks), complete },
        }
    }

    /// The same step where more contributions are to come.
    #[inline]
    fn partial(self) -> Self {
        match self {
            Self::RecvReduce { from, chunks, .. } => Self::RecvReduce { from, chunks, complete: false },
            Self::ReduceOwn { chunks, .. } => Self::ReduceOwn { chunks, complete: false },
            Self::Send { .. } | Self::Recv { .. } => self,
        }
    }
}

/// The program of one rank for one slice.
pub trait Schedule {
    /// Into how many chunks a slice is cut; the same on every rank.
    fn parts(&self) -> u32;

    /// How many steps the program has.
    fn len(&self) -> u32;

    /// Whether the program has no step: one rank alone, or, in a phase of a larger schedule, one that has nothing to do in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Step number `pc`, which is below `len()`.
    fn step(&self, pc: u32) -> Step;

    /// Whether a chunk's own input is read after its accumulator has been written. Ranks may differ in it.
    fn keeps_own(&self) -> bool {
        false
    }

    /// The most chunks that one step of any rank moves, at least 1: a slot must hold them. The same on every rank.
    fn widest(&self) -> u32;

    /// The slots that a link direction needs, so that no rank waits for ever.
    fn credits(&self) -> u32 {
        1
    }

    /// Whether the schedule reduces anything, on any rank. A schedule that comes before it is then not the last to
    /// contribute to a chunk, so nothing of it is `complete`: see [`compose::Then`].
    fn reduces(&self) -> bool;
}

/// `rank + ahead` on a circle of `size` ranks; both are below `size`.
#[inline]
const fn ahead(rank: u32, ahead: u32, size: u32) -> u32 {
    let left = size - ahead;
    if rank >= left { rank - left } else { rank + ahead }
}

/// `rank - behind` on a circle of `size` ranks; both are below `size`.
#[inline]
const fn behind(rank: u32, behind: u32, size: u32) -> u32 {
    if rank >= behind { rank - behind } else { rank + (size - behind) }
}

/// One of a rank's messages, by its number among those in its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    Send(u32),
    Receive(u32),
}

impl Exchange {
    /// What comes as number `pc`: a send and a receive in turn, as long as there are both.
    #[inline]
    const fn at(pc: u32, sends: u32, receives: u32) -> Self {
        let both = if sends < receives { sends } else { receives };
        if pc < 2 * both {
            return if pc.is_multiple_of(2) { Self::Send(pc / 2) } else { Self::Receive(pc / 2) };
        }
        if sends > receives { Self::Send(pc - both) } else { Self::Receive(pc - both) }
    }
}
