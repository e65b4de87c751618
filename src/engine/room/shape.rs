//! What one rank gives and takes in a collective, in bytes of its buffers. Arithmetic without a division: a small call is over in the time of ten.

use crate::engine::{Extent, Part};
use crate::types::CollectiveKind;
use std::ops::Range;

/// One rank's part in one call.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    pub(super) part: Part,
    /// Bytes of one element.
    element: usize,
    extent: Extent<'a>,
    ranks: usize,
    /// Bytes of the message or of the longest block.
    pub(super) longest: usize,
}

/// Whom a rank wants something of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Everybody,
    /// Only this seat.
    One(usize),
    Nobody,
}

impl<'a> Shape<'a> {
    pub(super) fn new(part: Part, extent: Extent<'a>, element: usize, ranks: usize) -> Self {
        let longest = match extent {
            Extent::Message(elements) | Extent::Blocks { elements, .. } => elements,
            Extent::Uneven { counts, .. } => counts.iter().copied().max().unwrap_or(0),
        };
        Self { part, element, extent, ranks, longest: longest * element }
    }

    fn rank(&self) -> usize {
        self.part.rank as usize
    }

    #[inline]
    fn is_root(&self) -> bool {
        self.part.rank == self.part.root
    }

    pub(super) fn reduces(&self) -> bool {
        self.part.kind.reduces()
    }

    #[inline]
    pub(super) fn wants(&self) -> Wants {
        match self.part.kind {
            CollectiveKind::Broadcast | CollectiveKind::Scatter if self.is_root() => Wants::Nobody,
            CollectiveKind::Broadcast | CollectiveKind::Scatter => Wants::One(self.part.root as usize),
            CollectiveKind::Reduce | CollectiveKind::Gather if !self.is_root() => Wants::Nobody,
            _ => Wants::Everybody,
        }
    }

    /// Whether `seat` gives something to others.
    #[inline]
    pub(super) fn gives(&self, seat: usize) -> bool {
        let root = self.part.root as usize;
        match self.part.kind {
            CollectiveKind::Broadcast | CollectiveKind::Scatter => seat == root,
            _ => true,
        }
    }

    /// Whether only the root takes.
    pub(super) fn is_for_root(&self) -> bool {
        matches!(self.part.kind, CollectiveKind::Reduce | CollectiveKind::Gather)
    }

    /// About how many bytes a rank has, input and output together, in the mean of all ranks; this one has `own`.
    pub(super) fn bytes_each(&self, own: usize) -> usize {
        match self.part.kind {
            CollectiveKind::Broadcast | CollectiveKind::Reduce => self.longest,
            CollectiveKind::Gather | CollectiveKind::Scatter => 2 * self.longest,
            _ => own,
        }
    }

    /// Whether anybody reads what this rank has: not if it only takes, and folds no own input in the order of ranks.
    #[inline]
    pub(super) fn shows(&self) -> bool {
        let keeps_all = self.is_for_root() && self.is_root() && (self.ranks == 2 || !self.reduces());
        self.gives(self.rank()) && !keeps_all
    }

    /// Whether givers show a block for each rank, rather than one for all. Of two ranks, one shows the other's only.
    #[inline]
    pub(super) fn shows_each(&self) -> bool {
        self.ranks > 2
            && matches!(
                self.part.kind,
                CollectiveKind::ReduceScatter | CollectiveKind::Scatter | CollectiveKind::AllToAll
            )
    }

    /// The block of `seat` where all blocks lie one after the other.
    #[inline]
    fn block(&self, seat: usize) -> Range<usize> {
        match self.extent {
            Extent::Message(elements) => 0..elements * self.element,
            Extent::Blocks { elements, .. } => {
                let bytes = elements * self.element;
                seat * bytes..(seat + 1) * bytes
            }
            Extent::Uneven { counts, starts } => {
                let start = starts[seat] * self.element;
                start..start + counts[seat] * self.element
            }
        }
    }

    /// The own block where it may be the whole buffer.
    #[inline]
    fn own_block(&self) -> Range<usize> {
        let block = self.block(self.rank());
        if self.part.in_place { block } else { 0..block.len() }
    }

    /// The part of the own input that is for `seat`, of a rank that gives.
    #[inline]
    pub(super) fn given(&self, seat: usize) -> Range<usize> {
        match self.part.kind {
            CollectiveKind::AllGather | CollectiveKind::Gather | CollectiveKind::Barrier => self.own_block(),
            _ => self.block(seat),
        }
    }

    /// Bytes of a slice of the blocks that the own input has for these seats, and of the largest of them.
    pub(super) fn given_bytes(&self, slice: Slice, seats: impl Iterator<Item = usize>) -> (usize, usize) {
        let lengths = seats.map(|seat| slice.of(&self.given(seat)).len());
        lengths.fold((0, 0), |(bytes, largest), length| (bytes + length, largest.max(length)))
    }

    /// The part of the own input that is for all others alike, of a rank that gives so.
    #[inline]
    pub(super) fn given_to_all(&self) -> Range<usize> {
        self.given(if self.ranks == 2 { 1 - self.rank() } else { self.rank() })
    }

    /// Where in the output belongs what `seat` gives this rank, which wants it.
    #[inline]
    pub(super) fn taken(&self, seat: usize) -> Range<usize> {
        match self.part.kind {
            CollectiveKind::ReduceScatter | CollectiveKind::Scatter => self.own_block(),
            _ => self.block(seat),
        }
    }
}

/// What goes at a time of a message, or of each block.
#[derive(Clone, Copy)]
pub(super) struct Slice {
    pub(super) index: usize,
    /// Bytes of every slice but the last.
    pub(super) width: usize,
}

impl Slice {
    /// The part of a message or block that is in this slice.
    #[inline]
    pub(super) fn of(self, range: &Range<usize>) -> Range<usize> {
        let start = (range.start + self.index * self.width).min(range.end);
        start..(start + self.width).min(range.end)
    }
}
