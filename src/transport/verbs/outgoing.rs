//! The sending half of a verbs link: puts messages together in the outbox and has their pieces written to the peer's inbox. It must not
//! look at what comes in, but for what it is told of credits and completions.
//!
//! A payload is copied once, into the outbox slot, which is registered; so a caller's bytes are free as soon as they are accepted. The card
//! reads the slot until its writes have completed: a slot is used again only then, whatever the peer has said of credits.
//!
//! A whole payload that lies in memory lent to the link is not copied: the card reads it where it lies, and it is accepted when that is done.

use super::layout::{HEADER_BYTES, Header, Layout, Notice};
use super::nic::{Nic, Source, Write};
use crate::transport::{Fault, Head, LANES};
use std::collections::VecDeque;
use zerocopy::IntoBytes;

/// Of writes whose memory is free at once, every so many-th is signalled: what has completed must be known before a queue is full of it.
const SIGNAL_EVERY: u32 = 16;

/// A payload of fewer bytes is copied even where it need not be: copying takes less than waiting until the card has read it.
const DIRECT_BYTES_MIN: usize = 16 << 10;

/// The sending half.
#[derive(Debug)]
pub(super) struct Outgoing {
    layout: Layout,
    lanes: [Lane; LANES],
    queues: Vec<Queue>,
    /// Writes of open messages that are not posted yet: there is room for them in the queues.
    reserved: usize,
    /// What the peer was last told of each lane of the other direction.
    told: [u64; LANES],
}

#[derive(Debug, Default)]
struct Lane {
    /// Messages begun.
    begun: u64,
    /// Messages that the peer is done with.
    released: u64,
    open: Option<Open>,
    /// Writes of each slot that the card may still read.
    reading: [u16; Layout::CREDITS_MAX],
}

/// The message that is being written.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Payload bytes it has, and how many of them have been accepted.
    bytes: usize,
    written: usize,
    /// Pieces that are posted.
    posted: usize,
    /// The card reads the caller's memory: nothing is accepted before it has.
    direct: bool,
}

/// What a queue pair has been given and has not been known to complete.
#[derive(Debug)]
struct Queue {
    posted: VecDeque<Posted>,
    bytes: usize,
    unsignalled: u32,
}

#[derive(Clone, Copy, Debug)]
struct Posted {
    /// Lane and slot that the card reads for it; inline ones are read when they are posted.
    reads: Option<(u8, u8)>,
    bytes: usize,
}

impl Outgoing {
    pub(super) fn new(layout: Layout, queue_pairs: usize) -> Self {
        let queue = || Queue { posted: VecDeque::with_capacity(depth(layout)), bytes: 0, unsignalled: 0 };
        let queues = (0..queue_pairs).map(|_| queue()).collect();
        Self { layout, lanes: Default::default(), queues, reserved: 0, told: [0; LANES] }
    }

    /// Begins a message if there is a slot for it at both ends, and room in the queues. One without payload goes at once.
    pub(super) fn open(
        &mut self,
        nic: &mut impl Nic,
        lane: usize,
        head: &Head,
        released: &[u64; LANES],
    ) -> Result<bool, Fault> {
        let layout = self.layout;
        assert!(head.bytes <= layout.slot_bytes as u64, "a message larger than a slot");
        let (bytes, room) = (head.bytes as usize, self.room());
        let state = &mut self.lanes[lane];
        assert!(state.open.is_none(), "a message was opened within another");
        let message = state.begun;
        let has_credit = message - state.released < layout.credits as u64;
        if !has_credit || state.reading[layout.slot(message)] > 0 || room < writes(layout, bytes) {
            return Ok(false);
        }
        let header = Header { head: *head, released: [0; LANES], zero: [0; 8] };
        let at = layout.outbox(lane, message);
        nic.bytes_mut(at..at + HEADER_BYTES).copy_from_slice(header.as_bytes());
        state.begun += 1;
        state.open = Some(Open { bytes, written: 0, posted: 0, direct: false });
        self.reserved += writes(layout, bytes);
        if bytes == 0 {
            self.post_pieces(nic, lane, released)?;
        }
        Ok(true)
    }

    /// Accepts payload of the open message and posts the pieces that are whole. All of it, unless the card is to read it where it lies.
    pub(super) fn write(
        &mut self,
        nic: &mut impl Nic,
        lane: usize,
        payload: &[u8],
        released: &[u64; LANES],
    ) -> Result<usize, Fault> {
        let layout = self.layout;
        let state = &mut self.lanes[lane];
        let Some(open) = &mut state.open else { return Ok(0) };
        if open.direct {
            return Ok(self.accept_direct(lane, payload.len()));
        }
        let payload = &payload[..payload.len().min(open.bytes - open.written)];
        if payload.len() == open.bytes
            && payload.len() >= DIRECT_BYTES_MIN
            && let Some((place, range)) = nic.lent(payload)
        {
            self.post_direct(nic, lane, (place, range.start), released)?;
            return Ok(0);
        }
        let at = layout.outbox(lane, state.begun - 1) + HEADER_BYTES + open.written;
        nic.bytes_mut(at..at + payload.len()).copy_from_slice(payload);
        open.written += payload.len();
        self.post_pieces(nic, lane, released)?;
        Ok(payload.len())
    }

    /// Notes how many messages of a lane the peer says it is done with, of which so many low bits are known.
    pub(super) fn learn(&mut self, lane: usize, counted: u32, bits: u32) -> Result<(), Fault> {
        let state = &mut self.lanes[lane];
        let (news, ahead) = (Notice::ahead(state.released, counted, bits), state.begun - state.released);
        if news > ahead {
            let what = format!("credit for {news} messages of lane {lane}, of which {ahead} are on the way");
            return Err(Fault::Nonsense(what));
        }
        state.released += news;
        Ok(())
    }

    /// Notes that so many writes of a queue pair have completed, the oldest.
    pub(super) fn completed(&mut self, queue_pair: usize, count: u32) {
        let queue = &mut self.queues[queue_pair];
        let count = (count as usize).min(queue.posted.len());
        for posted in queue.posted.drain(..count) {
            queue.bytes -= posted.bytes;
            if let Some((lane, slot)) = posted.reads {
                self.lanes[usize::from(lane)].reading[usize::from(slot)] -= 1;
            }
        }
    }

    /// Gives the peer the credit that it may be waiting for and that no message has brought along: at once for lanes in `eager`, for the others
    /// when the peer has none left. Whether any was given.
    pub(super) fn give_credit(
        &mut self,
        nic: &mut impl Nic,
        released: &[u64; LANES],
        eager: &mut [bool; LANES],
    ) -> Result<bool, Fault> {
        let mut given = false;
        for lane in 0..LANES {
            let owed = released[lane] - self.told[lane];
            // A message's header may have told of it meanwhile.
            eager[lane] &= owed > 0;
            let due = owed >= self.layout.credits as u64 || eager[lane];
            if due && self.room() > 0 {
                self.post_notice(nic, self.freest(), Notice::credit(lane, released[lane]), Signal::Seldom)?;
                self.told[lane] = released[lane];
                eager[lane] = false;
                given = true;
            }
        }
        Ok(given)
    }

    /// Tells the peer on every queue pair that nothing more comes, in a way that shows when all before it has arrived.
    pub(super) fn say_goodbye(&mut self, nic: &mut impl Nic) -> Result<(), Fault> {
        (0..self.queues.len()).try_for_each(|queue| self.post_notice(nic, queue, Notice::Goodbye, Signal::Always))
    }

    /// Writes a header's bytes on every queue pair, from the first slot to the first slot, where nothing is yet.
    pub(super) fn try_all(&mut self, nic: &mut impl Nic) -> Result<(), Fault> {
        let (outbox, to) = (self.layout.outbox(0, 0), self.layout.inbox(0, 0));
        (0..self.queues.len()).try_for_each(|queue| {
            let header = Source::Own(outbox..outbox + HEADER_BYTES);
            self.post(nic, queue, [(header, to, Some(Notice::Trial), Signal::Always)], None)
        })
    }

    /// Whether all that was posted is known to have completed.
    pub(super) fn is_still(&self) -> bool {
        self.queues.iter().all(|queue| queue.posted.is_empty())
    }

    /// Posts the pieces of the open message that are whole; the message ends with its last.
    fn post_pieces(&mut self, nic: &mut impl Nic, lane: usize, released: &[u64; LANES]) -> Result<(), Fault> {
        let layout = self.layout;
        let state = &self.lanes[lane];
        let Some(mut open) = state.open else { return Ok(()) };
        let message = state.begun - 1;
        let (outbox, inbox) = (layout.outbox(lane, message), layout.inbox(lane, message));
        let (slot, pieces) = (layout.slot(message), layout.pieces(open.bytes));
        while open.posted < pieces {
            let piece = layout.piece(open.posted, open.bytes);
            if piece.end > HEADER_BYTES + open.written {
                break;
            }
            if open.posted == 0 {
                self.put_credit(nic, outbox, released);
            }
            let from = outbox + piece.start..outbox + piece.end;
            let (from, signal) = match from.len() <= nic.inline_bytes() {
                true => (Source::Inline(from), Signal::Seldom),
                false => (Source::Own(from), Signal::Always),
            };
            let notice = Notice::Piece { lane, slot, piece: open.posted };
            let draft = (from, inbox + piece.start, Some(notice), signal);
            self.post(nic, self.freest(), [draft], Some((lane, slot)))?;
            open.posted += 1;
        }
        self.lanes[lane].open = Some(open);
        if open.posted == pieces {
            self.end_message(lane);
        }
        Ok(())
    }

    /// Posts the whole open message, of which the caller's memory has the payload: the header by itself, right before the first piece.
    fn post_direct(
        &mut self,
        nic: &mut impl Nic,
        lane: usize,
        (place, start): (usize, usize),
        released: &[u64; LANES],
    ) -> Result<(), Fault> {
        let layout = self.layout;
        let state = &mut self.lanes[lane];
        let message = state.begun - 1;
        let Some(open) = &mut state.open else { return Ok(()) };
        open.direct = true;
        let bytes = open.bytes;
        let (outbox, inbox, slot) = (layout.outbox(lane, message), layout.inbox(lane, message), layout.slot(message));
        self.put_credit(nic, outbox, released);
        let header = (Source::Own(outbox..outbox + HEADER_BYTES), inbox, None, Signal::Seldom);
        let draft = |piece: usize| {
            let part = layout.piece(piece, bytes);
            let (from, to) = (part.start.max(HEADER_BYTES), part.end);
            let lent = Source::Lent(place, start + from - HEADER_BYTES..start + to - HEADER_BYTES);
            (lent, inbox + from, Some(Notice::Piece { lane, slot, piece }), Signal::Always)
        };
        // The first piece follows the header on the same queue pair, so its notice is the header's too.
        self.post(nic, self.freest(), [header, draft(0)], Some((lane, slot)))?;
        (1..layout.pieces(bytes))
            .try_for_each(|piece| self.post(nic, self.freest(), [draft(piece)], Some((lane, slot))))
    }

    /// Accepts what is offered of a payload that the card has read.
    pub(super) fn accept_direct(&mut self, lane: usize, offered: usize) -> usize {
        let state = &mut self.lanes[lane];
        let slot = self.layout.slot(state.begun.saturating_sub(1));
        let Some(open) = state.open.as_mut().filter(|open| open.direct && state.reading[slot] == 0) else { return 0 };
        let accepted = offered.min(open.bytes - open.written);
        open.written += accepted;
        if open.written == open.bytes {
            self.end_message(lane);
        }
        accepted
    }

    fn end_message(&mut self, lane: usize) {
        if let Some(open) = self.lanes[lane].open.take() {
            self.reserved -= writes(self.layout, open.bytes);
        }
    }

    /// Lets a header say what of the other direction is done with.
    fn put_credit(&mut self, nic: &mut impl Nic, outbox: usize, released: &[u64; LANES]) {
        self.told = *released;
        let counts = released.map(|count| count as u32);
        let at = outbox + size_of::<Head>();
        nic.bytes_mut(at..at + size_of_val(&counts)).copy_from_slice(counts.as_bytes());
    }

    fn post_notice(&mut self, nic: &mut impl Nic, queue: usize, notice: Notice, signal: Signal) -> Result<(), Fault> {
        self.post(nic, queue, [(Source::Nothing, 0, Some(notice), signal)], None)
    }

    /// Posts one write, or two at once; of a message in this lane and slot, if it is of one.
    fn post<const N: usize>(
        &mut self,
        nic: &mut impl Nic,
        number: usize,
        drafts: [Draft; N],
        of: Option<(usize, usize)>,
    ) -> Result<(), Fault> {
        let Self { queues, lanes, .. } = self;
        let queue = &mut queues[number];
        let writes = drafts.map(|(from, to, notice, signal)| {
            queue.unsignalled += 1;
            let told = signal == Signal::Always || queue.unsignalled >= SIGNAL_EVERY;
            let completes = if told { std::mem::take(&mut queue.unsignalled) } else { 0 };
            Write { from, to, immediate: notice.map(Notice::to_bits), completes }
        });
        nic.post(number, &writes)?;
        for write in writes {
            // Inline bytes are read when they are posted.
            let of = of.filter(|_| matches!(write.from, Source::Own(_) | Source::Lent(..)));
            let reads = of.map(|(lane, slot)| {
                lanes[lane].reading[slot] += 1;
                (lane as u8, slot as u8)
            });
            let bytes = write.from.len();
            queue.bytes += bytes;
            queue.posted.push_back(Posted { reads, bytes });
        }
        Ok(())
    }

    /// Writes that the queues can still take, beside those that are promised.
    fn room(&self) -> usize {
        let depth = depth(self.layout);
        let free: usize = self.queues.iter().map(|queue| depth - queue.posted.len().min(depth)).sum();
        free - self.reserved.min(free)
    }

    /// The queue pair that has the least left to do and can take a write.
    fn freest(&self) -> usize {
        let depth = depth(self.layout);
        let load = |(_, queue): &(usize, &Queue)| (queue.posted.len() >= depth, queue.bytes, queue.posted.len());
        self.queues.iter().enumerate().min_by_key(load).map_or(0, |(number, _)| number)
    }
}

/// A write to be posted: what is written, where to, what the peer is told with it, and whether its completion is told.
type Draft = (Source, usize, Option<Notice>, Signal);

/// Whether a write's completion is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Always,
    /// With every [`SIGNAL_EVERY`]-th.
    Seldom,
}

/// The most writes that a message of `bytes` takes: its pieces, and its header if that goes by itself.
const fn writes(layout: Layout, bytes: usize) -> usize {
    layout.pieces(bytes) + 1
}

/// Writes that a queue pair holds before the link stops filling it: every message and credit that slots allow, and those that may lie completed and
/// unsignalled.
pub(super) const fn depth(layout: Layout) -> usize {
    LANES * layout.credits * (writes(layout, layout.slot_bytes) + 1) + 2 * SIGNAL_EVERY as usize
}

/// What a device's send queue must hold: the goodbye goes past the limit, and so may the first piece of a message whose header goes by itself.
pub(super) const fn send_queue_depth(layout: Layout) -> usize {
    depth(layout) + 2
}

/// What a device's receive queue must hold, besides what waits to be posted again: as much as the peer's send queue can have under way, and what has arrived
/// without having been looked at, which credits bound as they bound what is sent.
pub(super) const fn receive_queue_depth(layout: Layout) -> usize {
    2 * send_queue_depth(layout)
}

#[cfg(test)]
mod tests {
    use super::super::tests::pretended::pair;
    use super::*;

    #[test]
    fn credit_that_finds_no_room_is_given_later_and_what_a_header_told_is_not_told_again() {
        let layout = Layout { slot_bytes: 1000, piece_bytes: 256, credits: 2 };
        let (_, [mut nic, _]) = pair(layout, 1, 128, 1);
        let mut outgoing = Outgoing::new(layout, 1);
        let (released, mut eager) = ([1, 0, 0, 0], [true, false, false, false]);
        outgoing.reserved = depth(layout);
        assert!(!outgoing.give_credit(&mut nic, &released, &mut eager).expect("nothing is wrong"));
        assert!(eager[0], "it is still due");
        outgoing.reserved = 0;
        assert!(outgoing.give_credit(&mut nic, &released, &mut eager).expect("nothing is wrong"));
        assert!(!eager[0] && outgoing.told == released);
        eager[0] = true;
        assert!(!outgoing.give_credit(&mut nic, &released, &mut eager).expect("nothing is wrong"));
        assert!(!eager[0], "the next small message is in no hurry");
    }
}
