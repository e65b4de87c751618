//! A message from one rank to another: the schedule of either end. Nobody else takes part.

use super::{Chunks, Schedule, Step};

/// One end's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// To this rank.
    Send(u32),
    /// From this rank.
    Receive(u32),
}

impl Message {
    /// The rank at the other end.
    pub fn peer(self) -> u32 {
        match self {
            Self::Send(peer) | Self::Receive(peer) => peer,
        }
    }
}

impl Schedule for Message {
    fn parts(&self) -> u32 {
        1
    }

    #[inline]
    fn len(&self) -> u32 {
        1
    }

    #[inline]
    fn step(&self, _: u32) -> Step {
        match *self {
            Self::Send(to) => Step::Send { to, chunks: Chunks::one(0) },
            Self::Receive(from) => Step::Recv { from, chunks: Chunks::one(0) },
        }
    }

    fn widest(&self) -> u32 {
        1
    }

    fn reduces(&self) -> bool {
        false
    }
}
