//! How a message is cut: into slices, and a slice into chunks. Arithmetic only.

use crate::schedule::Chunks;
use std::ops::Range;

/// The cut of one message. Every rank computes the same one from the call and the choice.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    elements: usize,
    element: usize,
    slice_elements: usize,
}

impl Cut {
    /// Cuts `elements` elements of `element` bytes into slices of at most `slice_bytes` (at least one element each).
    pub fn new(elements: usize, element: usize, slice_bytes: usize) -> Self {
        // Slice numbers are 32 bits on the wire.
        let least = elements.div_ceil(u32::MAX as usize);
        Self { elements, element, slice_elements: (slice_bytes / element).max(1).max(least) }
    }

    /// Bytes of one element.
    pub fn element(&self) -> usize {
        self.element
    }

    /// How many slices there are: at least one, so that a call of no elements still meets its peers.
    pub fn slices(&self) -> u32 {
        self.elements.div_ceil(self.slice_elements).max(1) as u32
    }

    /// Where slice number `slice` lies, in bytes of the message.
    pub fn slice(&self, slice: u32) -> Range<usize> {
        let start = slice as usize * self.slice_elements;
        let end = (start + self.slice_elements).min(self.elements);
        start.min(end) * self.element..end * self.element
    }

    /// Where chunk `index` of `parts` of a slice lies, in bytes of the message. Chunks differ by at most one element.
    #[inline]
    pub fn chunk(&self, slice: u32, index: u32, parts: u32) -> Range<usize> {
        let start = slice as usize * self.slice_elements;
        let elements = self.slice_elements.min(self.elements - start.min(self.elements));
        let (share, extra) = (elements / parts as usize, elements % parts as usize);
        let index = index as usize;
        let first = start + share * index + extra.min(index);
        let count = share + usize::from(index < extra);
        first * self.element..(first + count) * self.element
    }

    /// Bytes of the message that moves `chunks` of a slice.
    pub fn message(&self, slice: u32, chunks: Chunks, parts: u32) -> u64 {
        chunks.indices(parts).map(|index| self.chunk(slice, index, parts).len() as u64).sum()
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
                        let cut = Cut::new(elements, element, slice_bytes);
                        let mut at = 0;
                        for slice in 0..cut.slices() {
                            assert_eq!(cut.slice(slice).start, at);
                            for index in 0..parts {
                                let chunk = cut.chunk(slice, index, parts);
                                assert_eq!(chunk.start, at);
                                assert_eq!(chunk.len() % element, 0);
                                at = chunk.end;
                            }
                            assert_eq!(cut.slice(slice).end, at);
                            assert_eq!(
                                cut.message(slice, Chunks::run(0, parts), parts) as usize,
                                cut.slice(slice).len()
                            );
                        }
                        assert_eq!(at, elements * element);
                    }
                }
            }
        }
    }

    #[test]
    fn a_message_over_4_gib_keeps_its_offsets() {
        let cut = Cut::new(5 << 30, 1, 1 << 20);
        assert_eq!(cut.slices(), 5 << 10);
        assert_eq!(cut.chunk(5119, 1, 2), (5 << 30) - (1 << 19)..5 << 30);
    }
}
