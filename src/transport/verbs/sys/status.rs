//! How a piece of work ended.

use super::abi::*;
use super::library::library;
use std::ffi::{CStr, c_int};

/// How a piece of work ended, as the device says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub(super) c_int);

impl Status {
    /// It was done.
    pub const SUCCESS: Self = Self(IBV_WC_SUCCESS);
    /// It was thrown away because its queue pair had broken before.
    pub const FLUSHED: Self = Self(IBV_WC_WR_FLUSH_ERR);
    /// The local memory was not the queue pair's to use.
    pub const LOCAL_PROTECTION: Self = Self(IBV_WC_LOC_PROT_ERR);
    /// The peer's device refused the address or the key.
    pub const REMOTE_ACCESS: Self = Self(IBV_WC_REM_ACCESS_ERR);
    /// The peer's device did not answer within all retries.
    pub const RETRIES_EXCEEDED: Self = Self(IBV_WC_RETRY_EXC_ERR);
    /// The peer had no receive request within all retries.
    pub const RECEIVER_NOT_READY: Self = Self(IBV_WC_RNR_RETRY_EXC_ERR);

    /// Whether it was done.
    #[inline]
    pub fn is_success(self) -> bool {
        self == Self::SUCCESS
    }

    /// The library's words for it.
    pub fn words(self) -> &'static str {
        let words = library().ok().and_then(|library| {
            // SAFETY: any number may be asked about.
            let words = unsafe { (library.ibv_wc_status_str)(self.0) };
            // SAFETY: if it is no null pointer, it is a text within the library, which is never closed.
            (!words.is_null()).then(|| unsafe { CStr::from_ptr(words) }.to_str().ok()).flatten()
        });
        words.unwrap_or("unknown")
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (status {})", self.words(), self.0)
    }
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
