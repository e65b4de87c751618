//! Engines: what carries a call through to its end over memory and links.
//!
//! [`room`] is the direct way for ranks that share a host's memory. Engines know calls, kernels and transports; they know
//! nothing of how ranks found each other or of what a user holds.

pub mod room;
mod watch;

pub use watch::Watch;
