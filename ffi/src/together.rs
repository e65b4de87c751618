//! Doing at once what ranks of one thread do together: each waits for the others, so each has a thread.

use crate::errors::Failure;
use crate::ncclResult_t;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What one rank has to do.
pub(crate) type Job<T> = Box<dyn FnOnce() -> Result<T, Failure> + Send>;

/// Does all of them, and returns when all have ended; how, in their order.
pub(crate) fn together<T: Send>(jobs: Vec<Job<T>>) -> Vec<Result<T, Failure>> {
    if jobs.len() == 1 {
        return jobs.into_iter().map(run).collect();
    }
    std::thread::scope(|scope| {
        let thread = || std::thread::Builder::new().name("serried-init".into());
        let start = |job| thread().spawn_scoped(scope, move || run(job));
        let threads: Vec<_> = jobs.into_iter().map(start).collect();
        let ended = threads.into_iter().map(|thread| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(panicked())),
            Err(error) => Err(no_thread(&error)),
        });
        ended.collect()
    })
}

/// Does one here; a panic is a failure.
pub(crate) fn run<T>(job: Job<T>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| Err(panicked()))
}

pub(crate) fn no_thread(error: &std::io::Error) -> Failure {
    Failure::new(ncclResult_t::SystemError, format!("starting a thread: {error}"))
}

fn panicked() -> Failure {
    Failure::internal("it panicked")
}
