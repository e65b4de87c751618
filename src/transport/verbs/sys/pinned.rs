//! Memory of somebody else, registered where it lies: for sending from it, or being written into it, without a copy.

use super::abi::{IBV_ACCESS_LOCAL_WRITE, IBV_ACCESS_REMOTE_WRITE};
use super::region::Registration;
use super::{Failure, ProtectionDomain};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

/// What devices may do with pinned memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The local device reads it: it can be sent from.
    Read,
    /// The peer's device may write it, too.
    Write,
}

/// A range of foreign memory that is registered. Dropping it takes the memory away from the device; work that is still posted on it then
/// ends in an error.
#[derive(Debug)]
pub struct PinnedRange {
    start: NonNull<u8>,
    bytes: usize,
    registration: Registration,
}

// SAFETY: it gives no access to the memory; that the memory may be registered at all, its maker vouched.
unsafe impl Send for PinnedRange {}
// SAFETY: as above.
unsafe impl Sync for PinnedRange {}

impl PinnedRange {
    /// Registers `bytes` bytes from `start` on.
    ///
    /// # Safety
    /// Until the value is dropped:
    /// - the memory is allocated, and its addresses lead to the same pages: it is not freed, remapped or moved. A device knows pages, not
    ///   addresses, so memory that was freed and came back at the same address must be registered anew;
    /// - with [`Access::Write`], the memory may be written, and whoever posts work or gives the key to a peer sees to it that no reference to the
    ///   bytes is alive while they may be written, nor any but shared ones while they may be read. With [`Access::Read`] the latter for posted work.
    ///
    /// A value that is forgotten instead of dropped is registered until its device is closed.
    ///
    /// # Errors
    /// [`Failure::LockedMemory`] if the process may not lock so much; otherwise as the device says.
    pub unsafe fn register(
        domain: &Arc<ProtectionDomain>,
        start: NonNull<u8>,
        bytes: usize,
        access: Access,
    ) -> Result<Self, Failure> {
        let access = match access {
            Access::Read => 0,
            Access::Write => IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE,
        };
        // SAFETY: the caller's promise.
        let registration = unsafe { Registration::new(domain, start, bytes, access)? };
        Ok(Self { start, bytes, registration })
    }

    /// Registers `bytes` bytes from `start` on for reading alone.
    ///
    /// Nothing that devices read can hurt the program, whatever becomes of the memory: the system keeps the pages that a device knows for as
    /// long. What they send is another matter: memory that was freed and came back at the same address may be other pages, so whoever keeps such
    /// a range must know by more than the address that it is still the memory it was made of.
    ///
    /// # Errors
    /// [`Failure::LockedMemory`] if the process may not lock so much; otherwise as the device says: the range may not be mapped.
    pub fn register_for_reading(
        domain: &Arc<ProtectionDomain>,
        start: NonNull<u8>,
        bytes: usize,
    ) -> Result<Self, Failure> {
        // SAFETY: the device only reads, pages that the system keeps until the registration is undone; what is posted are bytes that the
        // poster has a shared reference to.
        unsafe { Self::register(domain, start, bytes, Access::Read) }
    }

    /// How large it is, in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was registered.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Where it begins, as peers must know it.
    pub fn address(&self) -> u64 {
        self.start.as_ptr().addr() as u64
    }

    /// The key that peers need to write into it.
    pub fn remote_key(&self) -> u32 {
        self.registration.remote_key()
    }

    /// The key by which the local device knows it.
    pub fn local_key(&self) -> u32 {
        self.registration.local_key()
    }

    /// Where `bytes` lie in it, if they do as a whole.
    pub fn range_of(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let at = bytes.as_ptr().addr().checked_sub(self.start.as_ptr().addr())?;
        let end = at.checked_add(bytes.len())?;
        (end <= self.bytes).then_some(at..end)
    }

    #[inline]
    pub(super) fn inside(&self, range: &Range<usize>) -> (usize, usize) {
        assert!(range.start <= range.end && range.end <= self.bytes, "bytes outside of their range");
        (range.start, range.end - range.start)
    }

    pub(super) fn domain(&self) -> &Arc<ProtectionDomain> {
        self.registration.domain()
    }
}

impl Drop for PinnedRange {
    fn drop(&mut self) {
        // SAFETY: this is the registration's end. That it fails can change nothing here: the memory is not ours to keep.
        let _ = unsafe { self.registration.undo() };
    }
}
