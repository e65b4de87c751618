//! What a link asks of a network card: one-sided writes to one peer over a few queue pairs, and the notices of both ends. The card itself is
//! [`super::pair`]; tests have one that only pretends.

use crate::transport::{Fault, Interest};
use std::ops::Range;
use std::os::fd::BorrowedFd;

/// Completions that are taken at once.
pub(super) const BATCH: usize = 16;

/// One write into the peer's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// What is written.
    pub(super) from: Source,
    /// Where it goes in the peer's memory.
    pub(super) to: usize,
    /// What the peer is told with it; without, it is told nothing.
    pub(super) immediate: Option<u32>,
    /// Of how many writes of its queue pair, the last of them this one, the end is told here; 0 if nothing is.
    pub(super) completes: u32,
}

/// What a write takes its bytes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Nowhere: a bare notice.
    Nothing,
    /// A part of the own memory, taken when the write is posted, so that it is free at once.
    Inline(Range<usize>),
    /// A part of the own memory, which must stay as it is until the write has completed.
    Own(Range<usize>),
    /// A part of the caller's memory that was lent to the link, likewise: which one, and where in it.
    Lent(usize, Range<usize>),
}

impl Source {
    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Inline(range) | Self::Own(range) | Self::Lent(_, range) => range.len(),
        }
    }
}

/// What has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// A signalled write of this queue pair, and all before it.
    Wrote { queue_pair: usize, count: u32 },
    /// The peer wrote something by this queue pair, and says this with it.
    Came { queue_pair: usize, immediate: u32 },
}

/// The own end of the queue pairs to one peer, and the memory that both ends use.
pub(super) trait Nic {
    /// How many queue pairs there are.
    fn queue_pairs(&self) -> usize;

    /// The most bytes of an inline write.
    fn inline_bytes(&self) -> usize;

    /// Own memory, to be read. Where the peer may write meanwhile, the link's protocol says that it does not.
    fn bytes(&self, range: Range<usize>) -> &[u8];

    /// Own memory, to be written.
    fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8];

    /// Where a payload lies in memory that was lent to the link, if it does.
    fn lent(&mut self, payload: &[u8]) -> Option<(usize, Range<usize>)>;

    /// Posts one write, or two at once, in their order. There must be room in the queue.
    fn post(&mut self, queue_pair: usize, writes: &[Write]) -> Result<(), Fault>;

    /// Lets the peer give so many more notices by this queue pair.
    fn expect(&mut self, queue_pair: usize, notices: usize) -> Result<(), Fault>;

    /// Takes what has come to its end since the last time, at most [`BATCH`].
    fn poll(&mut self, done: &mut Vec<Done>) -> Result<(), Fault>;

    /// Makes the descriptors readable when something comes to its end from now on, and looks for trouble that shows nowhere else.
    fn arm(&mut self) -> Result<(), Fault>;

    /// What to sleep on.
    fn descriptors(&self, each: &mut dyn FnMut(BorrowedFd<'_>, Interest));
}
