//! A region: memory that one process makes and others on the host map, known by a [`Card`] small enough for any message.
//!
//! It is a memfd, so it has no name that could outlive a killed process, needs no room in `/dev/shm`, and is opened by peers
//! through `/proc`. All its memory is taken when it is made: lack of room is an error then and not a SIGBUS later; seals keep
//! everybody from shrinking it. It must not know what is kept in it.
//!
//! # Two parts, two kinds of access
//!
//! The *words* are for what ranks tell each other and are only ever touched by atomic operations. The *bytes* are payload.
//! Who may write which bytes when is up to the protocol that runs in the words; the language is told what it can be told:
//! each [`Region`] is its own mapping, reached through it alone, and what others do to the memory behind it happens
//! outside of the program, as with any shared file mapping. A peer that breaks the protocol can spoil values, nothing else:
//! the bytes hold no pointers, lengths or types.

#![allow(unsafe_code)]

use super::{Ahead, Line};
use crate::{Error, Result};
use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::thread::futex;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes that the region keeps for itself at its start: the card again, by which a peer knows that it opened the right memory.
const HEAD_BYTES: usize = 128;
/// Both parts begin at multiples of it.
const PAGE_BYTES: usize = 4096;
/// Where in a region's bytes slots for copies should begin: half a page off where large buffers do, which is a page's start or, by the C library's allocator, 16 bytes later. Some
/// CPUs' string instructions, by which memory is copied, are very slow where the output begins 1 to 31 bytes after the input, modulo a page (Zen 3: 2.8 GB/s instead of 47).
pub const SLOTS_AT: usize = PAGE_BYTES / 2;
/// No region is larger: 2⁴⁶ bytes is beyond any host, and sums of two such sizes cannot overflow.
const PART_BYTES_MAX: u64 = 1 << 46;

/// What a peer must know to map a region; sent as it is to ranks of the same host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Card {
    /// The process that made it, as itself sees its number.
    pub pid: u32,
    /// The descriptor's number in that process.
    pub fd: u32,
    /// Bytes of the part that holds words.
    pub words: u64,
    /// Bytes of the part that holds payload.
    pub bytes: u64,
    /// Random; tells this region from every other.
    pub cookie: [u8; 16],
}

/// Memory shared with other processes (or other threads: each maps it for itself). Unmapped on drop; the memory goes when the last
/// process that maps it has ended or dropped it.
#[derive(Debug)]
pub struct Region {
    map: NonNull<u8>,
    map_bytes: usize,
    words: usize,
    bytes: usize,
    card: Card,
    /// Its maker's, by which peers open it, until it is closed.
    descriptor: Option<OwnedFd>,
}

// SAFETY: the mapping is owned by this value alone and not tied to the thread that made it. (It is not Sync: plain and
// atomic access are kept apart by `&` and `&mut` only.)
unsafe impl Send for Region {}

impl Region {
    /// Makes a region with `words` bytes of words and `bytes` bytes of payload, all zero.
    ///
    /// # Errors
    /// [`Error::System`] if the system has no room for it or refuses a descriptor.
    pub fn create(words: usize, bytes: usize) -> Result<Self> {
        let failed = |reason: Errno| Error::System {
            what: format!("cannot make shared memory of {} bytes", words.saturating_add(bytes)),
            reason: reason.to_string(),
        };
        let (_, map_bytes) = extent(words as u64, bytes as u64).ok_or_else(|| failed(Errno::NOMEM))?;
        if map_bytes as u64 > room_bytes() {
            return Err(failed(Errno::NOMEM));
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let descriptor = rustix::fs::memfd_create(c"serried", flags).map_err(failed)?;
        // An interrupted fallocate has undone itself; every other failure is final.
        rustix::io::retry_on_intr(|| rustix::fs::fallocate(&descriptor, FallocateFlags::empty(), 0, map_bytes as u64))
            .map_err(failed)?;
        rustix::fs::fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW).map_err(failed)?;
        let mut cookie = [0; 16];
        getrandom::fill(&mut cookie)
            .map_err(|e| Error::System { what: "cannot read random bytes".into(), reason: e.to_string() })?;
        let fd = descriptor.as_raw_fd() as u32;
        let card = Card { pid: std::process::id(), fd, words: words as u64, bytes: bytes as u64, cookie };
        let mut region = Self::map(card, &descriptor, map_bytes).map_err(failed)?;
        region.descriptor = Some(descriptor);
        // SAFETY: the head is mapped, larger than a card, and nobody else has the region yet.
        unsafe { region.map.cast::<Card>().write(card) };
        Ok(region)
    }

    /// Maps the region that `card` describes. It takes no descriptor for longer than that: a mapping needs none.
    ///
    /// # Errors
    /// [`Error::System`] if it cannot be reached from here (another container or user, a process that has ended) or is not
    /// the one that the card describes; the ranks must then talk in another way.
    pub fn open(card: &Card) -> Result<Self> {
        let failed = |reason: String| Error::System {
            what: format!("cannot open the shared memory of process {}", card.pid),
            reason,
        };
        let (_, map_bytes) = extent(card.words, card.bytes).ok_or_else(|| failed("its size makes no sense".into()))?;
        let path = format!("/proc/{}/fd/{}", card.pid, card.fd);
        // In another namespace the path may name anything: never wait for it (a pipe), never adopt it (a terminal).
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(e.to_string()))?;
        let sealed = rustix::fs::fcntl_get_seals(&descriptor).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        let size = rustix::fs::fstat(&descriptor).map_err(|e| failed(e.to_string()))?.st_size;
        if !sealed || size != map_bytes as i64 {
            return Err(failed("another file is found there (another container or process namespace)".into()));
        }
        let region = Self::map(*card, &descriptor, map_bytes).map_err(|e| failed(e.to_string()))?;
        // SAFETY: the head is mapped and as large; every bit pattern is a card. Its maker wrote it before sending the card.
        let found = unsafe { region.map.cast::<Card>().read_volatile() };
        if found != *card {
            return Err(failed("another region is found there (another container or process namespace)".into()));
        }
        Ok(region)
    }

    /// What peers need to open it.
    pub fn card(&self) -> Card {
        self.card
    }

    /// Closes the descriptor and keeps the memory: once every peer has opened the region, or none will. Its card is void then.
    pub fn close_descriptor(&mut self) {
        self.descriptor = None;
    }

    /// The word at byte `at` of the words, a multiple of 8.
    #[inline]
    pub fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at < self.words && self.words - at >= 8, "a word outside of its region");
        // SAFETY: inside of the mapping, aligned, and this part of it is only touched atomically.
        unsafe { self.map.add(HEAD_BYTES + at).cast().as_ref() }
    }

    /// The 32-bit word at byte `at` of the words, a multiple of 4; never mixed with [`Self::word`] over the same bytes.
    #[inline]
    pub fn word32(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at < self.words && self.words - at >= 4, "a word outside of its region");
        // SAFETY: inside of the mapping, aligned, and this part of it is only touched atomically.
        unsafe { self.map.add(HEAD_BYTES + at).cast().as_ref() }
    }

    /// The cache line at byte `at` of the words, a multiple of 64.
    #[inline]
    pub fn line(&self, at: usize) -> Line<'_> {
        assert!(at.is_multiple_of(64) && at < self.words && self.words - at >= 64, "a line outside of its region");
        // SAFETY: inside of the mapping, aligned to a line (head and mapping are), and only touched atomically.
        unsafe { Line::at(self.map.add(HEAD_BYTES + at)) }
    }

    /// Asks for the cache line at byte `at` of the words.
    #[inline]
    pub fn ask_for_line(&self, at: usize, ahead: Ahead) {
        ahead.ask(self.map.as_ptr().wrapping_add(HEAD_BYTES + at));
    }

    /// Asks for the cache lines of `len` bytes from byte `at` of the bytes on.
    #[inline]
    pub fn ask_for_bytes(&self, at: usize, len: usize, ahead: Ahead) {
        let payload = self.payload().as_ptr();
        (at / 64 * 64..at + len).step_by(64).for_each(|at| ahead.ask(payload.wrapping_add(at)));
    }

    /// Payload to read: `len` bytes from byte `at` of the bytes on. The protocol must say that nobody writes there meanwhile.
    #[inline]
    pub fn bytes(&self, at: usize, len: usize) -> &[u8] {
        assert!(at <= self.bytes && len <= self.bytes - at, "bytes outside of their region");
        // SAFETY: inside of the mapping; any bits are bytes; through this value nobody writes while it is borrowed.
        unsafe { std::slice::from_raw_parts(self.payload().add(at).as_ptr(), len) }
    }

    /// Payload to write, likewise. The protocol must say that nobody else reads or writes there meanwhile.
    #[inline]
    pub fn bytes_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        assert!(at <= self.bytes && len <= self.bytes - at, "bytes outside of their region");
        // SAFETY: inside of the mapping, and through this value nobody else reaches it while it is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.payload().add(at).as_ptr(), len) }
    }

    /// Payload to write and payload to read of the same region: `len` bytes each, at places that do not overlap.
    #[inline]
    pub fn bytes_apart(&mut self, write_at: usize, read_at: usize, len: usize) -> (&mut [u8], &[u8]) {
        let inside = |at: usize| at <= self.bytes && len <= self.bytes - at;
        assert!(inside(write_at) && inside(read_at), "bytes outside of their region");
        assert!(write_at.abs_diff(read_at) >= len, "bytes that are written and read at once");
        // SAFETY: inside of the mapping and apart from each other; through this value nobody else reaches them while they are borrowed.
        unsafe {
            let (to, from) = (self.payload().add(write_at), self.payload().add(read_at));
            (std::slice::from_raw_parts_mut(to.as_ptr(), len), std::slice::from_raw_parts(from.as_ptr(), len))
        }
    }

    /// Where the payload begins in this process: for buffers that live as long as the region does.
    pub fn payload(&self) -> NonNull<u8> {
        // SAFETY: the words end, and so the bytes begin, inside of the mapping.
        unsafe { self.map.add((HEAD_BYTES + self.words).next_multiple_of(PAGE_BYTES)) }
    }

    fn map(card: Card, descriptor: &OwnedFd, map_bytes: usize) -> Result<Self, Errno> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a fresh mapping at an address of the system's choice touches nothing that exists.
        let map = unsafe { rustix::mm::mmap(std::ptr::null_mut(), map_bytes, protection, flags, descriptor, 0)? };
        let map = NonNull::new(map.cast()).ok_or(Errno::NOMEM)?;
        let (words, bytes) = (card.words as usize, card.bytes as usize);
        Ok(Self { map, map_bytes, words, bytes, card, descriptor: None })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map`, and every borrow of it has ended. That it fails would mean that the
        // address is wrong, which nobody can act on here.
        let _ = unsafe { rustix::mm::munmap(self.map.as_ptr().cast(), self.map_bytes) };
    }
}

/// Sleeps until somebody [`wake`]s `word`, it no longer holds `seen`, or `limit` has passed; may return early.
pub fn sleep(word: &AtomicU32, seen: u32, limit: Duration) {
    let limit = futex::Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
    // Every reason to return early is fine: the caller looks again.
    let _ = futex::wait(word, futex::Flags::empty(), seen, Some(&limit));
}

/// Wakes everybody who sleeps on `word`, in any process.
pub fn wake(word: &AtomicU32) {
    // It can only fail for an address that is not mapped.
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}

/// Memory that can still be had, as far as the system tells. A memfd has no limit of its own: the system would rather kill a
/// process than refuse it pages, so what cannot be had must not be asked for.
pub fn room_bytes() -> u64 {
    let number = |path: &str, key: &str| -> Option<u64> {
        let text = std::fs::read_to_string(path).ok()?;
        text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
    };
    let host = number("/proc/meminfo", "MemAvailable:").map_or(u64::MAX, |kib| kib.saturating_mul(1024));
    // A container sees its own control group here; "max", for no limit, is no number. File caches
    // give way, so they count as room.
    let group = number("/sys/fs/cgroup/memory.max", "").map_or(u64::MAX, |limit| {
        let reclaimable = number("/sys/fs/cgroup/memory.stat", "inactive_file ").unwrap_or(0);
        let used = number("/sys/fs/cgroup/memory.current", "").unwrap_or(0);
        limit.saturating_sub(used.saturating_sub(reclaimable))
    });
    host.min(group)
}

/// Where the bytes begin and the region ends, or `None` for sizes that no host has.
fn extent(words: u64, bytes: u64) -> Option<(usize, usize)> {
    if words > PART_BYTES_MAX || bytes > PART_BYTES_MAX {
        return None;
    }
    let start = (HEAD_BYTES as u64 + words).next_multiple_of(PAGE_BYTES as u64);
    let end = (start + bytes).next_multiple_of(PAGE_BYTES as u64);
    Some((usize::try_from(start).ok()?, usize::try_from(end).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn what_one_writes_the_other_reads() {
        let mut mine = Region::create(256, 10_000).expect("there is room for a few pages");
        let mut theirs = Region::open(&mine.card()).expect("the own process can be reached");
        mine.bytes_mut(9_990, 10).fill(7);
        mine.word(248).store(5, Ordering::Release);
        assert_eq!(theirs.word(248).load(Ordering::Acquire), 5);
        assert_eq!(theirs.bytes(9_989, 11), [0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
        theirs.bytes_mut(0, 1)[0] = 9;
        drop(theirs);
        assert_eq!(mine.bytes(0, 2), [9, 0]);
    }

    #[test]
    fn a_card_that_is_not_its_regions_is_refused() {
        let region = Region::create(64, 100).expect("there is room for a page");
        let card = region.card();
        let mut cookie = card.cookie;
        cookie[3] ^= 1;
        let other_file = std::fs::File::open("/proc/self/exe").expect("the test itself can be read");
        let wrong = [
            Card { cookie, ..card },
            Card { bytes: card.bytes + 4096, ..card },
            Card { words: 32, ..card },
            Card { words: u64::MAX, bytes: u64::MAX, ..card },
            Card { fd: other_file.as_raw_fd() as u32, ..card },
            Card { fd: 1_000_000, ..card },
            Card { pid: u32::MAX, ..card },
        ];
        for wrong in wrong {
            let error = Region::open(&wrong).expect_err("the card is wrong").to_string();
            assert!(error.starts_with("cannot open the shared memory of process"), "{error}");
        }
        Region::open(&card).expect("the right card still opens");
    }

    #[test]
    fn lack_of_room_is_an_error_now() {
        let error = Region::create(64, 1 << 45).expect_err("no host has 32 TiB to give").to_string();
        assert!(error.starts_with("cannot make shared memory of"), "{error}");
        Region::create(64, usize::MAX / 2).expect_err("nor that");
    }

    #[test]
    fn a_mapping_needs_no_descriptor() {
        let mut mine = Region::create(64, 100).expect("there is room");
        let mut theirs = Region::open(&mine.card()).expect("the own process can be reached");
        assert!(mine.descriptor.is_some() && theirs.descriptor.is_none());
        mine.close_descriptor();
        Region::open(&mine.card()).expect_err("its card is void");
        theirs.bytes_mut(99, 1)[0] = 3;
        assert_eq!(mine.bytes(98, 2), [0, 3]);
    }

    #[test]
    fn nobody_can_shrink_it() {
        let region = Region::create(64, 1 << 16).expect("there is room");
        let descriptor = region.descriptor.as_ref().expect("it is still open");
        assert_eq!(rustix::fs::ftruncate(descriptor, 0), Err(Errno::PERM));
    }

    #[test]
    fn a_sleeper_is_woken_through_another_mapping() {
        let mine = Region::create(64, 0).expect("there is room");
        let card = mine.card();
        let sleeper = std::thread::spawn(move || {
            let theirs = Region::open(&card).expect("the own process can be reached");
            while theirs.word32(0).load(Ordering::Acquire) == 0 {
                sleep(theirs.word32(0), 0, Duration::from_secs(60));
            }
        });
        mine.word32(0).store(1, Ordering::Release);
        while !sleeper.is_finished() {
            wake(mine.word32(0));
            std::thread::yield_now();
        }
        sleeper.join().expect("it saw the word");
    }

    #[test]
    #[should_panic(expected = "at once")]
    fn no_byte_both_written_and_read() {
        let mut region = Region::create(64, 100).expect("there is room");
        region.bytes_apart(0, 10, 10).0.fill(1);
        region.bytes_apart(10, 19, 10);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn no_byte_past_the_end() {
        let region = Region::create(64, 100).expect("there is room");
        region.bytes(90, 11);
    }
}
