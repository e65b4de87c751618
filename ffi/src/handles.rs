//! Handles: numbers that stand for what a C caller holds. A stale or foreign one is found out, never followed.
//!
//! A handle has a mark in its upper bits, where no pointer of user space has anything, then its kind, and which it is. Those of
//! communicators name a slot of a table and how often the slot has been used. Looking one up touches the lines of that slot alone, so ranks of
//! one process do not meet there, and never waits.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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

/// Whoever enters it says so first and looks at the generation then; whoever empties it changes the generation first and looks then whether
/// somebody is in it. All of that is sequentially consistent, so at least one of the two sees the other.
struct Slot<T> {
    /// Odd while a handle stands for what is held, and one more with each beginning and end.
    generation: AtomicU32,
    /// Whether somebody has the seat, which is left by a store alone.
    seat: AtomicBool,
    /// How many are in it besides.
    standing: AtomicU32,
    /// An `Arc`'s, while the generation is odd and until all have left.
    held: AtomicPtr<T>,
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

impl<T: Send + Sync> Table<T> {
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
        slot.held.store(Arc::into_raw(value).cast_mut(), Ordering::Release);
        let generation = slot.generation.fetch_add(1, Ordering::SeqCst) + 1;
        Some(encode(self.kind, u64::from(generation) << INDEX_BITS | index as u64))
    }

    /// What the handle stands for.
    pub(crate) fn get<H>(&self, handle: *const H) -> Option<Arc<T>> {
        let (_, slot, generation) = self.locate(handle)?;
        let _inside = slot.enter();
        slot.is(generation).then(|| {
            let held = slot.held.load(Ordering::Acquire).cast_const();
            // SAFETY: it is an `Arc`'s pointer, and that `Arc` stays as long as somebody is inside who found the generation as it was.
            unsafe {
                Arc::increment_strong_count(held);
                Arc::from_raw(held)
            }
        })
    }

    /// Does `what` with what the handle stands for, which stays until that has ended.
    #[inline(always)]
    pub(crate) fn with<H, R>(&self, handle: *const H, what: impl FnOnce(&T) -> R) -> Option<R> {
        let (_, slot, generation) = self.locate(handle)?;
        let _inside = slot.enter();
        if !slot.is(generation) {
            return None;
        }
        // SAFETY: it points to a `T` that an `Arc` holds, and that stays as long as somebody is inside who found the generation as it was.
        Some(what(unsafe { &*slot.held.load(Ordering::Acquire) }))
    }

    /// The handle stands for nothing from now on. What it stood for comes back as soon as nobody is in [`with`](Self::with) it, within `patience`;
    /// later it is lost.
    pub(crate) fn remove<H>(&self, handle: *const H, patience: Duration) -> Option<Removed<T>> {
        let (index, slot, generation) = self.locate(handle)?;
        let ended = slot.generation.compare_exchange(generation, generation + 1, Ordering::SeqCst, Ordering::Relaxed);
        ended.ok()?;
        let begun = Instant::now();
        while slot.is_entered() {
            if begun.elapsed() >= patience {
                return Some(Removed::InUse);
            }
            std::thread::sleep(LOOK);
        }
        // SAFETY: it is the pointer that `insert` made of an `Arc`; only who ended the generation comes here, and nobody is inside or can find it.
        let value = unsafe { Arc::from_raw(slot.held.swap(std::ptr::null_mut(), Ordering::AcqRel).cast_const()) };
        if generation < GENERATION_MAX {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).again.push(index);
        }
        Some(Removed::Value(value))
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
            let slot = || Slot {
                generation: AtomicU32::new(0),
                seat: AtomicBool::new(false),
                standing: AtomicU32::new(0),
                held: AtomicPtr::new(std::ptr::null_mut()),
            };
            (0..SEGMENT).map(|_| CachePadded::new(slot())).collect()
        };
        &self.segments[index / SEGMENT].get_or_init(empty)[index % SEGMENT]
    }
}

impl<T> Slot<T> {
    #[inline(always)]
    fn is(&self, generation: u32) -> bool {
        self.generation.load(Ordering::SeqCst) == generation
    }

    #[inline(always)]
    fn enter(&self) -> Inside<'_, T> {
        let seated = !self.seat.swap(true, Ordering::SeqCst);
        if !seated {
            self.standing.fetch_add(1, Ordering::SeqCst);
        }
        Inside { slot: self, seated }
    }

    fn is_entered(&self) -> bool {
        self.seat.load(Ordering::SeqCst) || self.standing.load(Ordering::SeqCst) > 0
    }
}

/// Somebody is in a slot.
struct Inside<'a, T> {
    slot: &'a Slot<T>,
    seated: bool,
}

impl<T> Drop for Inside<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.seated {
            self.slot.seat.store(false, Ordering::Release);
        } else {
            self.slot.standing.fetch_sub(1, Ordering::Release);
        }
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
    fn what_is_held_outlives_everybody_who_found_it() {
        static TABLE: Table<AtomicBool> = Table::new(Kind::Communicator);
        for _ in 0..200 {
            let lives = Arc::new(AtomicBool::new(true));
            let handle = TABLE.insert::<u8>(lives.clone()).expect("room").addr();
            let at = || std::ptr::without_provenance::<u8>(handle);
            std::thread::scope(|scope| {
                for by_count in [true, false, false] {
                    scope.spawn(move || {
                        let looked = || TABLE.with(at(), |lives| assert!(lives.load(Ordering::Relaxed)));
                        let counted = || TABLE.get(at()).map(drop);
                        while (if by_count { counted() } else { looked() }).is_some() {}
                    });
                }
                let Some(Removed::Value(value)) = TABLE.remove(at(), Duration::from_secs(60)) else {
                    panic!("nobody stays in it");
                };
                value.store(false, Ordering::Relaxed);
            });
            assert_eq!(Arc::strong_count(&lives), 1, "nothing is lost");
        }
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
