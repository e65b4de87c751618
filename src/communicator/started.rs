//! Calls in flight: a queue that one progress thread per communicator works off, and the handles that callers hold.
//!
//! A started call *owns* its buffer until it is done, so nothing that the caller does with the handle (dropping or forgetting
//! it included) can leave the library with memory that is no longer there. Dropping a handle lets the call go on: the other
//! ranks count on it.

use crate::error::{Error, Result};
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A call in flight. Gives the buffer back by [`wait`](Self::wait) or `.await`, on any executor; [`test`](Self::test) tells whether it would at once.
///
/// The call owns its buffer until it has ended, whatever happens to the handle: dropping or forgetting it lets the call go on, since other ranks count on it,
/// and the buffer is freed at its end on the thread that ran it. A dropped call's error shows in the next call, as every error that breaks a communicator.
#[derive(Debug)]
#[must_use = "the buffer comes back through the handle"]
pub struct Handle<B>(Arc<Outcome<B>>);

#[derive(Debug)]
struct Outcome<B> {
    state: Mutex<State<B>>,
    done: Condvar,
}

#[derive(Debug)]
enum State<B> {
    Running(Option<Waker>),
    Done(Result<B>),
    Taken,
}

impl<B> Handle<B> {
    /// Blocks until the call is done and gives the buffer back; after an error the buffer is gone. Ends by the operation timeout of this call and
    /// of those before it at the latest.
    ///
    /// # Errors
    /// The call's own; [`Error::InvalidArgument`] in a waker, if the call is not done: that is the thread that runs started calls.
    pub fn wait(self) -> Result<B> {
        let mut state = lock(&self.0.state);
        if RUNS_CALLS.get() && matches!(*state, State::Running(_)) {
            return Err(in_a_waker());
        }
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Done(result) => return result,
                State::Taken => return Err(taken()),
                running => {
                    *state = running;
                    state = self.0.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Whether the call is done, so that `wait` would not block.
    pub fn test(&self) -> bool {
        !matches!(*lock(&self.0.state), State::Running(_))
    }
}

impl<B> Future for Handle<B> {
    type Output = Result<B>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.0.state);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(result) => Poll::Ready(result),
            State::Running(_) => {
                *state = State::Running(Some(context.waker().clone()));
                Poll::Pending
            }
            State::Taken => Poll::Ready(Err(taken())),
        }
    }
}

fn taken() -> Error {
    Error::InvalidArgument { what: "a handle was asked for a result that it had already given".into() }
}

thread_local! {
    /// This thread runs a communicator's started calls, and the wakers of those who wait for them.
    static RUNS_CALLS: Cell<bool> = const { Cell::new(false) };
}

/// Refuses what would wait, on a thread that runs started calls, for a thread that may wait for this one.
pub(super) fn refuse_in_a_waker() -> Result<()> {
    if RUNS_CALLS.get() { Err(in_a_waker()) } else { Ok(()) }
}

fn in_a_waker() -> Error {
    let what = "a blocking call was made in a waker, on the thread that runs started calls".into();
    Error::InvalidArgument { what }
}

fn panicked() -> Error {
    Error::System { what: "running a started call".into(), reason: "it panicked".into() }
}

type Work = Box<dyn FnOnce() + Send>;

/// The queue of started calls of one communicator.
#[derive(Default)]
pub(super) struct Queue {
    work: Mutex<Line>,
    changed: Condvar,
    /// Calls queued or running; read without the lock by blocking calls.
    pending: AtomicUsize,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Work>,
    /// Calls so far.
    started: u64,
    ended: u64,
    thread: Option<std::thread::JoinHandle<()>>,
    closed: bool,
}

impl Queue {
    /// Queues a call behind those before it. `run` works on the buffer on the progress thread, which is made by the first such call.
    pub(super) fn start<B: Send + 'static>(
        self: &Arc<Self>,
        mut buffer: B,
        run: impl FnOnce(&mut B) -> Result<()> + Send + 'static,
    ) -> Result<Handle<B>> {
        let outcome = Arc::new(Outcome { state: Mutex::new(State::Running(None)), done: Condvar::new() });
        let theirs = outcome.clone();
        let work = move || {
            let ran = catch_unwind(AssertUnwindSafe(|| run(&mut buffer)));
            let result = ran.unwrap_or_else(|_| Err(panicked())).map(|()| buffer);
            let before = std::mem::replace(&mut *lock(&theirs.state), State::Done(result));
            theirs.done.notify_all();
            if let State::Running(Some(waker)) = before {
                waker.wake();
            }
        };
        let mut line = lock(&self.work);
        if line.thread.is_none() {
            let queue = self.clone();
            let thread = std::thread::Builder::new().name("serried-progress".into()).spawn(move || queue.run());
            let refused = |error: std::io::Error| Error::System {
                what: "starting the progress thread".into(),
                reason: error.to_string(),
            };
            line.thread = Some(thread.map_err(refused)?);
        }
        self.pending.fetch_add(1, Ordering::Relaxed);
        line.waiting.push_back(Box::new(work));
        line.started += 1;
        drop(line);
        self.changed.notify_all();
        Ok(Handle(outcome))
    }

    /// Returns when every call started before has ended; each ends by the operation timeout at the latest. One load when there is none.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] on the progress thread itself (in a waker), which would wait for itself.
    #[inline]
    pub(super) fn wait_until_idle(&self) -> Result<()> {
        if self.pending.load(Ordering::Acquire) == 0 { Ok(()) } else { self.wait_for_all() }
    }

    #[cold]
    fn wait_for_all(&self) -> Result<()> {
        let line = lock(&self.work);
        if line.thread.as_ref().is_some_and(|thread| thread.thread().id() == std::thread::current().id()) {
            return Err(in_a_waker());
        }
        // Those that other threads start from now on are not waited for.
        let last = line.started;
        let busy = |line: &mut Line| line.ended < last;
        drop(self.changed.wait_while(line, busy).unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    /// Finishes what was started and ends the progress thread.
    pub(super) fn close(&self) {
        let thread = {
            let mut line = lock(&self.work);
            line.closed = true;
            line.thread.take()
        };
        self.changed.notify_all();
        match thread {
            // A waker may drop the communicator on the progress thread itself: what is queued still runs before the links go.
            Some(thread) if thread.thread().id() == std::thread::current().id() => while self.run_next() {},
            // An error here is a panic in a waker, which has nowhere to go.
            Some(thread) => drop(thread.join()),
            None => {}
        }
    }

    /// Runs the next queued call; whether there was one.
    fn run_next(&self) -> bool {
        let Some(work) = lock(&self.work).waiting.pop_front() else { return false };
        // A waker is the caller's code; if it panics, the calls behind this one still run.
        drop(catch_unwind(AssertUnwindSafe(work)));
        lock(&self.work).ended += 1;
        self.pending.fetch_sub(1, Ordering::Release);
        self.changed.notify_all();
        true
    }

    fn run(&self) {
        RUNS_CALLS.set(true);
        loop {
            while self.run_next() {}
            let line = lock(&self.work);
            let idle = |line: &mut Line| line.waiting.is_empty() && !line.closed;
            let line = self.changed.wait_while(line, idle).unwrap_or_else(PoisonError::into_inner);
            if line.waiting.is_empty() {
                return;
            }
        }
    }
}

/// Locks whatever a panicking waker may have left; the state behind these locks is whole at every unlock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_run_in_order_and_give_their_buffers_back() {
        let queue = Arc::new(Queue::default());
        let order = Arc::new(Mutex::new(Vec::new()));
        let handles: Vec<_> = (0..20)
            .map(|number| {
                let order = order.clone();
                let run = move |buffer: &mut Vec<i32>| {
                    lock(&order).push(number);
                    buffer.push(number);
                    Ok(())
                };
                queue.start(vec![-1], run).expect("a thread can be had")
            })
            .collect();
        queue.wait_until_idle().expect("this is not the progress thread");
        for (number, handle) in handles.into_iter().enumerate() {
            assert!(handle.test());
            assert_eq!(handle.wait().expect("it succeeded"), [-1, number as i32]);
        }
        assert_eq!(*lock(&order), (0..20).collect::<Vec<_>>());
        queue.close();
    }

    #[test]
    fn a_panicking_waker_takes_no_other_call_with_it() {
        struct Panics;
        impl std::task::Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("a waker that panics (this is part of the test)");
            }
        }
        let queue = Arc::new(Queue::default());
        let (go, gone) = std::sync::mpsc::channel();
        let mut first = queue
            .start((), move |()| {
                gone.recv().expect("the test says when");
                Ok(())
            })
            .expect("a thread can be had");
        let waker = Waker::from(Arc::new(Panics));
        assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
        let second = queue.start(7, |_| Ok(())).expect("a thread can be had");
        go.send(()).expect("the call listens");
        assert_eq!(second.wait().expect("it succeeded"), 7);
        queue.wait_until_idle().expect("this is not the progress thread");
        first.wait().expect("it succeeded as well");
        queue.close();
    }

    #[test]
    fn a_dropped_handle_lets_its_call_finish_and_closing_waits_for_it() {
        let queue = Arc::new(Queue::default());
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let ran = ran.clone();
            let run = move |_: &mut ()| {
                ran.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            drop(queue.start((), run).expect("a thread can be had"));
        }
        queue.close();
        assert_eq!(ran.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_handle_is_a_future_for_any_executor() {
        let queue = Arc::new(Queue::default());
        let handle = queue.start(vec![1], |_| Ok(())).expect("a thread can be had");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be had");
        assert_eq!(runtime.block_on(handle).expect("it succeeded"), [1]);
        let failed =
            queue.start((), |_| Err(Error::InvalidArgument { what: "no".into() })).expect("a thread can be had");
        assert!(runtime.block_on(failed).is_err());
        queue.close();
    }
}
