//! Result codes and their texts, by NCCL's names and numbers.

use crate::names::own_name;
use std::ffi::{CStr, c_char, c_int};

/// What a call returns. A program may hand any number back to [`ncclGetErrorString`](pncclGetErrorString), so this is a number with names and not
/// an enum, which must never hold an unnamed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
#[allow(non_camel_case_types)]
pub struct ncclResult_t(pub c_int);

#[allow(non_upper_case_globals)]
impl ncclResult_t {
    /// It worked.
    pub const Success: Self = Self(0);
    /// A device call failed; serried makes none, but the number is part of the interface.
    pub const UnhandledCudaError: Self = Self(1);
    /// The system refused something.
    pub const SystemError: Self = Self(2);
    /// A flaw in the library.
    pub const InternalError: Self = Self(3);
    /// An argument that cannot be served, such as a null pointer.
    pub const InvalidArgument: Self = Self(4);
    /// A call at the wrong time or in the wrong order.
    pub const InvalidUsage: Self = Self(5);
    /// Another rank failed, or the way to it.
    pub const RemoteError: Self = Self(6);
    /// Begun and not ended yet.
    pub const InProgress: Self = Self(7);
    /// Not ended within its time limit.
    pub const Timeout: Self = Self(8);
}

/// A sentence for a result code; static, never null.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn pncclGetErrorString(result: ncclResult_t) -> *const c_char {
    sentence(result).as_ptr()
}
own_name!(ncclGetErrorString = pncclGetErrorString(result: ncclResult_t) -> *const c_char);

const fn sentence(result: ncclResult_t) -> &'static CStr {
    match result {
        ncclResult_t::Success => c"no error",
        ncclResult_t::UnhandledCudaError => c"a device call failed",
        ncclResult_t::SystemError => c"the system refused a request",
        ncclResult_t::InternalError => c"a flaw in the library",
        ncclResult_t::InvalidArgument => c"an argument cannot be served",
        ncclResult_t::InvalidUsage => c"a call at the wrong time or in the wrong order",
        ncclResult_t::RemoteError => c"another rank failed, or the link to it",
        ncclResult_t::InProgress => c"the operation is in progress",
        ncclResult_t::Timeout => c"the operation did not end within its time limit",
        _ => c"no result code of this library",
    }
}
