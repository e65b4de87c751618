//! What has come by one-sided calls: open windows, signals that were not waited for yet, and who will send no more.

use super::service::Head;
use crate::bootstrap::Control;
use crate::error::{Cause, Error, Operation, Result};
use crate::memory::Target;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What tells a signal from others of the same sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signal {
    /// Its number; below [`Signal::NUMBERS`].
    pub index: u32,
    /// Signals of different contexts are different; below [`Signal::NUMBERS`].
    pub context: u32,
}

impl Signal {
    /// More numbers than this only let a stranger's nonsense fill memory.
    pub const NUMBERS: u32 = 1 << 16;
}

#[derive(Default)]
pub(super) struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    windows: HashMap<u32, Target>,
    /// How often each sender's signals have come and were not taken.
    signals: HashMap<(u32, Signal), u64>,
    /// Ranks whose stream has ended, and how.
    gone: HashMap<u32, String>,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, number: u32, target: Target) {
        self.lock().windows.insert(number, target);
    }

    pub(super) fn close(&self, number: u32) {
        self.lock().windows.remove(&number);
    }

    /// Copies from a window; false if it has not so much.
    pub(super) fn read(&self, number: u32, offset: u64, into: &mut [u8]) -> bool {
        self.lock().windows.get(&number).is_some_and(|target| target.read(offset, into))
    }

    /// Has `write` write what `head` announces, if anything, and notes the signal if that was the last of it.
    pub(super) fn take(&self, from: u32, head: &Head, write: impl FnOnce(&Target) -> bool) -> Result<(), String> {
        let mut state = self.lock();
        if head.window != Head::NO_WINDOW {
            let target = state.windows.get(&head.window).ok_or("its window is closed on this rank")?;
            if !write(target) {
                return Err("it reaches beyond the window".into());
            }
        }
        *state.signals.entry((from, head.signal())).or_default() += u64::from(head.signals);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Nothing more comes from this rank.
    pub(super) fn lose(&self, from: u32, why: String) {
        self.lock().gone.entry(from).or_insert(why);
        self.wake();
    }

    /// Those who wait look again.
    pub(super) fn wake(&self) {
        // Whoever looked before the change is waiting by the time the lock is had.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Waits for all of `awaited`, and takes them.
    pub(super) fn wait(&self, control: &Control, timeout: Duration, awaited: &[(u32, Signal, u64)]) -> Result<()> {
        let (rank, begun) = (control.rank(), Instant::now());
        // One signal may be listed several times.
        let mut wanted: HashMap<(u32, Signal), u64> = HashMap::new();
        for (from, signal, count) in awaited {
            let all = wanted.entry((*from, *signal)).or_default();
            *all = all.saturating_add(*count);
        }
        let mut state = self.lock();
        loop {
            let is_late = |(of, count): &(&(u32, Signal), &u64)| state.signals.get(of).copied().unwrap_or(0) < **count;
            let Some((&(from, _), _)) = wanted.iter().find(is_late) else { break };
            if let Some(failure) = control.verdict() {
                return Err(failure.error(rank, Operation::WaitForSignals));
            }
            if let Some(why) = state.gone.get(&from).cloned() {
                drop(state);
                return Err(gone(control, Operation::WaitForSignals, from, &why));
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(Error::Timeout { rank, operation: Operation::WaitForSignals, peer: from, after: timeout });
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        for (of, count) in wanted {
            state.signals.entry(of).and_modify(|have| *have -= count);
        }
        Ok(())
    }
}

/// The error for a peer whose stream has ended: the control plane may know why.
pub(super) fn gone(control: &Control, operation: Operation, peer: u32, why: &str) -> Error {
    let rank = control.rank();
    if let Some(failure) = control.explain(peer, crate::engine::VERDICT_GRACE) {
        return failure.error(rank, operation);
    }
    let cause = Cause::Link { with: rank, transport: "tcp".into(), reason: why.to_owned() };
    Error::Peer { rank, peer, operation, cause }
}
