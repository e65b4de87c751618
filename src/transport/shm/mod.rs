//! Shared memory between ranks of one host: regions that several processes map, and the cache lines and words in them.
//!
//! What lives here may use `unsafe`, so that what runs over it ([`crate::engine`]) need not. It knows nothing of calls,
//! schedules or reductions.

pub mod ahead;
mod fills;
pub mod line;
pub mod link;
pub mod process;
pub mod region;

pub use ahead::Ahead;
pub(crate) use fills::Fills;
pub use fills::{CopyBy, Stores};
pub use line::Line;
pub use link::ShmLink;
pub use process::Process;
pub use region::{Card, Region, SLOTS_AT, room_bytes};
