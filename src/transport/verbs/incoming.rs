//! The receiving half of a verbs link: which pieces of which messages have come, and what has been taken of them. It reads slots that the peer's
//! card has written; it must not send anything.
//!
//! The peer is not trusted: a notice of a piece that cannot come now is nonsense, and so is a header that does not fit what came.

use super::layout::{HEADER_BYTES, Header, Layout};
use super::nic::Nic;
use crate::transport::{Fault, Head, LANES};
use std::ops::Range;
use zerocopy::FromBytes;

/// The receiving half.
#[derive(Debug)]
pub(super) struct Incoming {
    layout: Layout,
    lanes: [Lane; LANES],
}

#[derive(Debug, Default)]
struct Lane {
    /// Messages that are done with: read or consumed whole.
    done: u64,
    /// The pieces that have come into each slot, a bit each.
    pieces: [u64; Layout::CREDITS_MAX],
    /// The message that the receiver is at, once its header has come.
    head: Option<Head>,
    /// Payload bytes of it that have come without a gap.
    arrived: usize,
    /// Payload bytes of it that have been taken.
    taken: usize,
}

impl Incoming {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, lanes: Default::default() }
    }

    /// How many messages of each lane are done with.
    pub(super) fn released(&self) -> [u64; LANES] {
        std::array::from_fn(|lane| self.lanes[lane].done)
    }

    /// Notes that a piece has come. With a message's first comes news of the other direction: what the peer is done with.
    pub(super) fn note(
        &mut self,
        nic: &impl Nic,
        lane: usize,
        slot: usize,
        piece: usize,
    ) -> Result<Option<[u32; LANES]>, Fault> {
        let wrong = |why| Err(nonsense(lane, format!("piece {piece} of slot {slot} {why}")));
        let Self { layout, lanes } = self;
        let Some(state) = lanes.get_mut(lane) else { return wrong("of a lane that there is not") };
        if slot >= layout.credits || piece >= layout.pieces(layout.slot_bytes) {
            return wrong("of which there are fewer");
        }
        if state.pieces[slot] & (1 << piece) != 0 {
            return wrong("came twice");
        }
        state.pieces[slot] |= 1 << piece;
        if piece > 0 {
            return Ok(None);
        }
        Ok(Some(header(nic, layout.inbox(lane, slot as u64)).released))
    }

    /// The head of the message that the receiver is at, if it has come.
    pub(super) fn head(&mut self, nic: &impl Nic, lane: usize) -> Result<Option<Head>, Fault> {
        Ok(self.look(nic, lane)?.head)
    }

    /// Where in the own memory the payload lies that has come of that message and has not been taken.
    pub(super) fn lent(&mut self, nic: &impl Nic, lane: usize) -> Result<Range<usize>, Fault> {
        let layout = self.layout;
        let lane_state = self.look(nic, lane)?;
        let payload = layout.inbox(lane, lane_state.done) + HEADER_BYTES;
        Ok(payload + lane_state.taken..payload + lane_state.arrived)
    }

    /// Payload bytes of the message that the receiver is at.
    pub(super) fn message_bytes(&self, lane: usize) -> u64 {
        self.lanes[lane].head.map_or(0, |head| head.bytes)
    }

    /// Notes that payload was taken. Whether that was the message's end, so that its slot is free.
    pub(super) fn take(&mut self, lane: usize, bytes: usize) -> bool {
        let layout = self.layout;
        let lane = &mut self.lanes[lane];
        let Some(head) = lane.head else { return false };
        assert!(bytes <= lane.arrived - lane.taken, "more consumed than was lent");
        lane.taken += bytes;
        if (lane.taken as u64) < head.bytes {
            return false;
        }
        lane.pieces[layout.slot(lane.done)] = 0;
        (lane.head, lane.arrived, lane.taken) = (None, 0, 0);
        lane.done += 1;
        true
    }

    /// Brings what is known of a lane's current message up to date.
    fn look(&mut self, nic: &impl Nic, lane: usize) -> Result<&mut Lane, Fault> {
        let Self { layout, lanes } = self;
        let state = &mut lanes[lane];
        let pieces = state.pieces[layout.slot(state.done)];
        if pieces & 1 == 0 {
            return Ok(state);
        }
        let head = match state.head {
            Some(head) => head,
            None => {
                let head = header(nic, layout.inbox(lane, state.done)).head;
                if head.bytes > layout.slot_bytes as u64 {
                    return Err(nonsense(lane, format!("a message of {} bytes", head.bytes)));
                }
                state.head = Some(head);
                head
            }
        };
        let whole = layout.pieces(head.bytes as usize);
        let came = pieces.trailing_ones() as usize;
        if 64 - pieces.leading_zeros() as usize > whole {
            return Err(nonsense(lane, format!("more than the {whole} pieces of a message of {} bytes", head.bytes)));
        }
        state.arrived = (came * layout.piece_bytes).min(head.bytes as usize);
        Ok(state)
    }
}

fn header(nic: &impl Nic, at: usize) -> Header {
    let bytes = nic.bytes(at..at + HEADER_BYTES);
    Header::read_from_bytes(bytes).expect("a header has this size, and any bits are one")
}

fn nonsense(lane: usize, what: String) -> Fault {
    Fault::Nonsense(format!("on lane {lane}, {what}"))
}
