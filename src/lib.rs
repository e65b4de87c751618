//! serried: collective communication that makes ranks move as one.
//!
//! A [`Communicator`] joins ranks (processes, or threads of one process) and reduces their data together: the same bits on every rank,
//! over shared memory inside a host and TCP between hosts. What a rank may set is in [`Config`]; what can go wrong, and whose fault it is, in
//! [`Error`]. The [`manual`] has the longer story: how an algorithm is chosen, every environment variable, and what to do about a stuck job.
//!
//! ```no_run
//! use serried::{Communicator, Config, Op};
//!
//! # fn main() -> serried::Result<()> {
//! let comm = Communicator::from_env(&Config::from_env()?)?;
//! let mut gradients = vec![comm.rank() as f32; 1 << 20];
//! comm.all_reduce(&mut gradients, Op::Avg)?;
//! # Ok(())
//! # }
//! ```
//!
//! Below these stand the parts, each usable by itself: [`schedule`] and its proof, [`engine`], [`transport`], [`reduce`], [`bootstrap`].

pub mod bootstrap;
pub mod communicator;
pub mod engine;
pub mod error;
pub mod manual;
pub mod memory;
pub mod reduce;
pub mod schedule;
pub mod topology;
pub mod transport;
pub mod tune;
pub mod types;

pub use bootstrap::{Cancel, UniqueId};
pub use communicator::{
    Communicator, Config, Group, Handle, LinkReport, Message, Probe, Refusal, Request, Signal, TransportChoice, Window,
};
pub use error::{Cause, Error, Operation, Result};
pub use memory::{Buffer, Memory, Registered};
pub use reduce::{Operator, Own, PreMulSum};
pub use types::{Call, CollectiveKind, DataType, Element, F8E4M3, F8E5M2, Op};

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
