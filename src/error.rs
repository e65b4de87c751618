//! What can go wrong, in terms a user can act on: which rank, which operation, which cause.

use crate::types::Call;
use std::time::Duration;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that a call of this crate can report.
///
/// A call that ends in an error breaks its communicator, unless its own arguments were refused ([`Error::InvalidArgument`]): every later call on
/// it returns the same error at once, and all other ranks get the news as [`Error::Peer`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A rank failed, and with it the operation.
    #[error("rank {rank}: {operation} failed: rank {peer} {cause}")]
    Peer {
        /// The rank that reports this.
        rank: u32,
        /// The rank that failed.
        peer: u32,
        /// What this rank was doing.
        operation: Operation,
        /// What happened to the peer.
        cause: Cause,
    },
    /// Two ranks called different operations where they must call the same.
    #[error("rank {rank} called {ours} but rank {peer} called {theirs}")]
    Mismatch {
        /// The rank that found it.
        rank: u32,
        /// Its call.
        ours: Call,
        /// The rank that disagrees.
        peer: u32,
        /// The other's call.
        theirs: Call,
    },
    /// An operation did not end within the operation timeout although all ranks are alive.
    #[error("rank {rank}: {operation} did not end within {after:?}: still waiting for rank {peer}")]
    Timeout {
        /// The rank that reports this.
        rank: u32,
        /// What it was doing.
        operation: Operation,
        /// The rank it was waiting for.
        peer: u32,
        /// The limit that passed.
        after: Duration,
    },
    /// Not all ranks came within the init timeout.
    #[error("rank {rank}: not all {size} ranks came within {after:?}: {} missing: {}", missing.len(), list(missing))]
    Missing {
        /// The rank that reports this.
        rank: u32,
        /// How many ranks there should be.
        size: u32,
        /// Those that did not come.
        missing: Vec<u32>,
        /// The limit that passed.
        after: Duration,
    },
    /// The root of the rendezvous could not be reached within the init timeout.
    #[error("rank {rank}: no answer from the rendezvous at {address} within {after:?}: {reason}")]
    Unreachable {
        /// The rank that reports this.
        rank: u32,
        /// Where it looked.
        address: String,
        /// The limit that passed.
        after: Duration,
        /// The last thing that went wrong.
        reason: String,
    },
    /// Joining was ended by this rank's own [`Cancel`](crate::Cancel).
    #[error("rank {rank}: joining was cancelled")]
    Cancelled {
        /// The rank that reports this.
        rank: u32,
    },
    /// An argument that cannot be served.
    #[error("{what}")]
    InvalidArgument {
        /// What is wrong with it, as a sentence.
        what: String,
    },
    /// A setting (environment variable, unique id, flag) that cannot be understood or honoured.
    #[error("{name}={value:?}: {why}")]
    Setting {
        /// The setting's name.
        name: String,
        /// Its value.
        value: String,
        /// Why not.
        why: String,
    },
    /// The system refused something: memory, descriptors, sockets.
    #[error("{what}: {reason}")]
    System {
        /// What was tried.
        what: String,
        /// The system's answer.
        reason: String,
    },
}

/// What a rank was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// A collective call.
    Call(Call),
    /// Joining the communicator.
    Init,
    /// Connecting links on first use.
    Connect,
    /// Writing into another rank's window, or signalling it.
    Put,
    /// Waiting for other ranks' signals.
    WaitForSignals,
    /// No call was running.
    Idle,
}

/// What happened to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Its process ended without saying goodbye.
    Died,
    /// It did not answer for so long, though its connection stands (stopped, or the network drops everything).
    Silent(Duration),
    /// It left the communicator while others still worked.
    Left,
    /// The link to it broke.
    Link {
        /// The rank at the other end.
        with: u32,
        /// The transport's name.
        transport: String,
        /// What the transport said.
        reason: String,
    },
    /// It reported a failure of its own.
    Reported(String),
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call(call) => call.fmt(f),
            Self::Init => f.write_str("joining"),
            Self::Connect => f.write_str("connecting"),
            Self::Put => f.write_str("a put or signal"),
            Self::WaitForSignals => f.write_str("waiting for signals"),
            Self::Idle => f.write_str("standing by"),
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Died => f.write_str("died (its process ended without leaving)"),
            Self::Silent(time) => write!(f, "was silent for {:.1} s (stopped, or cut off)", time.as_secs_f64()),
            Self::Left => f.write_str("left the communicator"),
            Self::Link { with, transport, reason } => write!(f, "lost its {transport} link to rank {with}: {reason}"),
            Self::Reported(what) => write!(f, "reported: {what}"),
        }
    }
}

fn list(ranks: &[u32]) -> String {
    const SHOWN: usize = 16;
    let mut text = ranks.iter().take(SHOWN).map(u32::to_string).collect::<Vec<_>>().join(", ");
    if ranks.len() > SHOWN {
        text += &format!(" and {} more", ranks.len() - SHOWN);
    }
    text
}
