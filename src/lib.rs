//! serried: collective communication that makes ranks move as one.

pub mod bootstrap;
pub mod error;
pub mod reduce;
pub mod schedule;
pub mod topology;
pub mod transport;
pub mod types;

pub use error::{Cause, Error, Operation, Result};
pub use types::{Call, DataType, Element, Op};
