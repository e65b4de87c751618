//! Memory that a device reads and a peer's device writes.
//!
//! A [`MemoryRegion`] owns its memory: whole pages, mapped for it alone and registered. Who may write which bytes when is up to the protocol
//! that runs between the peers; the language is told what it can be told, as for any memory that others write (`transport::shm`): the mapping
//! is reached through its value alone, and what devices do to the memory behind it happens outside of the program, before a completion that the
//! program takes or after a posting that it makes. A peer that breaks the protocol can spoil values, nothing else: the bytes hold no pointers,
//! lengths or types that are believed without a look.

use super::abi::*;
use super::failure::last_errno;
use super::{Context, Failure};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::process::{Resource, getrlimit};
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const PAGE_BYTES: usize = 4096;

/// What keeps queue pairs and regions together: a queue pair uses regions of its own domain only.
#[derive(Debug)]
pub struct ProtectionDomain {
    raw: NonNull<ibv_pd>,
    context: Arc<Context>,
}

// SAFETY: libibverbs may be used from any thread, and from several at once.
unsafe impl Send for ProtectionDomain {}
// SAFETY: as above.
unsafe impl Sync for ProtectionDomain {}

impl ProtectionDomain {
    /// Makes one.
    ///
    /// # Errors
    /// As the device says.
    pub fn create(context: &Arc<Context>) -> Result<Arc<Self>, Failure> {
        // SAFETY: an open device.
        let raw = NonNull::new(unsafe { (context.library().ibv_alloc_pd)(context.raw()) })
            .ok_or_else(|| context.refused("ibv_alloc_pd", last_errno()))?;
        Ok(Arc::new(Self { raw, context: context.clone() }))
    }

    /// The device that it is of.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub(super) fn raw(&self) -> *mut ibv_pd {
        self.raw.as_ptr()
    }
}

impl Drop for ProtectionDomain {
    fn drop(&mut self) {
        // SAFETY: made by `create`; everything made in it held an Arc of it. That it fails can change nothing here.
        let _ = unsafe { (self.context.library().ibv_dealloc_pd)(self.raw()) };
    }
}

/// Memory that is registered, whoever owns it.
#[derive(Debug)]
pub(super) struct Registration {
    raw: NonNull<ibv_mr>,
    domain: Arc<ProtectionDomain>,
}

// SAFETY: libibverbs may be used from any thread, and from several at once.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

impl Registration {
    /// # Safety
    /// The memory stays where it is until the registration is undone, and no reference forbids what `access` lets devices do with it.
    pub(super) unsafe fn new(
        domain: &Arc<ProtectionDomain>,
        address: NonNull<u8>,
        bytes: usize,
        access: c_int,
    ) -> Result<Self, Failure> {
        let context = domain.context();
        let pointer = address.as_ptr().cast::<c_void>();
        // SAFETY: a living domain; for the memory the caller vouches.
        let raw = unsafe { (context.library().ibv_reg_mr)(domain.raw(), pointer, bytes, access) };
        match NonNull::new(raw) {
            Some(raw) => Ok(Self { raw, domain: domain.clone() }),
            None => Err(refusal(context, bytes, last_errno())),
        }
    }

    pub(super) fn local_key(&self) -> u32 {
        // SAFETY: the registration lives.
        unsafe { (*self.raw.as_ptr()).lkey }
    }

    pub(super) fn remote_key(&self) -> u32 {
        // SAFETY: the registration lives.
        unsafe { (*self.raw.as_ptr()).rkey }
    }

    pub(super) fn domain(&self) -> &Arc<ProtectionDomain> {
        &self.domain
    }

    /// Takes the memory away from the device. `false`: the device refused, and may reach it still.
    ///
    /// # Safety
    /// Once, and nothing afterwards.
    pub(super) unsafe fn undo(&self) -> bool {
        // SAFETY: the registration lives, and the caller vouches that this is its end.
        unsafe { (self.domain.context().library().ibv_dereg_mr)(self.raw.as_ptr()) == 0 }
    }
}

/// Memory of its own, registered for reading by the local device and for writing by the peer's.
#[derive(Debug)]
pub struct MemoryRegion {
    map: NonNull<u8>,
    bytes: usize,
    registration: Registration,
}

// SAFETY: the mapping is owned by this value alone and not tied to the thread that made it.
unsafe impl Send for MemoryRegion {}
// SAFETY: through a shared reference it is only read; see the module's words about who else writes.
unsafe impl Sync for MemoryRegion {}

impl MemoryRegion {
    /// Makes a region of at least `bytes` bytes (whole pages, at least one), all zero.
    ///
    /// # Errors
    /// [`Failure::LockedMemory`] if the process may not lock so much; otherwise as the system or the device says.
    pub fn create(domain: &Arc<ProtectionDomain>, bytes: usize) -> Result<Self, Failure> {
        let refused = |errno| domain.context().refused("mmap", errno);
        let bytes = bytes.max(1).checked_next_multiple_of(PAGE_BYTES).ok_or_else(|| refused(Errno::NOMEM))?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // Shared, so that a fork leaves the pages that the device knows with this process, whoever writes first.
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a fresh mapping at an address of the system's choice touches nothing that exists.
        let map = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, protection, flags) };
        let map = NonNull::new(map.map_err(refused)?.cast::<u8>()).ok_or_else(|| refused(Errno::NOMEM))?;
        let access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
        // SAFETY: the mapping is unmapped after the registration was undone or not at all; this module says who writes.
        match unsafe { Registration::new(domain, map, bytes, access) } {
            Ok(registration) => Ok(Self { map, bytes, registration }),
            Err(failure) => {
                // SAFETY: mapped above, and nobody knows it.
                let _ = unsafe { rustix::mm::munmap(map.as_ptr().cast(), bytes) };
                Err(failure)
            }
        }
    }

    /// How large it is, in bytes.
    #[expect(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Where it begins, as peers must know it.
    pub fn address(&self) -> u64 {
        self.map.as_ptr().addr() as u64
    }

    /// The key that peers need to write into it.
    pub fn remote_key(&self) -> u32 {
        self.registration.remote_key()
    }

    /// The key by which the local device knows it.
    pub fn local_key(&self) -> u32 {
        self.registration.local_key()
    }

    /// Bytes to read. The protocol must say that nobody writes there meanwhile.
    ///
    /// # Panics
    /// If the range is not within the region.
    #[inline]
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        let (at, len) = self.inside(&range);
        // SAFETY: inside of the mapping; any bits are bytes; through this value nobody writes while it is borrowed.
        unsafe { std::slice::from_raw_parts(self.map.add(at).as_ptr(), len) }
    }

    /// Bytes to write. The protocol must say that no device reads or writes there meanwhile.
    ///
    /// # Panics
    /// If the range is not within the region.
    #[inline]
    pub fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        let (at, len) = self.inside(&range);
        // SAFETY: inside of the mapping, and through this value nobody else reaches it while it is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.map.add(at).as_ptr(), len) }
    }

    /// The 8 bytes at `at`, a multiple of 8, as a number in the host's order: for what a peer writes at any time. Devices write
    /// aligned words whole. What was written before the word (by the same queue pair) is not promised to be seen with it: that takes a completion.
    ///
    /// # Panics
    /// If they are not within the region, or not aligned.
    #[inline]
    pub fn word(&self, at: usize) -> u64 {
        assert!(at.is_multiple_of(8), "a word that is not aligned");
        let (at, _) = self.inside(&(at..at.saturating_add(8)));
        // SAFETY: inside of the mapping and aligned; the mapping can be written; through this value nobody writes while it is borrowed.
        unsafe { AtomicU64::from_ptr(self.map.add(at).cast().as_ptr()) }.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn inside(&self, range: &Range<usize>) -> (usize, usize) {
        assert!(range.start <= range.end && range.end <= self.bytes, "bytes outside of their region");
        (range.start, range.end - range.start)
    }

    pub(super) fn domain(&self) -> &Arc<ProtectionDomain> {
        self.registration.domain()
    }
}

impl Drop for MemoryRegion {
    fn drop(&mut self) {
        // SAFETY: this is the registration's end. Only memory that no device reaches any more is given back.
        unsafe {
            if self.registration.undo() {
                let _ = rustix::mm::munmap(self.map.as_ptr().cast(), self.bytes);
            }
        }
    }
}

/// Says why memory could not be registered: the kernel answers with one number to a limit and to a lack of memory.
fn refusal(context: &Context, wanted_bytes: usize, errno: Errno) -> Failure {
    let pinned_bytes = pinned_bytes();
    match getrlimit(Resource::Memlock).current {
        Some(limit_bytes)
            if errno == Errno::NOMEM && pinned_bytes.saturating_add(wanted_bytes as u64) > limit_bytes =>
        {
            Failure::LockedMemory { device: context.device().to_owned(), wanted_bytes, limit_bytes, pinned_bytes }
        }
        _ => context.refused("ibv_reg_mr", errno),
    }
}

/// What this process has pinned for devices already.
fn pinned_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let pinned = status.lines().find_map(|line| line.strip_prefix("VmPin:"));
    pinned.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
}
