//! Where things lie in a link's registered memory, and what a notice of 32 bits says. Only arithmetic; no device, no state.
//!
//! Both ends have memory of one shape: an *inbox* of slots that the peer writes into, then an *outbox* of as many slots in which the own
//! messages are put together. A slot is a header and a message's payload; the sender's outbox slot is the very image of the inbox slot
//! that it goes to. Message number `m` of a lane goes to slot `m mod credits` of that lane.
//!
//! A message crosses in *pieces*, each one RDMA write whose immediate data says which piece of which slot it was. The first piece brings the
//! header along. Pieces of one message may take different queue pairs and overtake each other.

use crate::transport::{Head, LANES};
use std::ops::Range;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a slot begins with: the message's head, and how many messages of each lane of the other direction its sender is done with, modulo
/// 2³². A cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    pub(super) head: Head,
    pub(super) released: [u32; LANES],
    pub(super) zero: [u8; 8],
}

/// Bytes of a [`Header`].
pub(super) const HEADER_BYTES: usize = size_of::<Header>();

const _: () = assert!(HEADER_BYTES == 64);

/// The shape of a link's memory; both ends must have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Payload bytes of a slot.
    pub(super) slot_bytes: usize,
    /// Payload bytes of every piece but a message's last.
    pub(super) piece_bytes: usize,
    /// Slots a lane.
    pub(super) credits: usize,
}

impl Layout {
    /// Slots of 128 KiB keep half a MiB on the way in the two lanes that are mostly used: a network of 100 Gb/s holds that for 40 µs. All the
    /// memory of a link, which stays locked, is 2 MiB. A piece of half a slot lets the receiver begin while the rest is on its way.
    pub(super) const STANDARD: Self = Self { slot_bytes: 128 << 10, piece_bytes: 64 << 10, credits: 2 };

    /// The most pieces of a message: one bit each in a word.
    pub(super) const PIECES_MAX: usize = 64;

    /// The most slots a lane: they have four bits in a notice.
    pub(super) const CREDITS_MAX: usize = 16;

    /// Whether notices can name every piece of it.
    pub(super) const fn is_sound(self) -> bool {
        self.credits >= 1
            && self.credits <= Self::CREDITS_MAX
            && self.piece_bytes >= 8
            && self.piece_bytes.is_multiple_of(8)
            && self.slot_bytes.is_multiple_of(8)
            && self.pieces(self.slot_bytes) <= Self::PIECES_MAX
    }

    const fn slot_stride(self) -> usize {
        (HEADER_BYTES + self.slot_bytes).next_multiple_of(HEADER_BYTES)
    }

    /// Bytes of inbox and outbox together.
    pub(super) const fn memory_bytes(self) -> usize {
        2 * LANES * self.credits * self.slot_stride()
    }

    /// Where the inbox slot begins that holds a lane's message number `message`, at either end.
    pub(super) const fn inbox(self, lane: usize, message: u64) -> usize {
        (lane * self.credits + self.slot(message)) * self.slot_stride()
    }

    /// Where the outbox slot begins in which that message is put together.
    pub(super) const fn outbox(self, lane: usize, message: u64) -> usize {
        self.memory_bytes() / 2 + self.inbox(lane, message)
    }

    /// The slot of its lane that message number `message` uses.
    pub(super) const fn slot(self, message: u64) -> usize {
        (message % self.credits as u64) as usize
    }

    /// How many pieces a message of `bytes` has: at least one, which brings the header.
    pub(super) const fn pieces(self, bytes: usize) -> usize {
        let pieces = bytes.div_ceil(self.piece_bytes);
        if pieces == 0 { 1 } else { pieces }
    }

    /// The part of a slot, header included, that piece number `piece` of a message of `bytes` is.
    pub(super) const fn piece(self, piece: usize, bytes: usize) -> Range<usize> {
        let start = if piece == 0 { 0 } else { HEADER_BYTES + piece * self.piece_bytes };
        let end = (piece + 1) * self.piece_bytes;
        start..HEADER_BYTES + if end < bytes { end } else { bytes }
    }
}

/// What the immediate data of a write says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// A piece of the message in this slot has come.
    Piece { lane: usize, slot: usize, piece: usize },
    /// So many messages of the lane are done with, modulo 2²⁴.
    Credit { lane: usize, released: u32 },
    /// Nothing more comes by this queue pair.
    Goodbye,
    /// The link is being tried before it is used.
    Trial,
}

/// Bits of a credit that a notice has room for.
const CREDIT_BITS: u32 = 24;

impl Notice {
    /// A credit to be sent; it travels modulo 2²⁴.
    pub(super) fn credit(lane: usize, released: u64) -> Self {
        Self::Credit { lane, released: (released & ((1 << CREDIT_BITS) - 1)) as u32 }
    }

    /// Kind in the top 2 bits, lane in 2, then what belongs to the kind.
    pub(super) fn to_bits(self) -> u32 {
        let word = |kind: u32, lane: usize, rest: u32| kind << 30 | (lane as u32) << 28 | rest;
        match self {
            Self::Piece { lane, slot, piece } => word(0, lane, (slot as u32) << CREDIT_BITS | piece as u32),
            Self::Credit { lane, released } => word(1, lane, released),
            Self::Goodbye => word(2, 0, 0),
            Self::Trial => word(3, 0, 0),
        }
    }

    /// What the peer's 32 bits say; every value says something, though maybe nothing that may come now.
    pub(super) fn from_bits(bits: u32) -> Self {
        let lane = (bits >> 28 & 3) as usize;
        let low = bits & ((1 << CREDIT_BITS) - 1);
        match bits >> 30 {
            0 => Self::Piece { lane, slot: (bits >> CREDIT_BITS & 15) as usize, piece: low as usize },
            1 => Self::Credit { lane, released: low },
            2 => Self::Goodbye,
            _ => Self::Trial,
        }
    }

    /// How far a count that is known modulo 2²⁴ (a notice) or 2³² (a header) is ahead of `known`; 0 if it is an older one.
    pub(super) fn ahead(known: u64, counted: u32, bits: u32) -> u64 {
        let mask = u32::MAX >> (32 - bits);
        let ahead = counted.wrapping_sub(known as u32) & mask;
        // Fewer than half of the circle is ahead, more is behind.
        if ahead <= mask / 2 { ahead.into() } else { 0 }
    }

    /// Bits of the count in a [`Notice::Credit`].
    pub(super) const CREDIT_BITS: u32 = CREDIT_BITS;
}

const _: () = assert!(LANES <= 4, "a lane has two bits in a notice");
const _: () = assert!(Layout::STANDARD.is_sound());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_go_there_and_back() {
        for lane in 0..LANES {
            for released in [0, 1, (1 << 24) - 1, 1 << 24, (1 << 40) + 5] {
                let Notice::Credit { released: low, .. } = Notice::credit(lane, released) else { unreachable!() };
                assert_eq!(u64::from(low), released % (1 << 24));
                assert_eq!(Notice::from_bits(Notice::credit(lane, released).to_bits()), Notice::credit(lane, released));
            }
            for (slot, piece) in [(0, 0), (15, 63), (3, 7)] {
                let notice = Notice::Piece { lane, slot, piece };
                assert_eq!(Notice::from_bits(notice.to_bits()), notice);
            }
        }
        assert_eq!(Notice::from_bits(Notice::Goodbye.to_bits()), Notice::Goodbye);
        assert_eq!(Notice::from_bits(Notice::Trial.to_bits()), Notice::Trial);
    }

    #[test]
    fn counts_are_told_from_older_ones_across_the_end_of_their_circle() {
        for bits in [24, 32] {
            let low = |count: u64| (count & ((1 << bits) - 1)) as u32;
            for known in [0, 7, (1 << bits) - 1, 1 << bits, (1 << 40) - 1] {
                for news in [0, 1, 2, 16] {
                    assert_eq!(Notice::ahead(known, low(known + news), bits), news);
                    assert_eq!(Notice::ahead(known + news, low(known), bits), 0);
                }
            }
        }
    }

    #[test]
    fn pieces_tile_a_slot_and_slots_tile_the_memory() {
        let layout = Layout { slot_bytes: 200, piece_bytes: 64, credits: 3 };
        assert!(layout.is_sound());
        for bytes in 0..=layout.slot_bytes {
            let mut end = 0;
            for piece in 0..layout.pieces(bytes) {
                let range = layout.piece(piece, bytes);
                assert_eq!(range.start, end);
                end = range.end;
            }
            assert_eq!(end, HEADER_BYTES + bytes);
        }
        let mut starts: Vec<usize> = (0..LANES)
            .flat_map(|lane| {
                (0..3).flat_map(move |message| [layout.inbox(lane, message), layout.outbox(lane, message)])
            })
            .collect();
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= HEADER_BYTES + layout.slot_bytes));
        assert!(starts.iter().all(|start| start.is_multiple_of(8)));
        assert!(starts[starts.len() - 1] + HEADER_BYTES + layout.slot_bytes <= layout.memory_bytes());
    }
}
