//! Hosts on one machine, for tests: network namespaces, each with one or two cables to switches, and ranks that run in them.
//!
//! A [`Blueprint`] says how many hosts with how many ranks, how many rails, how fast, and what is wrong with them; it builds a
//! [`Cluster`], which starts programs on its hosts as torchrun would. Needs root and iproute2; where either is missing, a test says so
//! and skips. Nothing outside of the namespaces is touched, and none outlives its process, however that ends: see `guard`.
//! Knows nothing of serried but its program's environment.

mod blueprint;
mod build;
mod cluster;
mod guard;
mod ranks;
mod system;

pub use blueprint::{Blueprint, Parting};
pub use cluster::{Cluster, RAILS, SPARE, Unavailable};
pub use ranks::{Ending, Ranks};
