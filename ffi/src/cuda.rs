//! Streams, and memory of CUDA devices: the one place where a call meets them. Memory of a device cannot be served yet, so a call on it is
//! refused; without CUDA in the process there is nothing to look at.

use crate::errors::Failure;
use crate::types::cudaStream_t;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// CUDA's driver, under the name by which programs load it.
const DRIVER: &std::ffi::CStr = c"libcuda.so.1";

/// `CU_POINTER_ATTRIBUTE_MEMORY_TYPE`, and what it says of a device's memory that is not managed: `CU_MEMORYTYPE_DEVICE`. (CUDA driver API)
const MEMORY_TYPE: c_int = 2;
const DEVICE: c_uint = 2;
/// `CU_POINTER_ATTRIBUTE_IS_MANAGED`: memory that the host may use, too.
const IS_MANAGED: c_int = 8;

/// `cuPointerGetAttribute`.
type Ask = unsafe extern "C" fn(*mut c_void, c_int, u64) -> c_int;

/// The driver's function, once a communicator was made while the process had the driver.
static ASK: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// Looks for the driver, which a program that has memory on a device has loaded by the time it makes a communicator.
pub(crate) fn look_for_driver() {
    if !ASK.load(Ordering::Relaxed).is_null() {
        return;
    }
    // SAFETY: both names end in a zero byte; RTLD_NOLOAD runs no code of the driver. The handle is kept, so that the function stays.
    let ask = unsafe {
        let driver = libc::dlopen(DRIVER.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY);
        if driver.is_null() {
            return;
        }
        libc::dlsym(driver, c"cuPointerGetAttribute".as_ptr())
    };
    ASK.store(ask, Ordering::Relaxed);
}

/// Before a call on memory: what its stream holds comes first, and then the call. Host memory has no stream, and there is nothing to wait
/// for; memory of a device, which would be ordered here, is refused.
#[inline]
pub(crate) fn order(_stream: cudaStream_t, buffers: &[*const c_void]) -> Result<(), Failure> {
    let ask = ASK.load(Ordering::Relaxed);
    if ask.is_null() { Ok(()) } else { refuse_device_memory(ask, buffers) }
}

#[cold]
fn refuse_device_memory(ask: *mut c_void, buffers: &[*const c_void]) -> Result<(), Failure> {
    // SAFETY: it is `cuPointerGetAttribute`, which has this type, and the driver stays loaded.
    let ask: Ask = unsafe { std::mem::transmute(ask) };
    let attribute = |which, buffer: *const c_void| {
        let mut value: c_uint = 0;
        // SAFETY: both attributes are stored in 4 bytes or fewer; an address that CUDA does not know is an error, not a fault.
        let asked = unsafe { ask((&raw mut value).cast(), which, buffer.addr() as u64) };
        (asked == 0).then_some(value)
    };
    let on_device = |buffer: &&*const c_void| {
        attribute(MEMORY_TYPE, **buffer) == Some(DEVICE)
            && attribute(IS_MANAGED, **buffer).is_none_or(|is| is & 0xff == 0)
    };
    match buffers.iter().filter(|buffer| !buffer.is_null()).find(on_device) {
        None => Ok(()),
        Some(buffer) => Err(Failure::unsupported(&format!(
            "{buffer:p} is memory of a CUDA device, and serried serves host memory; copy it to the host first"
        ))),
    }
}
