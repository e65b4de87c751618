//! Links over RDMA verbs (RoCE, InfiniBand): writes from registered memory straight into the peer's registered slots.
//!
//! ```text
//!  open, write ──> outgoing ── RDMA writes with notices ──> peer's inbox ──> incoming ──> lent (peek), copied (read)
//!                     ^                                                         │
//!                     └────────── credit, along with messages or alone ─────────┘
//! ```
//!
//! Every link has memory of its own, registered once: the peer writes each message into the slot that its lane and number give it, so no message needs
//! a rendezvous, and how many receive requests are needed is known beforehand. A message is cut into pieces, each a write that takes whichever
//! queue pair has least to do; its completion at the receiver is the notice.
//!
//! libibverbs is opened at run time, so serried builds and starts where there is none; why verbs are not used is then a value, in one
//! line. Everything foreign is below [`sys`], behind safe interfaces; nothing else here contains `unsafe`. Who lives and who has
//! died is the control plane's to know: a device's own timers take half a minute to find out.

mod card;
mod choice;
mod device;
mod filters;
mod incoming;
mod layout;
mod link;
mod nic;
mod outgoing;
mod pair;
mod rail;
mod settings;
pub mod sys;
#[cfg(test)]
mod tests;

pub use card::Card;
pub use choice::{Choice, PassedOver, Port, Selection, choose};
pub use device::{Device, Found, look, look_at, survey};
pub use filters::{AddressRange, DeviceFilter, Family, RoceVersion};
pub use link::VerbsLink;
pub use pair::Work;
pub use rail::Rail;
pub use settings::{RETRIES_WITHOUT_END, VerbsSettings};

/// Bytes of memory that each end of a link keeps locked.
pub const LINK_BYTES: usize = layout::Layout::STANDARD.memory_bytes();
