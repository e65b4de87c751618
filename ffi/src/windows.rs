//! Windows: memory of every rank that the others write into, and the one-sided calls on it.

use crate::boundary::{export, null, place};
use crate::comm::{Comm, find};
use crate::cuda::order;
use crate::errors::Failure;
use crate::group;
use crate::handles::{Kind, decode, encode, fresh};
use crate::plan::{Span, data_type, rank_of, span};
use crate::registrations::list;
use crate::together::{Job, Owner, together};
use crate::types::{cudaStream_t, ncclComm_t, ncclDataType_t, ncclWaitSignalDesc_t, ncclWindow_t};
use serried::memory::{Lent, Target};
use serried::{CollectiveKind, Signal, Window};
use std::collections::BTreeMap;
use std::ffi::{c_int, c_uint, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The windows of one communicator, by number; gone with it.
#[derive(Default)]
pub(crate) struct Windows(Mutex<BTreeMap<u64, Arc<Opened>>>);

struct Opened {
    memory: Memory,
    /// There once all ranks have opened it.
    window: OnceLock<Window>,
    _lent: Option<Lent>,
}

/// A window that is to be opened: its handle is there already.
pub(crate) struct Opening {
    comm: Arc<Comm>,
    number: u64,
    /// Where the caller has the handle; set to null if it comes to nothing.
    place: *mut ncclWindow_t,
    opened: Arc<Opened>,
}

/// A caller's memory.
#[derive(Clone, Copy)]
struct Memory {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is given back to the caller, and to the library, which may write it from any thread.
unsafe impl Send for Memory {}
// SAFETY: the same.
unsafe impl Sync for Memory {}

impl Windows {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Opened>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, window: ncclWindow_t, name: &str) -> Result<Arc<Opened>, Failure> {
        let number = decode(Kind::Window, window);
        number.and_then(|number| self.lock().get(&number).cloned()).ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> Failure {
    Failure::argument(format!("{name} is none of this communicator's, or has been deregistered"))
}

/// The call by which ranks meet to open a window.
const MEETS: CollectiveKind = CollectiveKind::AllGather;
/// What a window's address must be a multiple of.
const WINDOW_ALIGNMENT: usize = 4096;
/// Every flag that a window may have: symmetric, strictly ordered, for devices' network operations only.
const WINDOW_FLAGS: c_int = 7;

/// # Safety
/// The memory is there until the window is deregistered or the communicator is gone, and who uses it when is agreed between ranks; `win` is
/// valid for writing a handle, until the group has ended if there is one.
unsafe fn register(
    comm: ncclComm_t,
    (buff, size): (*mut c_void, usize),
    win: *mut ncclWindow_t,
    flags: c_int,
) -> Result<(), Failure> {
    let comm = find(comm)?;
    comm.ready()?;
    // SAFETY: as the caller promises.
    let opening = unsafe { opening(&comm, (buff, size), win, flags) };
    let opening = opening.map_err(|failure| group::refuse_of_all(Owner::meeting(&comm, MEETS), failure))?;
    if group::is_open() {
        group::keep_window(opening);
        return Ok(());
    }
    Opening::finish(vec![opening])
}

/// # Safety
/// As of [`register`].
unsafe fn opening(
    comm: &Arc<Comm>,
    (buff, size): (*mut c_void, usize),
    win: *mut ncclWindow_t,
    flags: c_int,
) -> Result<Opening, Failure> {
    // SAFETY: as the caller promises.
    let place = unsafe { place(win, "win") }?;
    if flags & !WINDOW_FLAGS != 0 {
        return Err(Failure::argument(format!("winFlags are {flags:#x}; expected flags of NCCL_WIN_")));
    }
    if !buff.addr().is_multiple_of(WINDOW_ALIGNMENT) {
        return Err(Failure::argument(format!("buff does not begin at a multiple of {WINDOW_ALIGNMENT} bytes")));
    }
    // SAFETY: as the caller promises.
    let lent = unsafe { list(comm, buff, size) }?;
    let memory = Memory { start: NonNull::new(buff.cast()).ok_or_else(|| null("buff"))?, bytes: size };
    let (number, opened) = (fresh(), Arc::new(Opened { memory, window: OnceLock::new(), _lent: lent }));
    comm.windows.lock().insert(number, opened.clone());
    place.write(encode(Kind::Window, number));
    Ok(Opening { comm: comm.clone(), number, place: place.as_mut_ptr(), opened })
}

impl Opening {
    /// Opens them together, those of one communicator one after the other: the first failure, if there are any.
    pub(crate) fn finish(openings: Vec<Self>) -> Result<(), Failure> {
        let job = |opening: &Self| {
            let (comm, opened) = (opening.comm.clone(), opening.opened.clone());
            let open: Job<'static, ()> = Box::new(move || open(&comm, &opened));
            (Some(Owner::meeting(&opening.comm, MEETS)), open)
        };
        let outcomes = together(openings.iter().map(job).collect());
        let failed = openings.into_iter().zip(outcomes).filter_map(|(opening, outcome)| {
            let failure = outcome.err()?;
            opening.give_up();
            Some(failure)
        });
        failed.collect::<Vec<_>>().into_iter().next().map_or(Ok(()), Err)
    }

    pub(crate) fn comm(&self) -> &Arc<Comm> {
        &self.comm
    }

    /// It is not opened, which the other ranks are to know.
    pub(crate) fn refuse(&self) {
        Owner::meeting(&self.comm, MEETS).refuse();
    }

    /// It is not opened: its handle stands for nothing, and its memory is the caller's alone.
    pub(crate) fn give_up(self) {
        self.comm.windows.lock().remove(&self.number);
        // SAFETY: valid until the group has ended, as the caller of `register` promised.
        unsafe { self.place.write(std::ptr::null_mut()) };
    }
}

fn open(comm: &Comm, opened: &Opened) -> Result<(), Failure> {
    let memory = opened.memory;
    // SAFETY: as the caller of `register` promised.
    let target = unsafe { Target::lent(memory.start, memory.bytes) };
    // It is opened once.
    drop(opened.window.set(comm.ready()?.open_window(target)?));
    Ok(())
}

/// The signal of these numbers.
fn signal(index: c_int, context: c_int) -> Result<Signal, Failure> {
    let number = |name: &str, number: c_int| {
        let known = u32::try_from(number).ok().filter(|number| *number < Signal::NUMBERS);
        known.ok_or_else(|| Failure::argument(format!("{name} is {number}; expected 0 to {}", Signal::NUMBERS - 1)))
    };
    Ok(Signal { index: number("sigIdx", index)?, context: number("ctx", context)? })
}

fn no_flags(flags: c_uint) -> Result<(), Failure> {
    if flags == 0 { Ok(()) } else { Err(Failure::argument(format!("flags are {flags:#x}; expected 0"))) }
}

/// What is put, and where.
struct Put {
    data: Span,
    peer: u32,
    window: Arc<Opened>,
    offset: usize,
    signal: Signal,
}

/// # Safety
/// The data is there, and nobody writes it until the put has ended.
unsafe fn put(comm: Arc<Comm>, put: Put) -> Result<(), Failure> {
    group::put(
        comm,
        (put.peer, put.data.range().len()),
        Box::new(move |comm| {
            let Put { data, peer, window, offset, signal } = put;
            let window =
                window.window.get().ok_or_else(|| Failure::usage("peerWin is not open: its group has not ended"))?;
            // SAFETY: as the caller promises.
            Ok(comm.ready()?.put(unsafe { data.bytes() }, peer, window, offset as u64, signal)?)
        }),
    )
}

/// What `ncclWaitSignal` waits for.
///
/// # Safety
/// `list` is null or points to `count` of them.
unsafe fn awaited(
    list: *const ncclWaitSignalDesc_t,
    count: c_int,
    size: u32,
) -> Result<Vec<(u32, Signal, u64)>, Failure> {
    let count = usize::try_from(count).ok().filter(|count| *count > 0);
    let count = count.ok_or_else(|| Failure::argument("nDesc is less than 1"))?;
    if list.is_null() {
        return Err(null("signalDescs"));
    }
    // SAFETY: as the caller promises.
    let list = unsafe { std::slice::from_raw_parts(list, count) };
    // Two of the same signal are one of both.
    let mut wanted = BTreeMap::new();
    for one in list {
        let often = u64::try_from(one.opCnt)
            .map_err(|_| Failure::argument(format!("opCnt is {}; expected 0 or more", one.opCnt)))?;
        let (peer, signal) = (rank_of("peer", one.peer, size)?, signal(one.sigIdx, one.ctx)?);
        *wanted.entry((peer, signal.index, signal.context)).or_insert(0) += often;
    }
    Ok(wanted.into_iter().map(|((peer, index, context), often)| (peer, Signal { index, context }, often)).collect())
}

export! {
    /// Opens a window on a buffer of each rank: the others put into it. All ranks call it; it also is registered as [`ncclCommRegister`](crate::pncclCommRegister)
    /// does it.
    fn ncclCommWindowRegister | pncclCommWindowRegister(
        comm: ncclComm_t, buff: *mut c_void, size: usize, win: *mut ncclWindow_t, winFlags: c_int,
    ) {
        // SAFETY: the caller's promise is the same.
        unsafe { register(comm, (buff, size), win, winFlags) }.inspect_err(group::refuse)
    }

    /// Closes a window on this rank; null is none. Puts of others that come later fail there.
    fn ncclCommWindowDeregister | pncclCommWindowDeregister(comm: ncclComm_t, win: ncclWindow_t) {
        if win.is_null() {
            return Ok(());
        }
        let number = find(comm).map(|comm| (decode(Kind::Window, win), comm))?;
        let (Some(number), comm) = number else { return Err(unknown("win")) };
        comm.windows.lock().remove(&number).map(drop).ok_or_else(|| unknown("win"))
    }

    /// Stores where a window's buffer begins.
    fn ncclWinGetUserPtr | pncclWinGetUserPtr(comm: ncclComm_t, win: ncclWindow_t, outUserPtr: *mut *mut c_void) {
        let comm = find(comm)?;
        // SAFETY: the caller's promise is the same.
        let place = unsafe { place(outUserPtr, "outUserPtr") }?;
        place.write(comm.windows.find(win, "win")?.memory.start.as_ptr().cast());
        Ok(())
    }

    /// Copies into the peer's window, from its byte `peerWinOffset` on, and then signals the peer.
    fn ncclPutSignal | pncclPutSignal(
        localbuff: *const c_void, count: usize, datatype: ncclDataType_t, peer: c_int, peerWin: ncclWindow_t, peerWinOffset: usize,
        sigIdx: c_int, ctx: c_int, flags: c_uint, comm: ncclComm_t, stream: cudaStream_t,
    ) {
        let checked = || {
            order(stream, &[localbuff])?;
            let comm = find(comm)?;
            let size = comm.ready()?.size();
            let data_type = data_type(datatype)?;
            no_flags(flags)?;
            let (data, peer) = (span("localbuff", localbuff, count, 1, data_type)?, rank_of("peer", peer, size)?);
            let (window, signal) = (comm.windows.find(peerWin, "peerWin")?, signal(sigIdx, ctx)?);
            Ok((comm, Put { data, peer, window, offset: peerWinOffset, signal }))
        };
        let (comm, what) = checked().inspect_err(group::refuse)?;
        // SAFETY: the caller's promise is the same.
        unsafe { put(comm, what) }
    }

    /// Signals the peer.
    fn ncclSignal | pncclSignal(
        peer: c_int, sigIdx: c_int, ctx: c_int, flags: c_uint, comm: ncclComm_t, stream: cudaStream_t,
    ) {
        let checked = || {
            order(stream, &[])?;
            let comm = find(comm)?;
            let peer = rank_of("peer", peer, comm.ready()?.size())?;
            no_flags(flags)?;
            Ok((comm, peer, signal(sigIdx, ctx)?))
        };
        let (comm, peer, signal) = checked().inspect_err(group::refuse)?;
        group::put(comm, (peer, 0), Box::new(move |comm| Ok(comm.ready()?.signal(peer, signal)?)))
    }

    /// Waits until each signal has come from its peer as often as is said, and takes so many away. In a group, after everything else of it.
    fn ncclWaitSignal | pncclWaitSignal(
        nDesc: c_int, signalDescs: *mut ncclWaitSignalDesc_t, comm: ncclComm_t, stream: cudaStream_t,
    ) {
        let checked = || {
            order(stream, &[])?;
            let comm = find(comm)?;
            let size = comm.ready()?.size();
            // SAFETY: the caller's promise is the same.
            let awaited = unsafe { awaited(signalDescs, nDesc, size) }?;
            Ok((comm, awaited))
        };
        let (comm, awaited) = checked().inspect_err(group::refuse)?;
        group::wait(comm, Box::new(move |comm| Ok(comm.ready()?.wait_for_signals(&awaited)?)))
    }
}
