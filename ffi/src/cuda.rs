//! Streams, and memory of CUDA devices: the one place where a call meets them. Memory of a device cannot be served yet, so a call on it is
//! refused; what a stream holds comes before the call. Without CUDA in the process there is nothing to look at.

use crate::errors::Failure;
use crate::types::cudaStream_t;
use crate::{environment, group, ncclResult_t};
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

/// CUDA's driver, under the name by which programs load it.
const LIBRARY: &CStr = c"libcuda.so.1";

/// `CU_POINTER_ATTRIBUTE_MEMORY_TYPE`, and what it says of a device's memory that is not managed: `CU_MEMORYTYPE_DEVICE`. (CUDA driver API)
const MEMORY_TYPE: c_int = 2;
const DEVICE: c_uint = 2;
/// `CU_POINTER_ATTRIBUTE_IS_MANAGED`: memory that the host may use, too.
const IS_MANAGED: c_int = 8;

/// `cuPointerGetAttribute`.
type Ask = unsafe extern "C" fn(*mut c_void, c_int, u64) -> c_int;
/// `cuStreamQuery`, and what it says of a stream that holds something: `CUDA_ERROR_NOT_READY`.
type Query = unsafe extern "C" fn(cudaStream_t) -> c_int;
const NOT_READY: c_int = 600;

/// How often a stream is asked after it was found to hold something.
const ASK: Duration = Duration::from_micros(50);

/// The default stream by its other names: `CU_STREAM_LEGACY` and `CU_STREAM_PER_THREAD`.
const DEFAULT_STREAMS: std::ops::RangeInclusive<usize> = 0..=2;

/// What the default stream says on a thread that does not use CUDA: `CUDA_ERROR_NOT_INITIALIZED`, `CUDA_ERROR_DEINITIALIZED`, `CUDA_ERROR_INVALID_CONTEXT` and
/// `CUDA_ERROR_CONTEXT_IS_DESTROYED`.
const HOLDS_NOTHING: [c_int; 4] = [3, 4, 201, 709];

/// The driver's functions.
struct Driver {
    ask: Ask,
    query: Query,
}

/// The driver, once a communicator was made while the process had it; never freed.
static DRIVER: AtomicPtr<Driver> = AtomicPtr::new(null_mut());

/// Looks for the driver, which a program that has memory on a device has loaded by the time it makes a communicator.
pub(crate) fn look_for_driver() {
    if driver().is_some() {
        return;
    }
    // SAFETY: all names end in a zero byte; RTLD_NOLOAD runs no code of the driver. The handle is kept, so that the functions stay.
    let [ask, query] = unsafe {
        let library = libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY);
        if library.is_null() {
            return;
        }
        [c"cuPointerGetAttribute", c"cuStreamQuery"].map(|name| libc::dlsym(library, name.as_ptr()))
    };
    if ask.is_null() || query.is_null() {
        return;
    }
    // SAFETY: they are the functions of these names, which have these types.
    let driver = unsafe {
        Driver {
            ask: std::mem::transmute::<*mut c_void, Ask>(ask),
            query: std::mem::transmute::<*mut c_void, Query>(query),
        }
    };
    // If another thread was here at the same time, one of two that are the same stays.
    DRIVER.store(Box::into_raw(Box::new(driver)), Ordering::Release);
}

#[inline]
fn driver() -> Option<&'static Driver> {
    // SAFETY: null, or one that is never freed.
    unsafe { DRIVER.load(Ordering::Acquire).as_ref() }
}

/// Before a call on memory: what its stream holds comes first, and then the call; in a group, before the group's calls. Memory of a device,
/// whose calls would be put on the stream, is refused.
#[inline]
pub(crate) fn order(stream: cudaStream_t, buffers: &[*const c_void]) -> Result<(), Failure> {
    match driver() {
        None => Ok(()),
        Some(driver) => driver.order(stream, buffers),
    }
}

/// Refuses memory of a device.
pub(crate) fn is_on_host(buffer: *const c_void) -> Result<(), Failure> {
    driver().map_or(Ok(()), |driver| driver.refuse_device_memory(&[buffer]))
}

/// Waits until a stream holds nothing any more. What the default stream holds is known on threads that have a context.
pub(crate) fn wait_for(stream: cudaStream_t) -> Result<(), Failure> {
    driver().map_or(Ok(()), |driver| driver.wait_for(stream))
}

impl Driver {
    #[cold]
    fn order(&self, stream: cudaStream_t, buffers: &[*const c_void]) -> Result<(), Failure> {
        self.refuse_device_memory(buffers)?;
        if group::is_open() {
            group::keep_stream(stream);
            return Ok(());
        }
        self.wait_for(stream)
    }

    fn wait_for(&self, stream: cudaStream_t) -> Result<(), Failure> {
        let failed = |result, why: String| {
            Err(Failure::new(result, format!("waiting for what stream {stream:p} holds before the call: {why}")))
        };
        let mut limit = None;
        loop {
            // SAFETY: the driver stays loaded; a stream is null or the caller's, who promises that CUDA knows it.
            match unsafe { (self.query)(stream) } {
                0 => return Ok(()),
                nothing if DEFAULT_STREAMS.contains(&stream.addr()) && HOLDS_NOTHING.contains(&nothing) => {
                    return Ok(());
                }
                NOT_READY => {}
                error => return failed(ncclResult_t::UnhandledCudaError, format!("CUDA error {error}")),
            }
            // A call may take so long.
            let (begun, most) =
                *limit.get_or_insert_with(|| (Instant::now(), environment::config().unwrap_or_default().timeout));
            if begun.elapsed() > most {
                return failed(ncclResult_t::Timeout, format!("it was not done within {most:?}"));
            }
            std::thread::sleep(ASK);
        }
    }

    fn attribute(&self, which: c_int, buffer: *const c_void) -> Option<c_uint> {
        let mut value: c_uint = 0;
        // SAFETY: the driver stays loaded; both attributes are stored in 4 bytes or fewer; an address that CUDA does not know is an error, not a fault.
        let asked = unsafe { (self.ask)((&raw mut value).cast(), which, buffer.addr() as u64) };
        (asked == 0).then_some(value)
    }

    #[cold]
    fn refuse_device_memory(&self, buffers: &[*const c_void]) -> Result<(), Failure> {
        let on_device = |buffer: &&*const c_void| {
            self.attribute(MEMORY_TYPE, **buffer) == Some(DEVICE)
                && self.attribute(IS_MANAGED, **buffer).is_none_or(|is| is & 0xff == 0)
        };
        match buffers.iter().filter(|buffer| !buffer.is_null()).find(on_device) {
            None => Ok(()),
            Some(buffer) => Err(Failure::unsupported(&format!(
                "{buffer:p} is memory of a CUDA device, and serried serves host memory; copy it to the host first"
            ))),
        }
    }
}
