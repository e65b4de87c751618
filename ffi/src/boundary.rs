//! The boundary to C: what every exported function does the same way. Panics end here, and so do null pointers.

use crate::ncclResult_t;
use std::panic::AssertUnwindSafe;

/// Exports a function a second time under its `p` name, for interposers: one that defines `ncclX` itself calls `pncclX` to
/// reach the library.
///
/// Both are strong symbols: in a shared library the first definition that the loader meets wins either way, so an interposer
/// works as it does with NCCL, whose `ncclX` are weak.
macro_rules! twin {
    ($twin:ident = $name:ident ($($argument:ident: $type:ty),* $(,)?)) => {
        #[doc = concat!("The twin of [`", stringify!($name), "`], for interposers.")]
        ///
        /// # Safety
        /// The same as that function's.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        pub unsafe extern "C" fn $twin($($argument: $type),*) -> $crate::ncclResult_t {
            // SAFETY: the caller keeps the contract, which is the same.
            unsafe { $name($($argument),*) }
        }
    };
}

pub(crate) use twin;

/// Runs the body of an exported function; a panic in it must not unwind into C.
pub(crate) fn guard(body: impl FnOnce() -> Result<(), ncclResult_t>) -> ncclResult_t {
    // Nothing that the body borrows is looked at again after a panic: the caller gets an error and no value.
    match std::panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => ncclResult_t::Success,
        Ok(Err(result)) => result,
        Err(_) => ncclResult_t::InternalError,
    }
}

/// Where a C caller wants a result, unless the pointer is null.
///
/// # Safety
/// A pointer that is not null points to memory that is valid for writing a `T`, aligned for it, and used by nobody else during
/// `'a`.
pub(crate) unsafe fn place<'a, T: Copy>(pointer: *mut T) -> Result<&'a mut std::mem::MaybeUninit<T>, ncclResult_t> {
    // SAFETY: null or as the caller promises; `MaybeUninit` has the layout of `T` and asks for no initialised value.
    unsafe { pointer.cast::<std::mem::MaybeUninit<T>>().as_mut() }.ok_or(ncclResult_t::InvalidArgument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_as_an_internal_error() {
        assert_eq!(guard(|| panic!("on purpose")), ncclResult_t::InternalError);
        assert_eq!(guard(|| Err(ncclResult_t::Timeout)), ncclResult_t::Timeout);
        assert_eq!(guard(|| Ok(())), ncclResult_t::Success);
    }

    #[test]
    fn null_is_no_place() {
        // SAFETY: null is allowed.
        let nowhere = unsafe { place(std::ptr::null_mut::<i32>()) };
        assert_eq!(nowhere.expect_err("null"), ncclResult_t::InvalidArgument);
    }
}
