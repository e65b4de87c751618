//! Memory that the library gives to callers: other ranks of the host can map it, so calls on it copy less.

use crate::boundary::{export, place};
use crate::errors::Failure;
use serried::Memory;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What has been given and not come back, by address.
static GIVEN: Mutex<BTreeMap<usize, Memory<u8>>> = Mutex::new(BTreeMap::new());

fn lock() -> MutexGuard<'static, BTreeMap<usize, Memory<u8>>> {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner)
}

export! {
    /// Stores the address of `size` bytes of zeros, on a page of their own.
    fn ncclMemAlloc | pncclMemAlloc(ptr: *mut *mut c_void, size: usize) {
        // SAFETY: the caller's promise is the same.
        let place = unsafe { place(ptr, "ptr") }?;
        if size > isize::MAX as usize {
            return Err(Failure::argument(format!("size is {size}: no memory has so much room")));
        }
        // Nothing, too, has an address of its own.
        let mut memory = Memory::<u8>::allocate(size.max(1))?;
        let start = memory.as_mut_ptr();
        lock().insert(start.addr(), memory);
        place.write(start.cast());
        Ok(())
    }

    /// Gives back what [`ncclMemAlloc`](pncclMemAlloc) gave; null is nothing.
    fn ncclMemFree | pncclMemFree(ptr: *mut c_void) {
        if ptr.is_null() {
            return Ok(());
        }
        let memory = lock().remove(&ptr.addr());
        memory.map(drop).ok_or_else(|| Failure::argument("ptr is nothing that ncclMemAlloc gave, or has been freed"))
    }
}
