//! Groups: what a thread calls between `ncclGroupStart` and `ncclGroupEnd` is kept, checked, and made together at the end.

use crate::boundary::export;
use crate::comm::Comm;
use crate::config::{Shape, read};
use crate::errors::Failure;
use crate::making::Making;
use crate::operators::Operator;
use crate::plan::{Plan, Span};
use crate::together::{Job, Owner, lines, together};
use crate::types::{cudaStream_t, ncclSimInfo_t};
use crate::windows::Opening;
use crate::{cuda, fork, ncclResult_t};
use serried::{DataType, Group, Message, Request};
use std::cell::{Cell, RefCell};
use std::mem::{offset_of, take};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// One call of a group.
pub(crate) enum Item {
    /// With its operator, if it reduces.
    Call(Arc<Comm>, Plan, Option<Operator>),
    /// A call of all ranks that makes no sense, in a group that will be refused.
    Refused(Owner),
    Send(Arc<Comm>, Letter),
    Receive(Arc<Comm>, Letter),
}

/// One end of a message.
pub(crate) struct Letter {
    pub(crate) data_type: DataType,
    pub(crate) data: Span,
    pub(crate) peer: u32,
}

/// A one-sided call that is ready to be made, on a communicator.
type Deed = Box<dyn FnOnce(&Comm) -> Result<(), Failure>>;

/// So many bytes that are put, or none with a signal alone.
struct Put {
    comm: Arc<Comm>,
    peer: u32,
    bytes: usize,
    deed: Deed,
}

/// What has been kept.
#[derive(Default)]
struct Kept {
    items: Vec<Item>,
    makings: Vec<Making>,
    windows: Vec<Opening>,
    /// What needs nobody else comes before the calls, and what waits for somebody after them.
    puts: Vec<Put>,
    waits: Vec<(Arc<Comm>, Deed)>,
    /// Whose contents come before all of it.
    streams: Vec<cudaStream_t>,
    /// The first call that was refused: then none is made.
    refused: Option<Failure>,
}

thread_local! {
    /// How many groups are open, one in the other; and in which process, as [`fork::generation`] has it.
    static OPENED: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// How many threads have open groups. While none has, a call need not ask for what is the thread's own, which costs a shared library a call.
static OPEN: AtomicU32 = AtomicU32::new(0);

/// Whether this thread has an open group.
#[inline]
pub(crate) fn is_open() -> bool {
    OPEN.load(Ordering::Relaxed) > 0 && depth() > 0
}

/// How many groups of this thread are open: none of those that its parent had when this process was forked.
fn depth() -> u32 {
    let (depth, process) = OPENED.get();
    if process == fork::generation() { depth } else { 0 }
}

/// Keeps a call for the end of the group.
pub(crate) fn keep(item: Item) {
    KEPT.with_borrow_mut(|kept| kept.items.push(item));
}

/// Keeps the making of a communicator for the end of the group.
pub(crate) fn keep_making(making: Making) {
    KEPT.with_borrow_mut(|kept| kept.makings.push(making));
}

/// Keeps the opening of a window for the end of the group.
pub(crate) fn keep_window(opening: Opening) {
    KEPT.with_borrow_mut(|kept| kept.windows.push(opening));
}

/// Has the group wait for what a stream holds.
pub(crate) fn keep_stream(stream: cudaStream_t) {
    KEPT.with_borrow_mut(|kept| {
        if !kept.streams.contains(&stream) {
            kept.streams.push(stream);
        }
    });
}

/// Puts so many bytes or signals, or keeps that for the end of the group.
pub(crate) fn put(comm: Arc<Comm>, (peer, bytes): (u32, usize), deed: Deed) -> Result<(), Failure> {
    if is_open() {
        KEPT.with_borrow_mut(|kept| kept.puts.push(Put { comm, peer, bytes, deed }));
        return Ok(());
    }
    deed(&comm)
}

/// Waits for signals, or keeps that for the end of the group.
pub(crate) fn wait(comm: Arc<Comm>, deed: Deed) -> Result<(), Failure> {
    if is_open() {
        KEPT.with_borrow_mut(|kept| kept.waits.push((comm, deed)));
        return Ok(());
    }
    deed(&comm)
}

/// A call of the group was refused: remembers the first such failure.
pub(crate) fn refuse(failure: &Failure) {
    if is_open() && failure.result != ncclResult_t::InProgress {
        KEPT.with_borrow_mut(|kept| {
            kept.refused.get_or_insert_with(|| failure.clone());
        });
    }
}

/// A call that all ranks make together was refused: those that wait in it for this one hear of that, at the end of the group if there is one.
#[cold]
pub(crate) fn refuse_of_all(owner: Owner, failure: Failure) -> Failure {
    if is_open() {
        refuse(&failure);
        keep(Item::Refused(owner));
    } else {
        owner.refuse();
    }
    failure
}

impl Kept {
    /// Makes all of it: first what the calls need, then the calls, and then what waits for others. A communicator that is not to block is made
    /// in the background, and the group is in progress.
    ///
    /// # Safety
    /// As of [`run`].
    unsafe fn make(mut self) -> Result<(), Failure> {
        let checked = self.refused.take().map_or_else(|| check(&self.items).and_then(|()| self.check_makings()), Err);
        let ordered = checked.and_then(|()| take(&mut self.streams).into_iter().try_for_each(cuda::wait_for));
        if let Err(failure) = ordered {
            self.refuse();
            return Err(failure);
        }
        let made = Making::finish(take(&mut self.makings));
        let goes_on = made.as_ref().is_err_and(|failure| failure.result == ncclResult_t::InProgress);
        let ready = if goes_on { Ok(()) } else { made.clone() };
        let ready = ready.and_then(|()| Opening::finish(take(&mut self.windows)));
        if let Err(failure) =
            ready.and_then(|()| take(&mut self.puts).into_iter().try_for_each(|put| (put.deed)(&put.comm)))
        {
            self.refuse();
            return Err(failure);
        }
        // SAFETY: as the caller promises; the items were checked.
        unsafe { run(&self.items) }?;
        self.waits.into_iter().try_for_each(|(comm, wait)| wait(&comm))?;
        made
    }

    /// Refuses calls on a communicator of which another is made in the background: they would come before it or after it.
    fn check_makings(&self) -> Result<(), Failure> {
        if self.makings.iter().all(Making::blocks) {
            return Ok(());
        }
        let deeds = self.puts.iter().map(|put| &put.comm).chain(self.waits.iter().map(|(comm, _)| comm));
        let called = self.items.iter().map(Item::comm).chain(self.windows.iter().map(Opening::comm));
        let mut called = called.chain(deeds);
        if called.any(|comm| self.makings.iter().any(|making| making.is_of(comm))) {
            return Err(Failure::usage(
                "the group calls a communicator of which it makes another in the background; make that in a group of its own",
            ));
        }
        Ok(())
    }

    /// None of it is made, since something failed or was refused.
    fn refuse(&mut self) {
        self.makings.iter().for_each(Making::refuse);
        self.windows.iter().for_each(Opening::refuse);
        self.items.iter().for_each(|item| item.owner().refuse());
        self.give_up();
    }

    /// What was kept and not made leaves nothing behind.
    fn give_up(&mut self) {
        take(&mut self.makings).into_iter().for_each(Making::give_up);
        take(&mut self.windows).into_iter().for_each(Opening::give_up);
    }
}

/// Makes the calls, all together: those of a communicator one after the other, its messages at once and first.
///
/// # Safety
/// The memory that calls name is there, nobody else writes what they read, nobody else touches what they write, and [`check`] has passed them.
unsafe fn run(items: &[Item]) -> Result<(), Failure> {
    let (calls, ends): (Vec<&Item>, Vec<&Item>) = items.iter().partition(|item| item.is_call());
    let messages = lines(ends.into_iter().map(|item| (Some(item.owner()), item))).into_iter().map(|line| {
        let owner = line.owners.into_iter().next();
        // SAFETY: as the caller promises; no call touches what a message writes.
        let exchange: Job<'_, ()> = Box::new(move || unsafe { exchange(&line.jobs) });
        (owner, exchange)
    });
    let calls = calls.into_iter().map(|item| {
        // SAFETY: as the caller promises; only calls of the same communicator use the same memory, and they come one after the other.
        let call: Job<'_, ()> = Box::new(|| unsafe { item.call() });
        (Some(item.owner()), call)
    });
    // Every one is made, whichever fails: the other ranks count on it.
    together(messages.chain(calls).collect()).into_iter().collect()
}

/// Makes messages, all at once.
///
/// # Safety
/// The memory that they name is there, nobody else writes what they read, and nobody else, another of them included, touches what they write.
pub(crate) unsafe fn exchange(messages: &[&Item]) -> Result<(), Failure> {
    let mut group = Group::new();
    for item in messages {
        // SAFETY: as the caller promises.
        let message = unsafe {
            match item {
                Item::Call(..) | Item::Refused(..) => continue,
                Item::Send(_, Letter { data_type, data, peer }) => Message::send(*data_type, data.bytes(), *peer),
                Item::Receive(_, Letter { data_type, data, peer }) => {
                    Message::recv(*data_type, data.bytes_mut(), *peer)
                }
            }
        };
        group.message(item.comm().ready()?, message);
    }
    Ok(group.run()?)
}

/// The library's request of a call that was kept.
///
/// # Safety
/// As of [`Plan::request`]; and a scalar that the operator reads is there.
unsafe fn request<'a>(plan: &Plan, operator: Option<&Operator>) -> Result<Request<'a>, Failure> {
    // SAFETY: as the caller promises.
    let reduction = operator.map(|operator| unsafe { operator.reduction(plan.data_type()) }).transpose()?;
    // SAFETY: the same.
    unsafe { plan.request(reduction) }
}

impl Item {
    /// Makes a collective call.
    ///
    /// # Safety
    /// The memory that it names is there, nobody else writes what it reads, and nobody else touches what it writes.
    unsafe fn call(&self) -> Result<(), Failure> {
        let Self::Call(comm, plan, operator) = self else { return Ok(()) };
        // SAFETY: as the caller promises.
        Ok(comm.ready()?.run(unsafe { request(plan, operator.as_ref()) }?)?)
    }

    fn comm(&self) -> &Arc<Comm> {
        let (Self::Call(comm, ..) | Self::Refused(Owner { comm, .. }) | Self::Send(comm, _) | Self::Receive(comm, _)) =
            self;
        comm
    }

    fn owner(&self) -> Owner {
        let meets = match self {
            Self::Call(_, plan, _) => Some(plan.kind().collective()),
            Self::Refused(owner) => owner.meets,
            // A message that is not made was not sent.
            Self::Send(..) | Self::Receive(..) => None,
        };
        Owner { comm: self.comm().clone(), meets }
    }

    fn is_call(&self) -> bool {
        matches!(self, Self::Call(..))
    }

    /// What it reads and what it writes.
    fn touches(&self) -> [(Range<usize>, Access); 2] {
        let none = || (0..0, Access::Reads);
        match self {
            Self::Call(_, plan, _) => {
                let (input, output) = plan.touches();
                [input.map_or_else(none, |input| (input, Access::Reads)), (output, Access::Writes)]
            }
            Self::Refused(..) => [none(), none()],
            Self::Send(_, letter) => [(letter.data.range(), Access::Reads), none()],
            Self::Receive(_, letter) => [(letter.data.range(), Access::Writes), none()],
        }
    }

    /// Whether the two come one after the other.
    fn is_in_line_with(&self, other: &Self) -> bool {
        self.is_call() && other.is_call() && Arc::ptr_eq(self.comm(), other.comm())
    }

    /// Whether one of the two writes what the other touches.
    fn clashes(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.touches(), other.touches());
        ours.iter().any(|one| {
            theirs.iter().any(|two| {
                let apart =
                    one.0.is_empty() || two.0.is_empty() || one.0.end <= two.0.start || two.0.end <= one.0.start;
                !apart && (one.1 == Access::Writes || two.1 == Access::Writes)
            })
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Reads,
    Writes,
}

/// Refuses memory that is written and used by several in no order: only the collectives of one communicator have one.
fn check(items: &[Item]) -> Result<(), Failure> {
    if are_apart(items.iter().flat_map(Item::touches).collect()) {
        return Ok(());
    }
    let has_no_order = |(at, item): (usize, &Item)| {
        items[..at].iter().any(|before| !before.is_in_line_with(item) && before.clashes(item))
    };
    if items.iter().enumerate().any(has_no_order) {
        return Err(Failure::argument(
            "two calls of the group use the same memory, one of them writes it, and they are messages or on different communicators: \
             which comes first is not defined",
        ));
    }
    Ok(())
}

/// Whether nothing touches what something else writes.
fn are_apart(mut touched: Vec<(Range<usize>, Access)>) -> bool {
    touched.retain(|(range, _)| !range.is_empty());
    touched.sort_unstable_by_key(|(range, _)| range.start);
    let (mut written, mut read) = (0, 0);
    touched.into_iter().all(|(range, access)| {
        let apart = range.start >= written && (access == Access::Reads || range.start >= read);
        let end = if access == Access::Writes { &mut written } else { &mut read };
        *end = range.end.max(*end);
        apart
    })
}

/// What the calls are expected to take: on one communicator one after the other, on several side by side. Waiting for others' signals takes what they take.
fn estimate_us(items: &[Item], puts: &[Put]) -> Result<f64, Failure> {
    let mut parts: Vec<(*const Comm, Duration)> = Vec::new();
    let mut add = |comm: &Arc<Comm>, takes| {
        let of = Arc::as_ptr(comm);
        match parts.iter_mut().find(|(known, _)| *known == of) {
            Some((_, sum)) => *sum += takes,
            None => parts.push((of, takes)),
        }
    };
    for item in items {
        let communicator = item.comm().ready()?;
        let takes = match item {
            // SAFETY: the memory is there until the group has ended, as its callers promised; nothing is read or written.
            Item::Call(_, plan, operator) => communicator.estimate(&unsafe { request(plan, operator.as_ref()) }?),
            Item::Refused(..) => Duration::ZERO,
            Item::Send(_, letter) | Item::Receive(_, letter) => {
                communicator.estimate_message(letter.peer, letter.data.range().len())
            }
        };
        add(item.comm(), takes);
    }
    for Put { comm, peer, bytes, .. } in puts {
        add(comm, comm.ready()?.estimate_message(*peer, *bytes));
    }
    Ok(parts.into_iter().map(|(_, sum)| sum).max().unwrap_or_default().as_secs_f64() * 1e6)
}

const SIM_INFO: Shape = Shape {
    name: "simInfo",
    initializer: "SIM_INFO",
    least: offset_of!(ncclSimInfo_t, estimatedTime) + size_of::<f32>(),
    since: &[],
};

/// # Safety
/// `place` is null or points to a structure as long as its `size` says.
unsafe fn store_estimate(place: *mut ncclSimInfo_t, microseconds: f64) -> Result<(), Failure> {
    let none = ncclSimInfo_t { size: 0, magic: 0, version: 0, estimatedTime: 0.0 };
    // SAFETY: as the caller promises; every field is a number.
    unsafe { read(place.cast_const(), none, &SIM_INFO) }?;
    // SAFETY: it has the field, as was just seen.
    unsafe { (&raw mut (*place).estimatedTime).write(microseconds as f32) };
    Ok(())
}

/// Closes the innermost group; what was kept, if it was the outermost.
fn close() -> Result<Option<Kept>, Failure> {
    let depth = depth().checked_sub(1).ok_or_else(|| Failure::usage("this thread has no open group"))?;
    OPENED.set((depth, fork::generation()));
    Ok((depth == 0).then(|| {
        OPEN.fetch_sub(1, Ordering::Relaxed);
        KEPT.take()
    }))
}

export! {
    /// Keeps this thread's calls until `ncclGroupEnd`. Groups nest; the outermost counts.
    fn ncclGroupStart | pncclGroupStart() {
        let depth = depth();
        OPENED.set((depth + 1, fork::generation()));
        if depth == 0 {
            OPEN.fetch_add(1, Ordering::Relaxed);
            // There is something after a fork alone: what the parent kept.
            KEPT.take();
        }
        Ok(())
    }

    /// Makes the calls that were kept, and returns when they have ended. If one was refused, it returns that error and makes none.
    fn ncclGroupEnd | pncclGroupEnd() {
        let Some(kept) = close()? else { return Ok(()) };
        // SAFETY: the callers of the kept calls promised it until now.
        unsafe { kept.make() }
    }

    /// Closes the group without making its calls, and stores what they are expected to take, in microseconds: an estimate by the schedules that were
    /// chosen. A group that makes communicators or windows cannot be estimated.
    fn ncclGroupSimulateEnd | pncclGroupSimulateEnd(simInfo: *mut ncclSimInfo_t) {
        let Some(mut kept) = close()? else { return Ok(()) };
        let makes = !kept.makings.is_empty() || !kept.windows.is_empty();
        kept.give_up();
        if let Some(refused) = kept.refused {
            return Err(refused);
        }
        if makes {
            return Err(Failure::unsupported("simulating the making of communicators and windows"));
        }
        // SAFETY: the caller's promise is the same.
        unsafe { store_estimate(simInfo, estimate_us(&kept.items, &kept.puts)?) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_to_be_touched_twice() {
        let (reads, writes) = (Access::Reads, Access::Writes);
        assert!(are_apart(vec![(0..4, writes), (4..8, writes), (8..12, reads), (8..10, reads)]));
        assert!(are_apart(vec![(0..4, writes), (2..2, writes)]));
        assert!(!are_apart(vec![(3..8, reads), (0..4, writes)]));
        assert!(!are_apart(vec![(0..9, reads), (4..5, reads), (6..7, writes)]));
        assert!(!are_apart(vec![(0..9, writes), (4..5, reads)]));
    }
}
