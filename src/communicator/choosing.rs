//! How a communicator's calls are chosen: to look at, and to have another tuner's say.

use super::Communicator;
use crate::error::{Error, Result};
use crate::tune::{Candidates, Choice};
use crate::types::CollectiveKind;

impl Communicator {
    /// What choices are made among: the network between the ranks as it was measured, and what may run. `None` if nothing was measured (`SERRIED_PROBE=off`, a single
    /// rank, or more ranks than prices are computed for).
    pub fn candidates(&self) -> Option<Candidates> {
        self.shared.executor().tables().candidates().cloned()
    }

    /// How a call of `kind` will run whose message, or whose largest block, has `bytes`; all ranks say the same.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for messages and connecting, which have no algorithms.
    pub fn choice(&self, kind: CollectiveKind, bytes: usize) -> Result<Choice> {
        self.check_kind(kind)?;
        Ok(*self.shared.executor().tables().choice(kind, bytes))
    }

    /// Makes every later call of `kind` run by `choice`, whatever its size: for a tuner of your own, and for measuring. All ranks say the same between the same calls.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it cannot run here; started calls that fail, fail here as well.
    pub fn choose(&self, kind: CollectiveKind, choice: Choice) -> Result<()> {
        self.check_kind(kind)?;
        self.queue.wait_until_idle()?;
        let mut executor = self.shared.executor();
        if !executor.tables().can_run(kind, &choice) {
            let what = format!("rank {}: {} cannot run here by {choice:?}", self.rank(), kind.name());
            return Err(Error::InvalidArgument { what });
        }
        executor.tables_mut().fix(kind, choice);
        Ok(())
    }

    fn check_kind(&self, kind: CollectiveKind) -> Result<()> {
        if matches!(kind, CollectiveKind::Send | CollectiveKind::Connect) {
            let what = format!("rank {}: {} has no algorithms", self.rank(), kind.name());
            return Err(Error::InvalidArgument { what });
        }
        Ok(())
    }
}
