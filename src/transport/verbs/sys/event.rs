//! What a device reports on its own account: a port that lost its link, a queue pair that broke, another GID.

use super::abi::*;
use super::failure::last_errno;
use super::library::{Library, library};
use super::{Context, Failure};
use rustix::io::Errno;
use std::ffi::{CStr, c_int};

/// Something that happened to a device, acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncEvent {
    /// What happened.
    pub kind: EventKind,
    /// What it happened to.
    pub subject: Subject,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A completion queue overran or broke: nothing more will come from it.
    CompletionQueueError,
    /// A queue pair broke.
    QueuePairFatal,
    /// The peer asked a queue pair for what cannot be.
    QueuePairRequestError,
    /// The peer asked a queue pair for what it may not.
    QueuePairAccessError,
    /// The device broke, or is being taken away.
    DeviceFatal,
    /// A port's link came up.
    PortActive,
    /// A port's link went down.
    PortError,
    /// A port's table of GIDs changed: what was chosen from it must be chosen again.
    GidChange,
    /// A port's local identifier changed.
    LidChange,
    /// Anything else, by its number.
    Other(i32),
}

/// What an event happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The device as a whole, or something on it that cannot be told.
    Device,
    /// A port, by its number.
    Port(u8),
    /// A queue pair, by its number.
    QueuePair(u32),
    /// A completion queue.
    CompletionQueue,
}

impl EventKind {
    /// The library's words for it.
    pub fn words(self) -> &'static str {
        library().ok().and_then(|library| words_of(library, self.number())).unwrap_or("an event")
    }

    fn of(raw: c_int) -> Self {
        match raw {
            IBV_EVENT_CQ_ERR => Self::CompletionQueueError,
            IBV_EVENT_QP_FATAL => Self::QueuePairFatal,
            IBV_EVENT_QP_REQ_ERR => Self::QueuePairRequestError,
            IBV_EVENT_QP_ACCESS_ERR => Self::QueuePairAccessError,
            IBV_EVENT_DEVICE_FATAL => Self::DeviceFatal,
            IBV_EVENT_PORT_ACTIVE => Self::PortActive,
            IBV_EVENT_PORT_ERR => Self::PortError,
            IBV_EVENT_GID_CHANGE => Self::GidChange,
            IBV_EVENT_LID_CHANGE => Self::LidChange,
            other => Self::Other(other),
        }
    }

    fn number(self) -> c_int {
        match self {
            Self::CompletionQueueError => IBV_EVENT_CQ_ERR,
            Self::QueuePairFatal => IBV_EVENT_QP_FATAL,
            Self::QueuePairRequestError => IBV_EVENT_QP_REQ_ERR,
            Self::QueuePairAccessError => IBV_EVENT_QP_ACCESS_ERR,
            Self::DeviceFatal => IBV_EVENT_DEVICE_FATAL,
            Self::PortActive => IBV_EVENT_PORT_ACTIVE,
            Self::PortError => IBV_EVENT_PORT_ERR,
            Self::GidChange => IBV_EVENT_GID_CHANGE,
            Self::LidChange => IBV_EVENT_LID_CHANGE,
            Self::Other(number) => number,
        }
    }
}

impl std::fmt::Display for AsyncEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = self.kind.words();
        match self.subject {
            Subject::Device => write!(f, "{words}"),
            Subject::Port(number) => write!(f, "{words} (port {number})"),
            Subject::QueuePair(number) => write!(f, "{words} (queue pair {number})"),
            Subject::CompletionQueue => write!(f, "{words} (completion queue)"),
        }
    }
}

impl Context {
    /// The next thing that happened to the device, if something did. Never waits.
    ///
    /// # Errors
    /// As the device says: it may be gone.
    pub fn next_event(&self) -> Result<Option<AsyncEvent>, Failure> {
        let mut raw = ibv_async_event { element: std::ptr::null_mut(), event_type: 0 };
        // SAFETY: an open device, and room for the event.
        if unsafe { (self.library().ibv_get_async_event)(self.raw(), &raw mut raw) } != 0 {
            return match last_errno() {
                Errno::AGAIN | Errno::INTR => Ok(None),
                errno => Err(self.refused("ibv_get_async_event", errno)),
            };
        }
        let subject = match raw.event_type {
            IBV_EVENT_QP_FATAL
            | IBV_EVENT_QP_REQ_ERR
            | IBV_EVENT_QP_ACCESS_ERR
            | IBV_EVENT_COMM_EST
            | IBV_EVENT_SQ_DRAINED
            | IBV_EVENT_PATH_MIG
            | IBV_EVENT_PATH_MIG_ERR
            | IBV_EVENT_QP_LAST_WQE_REACHED => {
                // SAFETY: such an event carries a queue pair, whose destruction waits until the event is acknowledged.
                Subject::QueuePair(unsafe { (*raw.element.cast::<ibv_qp>()).qp_num })
            }
            IBV_EVENT_CQ_ERR => Subject::CompletionQueue,
            IBV_EVENT_PORT_ACTIVE
            | IBV_EVENT_PORT_ERR
            | IBV_EVENT_LID_CHANGE
            | IBV_EVENT_PKEY_CHANGE
            | IBV_EVENT_SM_CHANGE
            | IBV_EVENT_CLIENT_REREGISTER
            | IBV_EVENT_GID_CHANGE => {
                // SAFETY: such an event carries a number, in the first bytes of the element.
                Subject::Port(u8::try_from(unsafe { (&raw const raw.element).cast::<c_int>().read() }).unwrap_or(0))
            }
            _ => Subject::Device,
        };
        // SAFETY: the event that was just taken, acknowledged once.
        unsafe { (self.library().ibv_ack_async_event)(&raw mut raw) };
        Ok(Some(AsyncEvent { kind: EventKind::of(raw.event_type), subject }))
    }
}

fn words_of(library: &'static Library, number: c_int) -> Option<&'static str> {
    // SAFETY: any number may be asked about.
    let words = unsafe { (library.ibv_event_type_str)(number) };
    // SAFETY: if it is no null pointer, it is a text within the library, which is never closed.
    (!words.is_null()).then(|| unsafe { CStr::from_ptr(words) }.to_str().ok()).flatten()
}
