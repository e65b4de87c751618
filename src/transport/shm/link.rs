//! A link between two ranks of one host: slots in shared memory that the sender fills and the receiver reads in place.
//!
//! Each direction has a [`Region`] of its own, made by the receiver and laid out by `Layout`: for every lane a ring of slots.
//! Message number `m` of a lane goes to slot `m mod credits`, in round `m div credits + 1` of that slot.
//!
//! * The *notice* of a slot, one word, says which round it is in and how many bytes of payload have come. It shares its line with
//!   the message's head, so one transfer between cores brings both. The sender writes it piece by piece as it copies, so the
//!   receiver works on the front of a message while its end is still being written.
//! * The *released* word of a lane counts the messages that the receiver is done with. The sender looks at it only when
//!   its credit, as far as it knows, is used up.
//!
//! No system calls, no locks; each word has one writer. The peer is not trusted: what it says is checked against what it may
//! say, and a region's accessors bound every access. That the peer is alive is for others to watch.

use super::{CopyBy, Fills, Region, SLOTS_AT, Stores};
use crate::transport::{Capabilities, Fault, Head, Interest, LANES, Transport};
use crate::{Error, Result};
use crossbeam_utils::CachePadded;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

/// Payload that one slot holds: large enough to hide a notice's way from core to core behind the copying.
const SLOT_BYTES: usize = 64 << 10;

/// Slots a lane has: one being read while the other is being filled. All slots of a link's both directions, 1 MiB, stay
/// within an L2 cache.
const CREDITS: usize = 2;

/// How much is copied before the receiver is told: small enough to overlap the two sides' work within a slot, large enough
/// that the notice's line travels seldom.
const PIECE_BYTES: usize = 16 << 10;

/// What is written by different ranks, or polled, lies so far apart: two lines, since CPUs fetch neighbours.
const SPACING: usize = 128;

/// Where things lie in a region of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    slot_bytes: usize,
    credits: usize,
}

impl Layout {
    const STANDARD: Self = Self { slot_bytes: SLOT_BYTES, credits: CREDITS };

    /// Bytes of words: a line for each slot's notice and head, and one for each lane's count of released messages.
    const fn word_bytes(self) -> usize {
        LANES * (self.credits + 1) * SPACING
    }

    const fn payload_bytes(self) -> usize {
        SLOTS_AT + LANES * self.credits * self.slot_bytes
    }

    const fn notice(self, lane: usize, slot: usize) -> usize {
        (lane * (self.credits + 1) + slot) * SPACING
    }

    /// The `i`-th word of the head, in the notice's line.
    const fn head(self, lane: usize, slot: usize, i: usize) -> usize {
        self.notice(lane, slot) + (i + 1) * size_of::<u64>()
    }

    const fn released(self, lane: usize) -> usize {
        self.notice(lane, self.credits)
    }

    const fn payload(self, lane: usize, slot: usize) -> usize {
        SLOTS_AT + (lane * self.credits + slot) * self.slot_bytes
    }

    /// The slot of message `number`, and its round there: from 1, since a fresh region's notices say 0.
    const fn place(self, number: u64) -> (usize, u32) {
        ((number % self.credits as u64) as usize, (number / self.credits as u64 + 1) as u32)
    }
}

/// Words that a head takes.
const HEAD_WORDS: usize = size_of::<Head>() / size_of::<u64>();

// The notice and the head share a line, and a notice has 32 bits for the progress.
const _: () = assert!((1 + HEAD_WORDS) * size_of::<u64>() <= 64 && SLOT_BYTES <= u32::MAX as usize);

/// What a slot's notice says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Notice {
    round: u32,
    /// Bytes of payload that have come.
    progress: u32,
}

impl Notice {
    const fn to_word(self) -> u64 {
        (self.round as u64) << 32 | self.progress as u64
    }

    const fn from_word(word: u64) -> Self {
        Self { round: (word >> 32) as u32, progress: word as u32 }
    }
}

/// One rank's end of a link over shared memory.
#[derive(Debug)]
pub struct ShmLink {
    layout: Layout,
    /// The region that the peer sends into, made here.
    inbox: Region,
    /// The region to send into, made by the peer.
    outbox: Region,
    sending: [CachePadded<Sending>; LANES],
    receiving: [CachePadded<Receiving>; LANES],
    copy: CopyBy,
    /// How the peer's slots are filled.
    fills: Fills,
}

/// The sender's side of a lane.
#[derive(Debug, Default)]
struct Sending {
    /// Messages begun.
    begun: u64,
    /// Messages that the receiver was known to be done with when it was last asked.
    released: u64,
    /// Payload bytes of the open message.
    bytes: usize,
    /// How many of them are written.
    written: usize,
    /// The message is open but its notice has not been given: that goes with its first payload.
    unannounced: bool,
}

/// The receiver's side of a lane.
#[derive(Debug, Default)]
struct Receiving {
    /// Messages done with.
    done: u64,
    /// The message it is at, once it has begun to come.
    head: Option<Head>,
    /// Bytes of it that have come, as far as was looked.
    arrived: usize,
    /// Bytes of it that have been read or consumed.
    taken: usize,
}

impl ShmLink {
    /// The largest payload of a message.
    pub const SLOT_BYTES: usize = SLOT_BYTES;

    /// Makes a region for the peer to send into. Its card goes to the peer, which opens it as its outbox.
    ///
    /// # Errors
    /// [`Error::System`] if there is no room for it.
    pub fn inbox() -> Result<Region> {
        Region::create(Layout::STANDARD.word_bytes(), Layout::STANDARD.payload_bytes())
    }

    /// The link over one's own inbox and the peer's, which has been opened as `outbox`; what is written and read is copied by `copy`.
    ///
    /// # Errors
    /// [`Error::System`] if a region is not as large as an inbox is.
    pub fn new(inbox: Region, outbox: Region, copy: CopyBy) -> Result<Self> {
        Self::with_layout(Layout::STANDARD, inbox, outbox, copy)
    }

    /// To be called once the peer has opened the inbox: nobody else will, so the inbox' descriptor is closed.
    pub fn close_descriptor(&mut self) {
        self.inbox.close_descriptor();
    }

    fn with_layout(layout: Layout, inbox: Region, outbox: Region, copy: CopyBy) -> Result<Self> {
        let expected = (layout.word_bytes() as u64, layout.payload_bytes() as u64);
        for card in [inbox.card(), outbox.card()] {
            if (card.words, card.bytes) != expected {
                return Err(Error::System {
                    what: format!("cannot link to process {} over shared memory", card.pid),
                    reason: format!(
                        "its region is of {} + {} bytes, not {} + {}",
                        card.words, card.bytes, expected.0, expected.1
                    ),
                });
            }
        }
        Ok(Self {
            layout,
            inbox,
            outbox,
            sending: Default::default(),
            receiving: Default::default(),
            copy,
            fills: Fills::default(),
        })
    }

    /// Whether the receiver has a slot free, asking it if none is known to be.
    fn has_credit(&mut self, lane: usize) -> Result<bool, Fault> {
        let Self { layout, outbox, sending, .. } = self;
        let sending = &mut sending[lane];
        let credits = layout.credits as u64;
        if sending.begun - sending.released < credits {
            return Ok(true);
        }
        // Acquire: what the receiver read of the slot, it has read before the slot is written again.
        let released = outbox.word(layout.released(lane)).load(Ordering::Acquire);
        if released < sending.released || released > sending.begun {
            return Err(Fault::Nonsense(format!(
                "it gave back {released} messages of lane {lane}, after {} and out of {}",
                sending.released, sending.begun
            )));
        }
        sending.released = released;
        Ok(sending.begun - released < credits)
    }

    /// Tells the receiver of the open message and how far it has come.
    fn publish(&mut self, lane: usize) {
        let Self { layout, outbox, sending, .. } = self;
        let sending = &mut sending[lane];
        let (slot, round) = layout.place(sending.begun - 1);
        let notice = Notice { round, progress: sending.written as u32 };
        // Release: the head and that much of the payload come before it.
        outbox.word(layout.notice(lane, slot)).store(notice.to_word(), Ordering::Release);
        sending.unannounced = false;
    }

    /// Looks how far the message that the receiver is at has come.
    #[inline]
    fn look(&mut self, lane: usize) -> Result<&mut Receiving, Fault> {
        let Self { layout, inbox, receiving, .. } = self;
        let receiving = &mut *receiving[lane];
        if let Some(head) = receiving.head
            && receiving.arrived as u64 == head.bytes
        {
            return Ok(receiving);
        }
        let (slot, round) = layout.place(receiving.done);
        let word = inbox.word(layout.notice(lane, slot)).load(Ordering::Acquire);
        let notice = Notice::from_word(word);
        let bytes = match receiving.head {
            Some(head) => head.bytes,
            None if notice.round == round => {
                let mut words = [0; HEAD_WORDS];
                for (i, word) in words.iter_mut().enumerate() {
                    *word = inbox.word(layout.head(lane, slot, i)).load(Ordering::Relaxed);
                }
                let head: Head = zerocopy::transmute!(words);
                if head.bytes > layout.slot_bytes as u64 {
                    return Err(nonsense(lane, format!("a message of {} bytes", head.bytes)));
                }
                receiving.head = Some(head);
                head.bytes
            }
            // The slot still shows the message before, or nothing yet.
            None if notice.round == round.wrapping_sub(1) => return Ok(receiving),
            None => return Err(nonsense(lane, format!("a slot in round {}, not {round}", notice.round))),
        };
        let progress = notice.progress as usize;
        if notice.round != round || progress < receiving.arrived || progress as u64 > bytes {
            let was = receiving.arrived;
            return Err(nonsense(lane, format!("{notice:?} of {bytes} bytes in round {round}, {was} had come")));
        }
        receiving.arrived = progress;
        Ok(receiving)
    }

    /// Marks bytes of the message as taken, and gives its slot back with the last of them.
    fn take(&mut self, lane: usize, bytes: usize) {
        let Self { layout, inbox, receiving, .. } = self;
        let receiving = &mut *receiving[lane];
        let Some(head) = receiving.head else { return };
        assert!(bytes <= receiving.arrived - receiving.taken, "more consumed than was lent");
        receiving.taken += bytes;
        if receiving.taken as u64 == head.bytes {
            *receiving = Receiving { done: receiving.done + 1, ..Receiving::default() };
            // Release: the payload has been read before the slot is given back.
            inbox.word(layout.released(lane)).store(receiving.done, Ordering::Release);
        }
    }
}

fn nonsense(lane: usize, what: String) -> Fault {
    Fault::Nonsense(format!("on lane {lane}, {what}"))
}

impl Transport for ShmLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "shm", slot_bytes: self.layout.slot_bytes, credits: self.layout.credits as u32 }
    }

    fn open(&mut self, lane: usize, head: &Head) -> Result<bool, Fault> {
        assert!(head.bytes <= self.layout.slot_bytes as u64, "a message larger than a slot");
        debug_assert_eq!(self.sending[lane].written, self.sending[lane].bytes, "the message before is not whole");
        if !self.has_credit(lane)? {
            return Ok(false);
        }
        let Self { layout, outbox, sending, .. } = self;
        let sending = &mut sending[lane];
        let (slot, _) = layout.place(sending.begun);
        let words: [u64; HEAD_WORDS] = zerocopy::transmute!(*head);
        for (i, word) in words.into_iter().enumerate() {
            outbox.word(layout.head(lane, slot, i)).store(word, Ordering::Relaxed);
        }
        sending.begun += 1;
        sending.bytes = head.bytes as usize;
        sending.written = 0;
        sending.unannounced = true;
        if head.bytes == 0 {
            self.publish(lane);
        }
        Ok(true)
    }

    fn write(&mut self, lane: usize, payload: &[u8]) -> Result<usize, Fault> {
        let left = self.sending[lane].bytes - self.sending[lane].written;
        let payload = &payload[..payload.len().min(left)];
        for piece in payload.chunks(PIECE_BYTES) {
            let Self { layout, outbox, sending, copy, fills, .. } = self;
            let sending = &mut sending[lane];
            let (slot, _) = layout.place(sending.begun - 1);
            let slot = outbox.bytes_mut(layout.payload(lane, slot) + sending.written, piece.len());
            fills.fill(piece.len(), piece.len(), |stores| copy(slot, piece, stores));
            sending.written += piece.len();
            self.publish(lane);
        }
        Ok(payload.len())
    }

    fn head(&mut self, lane: usize) -> Result<Option<Head>, Fault> {
        Ok(self.look(lane)?.head)
    }

    fn read(&mut self, lane: usize, into: &mut [u8]) -> Result<usize, Fault> {
        let copy = self.copy;
        let come = self.peek(lane)?;
        let bytes = come.len().min(into.len());
        copy(&mut into[..bytes], &come[..bytes], Stores::Cached);
        if bytes > 0 {
            self.take(lane, bytes);
        }
        Ok(bytes)
    }

    fn peek(&mut self, lane: usize) -> Result<&[u8], Fault> {
        let receiving = self.look(lane)?;
        let (done, taken, arrived) = (receiving.done, receiving.taken, receiving.arrived);
        let (slot, _) = self.layout.place(done);
        Ok(self.inbox.bytes(self.layout.payload(lane, slot) + taken, arrived - taken))
    }

    fn consume(&mut self, lane: usize, bytes: usize) {
        self.take(lane, bytes);
    }

    fn pump(&mut self) -> Result<bool, Fault> {
        let mut moved = false;
        for lane in 0..LANES {
            if self.sending[lane].unannounced {
                self.publish(lane);
                moved = true;
            }
        }
        Ok(moved)
    }

    fn arm(&mut self) -> Result<bool, Fault> {
        Ok(true)
    }

    fn descriptors(&self, _each: &mut dyn FnMut(BorrowedFd<'_>, Interest)) {}
}

#[cfg(test)]
mod tests;
