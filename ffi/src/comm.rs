//! Communicators as C callers hold them: behind a handle, perhaps still joining, with what belongs to them.

use crate::clique::Membership;
use crate::errors::{Failure, code, note};
use crate::handles::{Kind, Removed, Table};
use crate::operators::Operators;
use crate::registrations::Registrations;
use crate::types::ncclComm_t;
use crate::windows::Windows;
use crate::{boundary, cuda, environment, fork, log, ncclResult_t};
use serried::{Cancel, CollectiveKind, Communicator, Config, UniqueId};
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::Duration;

/// All communicators of the process.
pub(crate) static COMMUNICATORS: Table<Comm> = Table::new(Kind::Communicator);

/// A communicator.
pub(crate) struct Comm {
    /// Whatever forbids calls, as flags, and above them how many communicators are being made of this one in the background; calls are made at 0 alone.
    state: AtomicU32,
    /// The process that made it, as [`fork::generation`] has it.
    process: u32,
    /// Nothing yet while it joins.
    joined: OnceLock<Result<Communicator, Failure>>,
    pub(crate) settings: Settings,
    pub(crate) membership: Membership,
    pub(crate) operators: Operators,
    pub(crate) registrations: Registrations,
    pub(crate) windows: Windows,
    /// Ends what is being made of it.
    offspring: Mutex<Cancel>,
    /// How many communicators all ranks have made of this one.
    made: AtomicU64,
    /// How many were made by the same survivors.
    shrunk: Mutex<BTreeMap<Vec<u32>, u64>>,
    /// The id that this rank has made last, for a communicator that this one grows to.
    id: Mutex<Option<[u8; UniqueId::SIZE]>>,
}

/// What a communicator was made with, and those made of it begin with.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) blocking: bool,
    /// The number of a device, which the caller gave; no device is used.
    pub(crate) device: c_int,
    pub(crate) config: Config,
}

const FINALIZED: u32 = 1;
const SUSPENDED: u32 = 2;
const ABORTED: u32 = 4;
const REVOKED: u32 = 8;
/// One communicator that is being made.
const MAKING: u32 = 16;

/// The communicator behind a handle.
pub(crate) fn find(handle: ncclComm_t) -> Result<Arc<Comm>, Failure> {
    let comm = COMMUNICATORS.get(handle).ok_or_else(|| unknown(handle))?;
    if comm.is_of_this_process() { Ok(comm) } else { Err(forked()) }
}

/// Does `what` with the communicator behind a handle: what a small call can pay for.
#[inline(always)]
pub(crate) fn with(handle: ncclComm_t, what: impl FnOnce(&Comm) -> Result<(), Failure>) -> Result<(), Failure> {
    let did = COMMUNICATORS.with(handle, |comm| if comm.is_of_this_process() { what(comm) } else { Err(forked()) });
    did.unwrap_or_else(|| Err(unknown(handle)))
}

/// Takes a communicator out of its handle's hands, once the calls of other threads have ended; none if they do not within `patience`.
pub(crate) fn take(handle: ncclComm_t, patience: Duration) -> Result<Option<Arc<Comm>>, Failure> {
    find(handle)?;
    match COMMUNICATORS.remove(handle, patience).ok_or_else(|| unknown(handle))? {
        Removed::Value(comm) => Ok(Some(comm)),
        Removed::InUse => Ok(None),
    }
}

#[cold]
fn forked() -> Failure {
    Failure::usage(
        "comm was made before this process was forked, and stays its parent's; a child makes communicators of its own",
    )
}

#[cold]
fn unknown(handle: ncclComm_t) -> Failure {
    if handle.is_null() {
        return boundary::null("comm");
    }
    Failure::argument("comm is no communicator of this process, or has been destroyed")
}

impl Comm {
    /// One that is to join, which what cancels its settings ends.
    pub(crate) fn new(settings: Settings, membership: Membership) -> Arc<Self> {
        cuda::look_for_driver();
        Arc::new(Self {
            state: AtomicU32::new(0),
            process: fork::generation(),
            joined: OnceLock::new(),
            settings,
            membership,
            operators: Operators::default(),
            registrations: Registrations::default(),
            windows: Windows::default(),
            offspring: Mutex::default(),
            made: AtomicU64::new(0),
            shrunk: Mutex::default(),
            id: Mutex::default(),
        })
    }

    #[inline]
    fn is_of_this_process(&self) -> bool {
        self.process == fork::generation()
    }

    /// How joining ended; a failure also if it was aborted meanwhile.
    pub(crate) fn joined(&self, outcome: Result<Communicator, Failure>) -> Result<(), Failure> {
        // It joins once.
        let _ = self.joined.set(outcome);
        // Either this sees what `stop` has stored, or that sees what was stored here.
        fence(Ordering::SeqCst);
        let communicator = self.known().inspect_err(|failure| {
            tracing::warn!(target: "INIT", "a communicator was not made: {}", failure.what);
        })?;
        if self.state.load(Ordering::Acquire) & ABORTED != 0 {
            communicator.abort();
            return Err(self.why_not());
        }
        self.tell(communicator);
        Ok(())
    }

    /// Says in the log that it is there, as NCCL does.
    fn tell(&self, communicator: &Communicator) {
        let (rank, size, device, key) =
            (communicator.rank(), communicator.size(), self.settings.device, self.membership.key());
        tracing::info!(
            target: "INIT",
            "comm {key:#x} rank {rank} nranks {size} cudaDev {device} nvmlDev {device} busId 0 commId {key:#x} - Init COMPLETE",
        );
        static FIRST: OnceLock<u64> = OnceLock::new();
        static REMARKED: Once = Once::new();
        // The environment is the same wherever a job's ranks are, as a rule: one of them says it, with the first communicator.
        if *FIRST.get_or_init(|| key) == key && rank == 0 {
            REMARKED.call_once(|| environment::remark().iter().for_each(|remark| log::warn_anyhow(remark)));
        }
    }

    /// The communicator, if calls can be made on it.
    #[inline]
    pub(crate) fn ready(&self) -> Result<&Communicator, Failure> {
        match self.joined.get() {
            Some(Ok(communicator)) if self.state.load(Ordering::Acquire) == 0 => Ok(communicator),
            _ => Err(self.why_not()),
        }
    }

    /// Counts a call as made that is refused, so that the other ranks do not wait for it.
    #[cold]
    pub(crate) fn refuse(&self, kind: CollectiveKind) {
        if let Ok(communicator) = self.ready() {
            // The caller hears of what was refused.
            let _ = communicator.refuse(kind);
        }
    }

    /// The communicator, if questions can be asked about it.
    pub(crate) fn known(&self) -> Result<&Communicator, Failure> {
        match self.joined.get() {
            Some(Ok(communicator)) => Ok(communicator),
            _ => Err(self.why_not()),
        }
    }

    /// The communicator, if others can be made of its ranks: also after it was revoked.
    pub(crate) fn parent(&self) -> Result<&Communicator, Failure> {
        match self.joined.get() {
            Some(Ok(communicator)) if matches!(self.state.load(Ordering::Acquire), 0 | REVOKED) => Ok(communicator),
            _ => Err(self.why_not()),
        }
    }

    #[cold]
    fn why_not(&self) -> Failure {
        let state = self.state.load(Ordering::Acquire);
        match self.joined.get() {
            None => Failure::argument(
                "comm is still joining: wait until ncclCommGetAsyncError no longer says ncclInProgress",
            ),
            Some(Err(failure)) => failure.clone(),
            Some(Ok(_)) if state & ABORTED != 0 => Failure::usage("comm was aborted"),
            Some(Ok(_)) if state & FINALIZED != 0 => Failure::usage("comm was finalized; only destroying it is left"),
            Some(Ok(_)) if state >= MAKING => Failure::argument(
                "a communicator is being made of comm: wait until ncclCommGetAsyncError no longer says ncclInProgress",
            ),
            Some(Ok(_)) if state & SUSPENDED != 0 => Failure::usage("comm is suspended; resume it first"),
            Some(Ok(_)) => Failure::usage("comm was revoked; it can be split, shrunk and destroyed"),
        }
    }

    /// Whether all is well, for a caller that asks from time to time.
    pub(crate) fn health(&self) -> ncclResult_t {
        match self.joined.get() {
            None => ncclResult_t::InProgress,
            Some(Err(failure)) => {
                note(failure.what.clone());
                failure.result
            }
            Some(Ok(_)) if self.state.load(Ordering::Acquire) >= MAKING => ncclResult_t::InProgress,
            // What it was stopped by is no news.
            Some(Ok(_)) if self.is_revoked() => ncclResult_t::Success,
            Some(Ok(communicator)) => match communicator.health() {
                Ok(()) => ncclResult_t::Success,
                Err(error) => {
                    note(error.to_string());
                    code(&error)
                }
            },
        }
    }

    /// No more calls but to destroy it.
    pub(crate) fn finalize(&self) -> Result<(), Failure> {
        self.refuse_again()?;
        self.ready()?;
        self.state.fetch_or(FINALIZED, Ordering::AcqRel);
        Ok(())
    }

    /// No calls until it is resumed.
    pub(crate) fn suspend(&self) -> Result<(), Failure> {
        self.ready()?;
        self.state.fetch_or(SUSPENDED, Ordering::AcqRel);
        Ok(())
    }

    /// Ends what [`suspend`](Self::suspend) began.
    pub(crate) fn resume(&self) -> Result<(), Failure> {
        self.known()?;
        let before = self.state.fetch_and(!SUSPENDED, Ordering::AcqRel);
        if before & SUSPENDED == 0 {
            return Err(Failure::usage("comm is not suspended"));
        }
        Ok(())
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.state.load(Ordering::Acquire) & SUSPENDED != 0
    }

    /// Ends every call that runs, here and on the other ranks, with an error. Communicators of the ranks that are left can still be made of it.
    pub(crate) fn revoke(&self) -> Result<(), Failure> {
        self.known()?;
        self.refuse_again()?;
        self.stop(REVOKED);
        Ok(())
    }

    /// Refuses to end what has been ended: a wrong argument, as NCCL says.
    fn refuse_again(&self) -> Result<(), Failure> {
        match self.state.load(Ordering::Acquire) & (FINALIZED | REVOKED) {
            0 => Ok(()),
            _ => Err(Failure::argument(self.why_not().what.as_str())),
        }
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.state.load(Ordering::Acquire) & REVOKED != 0
    }

    /// Ends every call that runs, here and on the other ranks, with an error; and joining, its own and of what is made of it, now or later.
    pub(crate) fn abort(&self) {
        self.state.fetch_or(ABORTED, Ordering::AcqRel);
        // First, so that what ends by this communicator's failure knows why.
        self.offspring().cancel();
        self.settings.config.control.cancel.cancel();
        self.stop(ABORTED);
    }

    /// The same, but what is made of it from now on goes on, unless it was aborted before: a communicator of those that are left.
    pub(crate) fn make_way(&self) {
        {
            let mut offspring = self.offspring();
            if !offspring.is_cancelled() {
                std::mem::take(&mut *offspring).cancel();
            }
        }
        self.stop(ABORTED);
    }

    /// The settings of one that is made of this from now on: an abort of either ends that.
    pub(crate) fn settings_of_child(&self) -> Settings {
        let mut settings = self.settings.clone();
        settings.config.control.cancel = self.offspring().child();
        settings
    }

    fn offspring(&self) -> MutexGuard<'_, Cancel> {
        self.offspring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self, why: u32) {
        self.state.fetch_or(why, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if let Some(Ok(communicator)) = self.joined.get() {
            communicator.abort();
        }
    }

    /// The how-manyeth communicator all ranks make of this one: the same on all of them.
    pub(crate) fn count_made(&self) -> u64 {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    /// The how-manyeth communicator these survivors make of this one: the same on all of them.
    pub(crate) fn count_shrunk(&self, survivors: &[u32]) -> u64 {
        let mut shrunk = self.shrunk.lock().unwrap_or_else(PoisonError::into_inner);
        let count = shrunk.entry(survivors.to_vec()).or_default();
        *count += 1;
        *count
    }

    /// Keeps an id that this rank has made.
    pub(crate) fn keep_id(&self, id: [u8; UniqueId::SIZE]) {
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
    }

    /// The id that it made last, once.
    pub(crate) fn take_id(&self) -> Option<[u8; UniqueId::SIZE]> {
        self.id.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn begin_making(&self) {
        self.state.fetch_add(MAKING, Ordering::AcqRel);
    }

    pub(crate) fn end_making(&self) {
        self.state.fetch_sub(MAKING, Ordering::AcqRel);
    }
}
