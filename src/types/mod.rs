//! What is reduced and how it is named: element types, operators, the description of one collective call, which ranks share a host, and what those read of each other's memory.
//!
//! This module depends on nothing else in the crate; everything may depend on it.

mod algorithm;
mod call;
mod element;
mod float8;
mod grouping;
mod op;
mod reads;

pub use algorithm::Algorithm;
pub use call::{Call, CollectiveKind};
pub use element::{DataType, Element};
pub use float8::{F8E4M3, F8E5M2};
pub use grouping::Grouping;
pub use op::Op;
pub use reads::Reads;
