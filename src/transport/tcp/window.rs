//! The slot memory of one lane: where arriving pieces of its stream find their place, in whatever order they come.
//!
//! It holds exactly as much as the sender may be ahead, so an arriving byte always has room. Knows nothing of sockets or messages.

use super::frame::ALIGNMENT;
use std::ops::Range;

/// How many pieces may lie beyond gaps at once. An honest sender cuts big pieces only for several sockets, and has at most a few
/// hundred of them in its window.
const ISLANDS_MAX: usize = 4096;

/// The receiver's window on a lane's stream. Positions are offsets in the stream.
#[derive(Debug)]
pub(super) struct Window {
    memory: Box<[u8]>,
    /// The offset that the memory's first byte stood for when the memory was last empty; a multiple of [`ALIGNMENT`].
    base: u64,
    /// Everything before this is consumed.
    position: u64,
    /// Everything before this has arrived.
    edge: u64,
    /// What has arrived beyond a gap at `edge`: in order, not touching each other.
    islands: Vec<Range<u64>>,
}

impl Window {
    /// A window of `bytes`, at the stream's beginning. The memory is touched only as it is used.
    pub(super) fn new(bytes: u64) -> Self {
        let bytes = bytes.next_multiple_of(ALIGNMENT) as usize;
        Self { memory: vec![0; bytes].into_boxed_slice(), base: 0, position: 0, edge: 0, islands: Vec::new() }
    }

    /// Everything before this is consumed.
    #[inline]
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Everything before this has arrived.
    #[inline]
    pub(super) fn edge(&self) -> u64 {
        self.edge
    }

    /// Bytes that have arrived in order and are not consumed.
    #[inline]
    pub(super) fn available(&self) -> usize {
        (self.edge - self.position) as usize
    }

    /// Whether a piece of the stream is one that may come: within the window, and nothing of it here yet.
    pub(super) fn expects(&self, piece: &Range<u64>) -> bool {
        piece.start >= self.edge
            && piece.end - self.position <= self.memory.len() as u64
            && self.islands.len() < ISLANDS_MAX
            && self.islands.iter().all(|island| island.end <= piece.start || piece.end <= island.start)
    }

    /// The memory for what comes at `offset`: at most `most` bytes, fewer where the memory ends.
    pub(super) fn place(&mut self, offset: u64, most: usize) -> &mut [u8] {
        let start = self.index(offset);
        let end = self.memory.len().min(start + most);
        &mut self.memory[start..end]
    }

    /// Notes that the `bytes` at `offset` have arrived and are in their place.
    pub(super) fn arrived(&mut self, offset: u64, bytes: usize) {
        let end = offset + bytes as u64;
        if offset == self.edge {
            self.edge = end;
            self.join_islands();
            return;
        }
        let next = self.islands.partition_point(|island| island.end < offset);
        match self.islands.get_mut(next) {
            Some(island) if island.end == offset => island.end = end,
            Some(island) if island.start == end => island.start = offset,
            _ => self.islands.insert(next, offset..end),
        }
        if next + 1 < self.islands.len() && self.islands[next].end == self.islands[next + 1].start {
            self.islands[next].end = self.islands.remove(next + 1).end;
        }
    }

    /// Copies a piece that has arrived elsewhere to its place.
    pub(super) fn store(&mut self, offset: u64, bytes: &[u8]) {
        let place = self.place(offset, bytes.len());
        let fits = place.len();
        place.copy_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            self.place(offset + fits as u64, bytes.len() - fits).copy_from_slice(&bytes[fits..]);
        }
        self.arrived(offset, bytes.len());
    }

    /// Notes that the next `bytes` of the stream went straight to where they belong. Nothing may be available.
    pub(super) fn pass_by(&mut self, bytes: usize) {
        debug_assert_eq!(self.position, self.edge, "bytes overtook others");
        self.edge += bytes as u64;
        self.position = self.edge;
        self.join_islands();
        self.rewind();
    }

    /// What is available, as far as it lies in one piece, and at most `most` bytes.
    #[inline]
    pub(super) fn lend(&self, most: usize) -> &[u8] {
        let start = self.index(self.position);
        let end = self.memory.len().min(start + self.available().min(most));
        &self.memory[start..end]
    }

    /// Gives up the first `bytes` that are available.
    #[inline]
    pub(super) fn consume(&mut self, bytes: usize) {
        assert!(bytes <= self.available(), "{bytes} bytes consumed of {} that came", self.available());
        self.position += bytes as u64;
        self.rewind();
    }

    /// Moves what is available to `into`, and returns how many bytes.
    pub(super) fn take(&mut self, into: &mut [u8]) -> usize {
        let mut taken = 0;
        while taken < into.len() && self.available() > 0 {
            let lent = self.lend(into.len() - taken);
            let bytes = lent.len();
            into[taken..taken + bytes].copy_from_slice(lent);
            self.consume(bytes);
            taken += bytes;
        }
        taken
    }

    #[inline]
    fn index(&self, offset: u64) -> usize {
        ((offset - self.base) % self.memory.len() as u64) as usize
    }

    fn join_islands(&mut self) {
        if self.islands.first().is_some_and(|island| island.start == self.edge) {
            self.edge = self.islands.remove(0).end;
        }
    }

    /// An empty memory is used from its beginning again, which is likelier to be in the cache.
    #[inline]
    fn rewind(&mut self) {
        if self.position == self.edge && self.islands.is_empty() {
            self.base = self.position - self.position % ALIGNMENT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_in_any_order_make_the_stream() {
        // All orders of six pieces, at a window that wraps round.
        let pieces = [0..8u64, 8..9, 9..24, 24..40, 40..41, 41..64];
        let mut order = [0, 1, 2, 3, 4, 5];
        permute(&mut order, 0, &mut |order| {
            let mut window = Window::new(64);
            for round in 0..3u64 {
                let start = round * 64;
                for &k in order {
                    let piece = start + pieces[k].start..start + pieces[k].end;
                    assert!(window.expects(&piece));
                    let bytes: Vec<u8> = piece.clone().map(|offset| (offset * 7) as u8).collect();
                    window.store(piece.start, &bytes);
                    assert!(!window.expects(&piece), "the same piece twice");
                    assert!(!window.expects(&(piece.end - 1..piece.end)), "a part of it again");
                }
                let mut out = [0; 64];
                assert_eq!(window.take(&mut out), 64);
                assert!(out.iter().zip(start..).all(|(&byte, offset)| byte == (offset * 7) as u8));
            }
        });
    }

    #[test]
    fn what_lies_outside_is_not_expected() {
        let mut window = Window::new(64);
        assert!(window.expects(&(0..64)) && !window.expects(&(0..65)) && !window.expects(&(64..65)));
        window.store(0, &[1; 32]);
        window.consume(8);
        assert!(window.expects(&(71..72)) && !window.expects(&(72..73)) && !window.expects(&(31..33)));
    }

    #[test]
    fn an_empty_memory_is_used_from_its_beginning() {
        let mut window = Window::new(64);
        window.store(0, &[1; 21]);
        window.consume(21);
        assert_eq!(window.index(window.position()), 5, "aligned as the stream is");
    }

    fn permute(order: &mut [usize; 6], from: usize, each: &mut dyn FnMut(&[usize; 6])) {
        if from == order.len() {
            return each(order);
        }
        for k in from..order.len() {
            order.swap(from, k);
            permute(order, from + 1, each);
            order.swap(from, k);
        }
    }
}
