//! The control thread: one a process, started by the first that needs it, asleep while nothing happens.

use crate::error::{Error, Result};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Mutex, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};

/// The control thread's runtime.
#[derive(Clone)]
pub(super) struct ControlThread {
    runtime: Handle,
    thread: ThreadId,
}

/// How often a wait asks whether to go on.
const ASK: Duration = Duration::from_millis(20);

/// Names are looked up on a thread beside the control thread, since the system's resolver blocks; it goes soon.
const RESOLVER_KEEP_ALIVE: Duration = Duration::from_millis(100);

/// The control thread of this process. A forked child gets its own: threads do not survive a fork.
pub(super) fn handle() -> Result<ControlThread> {
    static RUNNING: Mutex<Option<(u32, ControlThread)>> = Mutex::new(None);
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((owner, thread)) = &*running
        && *owner == process
    {
        return Ok(thread.clone());
    }
    let thread = start()?;
    *running = Some((process, thread.clone()));
    Ok(thread)
}

fn start() -> Result<ControlThread> {
    let failed =
        |e: std::io::Error| Error::System { what: "starting the control thread".into(), reason: e.to_string() };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .thread_keep_alive(RESOLVER_KEEP_ALIVE)
        .build()
        .map_err(failed)?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    let thread = std::thread::Builder::new().name("serried-control".into()).spawn(run).map_err(failed)?.thread().id();
    Ok(ControlThread { runtime: handle, thread })
}

impl ControlThread {
    /// The thread that this is called on, inside its runtime of one thread.
    pub(super) fn present() -> Self {
        Self { runtime: Handle::current(), thread: std::thread::current().id() }
    }

    /// Runs `task` on the control thread, to its end.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(task));
    }

    /// Runs a task on the control thread while the calling thread waits. The task must have a deadline of its own.
    pub(super) fn block<T: Send + 'static>(&self, task: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        self.block_while(task, || Ok(()))
    }

    /// The same, for as long as `ask` says nothing against it.
    pub(super) fn block_while<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T>> + Send + 'static,
        mut ask: impl FnMut() -> Result<()>,
    ) -> Result<T> {
        if std::thread::current().id() == self.thread {
            let what = "a call that waits for the control thread was made on the control thread (in a hook)".into();
            return Err(Error::InvalidArgument { what });
        }
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let running = self.runtime.spawn(async move {
            // If the receiver is gone, it was told to stop waiting.
            let _ = tell.send(task.await);
        });
        loop {
            match told.recv_timeout(ASK) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => ask().inspect_err(|_| running.abort())?,
                Err(RecvTimeoutError::Disconnected) => {
                    let what = "waiting for the control thread".into();
                    return Err(Error::System { what, reason: "it has ended".into() });
                }
            }
        }
    }

    /// Runs `work` here, with sockets registered at the control thread.
    pub(super) fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        let _entered = self.runtime.enter();
        work()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_one_control_thread() {
        let name = || {
            let (tell, told) = std::sync::mpsc::channel();
            let thread = super::handle().expect("a thread");
            thread.spawn(async move {
                let thread = std::thread::current();
                tell.send((thread.id(), thread.name().map(str::to_owned))).expect("a listener");
            });
            told.recv().expect("an answer")
        };
        let first = name();
        assert_eq!(first, name());
        assert_eq!(first.1.as_deref(), Some("serried-control"));
    }
}
