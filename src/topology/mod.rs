//! What is here: the host this process runs on and its network interfaces.
//!
//! This module looks and answers; it opens no connection and decides nothing about algorithms.

mod caches;
mod host;
mod idle;
pub mod interface;
mod numa;
mod process;

pub use caches::last_caches;
pub use host::{HostId, machine};
pub use idle::{Idle, idle};
pub(crate) use numa::{core_of, processors};
pub use numa::{node_of, own_node};
pub(crate) use process::ProcessId;
