//! One end of a verbs link: the two halves, what comes in for either, and how a link begins and ends.
//!
//! [`NicLink`] is the link over whatever does a card's work; [`VerbsLink`] is that over a real one.

use super::card::Card;
use super::incoming::Incoming;
use super::layout::{Layout, Notice};
use super::nic::{Done, Nic};
use super::outgoing::Outgoing;
use super::pair::{Pair, Work};
use super::rail::Rail;
use super::sys::PinnedRange;
use crate::error::Result as Outcome;
use crate::transport::{Capabilities, Fault, Head, Interest, LANES, Transport};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// One rank's end of a link over RDMA verbs.
///
/// It is made unconnected; the two ends then exchange cards, connect, and try the link before they trust it ([`VerbsLink::has_met`]).
#[derive(Debug)]
pub struct VerbsLink(NicLink<Pair>);

impl VerbsLink {
    /// The largest payload of a message.
    pub const SLOT_BYTES: usize = Layout::STANDARD.slot_bytes;

    /// An end that is not connected.
    ///
    /// # Errors
    /// As the device says: [`Error::System`](crate::Error::System) names the limit on locked memory if that is why.
    pub fn create(rail: &Arc<Rail>) -> Outcome<Self> {
        Ok(Self(NicLink::new(Pair::create(rail, Layout::STANDARD)?, Layout::STANDARD)))
    }

    /// What the other end must know.
    pub fn card(&self) -> Card {
        self.0.nic.card(self.0.layout)
    }

    /// Why the other end, with this card, cannot be connected to; `None` if it can.
    pub fn refuses(&self, theirs: &Card) -> Option<String> {
        self.card().differs(theirs)
    }

    /// Connects to the other end, which has this one's card and does the same.
    ///
    /// # Errors
    /// As the device says: an address that cannot be reached, for one.
    pub fn connect(&mut self, theirs: &Card) -> Outcome<()> {
        self.0.nic.connect(theirs)
    }

    /// Lets the other end, which has connected too, find this one.
    ///
    /// # Errors
    /// As the device says.
    pub fn greet(&mut self) -> Result<(), Fault> {
        self.0.send(|outgoing, nic, _| outgoing.try_all(nic))
    }

    /// Whether the two ends have met: something has come from the other on every queue pair, and what was sent there has arrived.
    ///
    /// # Errors
    /// What is wrong with the way to the other end.
    pub fn has_met(&mut self) -> Result<bool, Fault> {
        self.0.progress()?;
        Ok(self.0.trials.count_ones() as usize == self.0.nic.queue_pairs() && self.0.outgoing.is_still())
    }

    /// Lets the link send from this memory where it lies, from now on and until it is told otherwise; other memory is copied first.
    pub fn lend(&mut self, memory: &[Arc<PinnedRange>]) {
        self.0.nic.lend(memory);
    }

    /// What it has asked of its device so far.
    pub fn work(&self) -> Work {
        self.0.nic.work()
    }

    /// Says that nothing more will be sent or is wanted.
    pub fn leave(&mut self) {
        self.0.leave();
    }

    /// Whether all that was sent has arrived, or nobody wants it any more.
    pub fn has_left(&mut self) -> bool {
        self.0.has_left()
    }
}

/// Messages up to this size are told to be done with along with the next message the other way, if there soon is one: a notice of its own costs as much
/// as they do.
const SMALL_BYTES: u64 = 4096;

/// One end of a link. A peer that leaves in order does not take away what it sent before.
#[derive(Debug)]
pub(super) struct NicLink<N> {
    nic: N,
    layout: Layout,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Lanes whose sender waits for the slot of a large message.
    eager: [bool; LANES],
    /// Queue pairs on which the peer has said goodbye, a bit each.
    goodbyes: u32,
    /// Queue pairs on which something has come to try them, a bit each.
    trials: u32,
    /// This end has said goodbye.
    parting: bool,
    /// Something has come to its end since the last pump: looking for one lane's message takes in whatever there is, also what another waits for.
    news: bool,
    /// Why nothing can be sent or will come any more.
    broken: Option<Fault>,
    done: Vec<Done>,
}

impl<N: Nic> NicLink<N> {
    pub(super) fn new(nic: N, layout: Layout) -> Self {
        let queue_pairs = nic.queue_pairs();
        Self {
            nic,
            layout,
            incoming: Incoming::new(layout),
            outgoing: Outgoing::new(layout, queue_pairs),
            eager: [false; LANES],
            goodbyes: 0,
            trials: 0,
            parting: false,
            news: false,
            broken: None,
            done: Vec::with_capacity(super::nic::BATCH),
        }
    }

    /// Says that nothing more will be sent or is wanted.
    pub(super) fn leave(&mut self) {
        if !self.parting && self.broken.is_none() {
            self.parting = true;
            // What goes wrong is remembered, and ends the parting.
            let _ = self.send(|outgoing, nic, _| outgoing.say_goodbye(nic));
        }
    }

    /// Whether all that was sent has arrived, or nobody wants it any more.
    pub(super) fn has_left(&mut self) -> bool {
        // Whatever is wrong is in `broken` then.
        let _ = self.progress();
        self.broken.is_some() || self.peer_has_left() || self.outgoing.is_still()
    }

    fn peer_has_left(&self) -> bool {
        self.goodbyes.count_ones() as usize == self.nic.queue_pairs()
    }

    /// Takes what has come to its end. Whether anything had.
    fn progress(&mut self) -> Result<bool, Fault> {
        if self.broken.is_some() {
            return Ok(false);
        }
        let result = self.take_completions();
        match &result {
            Ok(moved) => self.news |= moved,
            Err(fault) => self.broken = Some(fault.clone()),
        }
        result
    }

    fn take_completions(&mut self) -> Result<bool, Fault> {
        let mut moved = false;
        loop {
            self.done.clear();
            let polled = self.nic.poll(&mut self.done);
            if self.done.is_empty() {
                return polled.map(|()| moved);
            }
            moved = true;
            for index in 0..self.done.len() {
                match self.done[index] {
                    Done::Wrote { queue_pair, count } => self.outgoing.completed(queue_pair, count),
                    Done::Came { queue_pair, immediate } => {
                        self.nic.expect(queue_pair, 1)?;
                        self.notice(queue_pair, Notice::from_bits(immediate))?;
                    }
                }
            }
            // What came before something failed has come.
            polled?;
        }
    }

    fn notice(&mut self, queue_pair: usize, notice: Notice) -> Result<(), Fault> {
        let once = |seen: &mut u32, what| {
            let bit = 1 << queue_pair;
            match std::mem::replace(seen, *seen | bit) & bit {
                0 => Ok(()),
                _ => Err(Fault::Nonsense(format!("on queue pair {queue_pair}, a second {what}"))),
            }
        };
        match notice {
            Notice::Piece { lane, slot, piece } => {
                if let Some(released) = self.incoming.note(&self.nic, lane, slot, piece)? {
                    for (lane, counted) in released.into_iter().enumerate() {
                        self.outgoing.learn(lane, counted, u32::BITS)?;
                    }
                }
            }
            Notice::Credit { lane, released } => self.outgoing.learn(lane, released, Notice::CREDIT_BITS)?,
            Notice::Goodbye => once(&mut self.goodbyes, "goodbye")?,
            Notice::Trial => once(&mut self.trials, "trial")?,
        }
        Ok(())
    }

    /// Sends something, unless nothing can be sent any more.
    fn send<T>(
        &mut self,
        act: impl FnOnce(&mut Outgoing, &mut N, &[u64; LANES]) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.unless_lost()?;
        let result = act(&mut self.outgoing, &mut self.nic, &self.incoming.released());
        result.inspect_err(|fault| self.broken = Some(fault.clone()))
    }

    fn unless_lost(&self) -> Result<(), Fault> {
        match &self.broken {
            Some(fault) => Err(fault.clone()),
            None if self.peer_has_left() => Err(Fault::Lost("the peer has left".to_owned())),
            None => Ok(()),
        }
    }
}

impl<N: Nic> Transport for NicLink<N> {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "verbs", slot_bytes: self.layout.slot_bytes, credits: self.layout.credits as u32 }
    }

    fn open(&mut self, lane: usize, head: &Head) -> Result<bool, Fault> {
        self.send(|outgoing, nic, released| outgoing.open(nic, lane, head, released))
    }

    fn write(&mut self, lane: usize, payload: &[u8]) -> Result<usize, Fault> {
        // A peer that has all it wanted may have left before this end asks again whether its memory is free.
        match self.outgoing.accept_direct(lane, payload.len()) {
            0 => {}
            accepted => return Ok(accepted),
        }
        self.send(|outgoing, nic, released| outgoing.write(nic, lane, payload, released))
    }

    fn head(&mut self, lane: usize) -> Result<Option<Head>, Fault> {
        let mut head = self.incoming.head(&self.nic, lane)?;
        if head.is_none() {
            // What came before something failed has come.
            let progress = self.progress();
            head = self.incoming.head(&self.nic, lane)?;
            if head.is_none() {
                progress?;
                self.unless_lost()?;
            }
        }
        Ok(head)
    }

    fn read(&mut self, lane: usize, into: &mut [u8]) -> Result<usize, Fault> {
        let come = self.peek(lane)?;
        let bytes = come.len().min(into.len());
        into[..bytes].copy_from_slice(&come[..bytes]);
        if bytes > 0 {
            self.consume(lane, bytes);
        }
        Ok(bytes)
    }

    fn peek(&mut self, lane: usize) -> Result<&[u8], Fault> {
        let mut lent = self.incoming.lent(&self.nic, lane)?;
        if lent.is_empty() {
            let progress = self.progress();
            lent = self.incoming.lent(&self.nic, lane)?;
            if lent.is_empty() && self.incoming.head(&self.nic, lane)?.is_none_or(|head| head.bytes > 0) {
                progress?;
                self.unless_lost()?;
            }
        }
        Ok(self.nic.bytes(lent))
    }

    fn consume(&mut self, lane: usize, bytes: usize) {
        let is_large = self.incoming.message_bytes(lane) > SMALL_BYTES;
        let is_over = self.incoming.take(lane, bytes);
        self.eager[lane] |= is_over && is_large;
    }

    fn pump(&mut self) -> Result<bool, Fault> {
        // A link that is lost is reported where something is wanted of it, for the peer may have left with all work done.
        let progress = self.progress();
        let moved = std::mem::take(&mut self.news);
        match progress {
            Err(fault @ Fault::Nonsense(_)) => Err(fault),
            Err(Fault::Lost(_)) => Ok(true),
            Ok(_) if self.parting || self.unless_lost().is_err() => Ok(moved),
            Ok(_) => {
                let Self { outgoing, nic, incoming, eager, .. } = self;
                let given = outgoing.give_credit(nic, &incoming.released(), eager);
                given.map(|given| moved || given).inspect_err(|fault| self.broken = Some(fault.clone()))
            }
        }
    }

    fn arm(&mut self) -> Result<bool, Fault> {
        if self.broken.is_some() {
            return Ok(true);
        }
        if let Err(fault) = self.nic.arm() {
            self.broken = Some(fault);
            return Ok(false);
        }
        Ok(!self.pump()?)
    }

    fn descriptors(&self, each: &mut dyn FnMut(BorrowedFd<'_>, Interest)) {
        match self.broken {
            None => self.nic.descriptors(each),
            // What broke the link would keep them readable.
            Some(_) => self.nic.descriptors(&mut |descriptor, _| each(descriptor, Interest::None)),
        }
    }
}

impl Transport for VerbsLink {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn open(&mut self, lane: usize, head: &Head) -> Result<bool, Fault> {
        self.0.open(lane, head)
    }

    fn write(&mut self, lane: usize, payload: &[u8]) -> Result<usize, Fault> {
        self.0.write(lane, payload)
    }

    fn head(&mut self, lane: usize) -> Result<Option<Head>, Fault> {
        self.0.head(lane)
    }

    fn read(&mut self, lane: usize, into: &mut [u8]) -> Result<usize, Fault> {
        self.0.read(lane, into)
    }

    fn peek(&mut self, lane: usize) -> Result<&[u8], Fault> {
        self.0.peek(lane)
    }

    fn consume(&mut self, lane: usize, bytes: usize) {
        self.0.consume(lane, bytes);
    }

    fn pump(&mut self) -> Result<bool, Fault> {
        self.0.pump()
    }

    fn arm(&mut self) -> Result<bool, Fault> {
        self.0.arm()
    }

    fn descriptors(&self, each: &mut dyn FnMut(BorrowedFd<'_>, Interest)) {
        self.0.descriptors(each);
    }
}
