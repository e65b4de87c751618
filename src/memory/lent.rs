//! Memory of somebody else's that is listed, for callers who hold it by address.

use super::registry::{self, Identity};
use std::ptr::NonNull;

/// Listed memory that the library does not own: as [`Registered`](super::Registered), but nothing keeps its owner from freeing or moving it.
#[derive(Debug)]
pub struct Lent {
    start: usize,
    identity: Identity,
}

impl Lent {
    /// Lists `bytes` bytes at `start`.
    ///
    /// # Safety
    /// They stay mapped, and where they are, until the value is dropped; none of them lies in a buffer that is listed otherwise.
    pub unsafe fn new(start: NonNull<u8>, bytes: usize) -> Self {
        let start = start.addr().get();
        Self { start, identity: registry::register(start, bytes, None) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        registry::forget_this(self.start, self.identity);
    }
}

#[cfg(test)]
mod tests {
    use super::super::steady;
    use super::*;

    #[test]
    fn it_is_listed_until_it_is_dropped() {
        let mut bytes = vec![0u8; 1000];
        let start = NonNull::from(&mut bytes[0]);
        // SAFETY: the vector outlives the value and does not grow.
        let first = unsafe { Lent::new(start, 1000) };
        assert_eq!(steady(&bytes[10..]).map(|listed| (listed.start, listed.bytes)), Some((start.addr().get(), 1000)));
        // SAFETY: as above.
        let second = unsafe { Lent::new(start, 500) };
        drop(first);
        assert_eq!(steady(&bytes[10..20]).map(|listed| listed.bytes), Some(500), "another entry stays");
        drop(second);
        assert!(steady(&bytes[10..20]).is_none());
    }
}
