//! Another process' memory, read by the system: one copy, where a region in between takes two.

#![allow(unsafe_code)]

use std::io::{Error, ErrorKind, Result};
use std::mem::MaybeUninit;

const PAGE_BYTES: usize = 4096;
/// What is read at a time where it goes by way of the stack; a page more lies there, which the stacks of threads have room for.
const DETOUR_BYTES: usize = 32 << 10;
/// A cache line.
const LINE_BYTES: usize = 64;

/// A process of this host, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(i32);

impl Process {
    /// This one.
    pub fn this() -> Self {
        Self(rustix::process::getpid().as_raw_pid())
    }

    /// The one with this id, as that process says it.
    pub fn with_id(id: i32) -> Self {
        Self(id)
    }

    /// Its id.
    pub fn id(self) -> i32 {
        self.0
    }

    /// Reads what the process has at `address`. What it changes meanwhile may be read as it was before, after, or partly so.
    ///
    /// # Errors
    /// The system's: most often `EPERM`, where processes may not look into each other, `ESRCH` when the process is gone, or `EFAULT` when it
    /// has nothing there.
    pub fn read(self, address: u64, into: &mut [u8]) -> Result<()> {
        if into.len() >= PAGE_BYTES && is_slow(address, into) {
            return self.read_by_detour(address, into);
        }
        // SAFETY: what is borrowed exclusively can be written.
        unsafe { self.read_to(address, into.as_mut_ptr(), into.len()) }
    }

    /// Reads to the stack and copies from there, both between addresses at which that is fast.
    #[inline(never)]
    fn read_by_detour(self, address: u64, into: &mut [u8]) -> Result<()> {
        let mut stack = MaybeUninit::<[u8; DETOUR_BYTES + PAGE_BYTES]>::uninit();
        let stack = stack.as_mut_ptr().cast::<u8>();
        // A line further into a page than what is read, so that where it goes lies nearly a page after it.
        let start = (address as usize).wrapping_add(LINE_BYTES).wrapping_sub(stack.addr()) % PAGE_BYTES;
        for (index, into) in into.chunks_mut(DETOUR_BYTES).enumerate() {
            let address = address.wrapping_add((index * DETOUR_BYTES) as u64);
            // SAFETY: `start` is within the page that the stack has more than is read; what was read there is initialized, and `into` is elsewhere and as long.
            unsafe {
                let stack = stack.add(start);
                self.read_to(address, stack, into.len())?;
                into.as_mut_ptr().copy_from_nonoverlapping(stack, into.len());
            }
        }
        Ok(())
    }

    /// # Safety
    /// `len` bytes from `into` on can be written, and nobody else touches them.
    unsafe fn read_to(self, address: u64, into: *mut u8, len: usize) -> Result<()> {
        let mut done = 0;
        while done < len {
            let here = libc::iovec { iov_base: into.wrapping_add(done).cast(), iov_len: len - done };
            let there =
                libc::iovec { iov_base: address.wrapping_add(done as u64) as *mut libc::c_void, iov_len: len - done };
            // SAFETY: the system writes to `here` alone, as the caller allows; `there` is an address in the other process, which the system checks.
            let read = unsafe { libc::process_vm_readv(self.0, &here, 1, &there, 1, 0) };
            match usize::try_from(read) {
                Err(_) => return Err(Error::last_os_error()),
                Ok(0) => return Err(Error::from(ErrorKind::UnexpectedEof)),
                Ok(read) => done += read,
            }
        }
        Ok(())
    }
}

/// Whether the system would be slow (as `strings_are_slow` of the kernels says it of copies): it copies page by page with a string instruction, for which a Zen 3 takes five times as long when the output lies so few bytes after the input, modulo a
/// page (1.6 to 2.5 GB/s instead of 9 to 11; by the stack 6.4 to 7.5). So it is where the allocator lets a large buffer begin 16 bytes after a page, and what is read begins on one.
fn is_slow(address: u64, into: &[u8]) -> bool {
    cfg!(target_arch = "x86_64")
        && (1..32).contains(&(into.as_ptr().addr().wrapping_sub(address as usize) % PAGE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_reads_as_it_is_and_what_is_not_there_is_an_error() {
        let data: Vec<u8> = (0..10_000).map(|index| (index % 251) as u8).collect();
        let mut read = vec![0; data.len()];
        match Process::this().read(data.as_ptr() as u64, &mut read) {
            // A sandbox may forbid it: then that is what is said, and nothing is used.
            Err(refused) => assert!(refused.raw_os_error().is_some(), "{refused}"),
            Ok(()) => assert_eq!(read, data),
        }
        assert!(Process::this().read(8, &mut read).is_err());
        let mut by_detour = vec![0; 3 * PAGE_BYTES];
        let page = by_detour.as_ptr().align_offset(PAGE_BYTES);
        assert!(Process::this().read(u64::MAX - 15, &mut by_detour[page..][..2 * PAGE_BYTES]).is_err());
        assert!(Process::with_id(i32::MAX).read(data.as_ptr() as u64, &mut read).is_err());
    }

    #[test]
    fn at_any_two_places_of_a_page_all_is_read_and_nothing_else_written() {
        let data: Vec<u8> = (0..100_000).map(|index| (index % 251) as u8).collect();
        let mut output = vec![0; data.len()];
        if Process::this().read(data.as_ptr() as u64, &mut output).is_err() {
            return println!("skipped: reading another process: the system allows none");
        }
        let page = data.as_ptr().align_offset(PAGE_BYTES);
        for bytes in [1, PAGE_BYTES - 1, PAGE_BYTES, DETOUR_BYTES, DETOUR_BYTES + 1, 2 * DETOUR_BYTES + 333] {
            for from in [0, 5, 16, 4000, 4095] {
                for after in [0, 1, 16, 31, 32, 64, 4032, 4095] {
                    let place = output.as_ptr().align_offset(PAGE_BYTES) + (from + after) % PAGE_BYTES;
                    output.fill(0xee);
                    let input = &data[page + from..][..bytes];
                    let into = &mut output[place..][..bytes];
                    assert_eq!(
                        is_slow(input.as_ptr() as u64, into),
                        cfg!(target_arch = "x86_64") && (1..32).contains(&after)
                    );
                    Process::this().read(input.as_ptr() as u64, into).expect("it was allowed before");
                    assert!(into == input, "{bytes} bytes, {from} in a page, {after} after");
                    let others = output[..place].iter().chain(&output[place + bytes..]);
                    assert!(
                        others.into_iter().all(|byte| *byte == 0xee),
                        "{bytes} bytes, {from} in a page, {after} after"
                    );
                }
            }
        }
    }
}
