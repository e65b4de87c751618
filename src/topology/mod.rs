//! What is here: the host this process runs on and its network interfaces.
//!
//! This module looks and answers; it opens no connection and decides nothing about algorithms.

mod host;
pub mod interface;
mod process;

pub use host::HostId;
pub(crate) use process::ProcessId;
