//! Where the data of a call lie: how they are cut into slices and chunks, and which bytes of a rank's buffers each chunk is. Arithmetic only.

use crate::schedule::Chunks;
use crate::types::CollectiveKind;
use std::ops::Range;

/// What a call moves, in elements; every rank computes the same from its arguments.
#[derive(Clone, Copy, Debug)]
pub enum Extent<'a> {
    /// One message of so many elements. Each slice of it is cut into the schedule's chunks.
    Message(usize),
    /// A block of so many elements for each of so many ranks. A slice is a part of every block, and a chunk is of one block.
    Blocks {
        /// How many blocks.
        ranks: u32,
        /// Elements of each.
        elements: usize,
    },
    /// As blocks, but of `counts[rank]` elements, from element `starts[rank]` on where all of them lie.
    Uneven {
        /// Elements of each block.
        counts: &'a [usize],
        /// Where each begins.
        starts: &'a [usize],
    },
}

/// Which chunks a buffer holds, and which block each of them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    /// All, each at its place.
    All,
    /// This rank's block, which is the whole buffer.
    Only(u32),
    /// This rank's block, at its place among all.
    Within(u32),
    /// All: chunk 0 is this rank's block, and the next ones are the ranks' after it.
    Ahead(u32),
    /// All: chunk 0 is this rank's block, and the next ones are the ranks' before it.
    Behind(u32),
}

/// A buffer's content.
#[derive(Clone, Copy, Debug)]
struct View<'a> {
    extent: Extent<'a>,
    shown: Shown,
}

/// Where a chunk lies, in elements.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// In which block; 0 of a message.
    block: u32,
    /// Where in the block the slice's part of it begins.
    slice_start: usize,
    /// Where in that part the chunk begins.
    within: usize,
    count: usize,
}

/// The layout of one rank's part in one call.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    element: usize,
    /// Of the message or of each block.
    slice_elements: usize,
    slices: u32,
    own: View<'a>,
    result: View<'a>,
}

/// Whose part a layout is, in which collective.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The collective.
    pub kind: CollectiveKind,
    /// The root, for collectives that have one; of a message between two, the sender.
    pub root: u32,
    /// This rank.
    pub rank: u32,
    /// One buffer holds the input and becomes the output.
    pub in_place: bool,
}

impl<'a> Layout<'a> {
    /// The layout of an allreduce: `elements` of `element` bytes in slices of at most `slice_bytes` (at least one element each).
    pub fn message(elements: usize, element: usize, slice_bytes: usize) -> Self {
        let part = Part { kind: CollectiveKind::AllReduce, root: 0, rank: 0, in_place: false };
        Self::new(part, Extent::Message(elements), Extent::Message(elements), element, slice_bytes)
    }

    /// The layout of `part` in a call that takes `input` and gives `output`. They differ only where ranks give each other blocks of uneven sizes. A slice
    /// has at most `slice_bytes` (at least one element) of the message or of each block.
    pub fn new(part: Part, input: Extent<'a>, output: Extent<'a>, element: usize, slice_bytes: usize) -> Self {
        let Part { kind, root, rank, in_place } = part;
        let at_root = if rank == root { Shown::All } else { Shown::Nothing };
        let block = if in_place { Shown::Within(rank) } else { Shown::Only(rank) };
        let (own, result) = match kind {
            CollectiveKind::AllReduce | CollectiveKind::Connect => (Shown::All, Shown::All),
            CollectiveKind::Reduce => (Shown::All, at_root),
            CollectiveKind::Broadcast => (at_root, Shown::All),
            CollectiveKind::ReduceScatter => (Shown::All, block),
            CollectiveKind::AllGather | CollectiveKind::Barrier => (block, Shown::All),
            CollectiveKind::Gather => (block, at_root),
            CollectiveKind::Scatter => (at_root, block),
            CollectiveKind::AllToAll => (Shown::Ahead(rank), Shown::Behind(rank)),
            CollectiveKind::Send if rank == root => (Shown::All, Shown::Nothing),
            CollectiveKind::Send => (Shown::Nothing, Shown::All),
        };
        let longest = input.longest().max(output.longest());
        // Slice numbers are 32 bits on the wire.
        let least = longest.div_ceil(u32::MAX as usize);
        let slice_elements = (slice_bytes / element).max(1).max(least);
        // One slice at least, so that a call of no elements still meets its peers.
        let slices = longest.div_ceil(slice_elements).max(1) as u32;
        let own = View { extent: input, shown: own };
        Self { element, slice_elements, slices, own, result: View { extent: output, shown: result } }
    }

    /// Bytes of one element.
    pub fn element(&self) -> usize {
        self.element
    }

    /// How many slices there are.
    pub fn slices(&self) -> u32 {
        self.slices
    }

    /// The bytes of the input that the own chunk `index` of `parts` is, if this rank has it.
    #[inline]
    pub fn own(&self, slice: u32, index: u32, parts: u32) -> Option<Range<usize>> {
        self.bytes(&self.own, slice, index, parts)
    }

    /// The bytes of the output that accumulator chunk `index` of `parts` is, if it is part of this rank's result.
    #[inline]
    pub fn result(&self, slice: u32, index: u32, parts: u32) -> Option<Range<usize>> {
        self.bytes(&self.result, slice, index, parts)
    }

    /// The place of chunk `index` of `parts` in memory for one slice.
    #[inline]
    pub fn scratch(&self, slice: u32, index: u32, parts: u32) -> Range<usize> {
        let piece = self.locate(&self.result, slice, index, parts);
        let first = piece.block as usize * self.slice_elements + piece.within;
        first * self.element..(first + piece.count) * self.element
    }

    /// The size of that memory.
    pub fn scratch_bytes(&self) -> usize {
        let last = self.slice_elements.min(self.result.extent.longest());
        ((self.result.extent.blocks() - 1) * self.slice_elements + last) * self.element
    }

    /// Bytes of the message, or the most of any block, that are in a slice.
    pub fn slice_width(&self, slice: u32) -> usize {
        let longest = self.result.extent.longest();
        let start = (slice as usize * self.slice_elements).min(longest);
        self.slice_elements.min(longest - start) * self.element
    }

    /// Bytes of the message in which this rank sends `chunks` of a slice.
    pub fn sent(&self, slice: u32, chunks: Chunks, parts: u32) -> u64 {
        self.message_bytes(&self.own, slice, chunks, parts)
    }

    /// Bytes of the message in which it receives them.
    pub fn received(&self, slice: u32, chunks: Chunks, parts: u32) -> u64 {
        self.message_bytes(&self.result, slice, chunks, parts)
    }

    /// All that this rank gives in `chunks`, over all slices, in elements, where only the two ends of a message know it: an exchange of blocks of uneven sizes.
    pub fn given(&self, chunks: Chunks, parts: u32) -> Option<usize> {
        Self::known_to_two(&self.own, chunks, parts)
    }

    /// All that it gets in them.
    pub fn due(&self, chunks: Chunks, parts: u32) -> Option<usize> {
        Self::known_to_two(&self.result, chunks, parts)
    }

    fn known_to_two(view: &View<'_>, chunks: Chunks, parts: u32) -> Option<usize> {
        let (Extent::Uneven { counts, .. }, Shown::Ahead(_) | Shown::Behind(_)) = (view.extent, view.shown) else {
            return None;
        };
        let (ranks, grain) = (counts.len() as u32, parts / counts.len() as u32);
        let block = |index: u32| counts[view.shown.block(index / grain, ranks) as usize];
        Some(chunks.indices(parts).map(block).sum())
    }

    fn message_bytes(&self, view: &View<'_>, slice: u32, chunks: Chunks, parts: u32) -> u64 {
        let elements: usize = chunks.indices(parts).map(|index| self.locate(view, slice, index, parts).count).sum();
        (elements * self.element) as u64
    }

    fn bytes(&self, view: &View<'_>, slice: u32, index: u32, parts: u32) -> Option<Range<usize>> {
        let piece = self.locate(view, slice, index, parts);
        let start = match view.shown {
            Shown::Nothing => return None,
            Shown::Only(rank) | Shown::Within(rank) if rank != piece.block => return None,
            Shown::Only(_) => 0,
            Shown::All | Shown::Within(_) | Shown::Ahead(_) | Shown::Behind(_) => view.extent.start(piece.block),
        };
        let first = start + piece.slice_start + piece.within;
        Some(first * self.element..(first + piece.count) * self.element)
    }

    /// Where chunk `index` of `parts` lies. Chunks of one slice and block differ by at most one element.
    #[inline]
    fn locate(&self, view: &View<'_>, slice: u32, index: u32, parts: u32) -> Piece {
        debug_assert!(
            (parts as usize).is_multiple_of(view.extent.blocks()),
            "a schedule cuts each block into as many chunks"
        );
        let (block, elements, parts, index) = match view.extent {
            Extent::Message(elements) => (0, elements, parts, index),
            Extent::Blocks { ranks, elements } => {
                let grain = parts / ranks;
                (view.shown.block(index / grain, ranks), elements, grain, index % grain)
            }
            Extent::Uneven { counts, .. } => {
                let (ranks, grain) = (counts.len() as u32, parts / counts.len() as u32);
                let block = view.shown.block(index / grain, ranks);
                (block, counts[block as usize], grain, index % grain)
            }
        };
        let slice_start = (slice as usize * self.slice_elements).min(elements);
        let whole = self.slice_elements.min(elements - slice_start);
        let (share, extra) = (whole / parts as usize, whole % parts as usize);
        let index = index as usize;
        Piece {
            block,
            slice_start,
            within: share * index + extra.min(index),
            count: share + usize::from(index < extra),
        }
    }
}

impl Extent<'_> {
    /// The most elements that are cut into slices.
    fn longest(&self) -> usize {
        match *self {
            Self::Message(elements) | Self::Blocks { elements, .. } => elements,
            Self::Uneven { counts, .. } => counts.iter().copied().max().unwrap_or(0),
        }
    }

    fn start(&self, block: u32) -> usize {
        match *self {
            Self::Message(_) => 0,
            Self::Blocks { elements, .. } => block as usize * elements,
            Self::Uneven { starts, .. } => starts[block as usize],
        }
    }

    fn blocks(&self) -> usize {
        match *self {
            Self::Message(_) => 1,
            Self::Blocks { ranks, .. } => ranks as usize,
            Self::Uneven { counts, .. } => counts.len(),
        }
    }
}

impl Shown {
    #[inline]
    fn block(self, named: u32, ranks: u32) -> u32 {
        match self {
            Self::Ahead(rank) => (rank + named) % ranks,
            Self::Behind(rank) => (rank + ranks - named) % ranks,
            Self::Nothing | Self::All | Self::Only(_) | Self::Within(_) => named,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_and_chunks_tile_the_message() {
        for elements in (0..70).chain([1000, 1023]) {
            for element in [1, 2, 4, 8] {
                for slice_bytes in [1, 8, 24, 64, 8192] {
                    for parts in 1..9 {
                        let layout = Layout::message(elements, element, slice_bytes);
                        let mut at = 0;
                        for slice in 0..layout.slices() {
                            let (start, mut scratch) = (at, 0);
                            for index in 0..parts {
                                let chunk = layout.own(slice, index, parts).expect("all is there");
                                assert_eq!(layout.result(slice, index, parts), Some(chunk.clone()));
                                assert_eq!((chunk.start, chunk.len() % element), (at, 0));
                                let kept = layout.scratch(slice, index, parts);
                                assert_eq!((kept.start, kept.len()), (scratch, chunk.len()));
                                assert!(kept.end <= layout.scratch_bytes());
                                (at, scratch) = (chunk.end, kept.end);
                            }
                            assert_eq!(layout.own(slice, 0, 1), Some(start..at));
                            assert_eq!(layout.sent(slice, Chunks::run(0, parts), parts) as usize, at - start);
                        }
                        assert_eq!(at, elements * element);
                    }
                }
            }
        }
    }

    #[test]
    fn a_message_over_4_gib_keeps_its_offsets() {
        let layout = Layout::message(5 << 30, 1, 1 << 20);
        assert_eq!(layout.slices(), 5 << 10);
        assert_eq!(layout.own(5119, 1, 2), Some((5 << 30) - (1 << 19)..5 << 30));
    }

    /// Every byte of a rank's input and of its output is in just one chunk of just one slice.
    fn covers(layout: &Layout<'_>, parts: u32, bytes: [usize; 2], case: &str) {
        let mut seen = bytes.map(|bytes| vec![0; bytes]);
        for slice in 0..layout.slices() {
            let mut scratch = vec![0; layout.scratch_bytes()];
            for index in 0..parts {
                let places = [layout.own(slice, index, parts), layout.result(slice, index, parts)];
                for (seen, place) in seen.iter_mut().zip(places.clone()) {
                    seen[place.unwrap_or_default()].iter_mut().for_each(|count| *count += 1);
                }
                let kept = layout.scratch(slice, index, parts);
                scratch[kept.clone()].iter_mut().for_each(|count| *count += 1);
                if let [_, Some(result)] = places {
                    assert_eq!(result.len(), kept.len(), "{case}");
                }
            }
            assert!(scratch.iter().all(|count| *count <= 1), "{case}: scratch is shared");
        }
        assert!(seen.iter().flatten().all(|count| *count == 1), "{case}: {seen:?}");
    }

    #[test]
    fn every_collective_has_all_that_it_takes_and_gives() {
        let kinds = CollectiveKind::ALL.into_iter().filter(|kind| kind.is_of_blocks());
        for (kind, ranks) in kinds.flat_map(|kind| (1..6u32).map(move |ranks| (kind, ranks))) {
            for (rank, root, elements) in (0..ranks)
                .flat_map(|rank| (0..ranks).flat_map(move |root| (0..9).map(move |count| (rank, root, count))))
            {
                for (in_place, slice_bytes, grain) in [(false, 8, 1), (false, 1000, 3), (true, 12, 2)] {
                    let part = Part { kind, root, rank, in_place: in_place && kind != CollectiveKind::AllToAll };
                    let layout = Layout::new(
                        part,
                        Extent::Blocks { ranks, elements },
                        Extent::Blocks { ranks, elements },
                        4,
                        slice_bytes,
                    );
                    let (block, all) = (elements * 4, elements * 4 * ranks as usize);
                    let at_root = if rank == root { all } else { 0 };
                    let bytes = match kind {
                        CollectiveKind::ReduceScatter => [all, block],
                        CollectiveKind::AllGather | CollectiveKind::Barrier => [block, all],
                        CollectiveKind::Gather => [block, at_root],
                        CollectiveKind::Scatter => [at_root, block],
                        _ => [all, all],
                    };
                    if !part.in_place {
                        covers(&layout, ranks * grain, bytes, &format!("{part:?}, {elements}"));
                    } else if let (Some(own), Some(result)) =
                        (layout.own(0, rank * grain, ranks * grain), layout.result(0, rank * grain, ranks * grain))
                    {
                        assert_eq!(own, result, "{part:?}: the own block has one place");
                    }
                }
            }
        }
    }

    #[test]
    fn uneven_blocks_end_in_slices_of_their_own() {
        let (counts, starts) = ([3, 0, 7, 1], [0, 3, 3, 10]);
        let extent = Extent::Uneven { counts: &counts, starts: &starts };
        for rank in 0..4 {
            let part = |kind| Part { kind, root: 0, rank, in_place: false };
            let gather = Layout::new(part(CollectiveKind::AllGather), extent, extent, 2, 4);
            assert_eq!(gather.slices(), 4);
            covers(&gather, 8, [counts[rank as usize] * 2, 22], &format!("all_gather at {rank}"));
            let scatter = Layout::new(part(CollectiveKind::ReduceScatter), extent, extent, 2, 4);
            covers(&scatter, 4, [22, counts[rank as usize] * 2], &format!("reduce_scatter at {rank}"));
            assert_eq!(gather.received(3, Chunks::run(0, 4), 4), 2, "only the longest is left");
        }
        // What rank 1 sends to the others and gets from them.
        let (given, got) = (([1, 0, 2, 5], [0, 1, 1, 3]), ([0, 0, 4, 1], [0, 0, 0, 4]));
        let [input, output] = [&given, &got].map(|(counts, starts)| Extent::Uneven { counts, starts });
        let part = Part { kind: CollectiveKind::AllToAll, root: 0, rank: 1, in_place: false };
        let layout = Layout::new(part, input, output, 1, 100);
        covers(&layout, 4, [8, 5], "all_to_all");
        assert_eq!(layout.sent(0, Chunks::one(1), 4), 2, "to rank 2");
        assert_eq!(layout.received(0, Chunks::one(2), 4), 1, "from rank 3");
    }
}
