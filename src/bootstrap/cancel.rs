//! Ending a join from another thread.

use super::control::Control;
use super::failure::Failure;
use crate::error::{Cause, Error, Result};
use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Ends joins that wait for other ranks, from another thread. Clones are the same.
///
/// Once it is cancelled, every join that has it in its settings ends with [`Error::Cancelled`] within a tenth of a second, those to come included: also
/// that of a communicator which is made of another and begins with its settings. One that has been made by then goes on.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_cancelled: bool,
    /// Ranks that have met the others, and wait for them.
    waiting: Vec<Control>,
    children: Vec<Weak<Mutex<State>>>,
}

impl Cancel {
    /// One more, which ends with this one and can be ended without it.
    pub fn child(&self) -> Self {
        let mut state = self.state();
        let child = Self::default();
        child.state().is_cancelled = state.is_cancelled;
        state.children.retain(|child| child.strong_count() > 0);
        state.children.push(Arc::downgrade(&child.0));
        child
    }

    /// Ends them. Ranks that have met this one already hear of it, as of a failure of this one.
    pub fn cancel(&self) {
        let (waiting, children) = {
            let mut state = self.state();
            state.is_cancelled = true;
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.children))
        };
        waiting.iter().for_each(Self::tell);
        children.iter().filter_map(Weak::upgrade).for_each(|child| Self(child).cancel());
    }

    /// Tells the other ranks that this one gives up.
    pub(crate) fn tell(control: &Control) {
        let (peer, cause) = (control.rank(), Cause::Reported("its user has cancelled joining".into()));
        control.report(Failure { peer, cause, reporter: peer });
    }

    /// Whether that was done.
    pub fn is_cancelled(&self) -> bool {
        self.state().is_cancelled
    }

    /// Refuses to go on for `rank` if it is cancelled.
    pub(crate) fn check(&self, rank: u32) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled { rank }) } else { Ok(()) }
    }

    /// Does what waits for other ranks, which is broken off, here and there, when this is cancelled meanwhile.
    pub(crate) fn over<T>(&self, control: &Control, wait: impl FnOnce() -> Result<T>) -> Result<T> {
        {
            let mut state = self.state();
            if state.is_cancelled {
                return Err(Error::Cancelled { rank: control.rank() });
            }
            state.waiting.push(control.clone());
        }
        let waiting = Waiting { cancel: self, control };
        let done = wait();
        drop(waiting);
        self.check(control.rank())?;
        done
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rank that waits.
struct Waiting<'a> {
    cancel: &'a Cancel,
    control: &'a Control,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.cancel.state();
        if let Some(at) = state.waiting.iter().position(|control| control.is_same(self.control)) {
            state.waiting.swap_remove(at);
        }
    }
}

impl Debug for Cancel {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cancel").field("is_cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}
