//! Making communicators: at once, together at the end of a group, or in the background.

use crate::comm::{COMMUNICATORS, Comm};
use crate::errors::{Failure, record};
use crate::group;
use crate::together::{Job, Line, Owner, lines, no_thread, run, together};
use crate::types::ncclComm_t;
use serried::Communicator;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What joins; `None` for a rank that is in no new communicator.
type Join = Job<'static, Option<Communicator>>;

/// A communicator that is to be made: its handle is there already.
pub(crate) struct Making {
    promise: Promise,
    /// The communicator that it is made of, if there is one.
    parent: Option<Owner>,
    join: Join,
}

/// A handle that the caller was given in advance.
struct Promise {
    /// Where the caller has it; set to null if it comes to nothing.
    place: *mut ncclComm_t,
    handle: ncclComm_t,
    comm: Option<Arc<Comm>>,
}

/// Makes a communicator by `join`, and leaves its handle at `place`. `comm` is none if the rank is in no new communicator: then the handle is
/// null, but `join` is called all the same.
///
/// # Safety
/// `place` is valid for writing a handle, until the group has ended if there is one.
pub(crate) unsafe fn make(
    place: *mut ncclComm_t,
    comm: Option<Arc<Comm>>,
    parent: Option<Owner>,
    join: impl FnOnce() -> Result<Option<Communicator>, Failure> + Send + 'static,
) -> Result<(), Failure> {
    // SAFETY: as the caller promises.
    let making = unsafe { Making::new(place, comm, parent, join) }?;
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
        parent: Option<Owner>,
        join: impl FnOnce() -> Result<Option<Communicator>, Failure> + Send + 'static,
    ) -> Result<Self, Failure> {
        let handle = match &comm {
            None => std::ptr::null_mut(),
            Some(comm) => COMMUNICATORS.insert(comm.clone()).ok_or_else(|| {
                let too_many = Failure::usage("there are too many communicators in this process");
                match &parent {
                    Some(parent) => group::refuse_of_all(parent.clone(), too_many),
                    None => too_many,
                }
            })?,
        };
        // SAFETY: as the caller promises.
        unsafe { place.write(handle) };
        Ok(Self { promise: Promise { place, handle, comm }, parent, join: Box::new(join) })
    }

    /// Makes them all together, those of one parent one after the other, and returns when all are made: the first failure, if there are any. If
    /// one of them is not to block, none does: they are in progress.
    pub(crate) fn finish(makings: Vec<Self>) -> Result<(), Failure> {
        if !makings.iter().all(Self::blocks) {
            return Self::begin(makings);
        }
        let apart = |Self { promise, parent, join }| (promise, (parent, join));
        let (promises, joins): (Vec<_>, Vec<_>) = makings.into_iter().map(apart).unzip();
        let outcomes = together(joins);
        // Every one ends, whichever fails.
        let ended: Vec<_> = promises.into_iter().zip(outcomes).map(|(promise, outcome)| promise.end(outcome)).collect();
        ended.into_iter().collect()
    }

    /// Whether it is made of this communicator.
    pub(crate) fn is_of(&self, comm: &Arc<Comm>) -> bool {
        self.parent.as_ref().is_some_and(|parent| Arc::ptr_eq(&parent.comm, comm))
    }

    pub(crate) fn blocks(&self) -> bool {
        let parent = self.parent.as_ref().map(|parent| &parent.comm);
        self.promise.comm.as_ref().or(parent).is_none_or(|comm| comm.settings.blocking)
    }

    /// Makes them in the background, as [`finish`](Self::finish) does.
    fn begin(makings: Vec<Self>) -> Result<(), Failure> {
        let mut refused = None;
        for Line { owners, jobs } in lines(makings.into_iter().map(|making| (making.parent.clone(), making))) {
            let (promises, work): (Vec<_>, Vec<_>) = jobs.into_iter().map(Self::put_off).unzip();
            let thread = std::thread::Builder::new().name("serried-init".into());
            if let Err(error) = thread.spawn(move || work.into_iter().for_each(Work::end)) {
                promises.into_iter().for_each(Promise::withdraw);
                owners.iter().for_each(Owner::refuse);
                refused = Some(no_thread(&error));
            }
        }
        Err(refused.unwrap_or_else(Failure::in_progress))
    }

    /// What is left to do in the background.
    fn put_off(self) -> (Promise, Work) {
        let Self { promise, parent, join } = self;
        // If the caller destroys it meanwhile, it is dropped as soon as it is made.
        let made = promise.comm.as_ref().map(Arc::downgrade);
        (promise, Work { join, made, _parent: parent.map(|parent| Occupied::new(parent.comm)) })
    }

    /// It is not made, which the other ranks of its parent are to know.
    pub(crate) fn refuse(&self) {
        self.parent.iter().for_each(Owner::refuse);
    }

    /// Its group came to nothing, and so does it.
    pub(crate) fn give_up(self) {
        // The failure is the group's.
        drop(self.promise.end(Err(Failure::usage("its group was not made"))));
    }
}

impl Promise {
    fn end(self, outcome: Result<Option<Communicator>, Failure>) -> Result<(), Failure> {
        let settled = settle(self.comm.as_deref(), outcome);
        if settled.is_err() {
            self.withdraw();
        }
        settled
    }

    fn withdraw(self) {
        COMMUNICATORS.remove(self.handle, Duration::ZERO);
        // SAFETY: valid until the group has ended, as the caller of `make` promised.
        unsafe { self.place.write(std::ptr::null_mut()) };
    }
}

/// Tells `comm` how its making ended; and whether it can be used.
fn settle(comm: Option<&Comm>, outcome: Result<Option<Communicator>, Failure>) -> Result<(), Failure> {
    let nothing = || Failure::internal("a rank is in no communicator and should be");
    match comm {
        Some(comm) => comm.joined(outcome.and_then(|made| made.ok_or_else(nothing))),
        None => outcome.map(drop),
    }
}

/// A making in the background.
struct Work {
    join: Join,
    /// None if the rank is in no new communicator; nothing behind it any more if the caller has destroyed it.
    made: Option<Weak<Comm>>,
    _parent: Option<Occupied>,
}

impl Work {
    fn end(self) {
        let Self { join, made, _parent } = self;
        let end = || {
            let outcome = run(join);
            match made.as_ref().map(Weak::upgrade) {
                Some(None) => Ok(()),
                comm => settle(comm.flatten().as_deref(), outcome),
            }
        };
        if let Err(failure) = run(Box::new(end)) {
            record("making a communicator", &failure);
        }
    }
}

/// A communicator of which another is being made in the background.
struct Occupied(Arc<Comm>);

impl Occupied {
    fn new(comm: Arc<Comm>) -> Self {
        comm.begin_making();
        Self(comm)
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.end_making();
    }
}
