//! serried: collective communication that makes ranks move as one.

pub mod engine;
pub mod error;
pub mod memory;
pub mod reduce;
pub mod schedule;
pub mod transport;
pub mod types;

pub use error::{Cause, Error, Operation, Result};
pub use memory::{Buffer, Memory};
pub use types::{Call, DataType, Element, Op};
