//! Which of this process' bytes lie in memory that stays where it is while it is listed: every [`Memory`](super::Memory), which peers can
//! map, and every [`Registered`](super::Registered) buffer, by address.
//!
//! An address alone proves nothing, for memory is freed and comes back: each entry has an [`Identity`] that no other ever has, and what is kept
//! about memory elsewhere is kept by that.

use crate::transport::shm::Card;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

/// What tells a listed buffer from every other that this process has had.
pub type Identity = u64;

/// A whole listed buffer, as a device could be told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steady {
    /// Which one.
    pub identity: Identity,
    /// The address of its first byte.
    pub start: usize,
    /// How many bytes it has.
    pub bytes: usize,
}

/// A place inside of a library buffer, as a peer can find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The buffer's region.
    pub card: Card,
    /// Where in the region's payload the place begins, in bytes.
    pub offset: u64,
}

/// Where `bytes` lie, if they lie in one library buffer. One load when this process has no such buffer.
pub fn find(bytes: &[u8]) -> Option<Shared> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return None;
    }
    let start = bytes.as_ptr().addr();
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    let (first, entry) = registry.range(..=start).next_back()?;
    let offset = start - first;
    let found = !entry.withdrawn && offset + bytes.len() <= entry.bytes;
    Some(Shared { card: entry.card.filter(|_| found)?, offset: offset as u64 })
}

/// The listed buffer that `bytes` lie in, if they lie in one. One load when this process has none.
pub fn steady(bytes: &[u8]) -> Option<Steady> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return None;
    }
    let start = bytes.as_ptr().addr();
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    let (first, entry) = registry.range(..=start).next_back()?;
    let found = !entry.withdrawn && start - first + bytes.len() <= entry.bytes;
    found.then_some(Steady { identity: entry.identity, start: *first, bytes: entry.bytes })
}

/// Whether a buffer is still listed, and all of it where it was.
pub fn is_listed(identity: Identity) -> bool {
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    registry.values().any(|entry| entry.identity == identity && !entry.withdrawn)
}

/// Changes whenever a buffer that was listed no longer is.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Acquire)
}

/// Where the library buffer lies that holds `bytes`, if one does. None of it is found from now on.
pub(super) fn withdraw(bytes: &[u8]) -> Option<Range<usize>> {
    let start = bytes.as_ptr().addr();
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    let (first, entry) = registry.range_mut(..=start).next_back()?;
    if start - first + bytes.len() > entry.bytes {
        return None;
    }
    // What no peer can map nobody else writes into.
    entry.card?;
    entry.withdrawn = true;
    GENERATION.fetch_add(1, Ordering::Release);
    Some(*first..first + entry.bytes)
}

/// Lists a buffer, which peers can map by `card` if it has one.
pub(super) fn register(start: usize, bytes: usize, card: Option<Card>) -> Identity {
    let identity = IDENTITIES.fetch_add(1, Ordering::Relaxed);
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    registry.insert(start, Entry { bytes, identity, card, withdrawn: false });
    COUNT.store(registry.len(), Ordering::Release);
    identity
}

/// The buffer is listed no longer, if it is this one that is listed there.
pub(super) fn forget_this(start: usize, identity: Identity) {
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    if registry.get(&start).is_some_and(|entry| entry.identity == identity) {
        registry.remove(&start);
    }
    GENERATION.fetch_add(1, Ordering::Release);
    COUNT.store(registry.len(), Ordering::Release);
}

pub(super) fn forget(start: usize) {
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    registry.remove(&start);
    GENERATION.fetch_add(1, Ordering::Release);
    COUNT.store(registry.len(), Ordering::Release);
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    bytes: usize,
    identity: Identity,
    card: Option<Card>,
    /// Some of its pages may no longer be those that peers map.
    withdrawn: bool,
}

static REGISTRY: RwLock<BTreeMap<usize, Entry>> = RwLock::new(BTreeMap::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);
static IDENTITIES: AtomicU64 = AtomicU64::new(0);
static GENERATION: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;
    use zerocopy::IntoBytes;

    #[test]
    fn a_buffers_bytes_are_found_while_it_lives_and_no_others() {
        let memory = Memory::<u32>::allocate(1000).expect("there is room");
        let card = memory.card();
        assert_eq!(find(memory.as_bytes()), Some(Shared { card, offset: 0 }));
        assert_eq!(find(memory[10..20].as_bytes()), Some(Shared { card, offset: 40 }));
        assert_eq!(find([0u8; 16].as_slice()), None);
        drop(memory);
        let cards: Vec<_> = REGISTRY.read().expect("nobody panicked").values().map(|entry| entry.card).collect();
        assert!(!cards.contains(&Some(card)));
    }
    #[test]
    fn memory_that_comes_back_at_the_same_address_is_another() {
        let memory = Memory::<u32>::allocate(1000).expect("there is room");
        let first = steady(memory[10..20].as_bytes()).expect("it is listed");
        assert_eq!((first.start, first.bytes), (memory.as_ptr().addr(), 4000));
        let before = generation();
        drop(memory);
        assert!(generation() != before && !is_listed(first.identity));
        let second = Memory::<u32>::allocate(1000).expect("there is room");
        let again = steady(second.as_bytes()).expect("it is listed");
        assert_ne!(again.identity, first.identity, "whatever its address");
        assert!(is_listed(again.identity));
        assert_eq!(steady([0u8; 16].as_slice()), None);
    }
}
