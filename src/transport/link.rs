//! A link of whatever kind: a pair of ranks has one transport, a communicator may hold all kinds at once.

use super::shm::ShmLink;
use super::tcp::TcpLink;
use super::verbs::VerbsLink;
use super::verbs::sys::PinnedRange;
use super::{Capabilities, Fault, Head, Interest, Transport};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// The transports that real ranks use, told apart by a match rather than through a pointer.
#[derive(Debug)]
pub enum Link {
    /// Shared memory, for ranks of one host.
    Shm(ShmLink),
    /// TCP sockets.
    Tcp(TcpLink),
    /// RDMA verbs.
    Verbs(Box<VerbsLink>),
}

impl Link {
    /// Says that nothing more will be sent or is wanted.
    pub fn leave(&mut self) {
        match self {
            Self::Shm(_) => {}
            Self::Tcp(link) => link.leave(),
            Self::Verbs(link) => link.leave(),
        }
    }

    /// Whether what was sent is out of harm, so that the link may be dropped. Shared memory stays as long as the peer maps it.
    pub fn has_left(&mut self) -> bool {
        match self {
            Self::Shm(_) => true,
            Self::Tcp(link) => link.has_left(),
            Self::Verbs(link) => link.has_left(),
        }
    }

    /// Lets the link send from this memory where it lies, if it can, until it is told otherwise.
    pub fn lend(&mut self, memory: &[Arc<PinnedRange>]) {
        if let Self::Verbs(link) = self {
            link.lend(memory);
        }
    }

    /// Whether what the peer sent before it left may still be on its way when the control plane says that it has left, so that only the link
    /// knows its end.
    pub fn ends_in_order(&self) -> bool {
        !matches!(self, Self::Shm(_))
    }
}

macro_rules! each {
    ($self:ident, $link:ident => $body:expr) => {
        match $self {
            Link::Shm($link) => $body,
            Link::Tcp($link) => $body,
            Link::Verbs($link) => $body,
        }
    };
}

impl Transport for Link {
    fn capabilities(&self) -> Capabilities {
        each!(self, link => link.capabilities())
    }

    fn open(&mut self, lane: usize, head: &Head) -> Result<bool, Fault> {
        each!(self, link => link.open(lane, head))
    }

    fn write(&mut self, lane: usize, payload: &[u8]) -> Result<usize, Fault> {
        each!(self, link => link.write(lane, payload))
    }

    fn head(&mut self, lane: usize) -> Result<Option<Head>, Fault> {
        each!(self, link => link.head(lane))
    }

    fn read(&mut self, lane: usize, into: &mut [u8]) -> Result<usize, Fault> {
        each!(self, link => link.read(lane, into))
    }

    fn peek(&mut self, lane: usize) -> Result<&[u8], Fault> {
        each!(self, link => link.peek(lane))
    }

    fn consume(&mut self, lane: usize, bytes: usize) {
        each!(self, link => link.consume(lane, bytes));
    }

    fn pump(&mut self) -> Result<bool, Fault> {
        each!(self, link => link.pump())
    }

    fn arm(&mut self) -> Result<bool, Fault> {
        each!(self, link => link.arm())
    }

    fn descriptors(&self, each: &mut dyn FnMut(BorrowedFd<'_>, Interest)) {
        each!(self, link => link.descriptors(each));
    }
}
