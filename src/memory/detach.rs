//! Taking a buffer back from peers that may still write into it, after a call that has failed halfway.
//!
//! The buffer keeps its address and its values and gets other pages under them; what peers have mapped are the old ones.
//! It must not touch a page that also holds bytes of somebody else.

use super::registry;
use crate::transport::shm::region::room_bytes;
use crate::{Error, Result};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MremapFlags, ProtFlags};
use std::ops::Range;

/// Gives `bytes` pages of their own if they lie in a library buffer, which is not offered to anybody again. No peer's write
/// arrives in them any more once this has returned.
///
/// Pages that `bytes` share with other bytes of the buffer stay as they are: another thread may be writing those, or another
/// call's peers. (At an end of a buffer there are none.)
///
/// # Errors
/// [`Error::System`] if the system refuses; the pages are then still shared.
pub(crate) fn detach(bytes: &mut [u8]) -> Result<()> {
    let Some(buffer) = registry::withdraw(bytes) else { return Ok(()) };
    let start = bytes.as_mut_ptr();
    let range = start.addr()..start.addr() + bytes.len();
    let pages = own_pages(&range, buffer.end, rustix::param::page_size());
    if pages.is_empty() {
        return Ok(());
    }
    let failed = |reason: Errno| Error::System {
        what: format!("cannot take {} bytes back from peers that may still write there", bytes.len()),
        reason: reason.to_string(),
    };
    if pages.len() as u64 > room_bytes() {
        return Err(failed(Errno::NOMEM));
    }
    // SAFETY: the pages hold nothing but `bytes`, borrowed to write, and at the buffer's end what nobody uses.
    unsafe { replace(start.wrapping_add(pages.start - range.start), pages.len()) }.map_err(failed)
}

/// The pages that hold bytes of `range` and no others of the buffer, which ends at `end`.
fn own_pages(range: &Range<usize>, end: usize, page: usize) -> Range<usize> {
    let last = if range.end == end { range.end.next_multiple_of(page) } else { range.end - range.end % page };
    range.start.next_multiple_of(page)..last
}

/// Puts fresh private pages with the same values in the place of `len` bytes at `at`.
///
/// # Safety
/// They must be whole pages of one mapping that this process may both read and write, and nobody else in this process may use them
/// meanwhile.
unsafe fn replace(at: *mut u8, len: usize) -> Result<(), Errno> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh mapping at an address of the system's choice touches nothing that exists.
    let fresh = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::PRIVATE)? };
    // SAFETY: both are mapped and as long, and apart. A peer that still writes spoils values, which a failed call leaves open.
    unsafe { std::ptr::copy_nonoverlapping(at, fresh.cast(), len) };
    // SAFETY: to this process nothing happens: the same values are at the same address. `fresh` is in nobody's hands. The system
    // refuses before it has changed anything if it has no more mappings to give.
    let moved = unsafe { rustix::mm::mremap_fixed(fresh, len, len, MremapFlags::MAYMOVE, at.cast()) };
    if let Err(reason) = moved {
        // SAFETY: it was not moved, and is in nobody's hands.
        let _ = unsafe { rustix::mm::munmap(fresh, len) };
        return Err(reason);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;
    use crate::memory::{DROPPED_AT, find};
    use crate::transport::shm::Region;
    use std::sync::atomic::Ordering;

    #[test]
    fn only_pages_of_the_bytes_alone_are_taken() {
        let page = 4096;
        assert_eq!(own_pages(&(8192..10_000), 10_000, page), 8192..12_288, "to the buffer's end");
        assert_eq!(own_pages(&(8192..20_000), 30_000, page), 8192..16_384);
        assert_eq!(own_pages(&(8193..30_000), 30_000, page), 12_288..32_768);
        assert!(own_pages(&(8193..12_000), 30_000, page).is_empty());
        assert!(own_pages(&(8193..8193), 30_000, page).is_empty());
    }

    #[test]
    fn what_peers_write_later_does_not_arrive_and_the_rest_stays_shared() {
        let mut memory = Memory::<u8>::allocate(20_000).expect("there is room");
        let mut peer = Region::open(&memory.card()).expect("the own process can be reached");
        peer.bytes_mut(0, 20_000).fill(1);
        let address = memory.as_ptr();
        detach(&mut memory[5_000..]).expect("there is room for a few pages");
        assert_eq!(*memory, [1; 20_000], "it keeps its values");
        assert_eq!(memory.as_ptr(), address);
        assert_eq!(find(&memory), None, "it is not offered again");
        peer.bytes_mut(0, 20_000).fill(2);
        assert_eq!(memory[..8_192], [2; 8_192], "pages with bytes of others are left");
        assert_eq!(memory[8_192..], [1; 20_000 - 8_192]);
        detach(&mut memory).expect("the rest can be taken as well");
        peer.bytes_mut(0, 20_000).fill(3);
        assert_eq!(memory[8_191..8_193], [2, 1]);
        memory.fill(4);
        assert_eq!(peer.bytes(0, 20_000), [3; 20_000]);
        assert_eq!(peer.word(DROPPED_AT).load(Ordering::Acquire), 0);
        drop(memory);
        assert_eq!(peer.word(DROPPED_AT).load(Ordering::Acquire), 1, "peers still hear of its end");
    }

    #[test]
    fn bytes_of_no_buffer_are_left_alone() {
        let mut plain = vec![5u8; 10_000];
        detach(&mut plain).expect("there is nothing to do");
        assert_eq!(plain, [5; 10_000]);
    }
}
