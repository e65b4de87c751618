//! One-sided calls: a rank writes into memory of another and signals it; the other only waits for signals.
//!
//! The ranks that have windows are connected pairwise by a stream each, made with the first window. What arrives is taken by one thread a
//! communicator (`service`) and noted on a `board`, where the rank that waits finds it. A stream keeps the order, so a signal comes after what
//! its sender has written before it.

mod board;
mod service;

pub use board::Signal;

use super::Communicator;
use super::executor::Executor;
use super::request::Request;
use crate::error::{Error, Operation, Result};
use crate::memory::Target;
use crate::types::Element;
use board::Board;
use service::{Head, Service};
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// The tag of the streams: apart from those of links, which count from 0, and of survivors, which have the highest bit.
const TAG: u32 = 1 << 30;

/// How often a send that cannot go on asks whether it is still worth it.
const ASK: Duration = Duration::from_millis(20);

/// A rank's means for one-sided calls, from its first window on.
pub(super) struct OneSided {
    rank: u32,
    board: Arc<Board>,
    /// The way to each peer.
    streams: Vec<Option<Mutex<TcpStream>>>,
    windows: AtomicU32,
    _service: Service,
}

/// A window: memory of every rank that the others write into. This rank's goes out of reach when it is dropped; what others write into
/// it later breaks their stream to this rank.
pub struct Window {
    number: u32,
    /// How much memory each rank has given.
    sizes: Vec<u64>,
    board: Arc<Board>,
}

impl Window {
    /// Copies what lies at `offset` of this rank's memory to `into`, while nothing else is written there.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it reaches beyond the end.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let wanted = into.len();
        if self.board.read(self.number, offset, into) {
            return Ok(());
        }
        Err(Error::InvalidArgument { what: format!("{wanted} bytes at {offset} reach beyond this rank's window") })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.board.close(self.number);
    }
}

/// # One-sided calls
///
/// All ranks open a window together; then each may write into the others' memory and signal them without their doing anything.
impl Communicator {
    /// Opens a window on this rank's `target` and those that the others give. A collective call.
    ///
    /// # Errors
    /// [`Error::Peer`] if a rank cannot be reached; otherwise as [`all_gather`](Self::all_gather).
    pub fn open_window(&self, target: Target) -> Result<Window> {
        self.queue.wait_until_idle()?;
        // Held throughout, so that of two threads one comes after the other here as it does on other ranks.
        let mut executor = self.shared.executor();
        let control = &self.shared.control;
        let (own, mut sizes) = ([target.bytes() as u64], vec![0u64; self.size() as usize]);
        // All are here: what each dials the other takes.
        executor.collective(control, Request::all_gather(u64::TYPE, Some(own.as_bytes()), sizes.as_mut_bytes()))?;
        let one_sided = self.one_sided(&executor)?;
        let number = one_sided.windows.fetch_add(1, Ordering::Relaxed);
        one_sided.board.open(number, target);
        let window = Window { number, sizes, board: one_sided.board.clone() };
        // Nobody writes before all have opened.
        executor.collective(control, Request::barrier())?;
        Ok(window)
    }

    /// Copies `data` into `window` of rank `to`, from its byte `offset` on, and then signals that rank. Returns when `data` may change.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it does not fit; [`Error::Peer`] if the rank is gone; [`Error::Timeout`] if it takes nothing for too long.
    pub fn put(&self, data: &[u8], to: u32, window: &Window, offset: u64, signal: Signal) -> Result<()> {
        let rank = self.rank();
        let room = window.sizes.get(to as usize).copied().unwrap_or(0);
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > room) {
            let what = format!(
                "rank {rank}: put: {} bytes at {offset} reach beyond the window of rank {to}, which has {room} bytes",
                data.len()
            );
            return Err(Error::InvalidArgument { what });
        }
        if !Arc::ptr_eq(&self.opened()?.board, &window.board) {
            let what = format!("rank {rank}: put: the window is another communicator's");
            return Err(Error::InvalidArgument { what });
        }
        self.deliver(Head::of(window.number, offset, data.len(), signal), data, to)
    }

    /// Signals rank `to`.
    ///
    /// # Errors
    /// As of [`put`](Self::put); [`Error::InvalidArgument`] if no window was opened yet.
    pub fn signal(&self, to: u32, signal: Signal) -> Result<()> {
        self.deliver(Head::of(Head::NO_WINDOW, 0, 0, signal), &[], to)
    }

    /// Waits until each signal has come as often as is said beside its sender, and takes so many away.
    ///
    /// # Errors
    /// [`Error::Peer`] if a sender is gone and not all of its signals have come; [`Error::Timeout`] after the operation timeout.
    pub fn wait_for_signals(&self, awaited: &[(u32, Signal, u64)]) -> Result<()> {
        let size = self.size();
        if let Some((stranger, ..)) = awaited.iter().find(|(from, ..)| *from >= size) {
            let what =
                format!("rank {}: there is no rank {stranger} to wait for; ranks are 0 to {}", self.rank(), size - 1);
            return Err(Error::InvalidArgument { what });
        }
        let board = self.opened()?.board.clone();
        board.wait(&self.shared.control, self.shared.config.timeout, awaited)
    }

    fn deliver(&self, head: Head, data: &[u8], to: u32) -> Result<()> {
        let (one_sided, rank) = (self.opened()?, self.rank());
        if let Some(failure) = self.shared.control.verdict() {
            return Err(failure.error(rank, Operation::Put));
        }
        if to == rank {
            return match one_sided.board.take(rank, &head, |target| target.write(head.offset, data)) {
                Ok(()) => Ok(()),
                Err(why) => Err(Error::InvalidArgument { what: format!("rank {rank}: put: {why}") }),
            };
        }
        let Some(Some(stream)) = one_sided.streams.get(to as usize) else {
            let what = format!("rank {rank}: there is no rank {to}; ranks are 0 to {}", self.size() - 1);
            return Err(Error::InvalidArgument { what });
        };
        let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let put = [head.as_bytes(), data].into_iter().try_for_each(|bytes| self.write(&mut stream, to, bytes, begun));
        if put.is_err() {
            // Half of it may have gone, and what follows would be taken for the rest.
            let _ = stream.shutdown(Shutdown::Both);
        }
        put
    }

    fn write(&self, stream: &mut TcpStream, to: u32, mut bytes: &[u8], begun: Instant) -> Result<()> {
        let (rank, after) = (self.rank(), self.shared.config.timeout);
        while !bytes.is_empty() {
            match stream.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if let Some(failure) = self.shared.control.verdict() {
                        return Err(failure.error(rank, Operation::Put));
                    }
                    if begun.elapsed() > after {
                        return Err(Error::Timeout { rank, operation: Operation::Put, peer: to, after });
                    }
                }
                Err(error) => return Err(board::gone(&self.shared.control, Operation::Put, to, &error.to_string())),
            }
        }
        Ok(())
    }

    /// What the first window has made.
    fn opened(&self) -> Result<&OneSided> {
        self.shared.one_sided.get().ok_or_else(|| {
            let what = format!("rank {}: one-sided calls need a window; none was opened yet", self.rank());
            Error::InvalidArgument { what }
        })
    }

    /// The same, made if it is not there: by one thread at a time, which has the executor.
    fn one_sided(&self, executor: &Executor) -> Result<&OneSided> {
        if let Some(made) = self.shared.one_sided.get() {
            return Ok(made);
        }
        let made = self.connect_one_sided(executor)?;
        Ok(self.shared.one_sided.get_or_init(|| made))
    }

    /// A stream to each peer: the lower rank dials, which needs only the peer's control plane; then each takes what it was dialled.
    fn connect_one_sided(&self, executor: &Executor) -> Result<OneSided> {
        let (control, rank, size) = (&self.shared.control, self.rank(), self.size());
        let (begun, after) = (Instant::now(), self.shared.config.control.connect_timeout);
        let mut streams: Vec<Option<TcpStream>> = (0..size).map(|_| None).collect();
        for peer in rank + 1..size {
            let addresses = executor.addresses(peer);
            streams[peer as usize] = Some(control.dial(peer, &addresses, TAG)?);
        }
        for peer in 0..rank {
            let in_time = || match begun.elapsed() < after {
                true => Ok(()),
                false => Err(Error::Timeout { rank, operation: Operation::Connect, peer, after }),
            };
            streams[peer as usize] = Some(control.accept(peer, TAG, in_time)?);
        }
        let failed = |error: std::io::Error| Error::System {
            what: format!("rank {rank}: preparing streams for one-sided calls"),
            reason: error.to_string(),
        };
        let board = Arc::new(Board::default());
        // Whoever waits for signals is to hear at once that none will come.
        let waiting = Arc::downgrade(&board);
        control.subscribe(move |_| {
            if let Some(board) = waiting.upgrade() {
                board.wake();
            }
        });
        let mut reading = Vec::new();
        for (peer, stream) in (0..size).zip(&streams).filter_map(|(peer, stream)| Some((peer, stream.as_ref()?))) {
            stream.set_write_timeout(Some(ASK)).map_err(failed)?;
            reading.push((peer, stream.try_clone().map_err(failed)?));
        }
        let service = Service::start(reading, board.clone()).map_err(failed)?;
        let streams = streams.into_iter().map(|stream| stream.map(Mutex::new)).collect();
        Ok(OneSided { rank, board, streams, windows: AtomicU32::new(0), _service: service })
    }
}

impl std::fmt::Debug for OneSided {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OneSided").field("rank", &self.rank).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window").field("number", &self.number).field("sizes", &self.sizes).finish_non_exhaustive()
    }
}
