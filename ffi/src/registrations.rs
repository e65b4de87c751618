//! Callers' buffers that are registered with a communicator, plainly or as windows.

use crate::boundary::{export, null, place};
use crate::comm::{Comm, find};
use crate::cuda::order;
use crate::errors::Failure;
use crate::handles::{Kind, decode, encode, fresh};
use crate::types::{ncclComm_t, ncclWindow_t};
use serried::memory::{Lent, steady};
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is registered with one communicator, by number; gone with it.
#[derive(Default)]
pub(crate) struct Registrations(Mutex<BTreeMap<u64, Registration>>);

struct Registration {
    kind: Kind,
    start: *mut c_void,
    /// Memory that is not the library's own is listed for as long.
    _lent: Option<Lent>,
}

// SAFETY: the pointer is only given back to the caller, never followed.
unsafe impl Send for Registration {}

impl Registrations {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Registration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove<H>(&self, kind: Kind, handle: *const H, name: &str) -> Result<(), Failure> {
        let number = decode(kind, handle).ok_or_else(|| unknown(name))?;
        self.lock().remove(&number).map(drop).ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> Failure {
    Failure::argument(format!("{name} is none of this communicator's, or has been deregistered"))
}

/// Registers memory, and gives its handle.
///
/// # Safety
/// The memory is there, at least until it is deregistered or the communicator is gone.
unsafe fn register<H>(comm: &Comm, kind: Kind, start: *mut c_void, bytes: usize) -> Result<*mut H, Failure> {
    let communicator = comm.ready()?;
    order(std::ptr::null_mut(), &[start.cast_const()])?;
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
    let number = fresh();
    comm.registrations.lock().insert(number, Registration { kind, start, _lent: lent });
    Ok(encode(kind, number))
}

/// What a window's address must be a multiple of.
const WINDOW_ALIGNMENT: usize = 4096;
/// Every flag that a window may have: symmetric, strictly ordered, for devices' network operations only.
const WINDOW_FLAGS: c_int = 7;

export! {
    /// Tells the rank's RDMA device, if it has one, of a buffer that calls will use: then they send from it without a copy.
    fn ncclCommRegister | pncclCommRegister(comm: ncclComm_t, buff: *mut c_void, size: usize, handle: *mut *mut c_void) {
        let comm = find(comm)?;
        // SAFETY: the caller's promise is the same.
        let place = unsafe { place(handle, "handle") }?;
        // SAFETY: the caller's promise is the same.
        place.write(unsafe { register(&comm, Kind::Registration, buff, size) }?);
        Ok(())
    }

    /// Ends a registration.
    fn ncclCommDeregister | pncclCommDeregister(comm: ncclComm_t, handle: *mut c_void) {
        find(comm)?.registrations.remove(Kind::Registration, handle, "handle")
    }

    /// Registers a buffer, as [`ncclCommRegister`](pncclCommRegister) does, as a window. All ranks call it.
    fn ncclCommWindowRegister | pncclCommWindowRegister(
        comm: ncclComm_t, buff: *mut c_void, size: usize, win: *mut ncclWindow_t, winFlags: c_int,
    ) {
        let comm = find(comm)?;
        // SAFETY: the caller's promise is the same.
        let place = unsafe { place(win, "win") }?;
        if winFlags & !WINDOW_FLAGS != 0 {
            return Err(Failure::argument(format!("winFlags are {winFlags:#x}; expected flags of NCCL_WIN_")));
        }
        if !buff.addr().is_multiple_of(WINDOW_ALIGNMENT) {
            return Err(Failure::argument(format!("buff does not begin at a multiple of {WINDOW_ALIGNMENT} bytes")));
        }
        // SAFETY: the caller's promise is the same.
        place.write(unsafe { register(&comm, Kind::Window, buff, size) }?);
        Ok(())
    }

    /// Ends a window.
    fn ncclCommWindowDeregister | pncclCommWindowDeregister(comm: ncclComm_t, win: ncclWindow_t) {
        find(comm)?.registrations.remove(Kind::Window, win, "win")
    }

    /// Stores where a window's buffer begins.
    fn ncclWinGetUserPtr | pncclWinGetUserPtr(comm: ncclComm_t, win: ncclWindow_t, outUserPtr: *mut *mut c_void) {
        let comm = find(comm)?;
        // SAFETY: the caller's promise is the same.
        let place = unsafe { place(outUserPtr, "outUserPtr") }?;
        let number = decode(Kind::Window, win).ok_or_else(|| unknown("win"))?;
        let start = comm.registrations.lock().get(&number).filter(|window| window.kind == Kind::Window).map(|window| window.start);
        place.write(start.ok_or_else(|| unknown("win"))?);
        Ok(())
    }
}
