//! Posting: handing a batch of work to a queue pair with one call.

use super::abi::*;
use super::failure::{outcome, words};
use super::{MemoryRegion, PinnedRange, ProtectionDomain, QueuePair};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::Arc;

/// The most sends or receive requests of one call to the driver; larger batches are posted in several. What is built on the stack for one stays
/// well below a page, and the call's own cost is spread thin by then.
pub const BATCH_MAX: usize = 16;

/// A write into the peer's memory.
#[derive(Clone, Debug)]
pub struct Send<'a> {
    /// Comes back in its completion.
    pub work_id: u64,
    /// What is written.
    pub local: Local<'a>,
    /// Where to, in the peer's terms.
    pub remote_address: u64,
    /// The peer's key for that place.
    pub remote_key: u32,
    /// Takes a receive request of the peer, and arrives in its completion.
    pub immediate: Option<u32>,
    /// Whether it completes if it succeeds. What fails always does.
    pub signalled: bool,
}

/// What a send writes.
#[derive(Clone, Debug)]
pub enum Local<'a> {
    /// No bytes at all: for an immediate alone.
    Nothing,
    /// These bytes, taken while posting: they may change at once.
    Inline(&'a [u8]),
    /// Bytes of a region, which must stay as they are until the send has completed.
    Region(&'a MemoryRegion, Range<usize>),
    /// Bytes of foreign memory, likewise.
    Pinned(&'a PinnedRange, Range<usize>),
}

/// Why a batch was not posted as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("posting failed after {posted}: {why}")]
pub struct PostError {
    /// How many, from the front, were posted nevertheless.
    pub posted: usize,
    /// What was wrong with the next.
    pub why: Rejection,
}

/// Why a send or a receive request was not posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// More bytes than the queue pair can carry inline.
    #[error("{bytes} bytes inline, where {granted} are granted")]
    InlineTooLong {
        /// The send's bytes.
        bytes: usize,
        /// What the queue pair was granted.
        granted: u32,
    },
    /// More bytes than a message can have.
    #[error("{bytes} bytes in one message")]
    TooLong {
        /// The send's bytes.
        bytes: usize,
    },
    /// The memory is registered in another protection domain.
    #[error("memory of another protection domain")]
    OtherDomain,
    /// The driver refused: no room in the queue (ENOMEM), or a queue pair that is not connected.
    #[error("{}", words(*.0))]
    Refused(Errno),
}

impl QueuePair {
    /// Posts sends, in order.
    ///
    /// # Errors
    /// How many were posted, and why not the next.
    ///
    /// # Panics
    /// If a send's range is not within its memory.
    #[inline]
    pub fn post(&self, sends: &[Send<'_>]) -> Result<(), PostError> {
        for (number, batch) in sends.chunks(BATCH_MAX).enumerate() {
            self.post_batch(batch).map_err(|error| PostError { posted: number * BATCH_MAX + error.posted, ..error })?;
        }
        Ok(())
    }

    fn post_batch(&self, sends: &[Send<'_>]) -> Result<(), PostError> {
        // Only what is used of them is written: for a single send the rest would cost more than the send.
        let mut pieces = [const { MaybeUninit::<ibv_sge>::uninit() }; BATCH_MAX];
        let mut work = [const { MaybeUninit::<ibv_send_wr>::uninit() }; BATCH_MAX];
        let (piece, first) = (pieces.as_mut_ptr().cast::<ibv_sge>(), work.as_mut_ptr().cast::<ibv_send_wr>());
        let mut rejected = None;
        let mut count = 0;
        for send in sends.iter().take(BATCH_MAX) {
            let bytes = match self.piece(&send.local) {
                Ok(bytes) => bytes,
                Err(why) => {
                    rejected = Some(why);
                    break;
                }
            };
            // SAFETY: inside of both arrays, which are reached through these pointers alone; the work before has been written.
            unsafe {
                let this = first.add(count);
                this.write(written(send));
                if bytes.length > 0 {
                    piece.add(count).write(bytes);
                    ((*this).sg_list, (*this).num_sge) = (piece.add(count), 1);
                }
                if count > 0 {
                    (*first.add(count - 1)).next = this;
                }
            }
            count += 1;
        }
        if count > 0 {
            self.post_list(first, count)?;
        }
        rejected.map_or(Ok(()), |why| Err(PostError { posted: count, why }))
    }

    /// The bytes of a send as the device must be told them.
    #[inline]
    fn piece(&self, local: &Local<'_>) -> Result<ibv_sge, Rejection> {
        let (address, bytes, lkey) = match local {
            Local::Nothing => (0, 0, 0),
            Local::Inline(bytes) => {
                if bytes.len() > self.granted().inline_bytes as usize {
                    let granted = self.granted().inline_bytes;
                    return Err(Rejection::InlineTooLong { bytes: bytes.len(), granted });
                }
                (bytes.as_ptr().addr() as u64, bytes.len(), 0)
            }
            Local::Region(region, range) => {
                self.is_ours(region.domain())?;
                let (at, bytes) = region.inside(range);
                (region.address() + at as u64, bytes, region.local_key())
            }
            Local::Pinned(pinned, range) => {
                self.is_ours(pinned.domain())?;
                let (at, bytes) = pinned.inside(range);
                (pinned.address() + at as u64, bytes, pinned.local_key())
            }
        };
        let length = u32::try_from(bytes).map_err(|_| Rejection::TooLong { bytes })?;
        Ok(ibv_sge { addr: address, length, lkey })
    }

    #[inline]
    fn is_ours(&self, domain: &Arc<ProtectionDomain>) -> Result<(), Rejection> {
        if Arc::ptr_eq(domain, self.domain()) { Ok(()) } else { Err(Rejection::OtherDomain) }
    }

    #[inline]
    /// Posts a list that stands in one array.
    fn post_list(&self, first: *mut ibv_send_wr, count: usize) -> Result<(), PostError> {
        let mut bad = null_mut();
        // SAFETY: the queue pair lives; the list and its pieces stand on the stack of the caller, well linked; the driver copies
        // them and inline bytes before it returns. What the pieces point to is registered, or cannot be reached by the device.
        let answer = unsafe { (self.post_send)(self.raw(), first, &raw mut bad) };
        outcome(answer).map_err(|errno| {
            // The list stands in one array, so the place of the refused one is how many were accepted.
            let posted =
                if bad.is_null() { 0 } else { (bad.addr() - first.addr().min(bad.addr())) / size_of::<ibv_send_wr>() };
            PostError { posted: posted.min(count), why: Rejection::Refused(errno) }
        })
    }

    /// Posts `count` receive requests without memory, for writes that carry an immediate value; all complete with `work_id`.
    ///
    /// # Errors
    /// How many were posted, and why not the next.
    pub fn post_receives(&self, work_id: u64, count: usize) -> Result<(), PostError> {
        let empty = ibv_recv_wr { wr_id: work_id, next: null_mut(), sg_list: null_mut(), num_sge: 0 };
        let mut work = [empty; BATCH_MAX];
        let mut posted = 0;
        while posted < count {
            let batch = (count - posted).min(BATCH_MAX);
            let first = work.as_mut_ptr();
            for at in 0..batch {
                let next = if at + 1 < batch { first.wrapping_add(at + 1) } else { null_mut() };
                // SAFETY: inside of the array, which nothing else refers to.
                unsafe { (*first.add(at)).next = next };
            }
            let mut bad = null_mut();
            // SAFETY: the queue pair lives; the list stands on this stack, well linked, and the driver copies it before it returns.
            let answer = unsafe { (self.post_recv)(self.raw(), first, &raw mut bad) };
            outcome(answer).map_err(|errno| {
                let bad = if bad.is_null() { first } else { bad };
                let accepted = (bad.addr() - first.addr().min(bad.addr())) / size_of::<ibv_recv_wr>();
                PostError { posted: posted + accepted.min(batch), why: Rejection::Refused(errno) }
            })?;
            posted += batch;
        }
        Ok(())
    }
}

const EMPTY_SEND: ibv_send_wr = ibv_send_wr {
    wr_id: 0,
    next: null_mut(),
    sg_list: null_mut(),
    num_sge: 0,
    opcode: IBV_WR_RDMA_WRITE,
    send_flags: 0,
    imm_data: 0,
    remote_addr: 0,
    rkey: 0,
    _atomic: [0; 5],
    _xrc: 0,
    _window: [0; 6],
};

/// A send but for its bytes and its place in the list.
#[inline]
fn written(send: &Send<'_>) -> ibv_send_wr {
    let inline = if matches!(send.local, Local::Inline(_)) { IBV_SEND_INLINE } else { 0 };
    let signalled = if send.signalled { IBV_SEND_SIGNALED } else { 0 };
    let (opcode, immediate) = match send.immediate {
        Some(immediate) => (IBV_WR_RDMA_WRITE_WITH_IMM, immediate.to_be()),
        None => (IBV_WR_RDMA_WRITE, 0),
    };
    ibv_send_wr {
        wr_id: send.work_id,
        opcode,
        send_flags: (inline | signalled) as u32,
        imm_data: immediate,
        remote_addr: send.remote_address,
        rkey: send.remote_key,
        ..EMPTY_SEND
    }
}
