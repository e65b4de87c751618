//! Ending a join from another thread.

use super::control::Control;
use super::failure::Failure;
use crate::error::{Cause, Error, Result};
use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ends joins that wait for other ranks, from another thread. Clones are the same.
///
/// Once it is cancelled, every join that has it in its settings ends with [`Error::Cancelled`] within a tenth of a second, those to come included. A
/// communicator that has been made by then is none of its business any more.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_cancelled: bool,
    /// Ranks that have met the others, and still get ready for calls.
    preparing: Vec<Control>,
}

impl Cancel {
    /// Ends them. Ranks that have met this one already hear of it, as of a failure of this one.
    pub fn cancel(&self) {
        let preparing = {
            let mut state = self.state();
            state.is_cancelled = true;
            std::mem::take(&mut state.preparing)
        };
        for control in preparing {
            let (peer, cause) = (control.rank(), Cause::Reported("its user has cancelled joining".into()));
            control.report(Failure { peer, cause, reporter: peer });
        }
    }

    /// Whether that was done.
    pub fn is_cancelled(&self) -> bool {
        self.state().is_cancelled
    }

    /// Refuses to go on for `rank` if it is cancelled.
    pub(crate) fn check(&self, rank: u32) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled { rank }) } else { Ok(()) }
    }

    /// Has a rank that gets ready broken off if this is cancelled before the guard is dropped.
    pub(crate) fn watch(&self, control: &Control) -> Result<Preparing<'_>> {
        let mut state = self.state();
        if state.is_cancelled {
            return Err(Error::Cancelled { rank: control.rank() });
        }
        state.preparing.push(control.clone());
        Ok(Preparing { cancel: self, control: control.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rank that gets ready.
pub(crate) struct Preparing<'a> {
    cancel: &'a Cancel,
    control: Control,
}

impl Drop for Preparing<'_> {
    fn drop(&mut self) {
        self.cancel.state().preparing.retain(|control| !control.is_same(&self.control));
    }
}

impl Debug for Cancel {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cancel").field("is_cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}
