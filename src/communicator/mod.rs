//! Communicators: what a user holds. Joining, calls, and the end of both.

mod arrivals;
mod card;
mod choosing;
mod collectives;
mod config;
mod connect;
mod executor;
mod group;
mod inherited;
mod lending;
mod links;
mod meet;
mod messages;
mod one_sided;
mod probe;
mod request;
mod scaled;
mod split;
mod started;
mod starting;
mod survivors;
mod trial;
mod watch;

pub use config::{Config, Probe, TransportChoice};
pub use group::Group;
pub use links::{LinkReport, Refusal};
pub use messages::Message;
pub use one_sided::{Signal, Window};
pub use request::Request;
pub use started::Handle;

use crate::bootstrap::{Cancel, Control, Failure, Launch, UniqueId};
use crate::error::{Cause, Error, Operation, Result};
use crate::memory::Buffer;
use crate::types::{Element, Grouping};
use executor::Executor;
use inherited::Inherited;
use one_sided::OneSided;
use started::Queue;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;
use zerocopy::IntoBytes;

/// A group of ranks that call collectives together: this rank's handle on it.
///
/// Every rank calls the same operations in the same order. Ranks may be processes, or threads of one process with a communicator each.
/// All calls take `&self`; calls from several threads are serialised, in an order that the other ranks must share.
///
/// When a rank dies, stops answering, or calls something else, every other rank's call returns an error that names it, and so does each
/// later call: the communicator is broken, and dropping it is all that is left to do. Dropping it finishes started calls first.
pub struct Communicator {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    local_rank: u32,
}

struct Shared {
    rank: u32,
    size: u32,
    control: Control,
    grouping: Arc<Grouping>,
    /// What a communicator made of this one begins with.
    config: Config,
    executor: Mutex<Executor>,
    /// From the first window on.
    one_sided: OnceLock<OneSided>,
    /// Ends the joins of communicators that are being made of this one.
    offspring: Mutex<Cancel>,
}

impl Communicator {
    /// Joins as `rank` of `size` with everybody who holds the same unique id; returns when all have come.
    ///
    /// # Errors
    /// [`Error::Missing`] names the ranks that did not come within `config.init_timeout`; [`Error::Unreachable`] says that the rendezvous
    /// did not answer; [`Error::InvalidArgument`] that rank and size make no sense, or not together with what the others said.
    pub fn create(id: &UniqueId, rank: u32, size: u32, config: &Config) -> Result<Self> {
        let control = Control::join(id, rank, size, &config.control)?;
        Self::over(control, rank, config, Inherited::default())
    }

    /// Joins as the environment says that launched this process: torchrun, mpirun, srun, `serried perf --ranks`, or `SERRIED_RANK`,
    /// `SERRIED_SIZE` and `SERRIED_ID` set by hand.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`Error::Setting`] when the environment says nothing, half, or nonsense.
    pub fn from_env(config: &Config) -> Result<Self> {
        let launch = Launch::from_env()?.ok_or_else(|| Error::Setting {
            name: "SERRIED_RANK".into(),
            value: String::new(),
            why: "nothing in the environment says which rank this is: start it by torchrun, mpirun or srun, or set SERRIED_RANK, \
                  SERRIED_SIZE and SERRIED_ID"
                .into(),
        })?;
        Self::launched(&launch, config)
    }

    /// Joins as `launch` says.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn launched(launch: &Launch, config: &Config) -> Result<Self> {
        let control = launch.join(&config.control)?;
        Self::over(control, launch.local_rank.unwrap_or(launch.rank), config, Inherited::default())
    }

    fn over(control: Control, local_rank: u32, config: &Config, parent: Inherited) -> Result<Self> {
        let (rank, size) = (control.rank(), control.size());
        let _span = tracing::info_span!("communicator", rank, size).entered();
        let executor = match Self::prepare(&control, local_rank, config, parent) {
            Ok(executor) => executor,
            Err(error) => {
                // The process may be about to end: that is no death, and hides none that came before.
                control.leave();
                return Err(error);
            }
        };
        let grouping = executor.grouping.clone();
        let executor = Mutex::new(executor);
        let shared = Arc::new(Shared {
            rank,
            size,
            control,
            grouping,
            config: config.clone(),
            executor,
            one_sided: OnceLock::new(),
            offspring: Mutex::default(),
        });
        Ok(Self { shared, queue: Arc::default(), local_rank })
    }

    /// Gets ready for calls, unless that is cancelled.
    fn prepare(control: &Control, local_rank: u32, config: &Config, parent: Inherited) -> Result<Executor> {
        let parents = parent.cancel.clone();
        let prepare = || Executor::prepare(control, local_rank, config, parent);
        config.control.cancel.over(control, || parents.over(control, prepare)).inspect_err(|error| {
            // Ranks that have met it do not wait for its goodbye.
            if matches!(error, Error::Cancelled { .. }) {
                Cancel::tell(control);
            }
        })
    }

    /// Does what waits for the other ranks. When `cancel` is cancelled meanwhile, this communicator is aborted, and the error is [`Error::Cancelled`]: for callers
    /// who agree with the others on something, and may be told to give up.
    ///
    /// # Errors
    /// Those of `wait`; [`Error::Cancelled`] also if it was cancelled before, and then nothing is done.
    pub fn unless_cancelled<T>(&self, cancel: &Cancel, wait: impl FnOnce() -> Result<T>) -> Result<T> {
        cancel.over(&self.shared.control, wait)
    }

    /// This rank's number, from 0.
    #[inline]
    pub fn rank(&self) -> u32 {
        self.shared.rank
    }

    /// How many ranks there are.
    #[inline]
    pub fn size(&self) -> u32 {
        self.shared.size
    }

    /// This rank's number on its host, as the launcher said; without a launcher, its number.
    pub fn local_rank(&self) -> u32 {
        self.local_rank
    }

    /// How many hosts the ranks are on.
    pub fn hosts(&self) -> u32 {
        self.shared.grouping.hosts()
    }

    /// The host of `rank`; hosts are numbered from 0 in the order of their first ranks. `None` if there is no such rank.
    pub fn host(&self, rank: u32) -> Option<u32> {
        (rank < self.size()).then(|| self.shared.grouping.host_of(rank))
    }

    /// The ranks on `host`, ascending.
    pub fn ranks_on(&self, host: u32) -> impl Iterator<Item = u32> + '_ {
        let known = (host < self.hosts()).then(|| self.shared.grouping.members(host));
        known.unwrap_or_default().iter().copied()
    }

    /// Connects this rank with every peer, and says how they talk and why not better: one report for each peer, in the order of ranks.
    ///
    /// A collective call: all ranks make it. Otherwise two ranks connect when an algorithm first needs it, and most pairs never do.
    ///
    /// # Errors
    /// [`Error::Setting`] when the transport that was asked for does not work between two ranks; otherwise as [`all_reduce`](Self::all_reduce).
    pub fn links(&self) -> Result<Vec<LinkReport>> {
        self.queue.wait_until_idle()?;
        self.shared.executor().links(&self.shared.control)
    }

    /// What a collective call is expected to take, by the schedule that was chosen for its size. Nothing is called.
    pub fn estimate(&self, request: &Request<'_>) -> Duration {
        self.shared.executor().tables().estimate(request.kind, request.bytes(self.size()))
    }

    /// The same of a message of `bytes` to or from `peer`.
    pub fn estimate_message(&self, peer: u32, bytes: usize) -> Duration {
        self.shared.executor().tables().estimate_message(self.rank(), peer, bytes)
    }

    /// Whether the communicator is still whole, without calling anything.
    ///
    /// # Errors
    /// The error that broke it on this rank, or the news of what broke it on another. While a call runs, only the news is looked at.
    pub fn health(&self) -> Result<()> {
        match self.shared.executor.try_lock() {
            Ok(executor) => executor.broken().cloned().map_or(Ok(()), Err)?,
            Err(TryLockError::Poisoned(_)) => drop(self.shared.executor()),
            Err(TryLockError::WouldBlock) => {}
        }
        match self.shared.control.verdict() {
            Some(failure) => Err(failure.error(self.rank(), Operation::Idle)),
            None => Ok(()),
        }
    }

    /// Breaks the communicator, from any thread, also while another one is in a call: that call and every later one end with an error within a
    /// tenth of a second, whatever the other ranks do, and so do the other ranks' calls as soon as they hear of it; so does the making of another one of
    /// it. Dropping it is all that is left to do then, and quick.
    pub fn abort(&self) {
        let (rank, cause) = (self.rank(), Cause::Reported("its user has aborted the communicator".into()));
        self.shared.control.report(Failure { peer: rank, cause, reporter: rank });
        // What begins to be made of it from now on is of survivors, which another abort ends.
        let offspring = std::mem::take(&mut *self.shared.offspring());
        offspring.cancel();
    }

    /// Tells this rank's RDMA device of a buffer, a [`Memory`](crate::Memory) or a [`Registered`](crate::Registered) one, of which `data` are elements:
    /// links over RDMA send from such buffers without a copy. The first call with the buffer does it otherwise, and copies if the device refuses;
    /// here a refusal is an error. Does nothing on a rank without a device.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `data` are in no such buffer; [`Error::System`] if the device refuses: it names the limit on locked memory if
    /// that is why.
    pub fn register<T: Element>(&self, data: &[T]) -> Result<()> {
        self.shared.executor().register(data.as_bytes())
    }
}

impl Shared {
    /// One collective call, at once.
    fn collective(&self, request: Request<'_>) -> Result<()> {
        self.executor().collective(&self.control, request)
    }

    /// The executor, for one call. A panic inside of a call leaves links in the middle of a message: then the communicator is broken.
    fn executor(&self) -> MutexGuard<'_, Executor> {
        self.executor.lock().unwrap_or_else(|poisoned| {
            self.executor.clear_poison();
            let mut executor = poisoned.into_inner();
            let what = format!("rank {}: running a call", self.rank);
            executor.break_down(&self.control, &Error::System { what, reason: "it panicked".into() });
            executor
        })
    }

    /// By which an abort ends the making of other communicators.
    fn offspring(&self) -> MutexGuard<'_, Cancel> {
        self.offspring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A started call's bytes. How a buffer gives its slice is its own code; if that panics, the call cannot be made, and the other ranks,
    /// who wait for it, are told.
    fn bytes_of<'a, T: Element>(&self, buffer: &'a mut impl Buffer<T>) -> Result<&'a mut [u8]> {
        let slice = AssertUnwindSafe(move || {
            // Moved, since the slice outlives the closure.
            let buffer = buffer;
            buffer.as_mut().as_mut_bytes()
        });
        catch_unwind(slice).map_err(|_| {
            let what = format!("rank {}: a started call's buffer panicked when asked for its elements", self.rank);
            let error = Error::InvalidArgument { what };
            self.executor().break_down(&self.control, &error);
            error
        })
    }
}

impl std::fmt::Debug for Communicator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Communicator").field("rank", &self.rank()).field("size", &self.size()).finish_non_exhaustive()
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        self.queue.close();
        // A rank that goes down in a panic has not left in order: the control plane's last handle says so to the others.
        if !std::thread::panicking() {
            self.shared.executor().finish(&self.shared.control);
            self.shared.control.clone().leave();
        }
    }
}
