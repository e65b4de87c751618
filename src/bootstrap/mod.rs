//! The control plane: how ranks find each other, prove who they are, and learn who failed or left.
//!
//! Everything here is out of band: it moves addresses and news, never data, and knows nothing of transports or schedules. It runs
//! on one thread a process, which sleeps while nothing happens.
//!
//! * A [`UniqueId`] names a rendezvous (`root`) and a secret. Ranks report there (`join`) and form a tree.
//! * Every connection, of control and data alike, begins with a proof of that secret on both sides (`auth`); strangers get no further than
//!   a bounded waiting room (`listener`).
//! * Over the tree's edges run exchanges of small data, heartbeats, and news of failures, which reach all ranks (`member`).
//! * [`Control`] is what a rank holds. [`Launch`] is how a rank learns from a launcher's environment who it is.

mod attach;
mod auth;
mod cancel;
mod claims;
mod control;
mod dial;
mod edge;
mod endpoint;
mod environment;
mod exchange;
mod failure;
mod farewell;
mod join;
mod launch;
mod listener;
mod liveness;
mod member;
mod message;
mod news;
mod rank_set;
mod rendezvous;
mod root;
mod settings;
mod site;
mod statements;
mod thread;
mod tree;
mod unique_id;
mod wire;

#[cfg(test)]
mod tests;

pub use cancel::Cancel;
pub use control::Control;
pub use endpoint::Endpoint;
pub use failure::Failure;
pub use launch::{Launch, Rendezvous};
pub use settings::Settings;
pub use unique_id::UniqueId;
