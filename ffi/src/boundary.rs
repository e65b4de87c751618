//! The boundary to C: what every exported function does the same way. Panics end here, and so do null pointers.

use crate::errors::{Failure, record};
use crate::ncclResult_t;
use std::mem::MaybeUninit;
use std::panic::AssertUnwindSafe;

/// Exports functions, each by its `p` name, under which interposers reach the library, and by its own. A body is a `Result`; [`guard`]
/// turns it into a code.
macro_rules! export {
    ($($(#[$doc:meta])* fn $name:ident | $twin:ident ($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// Pointers are null or point to what `nccl.h` says of them, for as long as it says.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, clippy::too_many_arguments)]
        pub unsafe extern "C" fn $twin($($argument: $type),*) -> $crate::ncclResult_t {
            $crate::boundary::guard(stringify!($name), || $body)
        }
        $crate::names::own_name!($name = unsafe $twin($($argument: $type),*) -> $crate::ncclResult_t);
    )*};
}

pub(crate) use export;

/// Runs the body of the exported `function`; a panic in it must not unwind into C.
#[inline]
pub(crate) fn guard(function: &'static str, body: impl FnOnce() -> Result<(), Failure>) -> ncclResult_t {
    // Nothing that the body borrows is looked at again after a panic: the caller gets an error and no value.
    match std::panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => ncclResult_t::Success,
        Ok(Err(failure)) => record(function, &failure),
        Err(_) => record(function, &Failure::internal("it panicked")),
    }
}

/// The same for functions that return something else than a code: `otherwise` when the body fails.
pub(crate) fn guard_value<T>(function: &'static str, otherwise: T, body: impl FnOnce() -> Result<T, Failure>) -> T {
    let mut value = otherwise;
    guard(function, || {
        value = body()?;
        Ok(())
    });
    value
}

/// Where a C caller wants a result, unless the pointer is null; `name` is the argument's.
///
/// # Safety
/// A pointer that is not null points to memory that is valid for writing a `T`, aligned for it, and used by nobody else during
/// `'a`.
pub(crate) unsafe fn place<'a, T: Copy>(pointer: *mut T, name: &str) -> Result<&'a mut MaybeUninit<T>, Failure> {
    // SAFETY: null or as the caller promises; `MaybeUninit` has the layout of `T` and asks for no initialised value.
    unsafe { pointer.cast::<MaybeUninit<T>>().as_mut() }.ok_or_else(|| null(name))
}

/// What a C caller points to, unless the pointer is null; `name` is the argument's.
///
/// # Safety
/// A pointer that is not null points to a `T` that stays as it is during `'a`.
pub(crate) unsafe fn given<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    // SAFETY: null or as the caller promises.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// The refusal of a null pointer.
pub(crate) fn null(name: &str) -> Failure {
    Failure::argument(format!("{name} is NULL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_as_an_internal_error() {
        assert_eq!(guard("f", || panic!("on purpose")), ncclResult_t::InternalError);
        assert_eq!(guard("f", || Err(Failure::usage("no"))), ncclResult_t::InvalidUsage);
        assert_eq!(guard("f", || Ok(())), ncclResult_t::Success);
        assert_eq!(guard_value("f", -1, || panic!("on purpose")), -1);
        assert_eq!(guard_value("f", -1, || Ok(7)), 7);
    }

    #[test]
    fn null_is_no_place() {
        // SAFETY: null is allowed.
        let nowhere = unsafe { place(std::ptr::null_mut::<i32>(), "here") };
        assert_eq!(nowhere.expect_err("null").what, "here is NULL");
    }
}
