//! serried's C ABI: a `libnccl.so.2` for programs written to NCCL's interface, on host memory.
//!
//! It exports every function of NCCL's header, as `include/nccl.h` declares them, each with its twin `pncclX`, which an interposer that
//! defines `ncclX` itself calls to reach the library; and nothing else. What is for programs on a device is refused, with a sentence that
//! [`ncclGetLastError`](pncclGetLastError) gives, as for every failure. No panic crosses into C; null pointers, unknown numbers, and handles that are
//! foreign or stale are argument errors. By its parameter `SERRIED_VERSION` a program tells serried from NCCL.
//!
//! This crate only translates: what it does is done by the `serried` crate. It holds what C callers hold by number: communicators and what
//! belongs to them, memory, open groups.
//!
//! | module | what it translates |
//! |---|---|
//! | `boundary`, `names`, `errors`, `result` | functions, what they are called, panics, failures, codes |
//! | `types`, `config`, `handles` | structures, settings, handles |
//! | `comm`, `clique`, `making`, `meeting` | communicators: what they are here, who belongs together, how they come to be, where ranks meet |
//! | `init`, `derive`, `lifecycle` | the functions that make, ask and end them |
//! | `plan`, `operators`, `calls`, `group` | collectives and messages, at once or together |
//! | `cuda`, `fork` | streams and memory of devices, of which there are none; children of a process |
//! | `environment`, `log`, `lines` | NCCL's variables, and what is said when they ask for it |
//! | `memory`, `registrations`, `windows` | memory that the library gives, that it is told of, and that other ranks write into |
//! | `together` | what ranks of one thread do at once |
//! | `parameters`, `device`, `version` | settings by name, what is refused, the interface's version |
#![allow(unsafe_code)]

mod boundary;
mod calls;
mod clique;
mod comm;
mod config;
mod cuda;
mod derive;
mod device;
mod environment;
mod errors;
mod fork;
mod group;
mod handles;
mod init;
mod lifecycle;
mod lines;
mod log;
mod making;
mod meeting;
mod memory;
mod names;
mod operators;
mod parameters;
mod plan;
mod registrations;
mod result;
mod together;
mod types;
mod version;
mod windows;

pub use calls::*;
pub use derive::*;
pub use device::*;
pub use errors::*;
pub use group::*;
pub use init::*;
pub use lifecycle::*;
pub use log::*;
pub use memory::*;
pub use operators::*;
pub use parameters::*;
pub use registrations::*;
pub use result::*;
pub use types::*;
pub use version::*;
pub use windows::*;
