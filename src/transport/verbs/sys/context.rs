//! Devices and what an open one says about itself.

use super::abi::{ibv_context, ibv_device_attr};
use super::failure::{last_errno, outcome};
use super::library::{Library, library};
use super::{Failure, Unavailable};
use rustix::fs::OFlags;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;

/// The names of the RDMA devices of this machine, as the kernel gives them: `mlx5_0`, `rxe0`. May be empty.
///
/// # Errors
/// [`Unavailable`] if there is no libibverbs, or the kernel knows no RDMA.
pub fn devices() -> Result<Vec<String>, Unavailable> {
    with_devices(|list, library| list.iter().map(|device| name_of(*device, library)).collect())
}

/// What a device can do, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceAttributes {
    /// The firmware's version; empty for a device of software.
    pub firmware: String,
    /// Ports, numbered from 1.
    pub ports: u8,
    /// The most work requests outstanding on one queue of a queue pair.
    pub work_max: u32,
    /// The most entries of a completion queue.
    pub completions_max: u32,
    /// The most bytes of one memory region.
    pub region_bytes_max: u64,
    /// Vendor and part.
    pub vendor: (u32, u32),
}

/// An open device; closed when the last of what was made on it is gone.
#[derive(Debug)]
pub struct Context {
    raw: NonNull<ibv_context>,
    library: &'static Library,
    device: String,
}

// SAFETY: libibverbs may be used from any thread, and from several at once.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Opens the device of this name.
    ///
    /// # Errors
    /// No libibverbs, no such device, or no right to open it (`/dev/infiniband` in a container, for one).
    pub fn open(name: &str) -> Result<Arc<Self>, Failure> {
        let refused = |call, errno| Failure::Refused { device: name.to_owned(), call, errno };
        let context = with_devices(|list, library| {
            let names: Vec<_> = list.iter().map(|device| name_of(*device, library)).collect();
            let Some(place) = names.iter().position(|n| n == name) else {
                return Err(Failure::NoDevice { name: name.to_owned(), there_are: names });
            };
            // SAFETY: the device is of a list that is not freed yet.
            let raw = NonNull::new(unsafe { (library.ibv_open_device)(list[place]) });
            let raw = raw.ok_or_else(|| refused("ibv_open_device", last_errno()))?;
            Ok(Self { raw, library, device: name.to_owned() })
        })??;
        set_nonblocking(context.async_descriptor()).map_err(|errno| refused("fcntl", errno))?;
        Ok(Arc::new(context))
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// What the device can do.
    ///
    /// # Errors
    /// As the device says: it may be gone.
    pub fn attributes(&self) -> Result<DeviceAttributes, Failure> {
        // SAFETY: numbers and bytes, of which zero is one.
        let mut raw: ibv_device_attr = unsafe { std::mem::zeroed() };
        // SAFETY: an open device, and room for its answer.
        outcome(unsafe { (self.library.ibv_query_device)(self.raw(), &raw mut raw) })
            .map_err(|errno| self.refused("ibv_query_device", errno))?;
        let firmware: Vec<u8> = raw.fw_ver.into_iter().take_while(|byte| *byte != 0).collect();
        Ok(DeviceAttributes {
            firmware: String::from_utf8_lossy(&firmware).into_owned(),
            ports: raw.phys_port_cnt,
            work_max: raw.max_qp_wr.try_into().unwrap_or(0),
            completions_max: raw.max_cqe.try_into().unwrap_or(0),
            region_bytes_max: raw.max_mr_size,
            vendor: (raw.vendor_id, raw.vendor_part_id),
        })
    }

    /// Readable when [`next_event`](Self::next_event) has something.
    pub fn async_descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the device is open, and its descriptor with it, for as long as this value lives.
        unsafe { BorrowedFd::borrow_raw((*self.raw()).async_fd) }
    }

    pub(super) fn raw(&self) -> *mut ibv_context {
        self.raw.as_ptr()
    }

    pub(super) fn library(&self) -> &'static Library {
        self.library
    }

    pub(super) fn refused(&self, call: &'static str, errno: rustix::io::Errno) -> Failure {
        Failure::Refused { device: self.device.clone(), call, errno }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was opened by `open`, and everything made on it held an Arc of it. That it fails can change nothing here.
        let _ = unsafe { (self.library.ibv_close_device)(self.raw()) };
    }
}

/// Runs something over the list of devices, which is freed afterwards.
fn with_devices<T>(act: impl FnOnce(&[*mut super::abi::ibv_device], &'static Library) -> T) -> Result<T, Unavailable> {
    let library = library()?;
    let mut count = 0;
    // SAFETY: room for the count.
    let list = unsafe { (library.ibv_get_device_list)(&raw mut count) };
    if list.is_null() {
        let why = super::failure::words(last_errno());
        return Err(Unavailable(format!("libibverbs finds no RDMA in this kernel: {why}")));
    }
    // SAFETY: the library made a list of so many devices.
    let result = act(unsafe { std::slice::from_raw_parts(list, count.try_into().unwrap_or(0)) }, library);
    // SAFETY: made above, and nothing of it is used any more; an open device keeps itself.
    unsafe { (library.ibv_free_device_list)(list) };
    Ok(result)
}

fn name_of(device: *mut super::abi::ibv_device, library: &'static Library) -> String {
    // SAFETY: a device of a list that is not freed yet.
    let name = unsafe { (library.ibv_get_device_name)(device) };
    if name.is_null() {
        return String::new();
    }
    // SAFETY: the library's name of the device is a C string within it.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

/// Reading from it returns at once from now on.
pub(super) fn set_nonblocking(descriptor: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::fs::fcntl_setfl(descriptor, rustix::fs::fcntl_getfl(descriptor)? | OFlags::NONBLOCK)
}
