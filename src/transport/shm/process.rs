//! Another process' memory, read by the system: one copy, where a region in between takes two.

#![allow(unsafe_code)]

use std::io::{Error, ErrorKind, Result};

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
    pub fn read(self, mut address: u64, mut into: &mut [u8]) -> Result<()> {
        while !into.is_empty() {
            let here = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
            let there = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
            // SAFETY: the system writes to `here` alone, which is exclusively borrowed and as long as said; `there` is an address in the other process, which
            // the system checks.
            let read = unsafe { libc::process_vm_readv(self.0, &here, 1, &there, 1, 0) };
            match usize::try_from(read) {
                Err(_) => return Err(Error::last_os_error()),
                Ok(0) => return Err(Error::from(ErrorKind::UnexpectedEof)),
                Ok(read) => {
                    address += read as u64;
                    into = &mut into[read..];
                }
            }
        }
        Ok(())
    }
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
        assert!(Process::with_id(i32::MAX).read(data.as_ptr() as u64, &mut read).is_err());
    }
}
