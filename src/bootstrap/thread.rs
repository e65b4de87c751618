//! The control thread: one a process, started by the first that needs it, asleep while nothing happens.

use crate::error::{Error, Result};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};

/// The control thread's runtime.
#[derive(Clone)]
pub(super) struct ControlThread(Handle);

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
    std::thread::Builder::new().name("serried-control".into()).spawn(run).map_err(failed)?;
    Ok(ControlThread(handle))
}

impl ControlThread {
    /// Runs `task` on the control thread, to its end.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.spawn(task));
    }

    /// The runtime itself.
    pub(super) fn runtime(&self) -> Handle {
        self.0.clone()
    }

    /// Runs `work` here, with sockets registered at the control thread.
    pub(super) fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        let _entered = self.0.enter();
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
