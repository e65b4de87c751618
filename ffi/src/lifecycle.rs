//! How communicators end, how they are, and what they know about themselves.

use crate::boundary::{export, place};
use crate::comm::{find, take};
use crate::errors::Failure;
use crate::ncclResult_t;
use crate::types::{ncclComm_t, ncclCommMemStat_t};
use std::ffi::c_int;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an abort waits for calls of other threads to come back: they do within some tens of milliseconds.
const ABORTED_CALLS_END: Duration = Duration::from_millis(800);

/// How long a destruction does: by then a call has met every time limit that makes sense.
const CALLS_END: Duration = Duration::from_secs(3600);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(1);

/// The handle stands for nothing any more, and the rank leaves.
fn destroy(handle: ncclComm_t) -> Result<(), Failure> {
    if let Some(comm) = take(handle, CALLS_END)? {
        comm.membership.leave().say(move || drop(comm));
    }
    Ok(())
}

/// Ends all calls, here and elsewhere, and frees the communicator as soon as those of other threads have come back.
fn abort(handle: ncclComm_t) -> Result<(), Failure> {
    let comm = find(handle)?;
    comm.abort();
    // Their buffers are the caller's again when this returns.
    let begun = Instant::now();
    // Whoever was making it, which this has ended, may have withdrawn its handle by now.
    drop(take(handle, ABORTED_CALLS_END));
    while Arc::strong_count(&comm) > 1 && begun.elapsed() < ABORTED_CALLS_END {
        std::thread::sleep(LOOK);
    }
    drop(comm);
    Ok(())
}

/// The statistics of memory on a device, in NCCL's order: that which can be suspended, whether it is, that which cannot, and all.
const MEMORY_STATISTICS: c_int = 4;
/// Whether a communicator is suspended.
const IS_SUSPENDED: c_int = 1;
/// Release memory of the device.
const SUSPEND_MEM: c_int = 1;

export! {
    /// No more calls are made on the communicator. All calls have ended by themselves, so there is nothing to wait for. Null is nothing, here and in the next
    /// three.
    fn ncclCommFinalize | pncclCommFinalize(comm: ncclComm_t) {
        if comm.is_null() {
            return Ok(());
        }
        find(comm)?.finalize()
    }

    /// Leaves in order, and frees the communicator, once calls of other threads have ended.
    fn ncclCommDestroy | pncclCommDestroy(comm: ncclComm_t) {
        if comm.is_null() {
            return Ok(());
        }
        destroy(comm)
    }

    /// Ends what the communicator does on this rank, whatever the others do, and frees it. Calls of other threads return an error; the other
    /// ranks' calls, too.
    fn ncclCommAbort | pncclCommAbort(comm: ncclComm_t) {
        if comm.is_null() {
            return Ok(());
        }
        abort(comm)
    }

    /// Ends what the communicator does on this rank, whatever the others do, and keeps it: it can be split and shrunk, and is to be destroyed. Calls
    /// of other threads return an error; the other ranks' calls, too.
    fn ncclCommRevoke | pncclCommRevoke(comm: ncclComm_t, revokeFlags: c_int) {
        if comm.is_null() {
            return Ok(());
        }
        let comm = find(comm)?;
        if revokeFlags != 0 {
            return Err(Failure::argument(format!("revokeFlags are {revokeFlags:#x}; expected NCCL_REVOKE_DEFAULT")));
        }
        comm.revoke()
    }

    /// Stores how the communicator is: `ncclInProgress` while it is being made, the code of what broke it, or `ncclSuccess`.
    fn ncclCommGetAsyncError | pncclCommGetAsyncError(comm: ncclComm_t, asyncError: *mut ncclResult_t) {
        let comm = find(comm)?;
        // SAFETY: the caller's promise is the same.
        unsafe { place(asyncError, "asyncError") }?.write(comm.health());
        Ok(())
    }

    /// Stores how many ranks there are.
    fn ncclCommCount | pncclCommCount(comm: ncclComm_t, count: *mut c_int) {
        let comm = find(comm)?;
        // SAFETY: the caller's promise is the same.
        unsafe { place(count, "count") }?.write(comm.known()?.size() as c_int);
        Ok(())
    }

    /// Stores the number of the device that the caller gave; 0 if none was.
    fn ncclCommCuDevice | pncclCommCuDevice(comm: ncclComm_t, device: *mut c_int) {
        let comm = find(comm)?;
        comm.known()?;
        // SAFETY: the caller's promise is the same.
        unsafe { place(device, "device") }?.write(comm.settings.device);
        Ok(())
    }

    /// Stores this rank's number.
    fn ncclCommUserRank | pncclCommUserRank(comm: ncclComm_t, rank: *mut c_int) {
        let comm = find(comm)?;
        // SAFETY: the caller's promise is the same.
        unsafe { place(rank, "rank") }?.write(comm.known()?.rank() as c_int);
        Ok(())
    }

    /// No calls until the communicator is resumed. It holds no memory of a device, so none is released.
    fn ncclCommSuspend | pncclCommSuspend(comm: ncclComm_t, flags: c_int) {
        let comm = find(comm)?;
        if flags & SUSPEND_MEM == 0 {
            return Err(Failure::argument(format!("flags are {flags:#x}; expected NCCL_SUSPEND_MEM")));
        }
        comm.suspend()
    }

    /// Ends what [`ncclCommSuspend`](pncclCommSuspend) began.
    fn ncclCommResume | pncclCommResume(comm: ncclComm_t) {
        find(comm)?.resume()
    }

    /// Stores a statistic of the communicator's memory on its device: none is used, so all sizes are 0.
    fn ncclCommMemStats | pncclCommMemStats(comm: ncclComm_t, stat: ncclCommMemStat_t, value: *mut u64) {
        let comm = find(comm)?;
        comm.known()?;
        if !(0..MEMORY_STATISTICS).contains(&stat) {
            return Err(Failure::argument(format!("{stat} is no ncclCommMemStat_t")));
        }
        // SAFETY: the caller's promise is the same.
        unsafe { place(value, "value") }?.write(u64::from(stat == IS_SUSPENDED && comm.is_suspended()));
        Ok(())
    }
}
