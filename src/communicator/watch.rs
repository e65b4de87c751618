//! What a waiting call asks: has a rank failed, has the operation's time run out?

use crate::bootstrap::{Control, Failure};
use crate::engine::Watch;
use crate::error::{Error, Operation, Result};
use crate::types::Call;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The watch over one call. Its clock starts with the first question, so that a call that never waits reads no clock.
#[derive(Debug)]
pub(super) struct CallWatch<'a> {
    control: &'a Control,
    timeout: Duration,
    began: Cell<Option<Instant>>,
}

impl<'a> CallWatch<'a> {
    pub(super) fn new(control: &'a Control, timeout: Duration) -> Self {
        Self { control, timeout, began: Cell::new(None) }
    }

    /// An error if the job has failed, or `operation` has waited too long for `peer`.
    pub(super) fn ask(&self, operation: Operation, peer: u32) -> Result<()> {
        if let Some(failure) = self.control.verdict() {
            return Err(named(self.control.rank(), operation, failure));
        }
        let now = Instant::now();
        let began = self.began.get().unwrap_or(now);
        self.began.set(Some(began));
        if now.duration_since(began) > self.timeout {
            return Err(Error::Timeout { rank: self.control.rank(), operation, peer, after: self.timeout });
        }
        Ok(())
    }
}

impl Watch for CallWatch<'_> {
    fn check(&self, call: &Call, peer: u32) -> Result<()> {
        self.ask(Operation::Call(*call), peer)
    }
}

/// The news of a failure, as this rank's error.
pub(super) fn named(rank: u32, operation: Operation, failure: Failure) -> Error {
    Error::Peer { rank, peer: failure.peer, operation, cause: failure.cause }
}
