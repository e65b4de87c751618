//! Completion queues, the channel that wakes a sleeper when one has something, and what they hold.

use super::abi::*;
use super::context::set_nonblocking;
use super::failure::{last_errno, outcome};
use super::{Context, Failure, Status};
use rustix::io::Errno;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

/// A descriptor that becomes readable when a completion queue that asked for it gets something.
#[derive(Debug)]
pub struct CompletionChannel {
    raw: NonNull<ibv_comp_channel>,
    context: Arc<Context>,
}

// SAFETY: libibverbs may be used from any thread, and from several at once.
unsafe impl Send for CompletionChannel {}
// SAFETY: as above.
unsafe impl Sync for CompletionChannel {}

impl CompletionChannel {
    /// Makes one, which never makes anybody wait.
    ///
    /// # Errors
    /// As the device says: there may be no descriptor left.
    pub fn create(context: &Arc<Context>) -> Result<Arc<Self>, Failure> {
        // SAFETY: an open device.
        let raw = NonNull::new(unsafe { (context.library().ibv_create_comp_channel)(context.raw()) })
            .ok_or_else(|| context.refused("ibv_create_comp_channel", last_errno()))?;
        let channel = Self { raw, context: context.clone() };
        set_nonblocking(channel.descriptor()).map_err(|errno| context.refused("fcntl", errno))?;
        Ok(Arc::new(channel))
    }

    /// Readable when [`take_events`](Self::take_events) has something.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the channel lives as long as this value does, and its descriptor with it.
        unsafe { BorrowedFd::borrow_raw((*self.raw.as_ptr()).fd) }
    }

    /// Takes and acknowledges everything that made it readable; returns how many events that was. Never waits. A queue that is to make it
    /// readable again must ask again, and then be polled once more before anybody sleeps.
    ///
    /// # Errors
    /// As the device says: it may be gone.
    pub fn take_events(&self) -> Result<usize, Failure> {
        let library = self.context.library();
        for taken in 0.. {
            let (mut queue, mut user) = (null_mut(), null_mut());
            // SAFETY: a living channel, and room for the answers.
            if unsafe { (library.ibv_get_cq_event)(self.raw.as_ptr(), &raw mut queue, &raw mut user) } != 0 {
                return match last_errno() {
                    Errno::AGAIN | Errno::INTR => Ok(taken),
                    errno => Err(self.context.refused("ibv_get_cq_event", errno)),
                };
            }
            // SAFETY: the queue of an event that is not acknowledged yet: its destruction waits for this.
            unsafe { (library.ibv_ack_cq_events)(queue, 1) };
        }
        Ok(0)
    }
}

impl Drop for CompletionChannel {
    fn drop(&mut self) {
        // SAFETY: made by `create`; every queue on it held an Arc of it. That it fails can change nothing here.
        let _ = unsafe { (self.context.library().ibv_destroy_comp_channel)(self.raw.as_ptr()) };
    }
}

/// Where a device says which work is done.
#[derive(Debug)]
pub struct CompletionQueue {
    raw: NonNull<ibv_cq>,
    poll: poll_cq,
    request: req_notify_cq,
    entries: u32,
    channel: Option<Arc<CompletionChannel>>,
    context: Arc<Context>,
}

// SAFETY: libibverbs may be used from any thread, and from several at once.
unsafe impl Send for CompletionQueue {}
// SAFETY: as above.
unsafe impl Sync for CompletionQueue {}

impl CompletionQueue {
    /// Makes a queue for at least `entries` completions. It must never hold more than it has room for: that breaks it.
    ///
    /// # Errors
    /// As the device says: too many entries, or no memory for them.
    pub fn create(
        context: &Arc<Context>,
        entries: u32,
        channel: Option<&Arc<CompletionChannel>>,
    ) -> Result<Arc<Self>, Failure> {
        let refused = |errno| context.refused("ibv_create_cq", errno);
        let wanted = c_int::try_from(entries).map_err(|_| refused(Errno::INVAL))?;
        if channel.is_some_and(|channel| !Arc::ptr_eq(&channel.context, context)) {
            return Err(refused(Errno::XDEV));
        }
        let raw_channel = channel.map_or(null_mut(), |channel| channel.raw.as_ptr());
        // SAFETY: an open device, and no channel or a living one of the same device; every device has vector 0.
        let raw = unsafe { (context.library().ibv_create_cq)(context.raw(), wanted, null_mut(), raw_channel, 0) };
        let raw = NonNull::new(raw).ok_or_else(|| refused(last_errno()))?;
        // SAFETY: an open device's table, filled by its driver; the queue was just made.
        let (ops, entries) = unsafe { ((*context.raw()).ops, (*raw.as_ptr()).cqe) };
        let (Some(poll), Some(request)) = (ops.poll_cq, ops.req_notify_cq) else {
            // SAFETY: made above, and nobody has it.
            unsafe { (context.library().ibv_destroy_cq)(raw.as_ptr()) };
            return Err(refused(Errno::NOSYS));
        };
        let entries = entries.try_into().unwrap_or(0);
        Ok(Arc::new(Self { raw, poll, request, entries, channel: channel.cloned(), context: context.clone() }))
    }

    /// How many completions it has room for.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// The device that it is of.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Takes completions, as many as there are and `into` has room for; returns how many. Fewer than `N`: the queue was empty then.
    ///
    /// # Errors
    /// The queue is broken.
    #[inline]
    pub fn poll<const N: usize>(&self, into: &mut [Completion; N]) -> Result<usize, Failure> {
        const { assert!(N > 0 && N <= 1024) };
        let mut raw = [const { MaybeUninit::<ibv_wc>::uninit() }; N];
        // SAFETY: a living queue, and room for so many completions.
        let found = unsafe { (self.poll)(self.raw.as_ptr(), N as c_int, raw.as_mut_ptr().cast()) };
        let Ok(found) = usize::try_from(found) else {
            return Err(self.context.refused("ibv_poll_cq", Errno::IO));
        };
        let found = found.min(N);
        for (to, from) in into.iter_mut().zip(&raw[..found]) {
            // SAFETY: the driver wrote so many entries.
            *to = unsafe { Completion::read(from.as_ptr()) };
        }
        Ok(found)
    }

    /// Asks that the channel become readable with the next completion. What is in the queue already does not make it so: poll after asking.
    ///
    /// # Errors
    /// As the device says.
    pub fn request_notification(&self) -> Result<(), Failure> {
        // SAFETY: a living queue.
        outcome(unsafe { (self.request)(self.raw.as_ptr(), 0) })
            .map_err(|errno| self.context.refused("ibv_req_notify_cq", errno))
    }

    /// The channel that it wakes, if it has one.
    pub fn channel(&self) -> Option<&Arc<CompletionChannel>> {
        self.channel.as_ref()
    }

    pub(super) fn raw(&self) -> *mut ibv_cq {
        self.raw.as_ptr()
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        // SAFETY: made by `create`; every queue pair on it held an Arc of it; no event of it is taken without being acknowledged.
        // That it fails can change nothing here.
        let _ = unsafe { (self.context.library().ibv_destroy_cq)(self.raw.as_ptr()) };
    }
}

/// A piece of work that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The number that it was posted with.
    pub work_id: u64,
    /// How it ended. Unless in success, only `work_id`, `queue_pair` and `vendor` mean something.
    pub status: Status,
    /// What it was.
    pub opcode: Opcode,
    /// The peer's immediate value, of [`Opcode::ReceiveWithImmediate`].
    pub immediate: u32,
    /// The number of the queue pair.
    pub queue_pair: u32,
    /// How many bytes the peer wrote, of [`Opcode::ReceiveWithImmediate`].
    pub bytes: u32,
    /// More about a failure, in the vendor's terms; 0 in success.
    pub vendor: u32,
}

/// What a piece of work was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A write of the peer that took a receive request, because it carried an immediate value.
    ReceiveWithImmediate,
    /// A write to the peer.
    Write,
    /// Anything else; also what failed, since a device need not say then.
    Other,
}

impl Completion {
    /// Room for one, to poll into.
    pub const EMPTY: Self = Self {
        work_id: 0,
        status: Status::SUCCESS,
        opcode: Opcode::Other,
        immediate: 0,
        queue_pair: 0,
        bytes: 0,
        vendor: 0,
    };

    /// Takes of an entry what it has: drivers write no more than what means something for this kind of work.
    ///
    /// # Safety
    /// A driver wrote the entry.
    #[inline]
    unsafe fn read(raw: *const ibv_wc) -> Self {
        // SAFETY: the caller's promise; these fields are always written.
        let mut completion = unsafe {
            Self { work_id: (*raw).wr_id, status: Status((*raw).status), queue_pair: (*raw).qp_num, ..Self::EMPTY }
        };
        if !completion.status.is_success() {
            // SAFETY: as above; this is written for what failed.
            completion.vendor = unsafe { (*raw).vendor_err };
            return completion;
        }
        // SAFETY: as above; this is written for what succeeded.
        match unsafe { (*raw).opcode } {
            IBV_WC_RDMA_WRITE => completion.opcode = Opcode::Write,
            IBV_WC_RECV_RDMA_WITH_IMM => {
                completion.opcode = Opcode::ReceiveWithImmediate;
                // SAFETY: as above; these are written for what was received with an immediate value.
                (completion.immediate, completion.bytes) = unsafe { (u32::from_be((*raw).imm_data), (*raw).byte_len) };
            }
            _ => {}
        }
        completion
    }
}
