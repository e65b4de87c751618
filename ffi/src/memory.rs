//! Memory that the library gives to callers: other ranks of the host can map it, so calls on it copy less.

use crate::boundary::{export, place};
use crate::errors::Failure;
use crate::fork;
use serried::Memory;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Memory that has been given, and the process that asked for it, as [`fork::generation`] has it.
type Given = (u32, Memory<u8>);

/// What has not come back, by address.
static GIVEN: Mutex<BTreeMap<usize, Given>> = Mutex::new(BTreeMap::new());

fn lock() -> MutexGuard<'static, BTreeMap<usize, Given>> {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes back what was given at `address`. A child has its parent's memory, too, but what it said about it the parent's peers would hear.
fn take(address: usize) -> Result<Memory<u8>, Failure> {
    match lock().entry(address) {
        Entry::Vacant(_) => Err(Failure::argument("ptr is nothing that ncclMemAlloc gave, or has been freed")),
        Entry::Occupied(given) if given.get().0 != fork::generation() => {
            Err(Failure::usage("ptr was given before this process was forked, and stays its parent's"))
        }
        Entry::Occupied(given) => Ok(given.remove().1),
    }
}

export! {
    /// Stores the address of `size` bytes of zeros, on a page of their own.
    fn ncclMemAlloc | pncclMemAlloc(ptr: *mut *mut c_void, size: usize) {
        // SAFETY: the caller's promise is the same.
        let place = unsafe { place(ptr, "ptr") }?;
        if size > isize::MAX as usize {
            return Err(Failure::argument(format!("size is {size}: no memory has so much room")));
        }
        fork::watch();
        // Nothing, too, has an address of its own.
        let mut memory = Memory::<u8>::allocate(size.max(1))?;
        let start = memory.as_mut_ptr();
        lock().insert(start.addr(), (fork::generation(), memory));
        place.write(start.cast());
        Ok(())
    }

    /// Gives back what [`ncclMemAlloc`](pncclMemAlloc) gave; null is nothing.
    fn ncclMemFree | pncclMemFree(ptr: *mut c_void) {
        if ptr.is_null() {
            return Ok(());
        }
        take(ptr.addr()).map(drop)
    }
}
