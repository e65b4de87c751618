//! Handles: numbers that stand for what a C caller holds. A stale or foreign one is found out, never followed.
//!
//! A handle has a mark in its upper bits, where no pointer of user space has anything, then its kind, and which it is. Those of
//! communicators name a slot of a table and how often the slot has been used: looking one up takes a lock of that slot alone, shared, so ranks of
//! one process do not meet there, and a lock is only ever held alone while no handle stands for the slot.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

/// What a handle is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Kind {
    Communicator = 1,
    Registration = 2,
    Window = 3,
    Parameter = 4,
}

const MARK: u64 = 0x5e44;
const MARK_SHIFT: u32 = 48;
const KIND_SHIFT: u32 = 40;
const NUMBER_MAX: u64 = (1 << KIND_SHIFT) - 1;

/// A handle of `kind` with this number.
pub(crate) fn encode<T>(kind: Kind, number: u64) -> *mut T {
    let bits = MARK << MARK_SHIFT | (kind as u64) << KIND_SHIFT | number & NUMBER_MAX;
    std::ptr::without_provenance_mut(bits as usize)
}

/// The number of a handle, if it is one of `kind`.
#[inline]
pub(crate) fn decode<T>(kind: Kind, handle: *const T) -> Option<u64> {
    let bits = handle.addr() as u64;
    (bits >> KIND_SHIFT == MARK << (MARK_SHIFT - KIND_SHIFT) | kind as u64).then_some(bits & NUMBER_MAX)
}

/// A number that no other handle of this process has, for kinds that have no table.
pub(crate) fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

const INDEX_BITS: u32 = 16;
const SEGMENT: usize = 256;
const SEGMENTS: usize = (1 << INDEX_BITS) / SEGMENT;
/// A slot that was used so often is not used again: its next handle would look like its first.
const GENERATION_MAX: u32 = (1 << (KIND_SHIFT - INDEX_BITS)) - 3;

struct Slot<T> {
    /// Odd while a handle stands for what is held, and one more with each beginning and end.
    generation: AtomicU32,
    held: RwLock<Option<Arc<T>>>,
}

/// Some slots, each in cache lines of its own, which are there from the first use of one of them on.
type Segment<T> = Box<[CachePadded<Slot<T>>]>;

/// What handles of one kind stand for.
pub(crate) struct Table<T> {
    kind: Kind,
    segments: [OnceLock<Segment<T>>; SEGMENTS],
    free: Mutex<Free>,
}

/// What a handle stood for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removed<T> {
    Value(Arc<T>),
    /// Somebody is still in it, and it stays where it is.
    InUse,
}

/// How often a removal looks whether the others have gone.
const LOOK: Duration = Duration::from_millis(1);

/// Slots that can be used.
struct Free {
    again: Vec<usize>,
    /// The first that has never been used.
    next: usize,
}

impl<T> Table<T> {
    pub(crate) const fn new(kind: Kind) -> Self {
        Self {
            kind,
            segments: [const { OnceLock::new() }; SEGMENTS],
            free: Mutex::new(Free { again: Vec::new(), next: 0 }),
        }
    }

    /// A handle on `value`; `None` when there are too many.
    pub(crate) fn insert<H>(&self, value: Arc<T>) -> Option<*mut H> {
        let index = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let next = free.next;
            free.again.pop().or_else(|| (next < 1 << INDEX_BITS).then_some(next).inspect(|_| free.next += 1))?
        };
        let slot = self.slot(index);
        *slot.held.write().unwrap_or_else(PoisonError::into_inner) = Some(value);
        let generation = slot.generation.fetch_add(1, Ordering::AcqRel) + 1;
        Some(encode(self.kind, u64::from(generation) << INDEX_BITS | index as u64))
    }

    /// What the handle stands for.
    pub(crate) fn get<H>(&self, handle: *const H) -> Option<Arc<T>> {
        let (_, slot, generation) = self.locate(handle)?;
        let held = slot.held.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|_| slot.is(generation)).cloned()
    }

    /// Does `what` with what the handle stands for, which stays until that has ended.
    #[inline(always)]
    pub(crate) fn with<H, R>(&self, handle: *const H, what: impl FnOnce(&T) -> R) -> Option<R> {
        let (_, slot, generation) = self.locate(handle)?;
        let held = slot.held.read().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            // It may have ended meanwhile.
            Some(value) if slot.is(generation) => Some(what(value)),
            _ => None,
        }
    }

    /// The handle stands for nothing from now on. What it stood for comes back as soon as nobody is in [`with`](Self::with) it, within `patience`;
    /// later it is lost.
    pub(crate) fn remove<H>(&self, handle: *const H, patience: Duration) -> Option<Removed<T>> {
        let (index, slot, generation) = self.locate(handle)?;
        let ended = slot.generation.compare_exchange(generation, generation + 1, Ordering::AcqRel, Ordering::Relaxed);
        ended.ok()?;
        let begun = Instant::now();
        let value = loop {
            match slot.held.try_write() {
                Ok(mut held) => break held.take(),
                Err(TryLockError::Poisoned(held)) => break held.into_inner().take(),
                Err(TryLockError::WouldBlock) if begun.elapsed() < patience => std::thread::sleep(LOOK),
                Err(TryLockError::WouldBlock) => return Some(Removed::InUse),
            }
        };
        if generation < GENERATION_MAX {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).again.push(index);
        }
        value.map(Removed::Value)
    }

    /// The slot that the handle names, if it was valid a moment ago.
    #[inline]
    fn locate<H>(&self, handle: *const H) -> Option<(usize, &Slot<T>, u32)> {
        let number = decode(self.kind, handle)?;
        let (index, generation) = ((number & ((1 << INDEX_BITS) - 1)) as usize, (number >> INDEX_BITS) as u32);
        let slot = &self.segments[index / SEGMENT].get()?[index % SEGMENT];
        // An even one is of no handle that was ever given.
        (slot.is(generation) && generation % 2 == 1).then_some((index, slot, generation))
    }

    fn slot(&self, index: usize) -> &Slot<T> {
        let empty = || {
            let slot = || Slot { generation: AtomicU32::new(0), held: RwLock::new(None) };
            (0..SEGMENT).map(|_| CachePadded::new(slot())).collect()
        };
        &self.segments[index / SEGMENT].get_or_init(empty)[index % SEGMENT]
    }
}

impl<T> Slot<T> {
    #[inline]
    fn is(&self, generation: u32) -> bool {
        self.generation.load(Ordering::Acquire) == generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_stands_for_one_thing_once() {
        static TABLE: Table<u32> = Table::new(Kind::Communicator);
        let first: *mut u8 = TABLE.insert(Arc::new(7)).expect("room");
        assert_eq!(TABLE.get(first).as_deref(), Some(&7));
        assert_eq!(TABLE.with(first, |value| *value), Some(7));
        assert_eq!(TABLE.remove(first, Duration::ZERO), Some(Removed::Value(Arc::new(7))));
        let second: *mut u8 = TABLE.insert(Arc::new(8)).expect("room");
        assert!(TABLE.get(first).is_none() && TABLE.with(first, |_| ()).is_none(), "its slot is another's now");
        assert_eq!(TABLE.remove(first, Duration::ZERO), None);
        assert_eq!(TABLE.get(second).as_deref(), Some(&8));
        let local = 0u8;
        for foreign in [std::ptr::null(), &raw const local, encode(Kind::Window, 1), encode(Kind::Communicator, 65_535)]
        {
            assert!(TABLE.get(foreign).is_none() && TABLE.remove(foreign, Duration::ZERO).is_none());
        }
        // A segment's end and beyond.
        let many: Vec<*mut u8> = (0..600).map(|n| TABLE.insert(Arc::new(n)).expect("room")).collect();
        assert!(many.iter().enumerate().all(|(n, handle)| TABLE.get(*handle).as_deref() == Some(&(n as u32))));
    }

    #[test]
    fn who_is_in_it_keeps_it() {
        static TABLE: Table<u32> = Table::new(Kind::Communicator);
        let handle: *mut u8 = TABLE.insert(Arc::new(7)).expect("room");
        let inside = TABLE.with(handle, |value| {
            assert_eq!(TABLE.remove(handle, Duration::from_millis(5)), Some(Removed::InUse));
            assert!(
                TABLE.get(handle).is_none() && TABLE.with(handle, |_| ()).is_none(),
                "it is nobody else's any more"
            );
            *value
        });
        assert_eq!(inside, Some(7));
        let other: *mut u8 = TABLE.insert(Arc::new(8)).expect("room");
        assert_eq!(TABLE.get(other).as_deref(), Some(&8), "its slot is not used again");
    }
}
