//! What can be wrong with a schedule, in words that name rank, step and chunk.

/// Why a set of programs is not the collective that it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the rank, step (from 0), chunk and peer that the message names")]
pub enum Flaw {
    /// There is no program.
    #[error("there are no ranks")]
    NoRanks,
    /// Ranks cut a slice differently, or into nothing.
    #[error("rank {rank} cuts a slice into {parts} chunks, rank 0 into {expected}")]
    Parts { rank: u32, parts: u32, expected: u32 },
    /// A slice of blocks is not cut into as many chunks for each rank.
    #[error("a slice of {ranks} blocks is cut into {parts} chunks")]
    Blocks { ranks: u32, parts: u32 },
    /// A step names a rank that is not there.
    #[error("rank {rank}, step {step}: there is no rank {peer}")]
    NoPeer { rank: u32, step: u32, peer: u32 },
    /// A step names the rank itself.
    #[error("rank {rank}, step {step}: it is its own peer")]
    OwnPeer { rank: u32, step: u32 },
    /// A step moves nothing.
    #[error("rank {rank}, step {step}: it moves no chunk")]
    Empty { rank: u32, step: u32 },
    /// A step names a chunk that is not there.
    #[error("rank {rank}, step {step}: there is no chunk {chunk}")]
    NoChunk { rank: u32, step: u32, chunk: u32 },
    /// A step names a chunk twice.
    #[error("rank {rank}, step {step}: chunk {chunk} is there twice")]
    Repeated { rank: u32, step: u32, chunk: u32 },
    /// `widest` is not the most chunks that a step of any rank moves.
    #[error("rank {rank} says that a step moves at most {widest} chunks, but the widest step moves {actual}")]
    Widest { rank: u32, widest: u32, actual: u32 },
    /// A copy of the input is kept that no step reads.
    #[error("rank {rank} keeps its own input but never reads it again")]
    NeedlessCopy { rank: u32 },
    /// The own input is read, which is written over by then in an in-place call.
    #[error("rank {rank}, step {step}: it reads its own input again but keeps no copy of it")]
    NoCopy { rank: u32, step: u32 },
    /// A message is not as wide as its receive.
    #[error("rank {rank}, step {step}: {expected} chunks from rank {from}, which sends {sent} in its step {sent_step}")]
    Width { rank: u32, step: u32, from: u32, expected: u32, sent_step: u32, sent: u32 },
    /// A message is not what its receive takes it for.
    #[error(
        "rank {rank}, step {step}: chunk {chunk} from rank {from}, which sends chunk {sent_chunk} in its step {sent_step}"
    )]
    Crossed { rank: u32, step: u32, chunk: u32, from: u32, sent_step: u32, sent_chunk: u32 },
    /// A chunk is used that a rank neither has nor was sent.
    #[error("rank {rank}, step {step}: chunk {chunk} is neither its input nor was sent to it")]
    NoInput { rank: u32, step: u32, chunk: u32 },
    /// The own input is reduced into a chunk that holds nothing yet.
    #[error("rank {rank}, step {step}: chunk {chunk} holds nothing yet to reduce the own input into")]
    NothingToReduceInto { rank: u32, step: u32, chunk: u32 },
    /// A result is reduced further.
    #[error("rank {rank}, step {step}: chunk {chunk} is reduced after it was complete")]
    ReducedAfterComplete { rank: u32, step: u32, chunk: u32 },
    /// A chunk is called complete and is not.
    #[error(
        "rank {rank}, step {step}: chunk {chunk} does not hold every rank's contribution once, but is called complete"
    )]
    NotComplete { rank: u32, step: u32, chunk: u32 },
    /// A chunk is complete and not called so.
    #[error("rank {rank}, step {step}: chunk {chunk} holds every rank's contribution, but is not called complete")]
    Unmarked { rank: u32, step: u32, chunk: u32 },
    /// A rank cannot go on, nor can any other.
    #[error("rank {rank} waits for ever at step {step}, for {waiting}")]
    Deadlock { rank: u32, step: u32, waiting: Waiting },
    /// A message is never received.
    #[error("rank {rank} never receives what rank {from} sends in its step {sent_step}")]
    LeftOver { rank: u32, from: u32, sent_step: u32 },
    /// A rank ends without a result.
    #[error("rank {rank} ends with nothing in chunk {chunk}")]
    Unwritten { rank: u32, chunk: u32 },
    /// A rank ends with something that is not the reduction of everything.
    #[error("rank {rank} ends with chunk {chunk} not reduced over every rank exactly once")]
    Wrong { rank: u32, chunk: u32 },
    /// A rank ends with something else than what it should be given.
    #[error("rank {rank} ends with chunk {chunk} not being rank {giver}'s input")]
    WrongInput { rank: u32, chunk: u32, giver: u32 },
    /// Two ranks compute a result in different ways, so their bits may differ.
    #[error("rank {rank} and rank {other} compute chunk {chunk} by different expressions")]
    Disagreement { rank: u32, other: u32, chunk: u32 },
}

/// What a rank waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A message.
    Message {
        /// The sending rank.
        from: u32,
    },
    /// A free slot for the message that it sends.
    Slot {
        /// The receiving rank.
        to: u32,
    },
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message { from } => write!(f, "a message from rank {from}"),
            Self::Slot { to } => write!(f, "a free slot at rank {to}"),
        }
    }
}
