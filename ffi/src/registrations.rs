//! Callers' buffers that are registered with a communicator.

use crate::boundary::{export, null, place};
use crate::comm::{Comm, find};
use crate::cuda::is_on_host;
use crate::errors::Failure;
use crate::handles::{Kind, decode, encode, fresh};
use crate::types::ncclComm_t;
use serried::memory::{Lent, steady};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is registered with one communicator, by number; gone with it. Memory that is not the library's own is listed for as long.
#[derive(Default)]
pub(crate) struct Registrations(Mutex<BTreeMap<u64, Option<Lent>>>);

impl Registrations {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Option<Lent>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lists memory for calls without a copy, unless it is the library's own and listed already.
///
/// # Safety
/// The memory is there for as long as the listing, which ends with the value.
pub(crate) unsafe fn list(comm: &Comm, start: *mut c_void, bytes: usize) -> Result<Option<Lent>, Failure> {
    let communicator = comm.ready()?;
    is_on_host(start.cast_const())?;
    let first = NonNull::new(start.cast::<u8>()).ok_or_else(|| null("buff"))?;
    if bytes == 0 || bytes > isize::MAX as usize || start.addr().checked_add(bytes).is_none() {
        return Err(Failure::argument(format!("size is {bytes}; expected what memory can hold")));
    }
    // SAFETY: as the caller promises; the address is all that is looked at.
    let data = unsafe { std::slice::from_raw_parts(first.as_ptr().cast_const(), bytes) };
    // What begins in memory that is listed needs no listing, and must not displace it.
    // SAFETY: as the caller promises.
    let lent = steady(&data[..1]).is_none().then(|| unsafe { Lent::new(first, bytes) });
    if steady(data).is_some() {
        communicator.register(data)?;
    }
    Ok(lent)
}

export! {
    /// Tells the rank's RDMA device, if it has one, of a buffer that calls will use: then they send from it without a copy.
    fn ncclCommRegister | pncclCommRegister(comm: ncclComm_t, buff: *mut c_void, size: usize, handle: *mut *mut c_void) {
        let comm = find(comm)?;
        // SAFETY: the caller's promise is the same.
        let place = unsafe { place(handle, "handle") }?;
        // SAFETY: the caller's promise is the same.
        let lent = unsafe { list(&comm, buff, size) }?;
        let number = fresh();
        comm.registrations.lock().insert(number, lent);
        place.write(encode(Kind::Registration, number));
        Ok(())
    }

    /// Ends a registration; null is none.
    fn ncclCommDeregister | pncclCommDeregister(comm: ncclComm_t, handle: *mut c_void) {
        if handle.is_null() {
            return Ok(());
        }
        let comm = find(comm)?;
        let number = decode(Kind::Registration, handle);
        let removed = number.and_then(|number| comm.registrations.lock().remove(&number));
        let unknown = "handle is none of this communicator's, or has been deregistered";
        removed.map(drop).ok_or_else(|| Failure::argument(unknown))
    }
}
