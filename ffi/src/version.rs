//! Versions: of the interface that the library follows, and of serried itself.

use crate::boundary::{export, guard, place};
use crate::ncclResult_t;
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

/// Stores serried's own version. NCCL has no such symbol: looking it up tells which library a program has loaded.
///
/// # Safety
/// Each pointer is null (an error, and then nothing is stored) or valid for writing an `int`, and no two of them overlap.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn serriedGetVersion(major: *mut c_int, minor: *mut c_int, patch: *mut c_int) -> ncclResult_t {
    guard("serriedGetVersion", || {
        // SAFETY: the caller's promise is the same, for each of the three.
        let (major, minor, patch) = unsafe { (place(major, "major")?, place(minor, "minor")?, place(patch, "patch")?) };
        major.write(number(env!("CARGO_PKG_VERSION_MAJOR")));
        minor.write(number(env!("CARGO_PKG_VERSION_MINOR")));
        patch.write(number(env!("CARGO_PKG_VERSION_PATCH")));
        Ok(())
    })
}

fn number(text: &str) -> c_int {
    text.parse().expect("cargo's version parts are numbers")
}
