//! What a collective starts from and what it must end with, chunk by chunk.

use crate::types::CollectiveKind;

/// A collective, as far as a proof is concerned. Of collectives that move a block for each rank, `parts` is a multiple of the number of ranks, and each block is
/// as many neighbouring chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Everybody ends with the reduction of everybody's input, by one expression.
    AllReduce,
    /// The root ends with the reduction of everybody's input.
    Reduce {
        /// The root's rank.
        root: u32,
    },
    /// Each rank ends with its block of the reduction.
    ReduceScatter,
    /// Everybody ends with the root's input.
    Broadcast {
        /// The root's rank.
        root: u32,
    },
    /// Everybody ends with everybody's block.
    AllGather,
    /// The root ends with everybody's block.
    Gather {
        /// The root's rank.
        root: u32,
    },
    /// Each rank ends with its block of the root's input.
    Scatter {
        /// The root's rank.
        root: u32,
    },
    /// Each rank ends with a block of everybody's input. Blocks go by distance: block i of an input is for the rank i ahead, block i of a result from the one i
    /// behind.
    AllToAll,
}

/// What a rank's accumulator must hold of a chunk at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    Reduction,
    /// This rank's input of the same chunk.
    InputOf(u32),
}

impl Goal {
    /// The goal of a collective, with this root if it has one; none for what is no collective.
    pub const fn of(kind: CollectiveKind, root: u32) -> Option<Self> {
        Some(match kind {
            CollectiveKind::AllReduce => Self::AllReduce,
            CollectiveKind::Reduce => Self::Reduce { root },
            CollectiveKind::ReduceScatter => Self::ReduceScatter,
            CollectiveKind::Broadcast => Self::Broadcast { root },
            CollectiveKind::AllGather | CollectiveKind::Barrier => Self::AllGather,
            CollectiveKind::Gather => Self::Gather { root },
            CollectiveKind::Scatter => Self::Scatter { root },
            CollectiveKind::AllToAll => Self::AllToAll,
            CollectiveKind::Send | CollectiveKind::Connect => return None,
        })
    }

    /// Whether `rank` has an input of this chunk.
    pub(super) fn has_own(self, rank: u32, chunk: u32, ranks: u32, parts: u32) -> bool {
        match self {
            Self::AllReduce | Self::Reduce { .. } | Self::ReduceScatter | Self::AllToAll => true,
            Self::Broadcast { root } | Self::Scatter { root } => rank == root,
            Self::AllGather | Self::Gather { .. } => block(chunk, ranks, parts) == rank,
        }
    }

    pub(super) fn wants(self, rank: u32, chunk: u32, ranks: u32, parts: u32) -> Wanted {
        let block = block(chunk, ranks, parts);
        match self {
            Self::AllReduce => Wanted::Reduction,
            Self::Reduce { root } if rank == root => Wanted::Reduction,
            Self::ReduceScatter if rank == block => Wanted::Reduction,
            Self::Broadcast { root } => Wanted::InputOf(root),
            Self::AllGather => Wanted::InputOf(block),
            Self::Gather { root } if rank == root => Wanted::InputOf(block),
            Self::Scatter { root } if rank == block => Wanted::InputOf(root),
            Self::AllToAll => Wanted::InputOf((rank + ranks - block) % ranks),
            _ => Wanted::Nothing,
        }
    }

    /// Whether chunks are of blocks, a block for each rank.
    pub(super) const fn is_of_blocks(self) -> bool {
        !matches!(self, Self::AllReduce | Self::Reduce { .. } | Self::Broadcast { .. })
    }
}

/// The block that a chunk is of. For goals that are not of blocks it means nothing.
fn block(chunk: u32, ranks: u32, parts: u32) -> u32 {
    chunk / (parts / ranks).max(1)
}
