//! Groups: what a thread calls between `ncclGroupStart` and `ncclGroupEnd` is kept, checked, and made together at the end.

use crate::boundary::export;
use crate::comm::Comm;
use crate::errors::Failure;
use crate::making::Making;
use crate::plan::{Plan, Span};
use crate::types::ncclSimInfo_t;
use serried::{DataType, Group, Message};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Arc;

/// One call of a group.
pub(crate) enum Item {
    Call(Arc<Comm>, Plan),
    Send(Arc<Comm>, Letter),
    Receive(Arc<Comm>, Letter),
}

/// One end of a message.
pub(crate) struct Letter {
    pub(crate) data_type: DataType,
    pub(crate) data: Span,
    pub(crate) peer: u32,
}

/// What has been kept.
#[derive(Default)]
struct Kept {
    items: Vec<Item>,
    makings: Vec<Making>,
    /// The making of a communicator has begun in the background.
    in_progress: bool,
    /// The first call that was refused: then none is made.
    refused: Option<Failure>,
}

thread_local! {
    /// How many groups are open, one in the other.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// Whether this thread has an open group.
#[inline]
pub(crate) fn is_open() -> bool {
    DEPTH.get() > 0
}

/// Keeps a call for the end of the group. A refusal here refuses the group.
pub(crate) fn keep(item: impl FnOnce() -> Result<Item, Failure>) -> Result<(), Failure> {
    let item = item().inspect_err(refuse)?;
    KEPT.with_borrow_mut(|kept| kept.items.push(item));
    Ok(())
}

/// Keeps the making of a communicator for the end of the group.
pub(crate) fn keep_making(making: Making) {
    KEPT.with_borrow_mut(|kept| kept.makings.push(making));
}

/// The making of a communicator has begun, and goes on.
pub(crate) fn keep_in_progress() {
    KEPT.with_borrow_mut(|kept| kept.in_progress = true);
}

/// A call of the group was refused: remembers the first such failure.
pub(crate) fn refuse(failure: &Failure) {
    if is_open() && failure.result != crate::ncclResult_t::InProgress {
        KEPT.with_borrow_mut(|kept| {
            kept.refused.get_or_insert_with(|| failure.clone());
        });
    }
}

/// Makes the calls, all together.
///
/// # Safety
/// The memory that calls name is there, nobody else writes what they read, and nobody else touches what they write.
pub(crate) unsafe fn run(items: &[Item]) -> Result<(), Failure> {
    let stages = stages(items)?;
    let last = stages.iter().copied().max().unwrap_or(0);
    for stage in 0..=last {
        let mut group = Group::new();
        for (item, _) in items.iter().zip(&stages).filter(|(_, of)| **of == stage) {
            // SAFETY: as the caller promises; within a stage no call touches what another writes.
            unsafe { item.add_to(&mut group) }?;
        }
        group.run()?;
    }
    Ok(())
}

impl Item {
    /// # Safety
    /// As of [`run`]; and no other call of the group touches what this one writes.
    unsafe fn add_to<'a>(&'a self, group: &mut Group<'a>) -> Result<(), Failure> {
        match self {
            Self::Call(comm, plan) => {
                // SAFETY: as the caller promises.
                group.call(comm.ready()?, unsafe { plan.request() }?);
            }
            Self::Send(comm, Letter { data_type, data, peer }) => {
                // SAFETY: as the caller promises.
                group.message(comm.ready()?, Message::send(*data_type, unsafe { data.bytes() }, *peer));
            }
            Self::Receive(comm, Letter { data_type, data, peer }) => {
                // SAFETY: as the caller promises.
                group.message(comm.ready()?, Message::recv(*data_type, unsafe { data.bytes_mut() }, *peer));
            }
        }
        Ok(())
    }

    fn is_call(&self) -> bool {
        matches!(self, Self::Call(..))
    }

    /// What it reads and what it writes.
    fn touches(&self) -> [(Range<usize>, Access); 2] {
        let none = || (0..0, Access::Reads);
        match self {
            Self::Call(_, plan) => {
                let (input, output) = plan.touches();
                [input.map_or_else(none, |input| (input, Access::Reads)), (output, Access::Writes)]
            }
            Self::Send(_, letter) => [(letter.data.range(), Access::Reads), none()],
            Self::Receive(_, letter) => [(letter.data.range(), Access::Writes), none()],
        }
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

/// When each item is made: collectives that use the same memory one after the other, everything else at once.
fn stages(items: &[Item]) -> Result<Vec<usize>, Failure> {
    let mut stages = vec![0; items.len()];
    if are_apart(items.iter().flat_map(Item::touches).collect()) {
        return Ok(stages);
    }
    for (at, item) in items.iter().enumerate() {
        for before in (0..at).filter(|before| items[*before].clashes(item)) {
            if !(item.is_call() && items[before].is_call()) {
                let what = "two calls of the group use the same memory, one of them writes it, and one is a message: which comes \
                            first is not defined";
                return Err(Failure::argument(what));
            }
            stages[at] = stages[at].max(stages[before] + 1);
        }
    }
    Ok(stages)
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

/// Closes the innermost group; what was kept, if it was the outermost.
fn close() -> Result<Option<Kept>, Failure> {
    let depth = DEPTH.get().checked_sub(1).ok_or_else(|| Failure::usage("this thread has no open group"))?;
    DEPTH.set(depth);
    Ok((depth == 0).then(|| KEPT.take()))
}

export! {
    /// Keeps this thread's calls until `ncclGroupEnd`. Groups nest; the outermost counts.
    fn ncclGroupStart | pncclGroupStart() {
        DEPTH.set(DEPTH.get() + 1);
        Ok(())
    }

    /// Makes the calls that were kept, and returns when they have ended. If one was refused, it returns that error and makes none.
    fn ncclGroupEnd | pncclGroupEnd() {
        let Some(kept) = close()? else { return Ok(()) };
        if let Some(refused) = kept.refused {
            kept.makings.into_iter().for_each(Making::give_up);
            return Err(refused);
        }
        Making::finish(kept.makings)?;
        // SAFETY: the callers of the kept calls promised it until now.
        unsafe { run(&kept.items) }?;
        if kept.in_progress { Err(Failure::in_progress()) } else { Ok(()) }
    }

    /// Not supported. Closes the group without making its calls.
    fn ncclGroupSimulateEnd | pncclGroupSimulateEnd(_simulation: *mut ncclSimInfo_t) {
        if let Some(kept) = close()? {
            kept.makings.into_iter().for_each(Making::give_up);
        }
        Err(Failure::unsupported("simulating a group; it was closed, and its calls were not made"))
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
