//! The card itself: queue pairs to one peer on a rail, one completion queue for all of them, and the memory that both ends use.

use super::card::Card;
use super::layout::Layout;
use super::nic::{BATCH, Done, Nic, Source, Write};
use super::outgoing::{receive_queue_depth, send_queue_depth};
use super::rail::Rail;
use super::sys::{
    Capacity, Completion, CompletionChannel, CompletionQueue, Gid, Local, MemoryRegion, Mtu, Opcode, PinnedRange,
    QueuePair, Remote, Send, Status,
};
use crate::error::Result;
use crate::transport::{Fault, Interest};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Inline bytes that are asked for: enough for a header and the smallest messages. A device grants what it has.
const INLINE_BYTES: u32 = 256;

/// Receive requests are posted again so many at a time.
const EXPECTED_AT_ONCE: usize = 16;

/// How long a broken queue pair may take to say why: what follows is an error in any case.
const REASON: Duration = Duration::from_millis(50);

/// A work id names what it is about: a receive request, or how many writes end with this one; and the queue pair.
const RECEIVE: u64 = 1 << 63;
const QUEUE_PAIR_SHIFT: u32 = 32;

/// The own end of a link's queue pairs.
#[derive(Debug)]
pub(super) struct Pair {
    ends: Vec<End>,
    completions: Arc<CompletionQueue>,
    channel: Arc<CompletionChannel>,
    memory: MemoryRegion,
    rail: Arc<Rail>,
    /// The peer's memory: where it begins there, and its key.
    peer: (u64, u32),
    inline_bytes: usize,
    /// Memory of the running call that may be sent from where it lies.
    lent: Vec<Arc<PinnedRange>>,
    /// The channel becomes readable with the next completion.
    armed: bool,
    work: Work,
}

/// What a link has asked of its device so far: the cost of a path apart from how fast the device is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Calls that posted writes.
    pub posts: u64,
    /// Writes from where the caller's payload lay, without a copy.
    pub lent: u64,
    /// Calls that looked for completions.
    pub polls: u64,
    /// Completions that they found.
    pub completions: u64,
    /// Calls that posted receive requests.
    pub receives: u64,
    /// Times that the device was asked to wake a sleeper: a system call, as the others mostly are not.
    pub arms: u64,
}

#[derive(Debug)]
struct End {
    queue_pair: QueuePair,
    /// Receive requests that are to be posted again.
    taken: usize,
}

impl Pair {
    /// Queue pairs that are not connected, and memory of this shape.
    pub(super) fn create(rail: &Arc<Rail>, layout: Layout) -> Result<Self> {
        let context = rail.domain().context();
        let channel = CompletionChannel::create(context)?;
        let count = rail.settings().queue_pairs as usize;
        let (sends, receives) = (send_queue_depth(layout), receive_queue_depth(layout) + EXPECTED_AT_ONCE);
        let entries = (count * (sends + receives)) as u32;
        let completions = CompletionQueue::create(context, entries, Some(&channel))?;
        let wanted = Capacity { sends: sends as u32, receives: receives as u32, inline_bytes: INLINE_BYTES };
        let mut ends = Vec::with_capacity(count);
        for _ in 0..count {
            let queue_pair = QueuePair::create(rail.domain(), &completions, &completions, &wanted)?;
            queue_pair.to_init(rail.selection().port)?;
            ends.push(End { queue_pair, taken: receives });
        }
        let inline_bytes = ends.iter().map(|end| end.queue_pair.granted().inline_bytes).min().unwrap_or(0) as usize;
        let memory = MemoryRegion::create(rail.domain(), layout.memory_bytes())?;
        Ok(Self {
            ends,
            completions,
            channel,
            memory,
            rail: rail.clone(),
            peer: (0, 0),
            inline_bytes,
            lent: Vec::new(),
            armed: false,
            work: Work::default(),
        })
    }

    /// Lets the link send from this memory where it lies, until it is told otherwise.
    pub(super) fn lend(&mut self, memory: &[Arc<PinnedRange>]) {
        self.lent.clear();
        self.lent.extend_from_slice(memory);
    }

    pub(super) fn work(&self) -> Work {
        self.work
    }

    /// What the peer must know to connect.
    pub(super) fn card(&self, layout: Layout) -> Card {
        let numbers: Vec<u32> = self.ends.iter().map(|end| end.queue_pair.number()).collect();
        Card::new(layout, self.rail.selection(), (self.memory.address(), self.memory.remote_key()), &numbers)
    }

    /// Connects to the peer whose card this is, and that has been given this end's. From then on it may write here.
    pub(super) fn connect(&mut self, theirs: &Card) -> Result<()> {
        let selection = self.rail.selection();
        let path = selection.path(self.rail.settings(), selection.mtu.min(theirs.mtu().unwrap_or(Mtu::B256)));
        for (end, number) in self.ends.iter_mut().zip(theirs.numbers()) {
            // Packet numbers only have to be in the queue pair's own order.
            let remote = Remote { number, lid: theirs.lid(), gid: Gid(theirs.gid()), psn: number };
            let psn = end.queue_pair.number();
            end.queue_pair.to_ready(&remote, &path, psn)?;
        }
        self.peer = theirs.memory();
        for queue_pair in 0..self.ends.len() {
            self.post_taken(queue_pair).map_err(|fault| crate::Error::System {
                what: format!("receiving on {}", self.rail),
                reason: fault.to_string(),
            })?;
        }
        Ok(())
    }

    fn post_taken(&mut self, queue_pair: usize) -> Result<(), Fault> {
        self.work.receives += 1;
        let end = &mut self.ends[queue_pair];
        let work_id = RECEIVE | (queue_pair as u64) << QUEUE_PAIR_SHIFT;
        let posted = end.queue_pair.post_receives(work_id, end.taken);
        posted.map_err(|error| lost(&self.rail, format!("receive requests: {error}")))?;
        end.taken = 0;
        Ok(())
    }

    /// The completion that says why a queue pair has broken. What was merely thrown away says nothing of it, and may come before.
    fn reason(&self, failed: Completion, found: &[Completion]) -> Completion {
        let tells = |found: &&Completion| !found.status.is_success() && found.status != Status::FLUSHED;
        let mut reason = found.iter().find(tells).copied();
        let mut completions = [Completion::EMPTY; BATCH];
        let deadline = Instant::now() + REASON;
        while reason.is_none() && Instant::now() < deadline {
            let found = self.completions.poll(&mut completions).unwrap_or(0);
            reason = completions[..found].iter().find(tells).copied();
            std::thread::yield_now();
        }
        reason.unwrap_or(failed)
    }

    fn note(&self, completion: &Completion, done: &mut Vec<Done>) -> Result<(), Fault> {
        let Completion { work_id, status, opcode, immediate, vendor, .. } = *completion;
        let queue_pair = (work_id >> QUEUE_PAIR_SHIFT) as usize & 0xff;
        if !status.is_success() {
            let what = if work_id & RECEIVE != 0 { "receiving" } else { "an RDMA write" };
            let hint = self.rail.trouble_so_far().map_or(String::new(), |trouble| format!("; {trouble}"));
            return Err(lost(&self.rail, format!("{what} failed: {status}, vendor code {vendor:#x}{hint}")));
        }
        if opcode == Opcode::ReceiveWithImmediate {
            done.push(Done::Came { queue_pair, immediate });
        } else if work_id & RECEIVE == 0 {
            done.push(Done::Wrote { queue_pair, count: work_id as u32 });
        } else {
            return Err(Fault::Nonsense(format!("{}: something came that is no write with a notice", self.rail)));
        }
        Ok(())
    }
}

impl Nic for Pair {
    fn queue_pairs(&self) -> usize {
        self.ends.len()
    }

    fn inline_bytes(&self) -> usize {
        self.inline_bytes
    }

    #[inline]
    fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.memory.bytes(range)
    }

    #[inline]
    fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        self.memory.bytes_mut(range)
    }

    fn lent(&mut self, payload: &[u8]) -> Option<(usize, Range<usize>)> {
        let mut lent = self.lent.iter().enumerate();
        lent.find_map(|(place, memory)| Some((place, memory.range_of(payload)?)))
    }

    fn post(&mut self, queue_pair: usize, writes: &[Write]) -> Result<(), Fault> {
        self.work.posts += 1;
        let (address, key) = self.peer;
        let end = &mut self.ends[queue_pair];
        let (memory, lent) = (&self.memory, &self.lent);
        let send = |write: &Write| {
            let work_id = (queue_pair as u64) << QUEUE_PAIR_SHIFT | u64::from(write.completes);
            let local = match &write.from {
                Source::Nothing => Local::Nothing,
                Source::Inline(range) => Local::Inline(memory.bytes(range.clone())),
                Source::Own(range) => Local::Region(memory, range.clone()),
                Source::Lent(place, range) => Local::Pinned(&lent[*place], range.clone()),
            };
            Send {
                work_id,
                local,
                remote_address: address + write.to as u64,
                remote_key: key,
                immediate: write.immediate,
                signalled: write.completes > 0,
            }
        };
        let posted = match writes {
            [one] => end.queue_pair.post(&[send(one)]),
            [one, other] => end.queue_pair.post(&[send(one), send(other)]),
            more => unreachable!("{} writes at once", more.len()),
        };
        self.work.lent += writes.iter().filter(|write| matches!(write.from, Source::Lent(..))).count() as u64;
        posted.map_err(|error| lost(&self.rail, format!("an RDMA write was refused: {error}")))
    }

    fn expect(&mut self, queue_pair: usize, notices: usize) -> Result<(), Fault> {
        self.ends[queue_pair].taken += notices;
        if self.ends[queue_pair].taken >= EXPECTED_AT_ONCE { self.post_taken(queue_pair) } else { Ok(()) }
    }

    fn poll(&mut self, done: &mut Vec<Done>) -> Result<(), Fault> {
        let mut completions = [Completion::EMPTY; BATCH];
        let found = self.completions.poll(&mut completions).map_err(|failure| lost(&self.rail, failure.to_string()))?;
        self.work.polls += 1;
        self.work.completions += found as u64;
        let found = &completions[..found];
        let good = found.iter().position(|found| !found.status.is_success()).unwrap_or(found.len());
        found[..good].iter().try_for_each(|completion| self.note(completion, done))?;
        match found.get(good) {
            Some(failed) => self.note(&self.reason(*failed, found), done),
            None => Ok(()),
        }
    }

    fn arm(&mut self) -> Result<(), Fault> {
        let fault = |failure: super::sys::Failure| lost(&self.rail, failure.to_string());
        if self.armed {
            self.armed = self.channel.take_events().map_err(fault)? == 0;
        }
        if !self.armed {
            self.work.arms += 1;
            self.completions.request_notification().map_err(fault)?;
            self.armed = true;
        }
        self.rail.trouble().map_or(Ok(()), |trouble| Err(Fault::Lost(trouble)))
    }

    fn descriptors(&self, each: &mut dyn FnMut(BorrowedFd<'_>, Interest)) {
        each(self.channel.descriptor(), Interest::Read);
        each(self.rail.descriptor(), Interest::Read);
    }
}

fn lost(rail: &Rail, what: String) -> Fault {
    Fault::Lost(format!("{rail}: {what}"))
}
