//! Asking for a cache line ahead of its use, without waiting for it.

#![allow(unsafe_code)]

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::arch::asm;

/// What a line will be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// To be read: other cores keep their copies.
    Read,
    /// To be written: they give them up.
    Write,
}

impl Ahead {
    /// Asks for the line that `at` is in. On an architecture whose instruction for it is not known here, this does nothing.
    #[inline]
    pub fn ask(self, at: *const u8) {
        // SAFETY: hints. They change nothing that a program can see, and never fault, wherever they point.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            match self {
                Self::Read => asm!("prefetcht0 byte ptr [{at}]", at = in(reg) at, options(nostack, preserves_flags)),
                Self::Write => asm!("prefetchw byte ptr [{at}]", at = in(reg) at, options(nostack, preserves_flags)),
            }
        }
        // SAFETY: the same.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            match self {
                Self::Read => asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags)),
                Self::Write => asm!("prfm pstl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags)),
            }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = at;
    }
}
