//! Sets of chunks: what one step moves, as a few numbers instead of a list.
//!
//! Pure arithmetic; it knows nothing of ranks, messages or memory.

use std::ops::Range;

/// A set of chunks of a slice: `first`, `first + stride`, …, `count` of them, each modulo the schedule's `parts`.
///
/// A schedule that is placed inside a larger one ([`Place`]) keeps these numbers; the set then remembers which part of
/// the slice they are about and into how many chunks each one became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chunks {
    /// The first chunk's index, within the frame.
    pub first: u32,
    /// The distance from one chunk to the next, modulo the frame's span.
    pub stride: u32,
    /// How many chunks of the slice; at least 1.
    pub count: u32,
    frame: Frame,
}

/// The part of the slice that a set of chunks is about: `span` blocks of `grain` chunks, from chunk `base` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Frame {
    base: u32,
    /// 0 stands for the whole slice.
    span: u32,
    grain: u32,
}

impl Frame {
    const WHOLE: Self = Self { base: 0, span: 0, grain: 1 };
}

/// Where a schedule's chunks lie in a larger slice: its chunk `i` is the `grain` chunks from `offset + i · grain` on,
/// of `parts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Where its first chunk begins.
    pub offset: u32,
    /// How many chunks of the larger slice each of its chunks is.
    pub grain: u32,
    /// Into how many chunks the larger slice is cut.
    pub parts: u32,
}

impl Chunks {
    /// The one chunk `index`.
    #[inline]
    pub const fn one(index: u32) -> Self {
        Self::strided(index, 1, 1)
    }

    /// `count` neighbouring chunks from `first` on.
    #[inline]
    pub const fn run(first: u32, count: u32) -> Self {
        Self::strided(first, 1, count)
    }

    /// `count` chunks from `first` on, `stride` apart.
    #[inline]
    pub const fn strided(first: u32, stride: u32, count: u32) -> Self {
        Self { first, stride, count, frame: Frame::WHOLE }
    }

    /// The index of the `k`-th chunk of the set, in a slice of `parts` chunks.
    #[inline]
    pub const fn index(&self, k: u32, parts: u32) -> u32 {
        let Frame { base, span, grain } = self.frame;
        let span = if span == 0 { parts } else { span };
        let (block, within) = if grain == 1 { (k, 0) } else { (k / grain, k % grain) };
        let at = (self.first as u64 + self.stride as u64 * block as u64) % span as u64;
        base + at as u32 * grain + within
    }

    /// The indices of all chunks of the set, in order.
    pub fn indices(self, parts: u32) -> impl Iterator<Item = u32> {
        self.runs(parts).flatten()
    }

    /// The set as runs of neighbouring chunks, in order: pieces of contiguous memory.
    #[inline]
    pub fn runs(self, parts: u32) -> Runs {
        let Frame { base, span, grain } = self.frame;
        let span = if span == 0 { parts } else { span };
        Runs {
            at: reduced(self.first, span),
            stride: reduced(self.stride, span),
            left: self.count / grain,
            base,
            span,
            grain,
        }
    }

    /// The same set as a schedule's that is cut into `parts` chunks and lies at `place` of a larger slice.
    #[inline]
    pub(super) const fn placed(self, place: Place, parts: u32) -> Self {
        let Frame { base, span, grain } = self.frame;
        let frame = Frame {
            base: place.offset + base * place.grain,
            span: if span == 0 { parts } else { span },
            grain: grain * place.grain,
        };
        Self { count: self.count * place.grain, frame, ..self }
    }
}

/// Runs of neighbouring chunks; see [`Chunks::runs`].
#[derive(Clone, Debug)]
pub struct Runs {
    at: u32,
    stride: u32,
    left: u32,
    base: u32,
    span: u32,
    grain: u32,
}

impl Iterator for Runs {
    type Item = Range<u32>;

    #[inline]
    fn next(&mut self) -> Option<Range<u32>> {
        if self.left == 0 {
            return None;
        }
        let length = if self.stride == 1 { self.left.min(self.span - self.at) } else { 1 };
        let start = self.base + self.at * self.grain;
        self.left -= length;
        self.at = if length > 1 || self.stride == 1 {
            reduced(self.at + length, self.span)
        } else {
            super::ahead(self.at, self.stride, self.span)
        };
        Some(start..start + length * self.grain)
    }
}

/// `value` modulo `span`, without the division in the usual case.
#[inline]
const fn reduced(value: u32, span: u32) -> u32 {
    if value < span { value } else { value % span }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_index(chunks: Chunks, parts: u32) -> Vec<u32> {
        (0..chunks.count).map(|k| chunks.index(k, parts)).collect()
    }

    #[test]
    fn runs_are_the_indices_in_order() {
        for parts in 1..12 {
            for first in 0..2 * parts {
                for stride in 0..2 * parts {
                    for count in 1..=parts {
                        let chunks = Chunks::strided(first, stride, count);
                        assert_eq!(
                            chunks.indices(parts).collect::<Vec<_>>(),
                            by_index(chunks, parts),
                            "{chunks:?} of {parts}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn neighbours_are_one_run_up_to_the_end_of_the_slice() {
        let runs = |chunks: Chunks| chunks.runs(8).map(|run| (run.start, run.end)).collect::<Vec<_>>();
        assert_eq!(runs(Chunks::run(2, 3)), [(2, 5)]);
        assert_eq!(runs(Chunks::run(6, 4)), [(6, 8), (0, 2)]);
        assert_eq!(runs(Chunks::strided(1, 6, 3)), [(1, 2), (7, 8), (5, 6)]);
        assert_eq!(runs(Chunks::run(0, 8)), [(0, 8)]);
    }

    #[test]
    fn a_placed_set_stays_within_its_place() {
        // Chunks 2, 0 of three, each two chunks wide, from chunk 4 of ten on.
        let place = Place { offset: 4, grain: 2, parts: 10 };
        let placed = Chunks::strided(2, 1, 2).placed(place, 3);
        assert_eq!(placed.indices(10).collect::<Vec<_>>(), [8, 9, 4, 5]);
        assert_eq!(by_index(placed, 10), [8, 9, 4, 5]);
        // And once more, as a part of something larger.
        let again = placed.placed(Place { offset: 3, grain: 3, parts: 40 }, 10);
        assert_eq!(again.runs(40).collect::<Vec<_>>(), [27..33, 15..21]);
        assert_eq!(by_index(again, 40), again.indices(40).collect::<Vec<_>>());
    }
}
