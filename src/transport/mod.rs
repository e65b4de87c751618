//! Transports: moving bytes into a peer's slot and saying so.
//!
//! A [`Transport`] is one rank's end of the link to one peer. It never reduces, never blocks and does not allocate on the
//! path. A link carries [`LANES`] *lanes*; each is an ordered stream of messages with its own slots at the receiver, so a
//! lane whose receiver is late holds up no other lane. A message is a [`Head`] and `bytes` of payload.
//!
//! The sender opens a message and writes its payload in as many pieces as it likes; the receiver sees the head, then takes
//! the payload as it comes: [`Transport::read`] moves it to where it belongs (a socket transport reads from the socket
//! straight to there), [`Transport::peek`] lends what has arrived in place, for a reduction to read.
//!
//! Credit: a lane lets its sender be `slot_bytes × credits` of payload ahead of its receiver ([`Capabilities`]); `write`
//! accepts no more than that. A schedule's messages fit one slot, so declared credits are what the proof assumes.

mod link;
pub mod shm;
pub mod sim;
mod sleep;
pub mod tcp;
pub mod verbs;

pub use link::Link;
pub use sleep::{Sleep, Woken};

use crate::types::Call;
use std::os::fd::BorrowedFd;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Lanes a link has: the most slices that can be in flight. How many are is the choice's business.
pub const LANES: usize = 4;

/// The head of a message: which call and which slice it belongs to. 40 bytes, sent as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Head {
    /// The call, as the sender sees it.
    pub call: Call,
    /// The slice of the message.
    pub slice: u32,
    /// The sender's step within the slice: tells where it stood.
    pub step: u32,
    /// Payload bytes that follow.
    pub bytes: u64,
}

/// What a transport can do. Differences are values here, never methods that fail.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// The transport's name in tables and errors: `shm`, `tcp`, `verbs`, `sim`.
    pub name: &'static str,
    /// The largest payload of one message.
    pub slot_bytes: usize,
    /// Slots a lane has. A receiver may tell of those that are free again only when the sender has none left, so what a schedule can rely on is one.
    pub credits: u32,
}

/// Why a link no longer works. The communicator adds rank and operation to it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The peer's end is gone: closed, reset, or out of reach.
    #[error("the link was lost: {0}")]
    Lost(String),
    /// The peer sent what no serried of this version sends.
    #[error("the peer sent nonsense: {0}")]
    Nonsense(String),
}

/// One end of a link between two ranks. All calls return at once.
pub trait Transport {
    /// What this link can do; constant over its life.
    fn capabilities(&self) -> Capabilities;

    /// Begins a message on `lane`. `false`: not now (no credit or room for a head); try again later, with the same message. The previous
    /// message on the lane must have been written whole. A message of 0 bytes is whole at once.
    fn open(&mut self, lane: usize, head: &Head) -> Result<bool, Fault>;

    /// Writes payload of the open message; returns how many bytes were accepted, from the front. Accepted bytes may be overwritten
    /// by the caller at once. Bytes that were offered and not accepted are a promise: the lane's next write must begin with them (it
    /// may offer fewer or more), because a socket may have announced them already, and other lanes may wait for that socket.
    fn write(&mut self, lane: usize, payload: &[u8]) -> Result<usize, Fault>;

    /// The head of the message that the receiver is at on `lane`, if it has come.
    fn head(&mut self, lane: usize) -> Result<Option<Head>, Fault>;

    /// Moves payload of that message to its place; returns how many bytes came.
    fn read(&mut self, lane: usize, into: &mut [u8]) -> Result<usize, Fault>;

    /// Lends payload of that message that has arrived and not been consumed: contiguous, maybe not all, maybe none. It may end
    /// within an element, of which the rest follows when it has come; a message's payload begins at a multiple of 8 bytes of the slot memory, so
    /// no element (of 1, 2, 4 or 8 bytes) is ever lent in two pieces that do not become one.
    fn peek(&mut self, lane: usize) -> Result<&[u8], Fault>;

    /// Gives back the first `bytes` of what `peek` lent. When a message's last byte is read or consumed, the next begins; a message of
    /// 0 bytes ends by `consume(lane, 0)`.
    fn consume(&mut self, lane: usize, bytes: usize);

    /// Moves what can be moved without being asked (accepted bytes out, arriving bytes to their slots, credits either way). Returns whether
    /// anything moved, or can now. Call it once in every pass over the link's lanes, and before and after every call: the other methods may leave
    /// the system alone once it had nothing for them, until the next pump.
    ///
    /// A peer that has closed its end is not reported here but where something is wanted of it, and only once all it sent is read.
    fn pump(&mut self) -> Result<bool, Fault>;

    /// Asks the system to wake who sleeps on [`Transport::descriptors`]. When a whole pass moved nothing, then `pump` returned `false` and then
    /// this returned `true`, only the descriptors can bring news, and sleeping is safe; after `false`, look again first.
    fn arm(&mut self) -> Result<bool, Fault>;

    /// Descriptors, and what of each to wait for before calling again is of use. A transport without any (shared memory) must be polled.
    fn descriptors(&self, each: &mut dyn FnMut(BorrowedFd<'_>, Interest));
}

/// What a link waits for on one of its descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Nothing, ever again.
    None,
    /// Something to arrive.
    Read,
    /// Something to arrive, or room for something to leave.
    ReadWrite,
}
