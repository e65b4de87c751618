//! What a waiting call asks: has a rank failed, has the operation's time run out?

use crate::bootstrap::Control;
use crate::engine::Watch;
use crate::error::{Cause, Error, Operation, Result};
use crate::types::Call;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The watch over one call. Its clock starts with the first question, so that a call that never waits reads no clock.
pub(super) struct CallWatch<'a> {
    control: &'a Control,
    timeout: Duration,
    began: Cell<Option<Instant>>,
    /// A peer that was found to have left, when last asked.
    gone: Cell<Option<u32>>,
}

impl<'a> CallWatch<'a> {
    pub(super) fn new(control: &'a Control, timeout: Duration) -> Self {
        Self { control, timeout, began: Cell::new(None), gone: Cell::new(None) }
    }

    /// An error if the job has failed, `peer` has left, or `operation` has waited too long for it.
    pub(super) fn ask(&self, operation: Operation, peer: u32) -> Result<()> {
        let rank = self.control.rank();
        if let Some(failure) = self.control.verdict() {
            return Err(failure.error(rank, operation));
        }
        if self.control.any_left() && self.control.left(peer) {
            // What it gave before it left has arrived by now: one more look is due before it counts as missing.
            if self.gone.replace(Some(peer)) == Some(peer) {
                return Err(Error::Peer { rank, peer, operation, cause: Cause::Left });
            }
        }
        let now = Instant::now();
        let began = self.began.get().unwrap_or(now);
        self.began.set(Some(began));
        if now.duration_since(began) > self.timeout {
            return Err(Error::Timeout { rank, operation, peer, after: self.timeout });
        }
        Ok(())
    }
}

impl Watch for CallWatch<'_> {
    fn check(&self, call: &Call, peer: u32) -> Result<()> {
        self.ask(Operation::Call(*call), peer)
    }
}
