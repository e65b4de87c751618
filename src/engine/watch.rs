//! What a wait asks while it lasts: whether it still makes sense. The answer comes from outside (the control plane knows who is
//! alive, the communicator its deadline); this module only has the question.

use crate::{Call, Result};
use std::time::Duration;

/// What a rank sees break first (a link, memory that cannot be read) has a cause that the control plane hears of a moment later. So long that news is waited for; a
/// death is to be named within a second.
pub(crate) const VERDICT_GRACE: Duration = Duration::from_millis(500);

/// Asked from time to time by every wait that lasts, never by one that ends soon.
pub trait Watch {
    /// Whether to go on waiting for `peer` in `call`.
    ///
    /// # Errors
    /// The error with which the call ends: the peer died, the operation's deadline has passed, or the user gave up.
    fn check(&self, call: &Call, peer: u32) -> Result<()>;

    /// Something has arrived or left since the last question.
    fn moved(&self) {}
}
