//! serried's C ABI: a `libnccl.so.2` for programs written to NCCL's interface.
//!
//! It exports what `include/nccl.h` declares: the version query, the texts of the result codes, and [`serriedGetVersion`], by
//! which a program tells serried from NCCL. Each `ncclX` has a twin `pncclX`, which an interposer that defines `ncclX` itself
//! calls to reach the library. No panic crosses into C, and a null pointer is an argument error.
//!
//! This crate only translates: it holds no state, and what it does is done by the `serried` crate.
#![allow(unsafe_code)]

mod boundary;
mod result;
mod version;

pub use result::{ncclGetErrorString, ncclResult_t, pncclGetErrorString};
pub use version::{VERSION_CODE, ncclGetVersion, pncclGetVersion, serriedGetVersion};
