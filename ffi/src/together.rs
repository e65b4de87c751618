//! Doing at once what ranks of one thread do together: each waits for the others, so each has a thread.

use crate::comm::Comm;
use crate::errors::Failure;
use crate::ncclResult_t;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What one rank has to do.
pub(crate) type Job<'a, T> = Box<dyn FnOnce() -> Result<T, Failure> + Send + 'a>;

/// Where it is left how a job ended.
type End<'e, T> = &'e mut Option<Result<T, Failure>>;

/// The jobs of each communicator, in their order; one that is of none has a line of its own.
pub(crate) fn lines<J>(jobs: impl IntoIterator<Item = (Option<Arc<Comm>>, J)>) -> Vec<Vec<J>> {
    let mut lines: Vec<(Option<Arc<Comm>>, Vec<J>)> = Vec::new();
    for (of, job) in jobs {
        let is_same = |line: &&mut (Option<Arc<Comm>>, Vec<J>)| match (&line.0, &of) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            _ => false,
        };
        match lines.iter_mut().find(is_same) {
            Some((_, line)) => line.push(job),
            None => lines.push((of, vec![job])),
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Does all of them, and returns when all have ended; how, in their order. Those of one communicator are done one after the other, for so its other
/// ranks do them.
pub(crate) fn together<T: Send>(jobs: Vec<(Option<Arc<Comm>>, Job<'_, T>)>) -> Vec<Result<T, Failure>> {
    let mut ended: Vec<Option<Result<T, Failure>>> = jobs.iter().map(|_| None).collect();
    let mut lines = lines(jobs.into_iter().zip(&mut ended).map(|((of, job), end)| (of, (job, end))));
    let work = |line: Vec<(Job<'_, T>, End<'_, T>)>| {
        line.into_iter().for_each(|(job, end)| *end = Some(run(job)));
    };
    let own = lines.pop();
    let mut refused = None;
    std::thread::scope(|scope| {
        for line in lines {
            let thread = std::thread::Builder::new().name("serried-group".into());
            // The scope waits for it.
            if let Err(error) = thread.spawn_scoped(scope, move || work(line)) {
                refused = Some(no_thread(&error));
            }
        }
        own.into_iter().for_each(work);
    });
    let not_begun = || Err(refused.clone().unwrap_or_else(panicked));
    ended.into_iter().map(|end| end.unwrap_or_else(not_begun)).collect()
}

/// Does one here; a panic is a failure.
pub(crate) fn run<T>(job: Job<'_, T>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| Err(panicked()))
}

pub(crate) fn no_thread(error: &std::io::Error) -> Failure {
    Failure::new(ncclResult_t::SystemError, format!("starting a thread: {error}"))
}

fn panicked() -> Failure {
    Failure::internal("it panicked")
}
