//! The question that every wait asks now and then: is it still worth waiting?

use crate::error::Result;
use crate::types::Call;

/// Asked on the slow path of every wait (never before some microseconds of waiting): an error ends the wait, and the call with it.
pub trait Watch {
    /// `call` waits for `peer`.
    fn check(&self, call: &Call, peer: u32) -> Result<()>;
}
