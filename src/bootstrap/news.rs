//! What a rank knows of the others: the verdict, if one fell, and who has left. Read from any thread, written by the control thread.

use super::failure::Failure;
use super::statements::Statements;
use crate::error::Cause;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

type Hook = Box<dyn FnOnce(&Failure) + Send>;

/// One communicator's news on one rank.
pub(super) struct News {
    verdict: OnceLock<Failure>,
    left: Box<[AtomicU64]>,
    pub(super) statements: Statements,
    any_left: AtomicBool,
    /// A failure is known and about to be pronounced. Who leaves from then on leaves because of it, which is no news to this rank's threads.
    falling: AtomicBool,
    hooks: Mutex<Vec<Hook>>,
    changed: Condvar,
    /// For tasks, as `changed` is for threads.
    fell: Notify,
}

impl News {
    pub(super) fn new(size: u32) -> Self {
        Self {
            verdict: OnceLock::new(),
            left: (0..size.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            statements: Statements::default(),
            any_left: AtomicBool::new(false),
            falling: AtomicBool::new(false),
            hooks: Mutex::default(),
            changed: Condvar::new(),
            fell: Notify::new(),
        }
    }

    /// The verdict; one load when there is none.
    #[inline]
    pub(super) fn verdict(&self) -> Option<&Failure> {
        self.verdict.get()
    }

    /// Pronounces the verdict, unless one stands, and calls the hooks.
    pub(super) fn pronounce(&self, failure: Failure) {
        if self.verdict.set(failure).is_err() {
            return;
        }
        let hooks = std::mem::take(&mut *self.hooks());
        self.changed.notify_all();
        self.fell.notify_waiters();
        let verdict = self.verdict.get().expect("set above");
        for hook in hooks {
            hook(verdict);
        }
    }

    /// Has `hook` called once when the verdict falls: on the control thread, or at once here if it has fallen already.
    pub(super) fn subscribe(&self, hook: Hook) {
        let mut hooks = self.hooks();
        match self.verdict() {
            // `pronounce` empties the list only after the verdict is set, so a hook is in it or called here, never both.
            None => hooks.push(hook),
            Some(verdict) => {
                drop(hooks);
                hook(verdict);
            }
        }
    }

    /// Drops the hooks and what they hold.
    pub(super) fn unsubscribe_all(&self) {
        let hooks = std::mem::take(&mut *self.hooks());
        drop(hooks);
    }

    /// Ends when the verdict falls.
    pub(super) async fn fallen(&self) -> &Failure {
        loop {
            let fell = self.fell.notified();
            tokio::pin!(fell);
            fell.as_mut().enable();
            if let Some(verdict) = self.verdict() {
                return verdict;
            }
            fell.await;
        }
    }

    /// Notes that a failure is known, before it is passed on and pronounced.
    pub(super) fn fall(&self) {
        self.falling.store(true, Ordering::Release);
    }

    /// Whether this rank has left while all was well.
    pub(super) fn left_in_order(&self, rank: u32) -> bool {
        self.left(rank) && !self.falling.load(Ordering::Acquire)
    }

    /// Whether this rank has left.
    pub(super) fn left(&self, rank: u32) -> bool {
        self.left.get((rank / 64) as usize).is_some_and(|word| word.load(Ordering::Acquire) >> (rank % 64) & 1 == 1)
    }

    /// Whether any rank has left; one load.
    #[inline]
    pub(super) fn any_left(&self) -> bool {
        self.any_left.load(Ordering::Acquire)
    }

    /// All who have left.
    pub(super) fn all_left(&self) -> Vec<u32> {
        let last = u32::try_from(self.left.len() * 64).expect("ranks are numbered by u32");
        (0..last).filter(|rank| self.any_left() && self.left(*rank)).collect()
    }

    /// Notes that a rank has left; whether that is new.
    pub(super) fn note_left(&self, rank: u32) -> bool {
        let Some(word) = self.left.get((rank / 64) as usize) else { return false };
        let bit = 1 << (rank % 64);
        let _order = self.hooks();
        let new = word.fetch_or(bit, Ordering::AcqRel) & bit == 0;
        self.any_left.store(true, Ordering::Release);
        self.changed.notify_all();
        new
    }

    /// What happened to `peer`, whose data connection ended: waits until news of it (or of the communicator) comes, at most for `patience`.
    pub(super) fn explain(&self, peer: u32, patience: Duration) -> Option<Failure> {
        let until = Instant::now() + patience;
        let mut hooks = self.hooks();
        loop {
            if let Some(verdict) = self.verdict() {
                return Some(verdict.clone());
            }
            if self.left_in_order(peer) {
                return Some(Failure { peer, cause: Cause::Left, reporter: peer });
            }
            let rest = until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())?;
            hooks = self.changed.wait_timeout(hooks, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn hooks(&self) -> MutexGuard<'_, Vec<Hook>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc;

    fn failure(peer: u32) -> Failure {
        Failure { peer, cause: Cause::Died, reporter: 0 }
    }

    #[test]
    fn the_first_verdict_stands() {
        let news = News::new(100);
        let (tell, told) = mpsc::channel();
        let late = tell.clone();
        news.subscribe(Box::new(move |f| tell.send(f.peer).expect("a listener")));
        assert!(news.verdict().is_none());
        news.pronounce(failure(3));
        news.pronounce(failure(4));
        news.subscribe(Box::new(move |f| late.send(f.peer + 100).expect("a listener")));
        assert_eq!(told.iter().collect::<Vec<_>>(), [3, 103]);
        assert_eq!(news.verdict(), Some(&failure(3)));
    }

    #[test]
    fn who_left_is_known() {
        let news = News::new(65);
        assert!(!news.any_left() && news.all_left().is_empty());
        assert!(news.note_left(64) && !news.note_left(64) && news.note_left(0));
        assert!(news.left(64) && news.left(0) && !news.left(1) && !news.left(4_000_000));
        assert!(!news.note_left(4_000_000));
        assert_eq!(news.all_left(), [0, 64]);
    }

    #[test]
    fn an_explanation_is_waited_for() {
        let news = Arc::new(News::new(2));
        assert_eq!(news.explain(1, Duration::ZERO), None);
        let far = Arc::clone(&news);
        let waiter = std::thread::spawn(move || far.explain(1, Duration::from_secs(60)));
        news.note_left(1);
        assert_eq!(waiter.join().expect("no panic").map(|f| f.cause), Some(Cause::Left));
        news.pronounce(failure(0));
        assert_eq!(news.explain(1, Duration::ZERO), Some(failure(0)));
    }
}
