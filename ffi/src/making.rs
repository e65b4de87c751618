//! Making communicators: at once, together at the end of a group, or in the background.

use crate::comm::{COMMUNICATORS, Comm};
use crate::errors::{Failure, record};
use crate::group;
use crate::together::{Job, no_thread, run, together};
use crate::types::ncclComm_t;
use serried::Communicator;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What joins; `None` for a rank that is in no new communicator.
type Join = Job<Option<Communicator>>;

/// A communicator that is to be made: its handle is there already.
pub(crate) struct Making {
    /// Where the caller has the handle; set to null if it comes to nothing.
    place: *mut ncclComm_t,
    handle: ncclComm_t,
    comm: Option<Arc<Comm>>,
    /// The communicator that it is made of.
    parent: Option<Arc<Comm>>,
    /// Taken when it begins.
    join: Option<Join>,
}

/// Makes a communicator by `join`, and leaves its handle at `place`. `comm` is none if the rank is in no new communicator: then the handle is
/// null, but `join` is called all the same.
///
/// # Safety
/// `place` is valid for writing a handle, until the group has ended if there is one.
pub(crate) unsafe fn make(
    place: *mut ncclComm_t,
    comm: Option<Arc<Comm>>,
    parent: Option<Arc<Comm>>,
    join: impl FnOnce() -> Result<Option<Communicator>, Failure> + Send + 'static,
) -> Result<(), Failure> {
    let blocking = [&comm, &parent].into_iter().flatten().next().is_none_or(|comm| comm.settings.blocking);
    // SAFETY: as the caller promises.
    let making = unsafe { Making::new(place, comm, parent, join) }?;
    if !blocking {
        making.begin()?;
        if !group::is_open() {
            return Err(Failure::in_progress());
        }
        // The group's end says so.
        group::keep_in_progress();
        return Ok(());
    }
    if group::is_open() {
        group::keep_making(making);
        return Ok(());
    }
    Making::finish(vec![making])
}

impl Making {
    /// Leaves the handle of `comm` at `place`; nothing has begun.
    ///
    /// # Safety
    /// As of [`make`].
    pub(crate) unsafe fn new(
        place: *mut ncclComm_t,
        comm: Option<Arc<Comm>>,
        parent: Option<Arc<Comm>>,
        join: impl FnOnce() -> Result<Option<Communicator>, Failure> + Send + 'static,
    ) -> Result<Self, Failure> {
        let handle = match &comm {
            None => std::ptr::null_mut(),
            Some(comm) => COMMUNICATORS
                .insert(comm.clone())
                .ok_or_else(|| Failure::usage("there are too many communicators in this process"))?,
        };
        // SAFETY: as the caller promises.
        unsafe { place.write(handle) };
        Ok(Self { place, handle, comm, parent, join: Some(Box::new(join)) })
    }

    /// Makes them all together, and returns when all are made: the first failure, if there are any.
    pub(crate) fn finish(mut makings: Vec<Self>) -> Result<(), Failure> {
        let joins: Vec<Join> = makings.iter_mut().filter_map(|making| making.join.take()).collect();
        let outcomes = together(joins);
        // Every one ends, whichever fails.
        let ended: Vec<_> = makings.into_iter().zip(outcomes).map(|(making, outcome)| making.end(outcome)).collect();
        ended.into_iter().collect()
    }

    /// Makes it in the background.
    fn begin(self) -> Result<(), Failure> {
        let Self { place, handle, comm, parent, join } = self;
        let join = join.ok_or_else(|| Failure::internal("it has begun before"))?;
        // If the caller destroys it meanwhile, it is dropped as soon as it is made.
        let made: Option<Weak<Comm>> = comm.as_ref().map(Arc::downgrade);
        parent.as_ref().inspect(|parent| parent.begin_making());
        let rest = parent.clone();
        let work = move || {
            let outcome = run(join);
            if let Err(failure) = &outcome {
                record("making a communicator", failure);
            }
            if let Some(comm) = made.as_ref().and_then(Weak::upgrade)
                && let Some(outcome) = outcome.transpose()
            {
                comm.joined(outcome);
            }
            rest.inspect(|parent| parent.end_making());
        };
        let thread = std::thread::Builder::new().name("serried-init".into());
        match thread.spawn(work) {
            Ok(_) => Ok(()),
            Err(error) => {
                parent.inspect(|parent| parent.end_making());
                COMMUNICATORS.remove(handle, Duration::ZERO);
                // SAFETY: valid, as the caller of `make` promised.
                unsafe { place.write(std::ptr::null_mut()) };
                Err(no_thread(&error))
            }
        }
    }

    /// Its group was refused: nothing is made.
    pub(crate) fn give_up(self) {
        // The failure is the group's.
        drop(self.end(Err(Failure::usage("its group was refused"))));
    }

    fn end(self, outcome: Result<Option<Communicator>, Failure>) -> Result<(), Failure> {
        let failure = match (outcome, self.comm) {
            (Ok(Some(communicator)), Some(comm)) => {
                comm.joined(Ok(communicator));
                return Ok(());
            }
            (Ok(_), None) => return Ok(()),
            (Ok(None), Some(_)) => Failure::internal("a rank is in no communicator and should be"),
            (Err(failure), _) => failure,
        };
        COMMUNICATORS.remove(self.handle, Duration::ZERO);
        // SAFETY: valid until the group has ended, as the caller of `make` promised.
        unsafe { self.place.write(std::ptr::null_mut()) };
        Err(failure)
    }
}
