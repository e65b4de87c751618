//! serried: collective communication that makes ranks move as one.

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

pub use bootstrap::UniqueId;
pub use communicator::{Communicator, Config, Handle, TransportChoice};
pub use error::{Cause, Error, Operation, Result};
pub use memory::{Buffer, Memory};
pub use types::{Call, DataType, Element, Op};
