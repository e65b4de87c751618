//! Which of this process' bytes lie in memory that peers can map: every [`Memory`](super::Memory) by its address.

use crate::transport::shm::Card;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

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
    found.then_some(Shared { card: entry.card, offset: offset as u64 })
}

/// Where the library buffer lies that holds `bytes`, if one does. None of it is found from now on.
pub(super) fn withdraw(bytes: &[u8]) -> Option<Range<usize>> {
    let start = bytes.as_ptr().addr();
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    let (first, entry) = registry.range_mut(..=start).next_back()?;
    if start - first + bytes.len() > entry.bytes {
        return None;
    }
    entry.withdrawn = true;
    Some(*first..first + entry.bytes)
}

pub(super) fn register(start: usize, bytes: usize, card: Card) {
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    registry.insert(start, Entry { bytes, card, withdrawn: false });
    COUNT.store(registry.len(), Ordering::Release);
}

pub(super) fn forget(start: usize) {
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    registry.remove(&start);
    COUNT.store(registry.len(), Ordering::Release);
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    bytes: usize,
    card: Card,
    /// Some of its pages may no longer be those that peers map.
    withdrawn: bool,
}

static REGISTRY: RwLock<BTreeMap<usize, Entry>> = RwLock::new(BTreeMap::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

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
        let cards: Vec<Card> = REGISTRY.read().expect("nobody panicked").values().map(|entry| entry.card).collect();
        assert!(!cards.contains(&card));
    }
}
