//! Buffers that the library allocates, and what it asks of buffers that a started call takes along.
//!
//! A [`Memory`] is shared memory from the start: ranks of the same host can map it by its [`Card`] and then read and write it in
//! place, where other buffers are copied through slots. This module knows nothing of calls or peers; who may touch a buffer when is
//! the business of the call that it is given to.

#![allow(unsafe_code)]

mod buffer;
mod detach;
mod lent;
mod registered;
mod registry;
mod target;

pub use buffer::Buffer;
pub(crate) use detach::detach;
pub use lent::Lent;
pub use registered::Registered;
pub use registry::{Identity, Shared, Steady, find, generation, is_listed, steady};
pub use target::Target;

use crate::Result;
use crate::transport::shm::{Card, Region};
use crate::types::Element;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use zerocopy::FromBytes;

/// A buffer of `T`s in memory that other ranks of the host can map. It is used as the slice that it dereferences to.
///
/// It begins on a page, and is all there when it is made: using it raises no page faults and cannot run out of memory. The
/// memory goes back when it is dropped and no peer maps it any more.
pub struct Memory<T: Element> {
    region: Region,
    len: usize,
    element: PhantomData<T>,
}

/// The region's one word: it is no longer 0 once the buffer is dropped, so that peers that have it mapped let go of it.
pub(crate) const DROPPED_AT: usize = 0;
/// Bytes of the region's words; a region with another number is no buffer.
pub(crate) const WORDS_BYTES: usize = size_of::<u64>();

// SAFETY: a shared `Memory` gives out shared slices of `T`, which is Sync, and its card; the region's word, which is what its
// own sharing would be about, is touched by `drop` alone.
unsafe impl<T: Element> Sync for Memory<T> {}

impl<T: Element> Memory<T> {
    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// [`Error::System`](crate::Error::System) if the system has no room for it.
    pub fn allocate(len: usize) -> Result<Self> {
        // A size past all numbers is refused like any other that is too large.
        let bytes = len.saturating_mul(size_of::<T>());
        let region = Region::create(WORDS_BYTES, bytes)?;
        registry::register(region.payload().addr().get(), bytes, Some(region.card()));
        Ok(Self { region, len, element: PhantomData })
    }

    /// What a rank of this host needs to map the buffer; it begins where the region's payload begins.
    pub fn card(&self) -> Card {
        self.region.card()
    }
}

impl<T: Element> Drop for Memory<T> {
    fn drop(&mut self) {
        registry::forget(self.region.payload().addr().get());
        self.region.word(DROPPED_AT).store(1, Ordering::Release);
    }
}

impl<T: Element> Deref for Memory<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        let bytes = self.region.bytes(0, self.len * size_of::<T>());
        <[T]>::ref_from_bytes_with_elems(bytes, self.len)
            .expect("a page is aligned for any element, and the size is exact")
    }
}

impl<T: Element> DerefMut for Memory<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let bytes = self.region.bytes_mut(0, self.len * size_of::<T>());
        <[T]>::mut_from_bytes_with_elems(bytes, self.len)
            .expect("a page is aligned for any element, and the size is exact")
    }
}

impl<T: Element> AsRef<[T]> for Memory<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Element> AsMut<[T]> for Memory<T> {
    fn as_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T: Element> std::fmt::Debug for Memory<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory of {} {}", self.len, T::TYPE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    fn is_zeroed_aligned_and_writable<T: Element + PartialEq + std::fmt::Debug>(zero: T, other: T) {
        for len in [0, 1, 1023, 4097] {
            let mut memory = Memory::<T>::allocate(len).expect("there is room for a few pages");
            assert_eq!(*memory, vec![zero; len]);
            assert!(memory.as_ptr().addr().is_multiple_of(4096));
            memory.fill(other);
            assert_eq!(*memory, vec![other; len]);
        }
    }

    #[test]
    fn it_begins_as_zeros_on_a_page_and_keeps_what_is_written() {
        is_zeroed_aligned_and_writable(0u8, 255);
        is_zeroed_aligned_and_writable(f16::ZERO, f16::ONE);
        is_zeroed_aligned_and_writable(0.0f32, -1.5);
        is_zeroed_aligned_and_writable(0i64, i64::MIN);
    }

    #[test]
    fn a_peer_maps_it_by_its_card() {
        let mut memory = Memory::<u32>::allocate(5000).expect("there is room");
        let mut peer = Region::open(&memory.card()).expect("the own process can be reached");
        memory[4999] = 0x0102_0304;
        assert_eq!(peer.bytes(4999 * 4, 4), 0x0102_0304u32.to_ne_bytes());
        peer.bytes_mut(4, 4).copy_from_slice(&7u32.to_ne_bytes());
        assert_eq!(memory[..3], [0, 7, 0]);
    }

    #[test]
    fn lack_of_room_is_a_clear_error() {
        for len in [1 << 45, usize::MAX / 8, usize::MAX] {
            let error = Memory::<f64>::allocate(len).expect_err("no host has that much").to_string();
            assert!(error.starts_with("cannot make shared memory of") && error.contains("memory"), "{error}");
        }
    }

    #[test]
    fn threads_may_share_and_send_it() {
        fn check<B: Send + Sync>() {}
        check::<Memory<f32>>();
        assert_eq!(format!("{:?}", Memory::<f32>::allocate(3).expect("there is room")), "Memory of 3 float");
    }
}
