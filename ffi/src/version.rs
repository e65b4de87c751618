//! The version of the interface that the library follows. Its own is a [parameter](crate::pncclParamGetParameter), `SERRIED_VERSION`.

use crate::boundary::{export, place};
use std::ffi::c_int;

/// The version of NCCL's interface that serried follows, 2.32.0, in NCCL's notation: major · 10,000 + minor · 100 + patch.
///
/// Programs compare it to decide which functions and struct fields they may use. It speaks of names, numbers and layouts: what each function
/// does here `include/nccl.h` says.
pub const VERSION_CODE: c_int = 2 * 10_000 + 32 * 100;

export! {
    /// Stores [`VERSION_CODE`].
    fn ncclGetVersion | pncclGetVersion(version: *mut c_int) {
        // SAFETY: the caller's promise is the same.
        unsafe { place(version, "version") }?.write(VERSION_CODE);
        Ok(())
    }
}
