//! libibverbs behind safe interfaces: the one place of the verbs transport with `unsafe`.
//!
//! The library is opened at run time; its C interface, as far as it is used, is declared in `abi` and held against the real
//! headers by a test where those are installed. What a device or a peer does becomes a value, never a panic. Nothing here knows messages,
//! lanes or slots, chooses a device, or waits.
//!
//! # Who keeps whom alive
//!
//! Each object holds an [`Arc`](std::sync::Arc) of what it was made from, so destruction runs from the leaves: queue pair before
//! completion queue before channel, region before protection domain, everything before the device is closed.
//!
//! Memory is safe without watching over posted work: a region gives its memory back only *after* it was deregistered, and a deregistered
//! region cannot be reached by the device any more. Dropping a region too early makes work end in an error; it cannot make a device
//! touch what has become something else. A region that cannot be deregistered is never given back.

#![allow(unsafe_code)]

mod abi;
mod completion;
mod context;
mod event;
mod failure;
mod gid;
mod library;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod oracle;
mod pinned;
mod port;
mod post;
mod queue_pair;
mod region;
mod status;
#[cfg(test)]
mod tests;

pub use completion::{Completion, CompletionChannel, CompletionQueue, Opcode};
pub use context::{Context, DeviceAttributes, devices};
pub use event::{AsyncEvent, EventKind, Subject};
pub use failure::Failure;
pub use gid::{Gid, GidEntry, GidKind};
pub use library::Unavailable;
pub use pinned::{Access, PinnedRange};
pub use port::{LinkLayer, Mtu, PortAttributes, PortState};
pub use post::{BATCH_MAX, Local, PostError, Rejection, Send};
pub use queue_pair::{Addressing, Capacity, Path, QueuePair, Remote};
pub use region::{MemoryRegion, ProtectionDomain};
pub use status::Status;
