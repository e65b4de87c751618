//! Doing at once what ranks of one thread do together: each waits for the others, so each has a thread.

use crate::comm::Comm;
use crate::errors::Failure;
use crate::ncclResult_t;
use serried::CollectiveKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Whose a job is.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) comm: Arc<Comm>,
    /// The call in which its other ranks wait for this one, if they do.
    pub(crate) meets: Option<CollectiveKind>,
}

impl Owner {
    /// All ranks meet by this call.
    pub(crate) fn meeting(comm: &Arc<Comm>, by: CollectiveKind) -> Self {
        Self { comm: comm.clone(), meets: Some(by) }
    }

    /// The job is not done, which the other ranks are to know.
    pub(crate) fn refuse(&self) {
        if let Some(kind) = self.meets {
            self.comm.refuse(kind);
        }
    }
}

/// What one rank has to do.
pub(crate) type Job<'a, T> = Box<dyn FnOnce() -> Result<T, Failure> + Send + 'a>;

/// Where it is left how a job ended.
type End<'e, T> = &'e mut Option<Result<T, Failure>>;

/// The jobs of one communicator, in their order; one that is of none has a line of its own.
pub(crate) struct Line<J> {
    pub(crate) owners: Vec<Owner>,
    pub(crate) jobs: Vec<J>,
}

/// All of them by communicator.
pub(crate) fn lines<J>(jobs: impl IntoIterator<Item = (Option<Owner>, J)>) -> Vec<Line<J>> {
    let mut lines: Vec<Line<J>> = Vec::new();
    for (owner, job) in jobs {
        let is_same = |line: &&mut Line<J>| match (line.owners.first(), &owner) {
            (Some(one), Some(two)) => Arc::ptr_eq(&one.comm, &two.comm),
            _ => false,
        };
        match lines.iter_mut().find(is_same) {
            Some(line) => {
                line.owners.extend(owner);
                line.jobs.push(job);
            }
            None => lines.push(Line { owners: owner.into_iter().collect(), jobs: vec![job] }),
        }
    }
    lines
}

/// Does all of them, and returns when all have ended; how, in their order. Those of one communicator are done one after the other, for so its other
/// ranks do them. Where there is no thread for some, the other ranks that meet this one in them hear it at once.
pub(crate) fn together<T: Send>(jobs: Vec<(Option<Owner>, Job<'_, T>)>) -> Vec<Result<T, Failure>> {
    let mut ended: Vec<Option<Result<T, Failure>>> = jobs.iter().map(|_| None).collect();
    let mut lines = lines(jobs.into_iter().zip(&mut ended).map(|((owner, job), end)| (owner, (job, end))));
    let work = |jobs: Vec<(Job<'_, T>, End<'_, T>)>| {
        jobs.into_iter().for_each(|(job, end)| *end = Some(run(job)));
    };
    let own = lines.pop();
    let mut refused = None;
    std::thread::scope(|scope| {
        for Line { owners, jobs } in lines {
            let thread = std::thread::Builder::new().name("serried-group".into());
            // The scope waits for it.
            if let Err(error) = thread.spawn_scoped(scope, move || work(jobs)) {
                refused = Some(no_thread(&error));
                owners.iter().for_each(Owner::refuse);
            }
        }
        own.into_iter().for_each(|line| work(line.jobs));
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
