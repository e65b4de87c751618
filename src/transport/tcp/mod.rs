//! Links over TCP: one rank's end of one or several connected sockets to a peer.
//!
//! ```text
//!  open, write ──> outgoing ── frames ──> sockets ──> port ──> caller's buffer     (read)
//!                     ^                                   └──> window, lent        (peek)
//!                     └────────── credit ───────────────────── as it is consumed
//! ```
//!
//! Each lane is a stream of its own with its own window, so a lane whose receiver is late holds up no other; frames carry pieces
//! of lanes over whichever socket is free. Connecting, and knowing who is at the other end, is the bootstrap's; what arrives
//! here is not trusted even so. Nothing here blocks or sleeps.

mod frame;
mod headers;
mod incoming;
mod outgoing;
mod port;
mod settings;
mod socket;
#[cfg(test)]
mod tests;
mod window;

pub use settings::{SOCKETS_MAX, TcpSettings};

use crate::error::Result;
use crate::transport::{Capabilities, Fault, Head, Interest, Transport};
use frame::Hello;
use incoming::Incoming;
use outgoing::Outgoing;
use socket::Socket;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

/// One end of a TCP link.
///
/// A peer that closes its end does not take away what it sent before: a lane reports [`Fault::Lost`] once everything is read.
#[derive(Debug)]
pub struct TcpLink {
    sockets: Vec<Socket>,
    incoming: Incoming,
    outgoing: Outgoing,
    capabilities: Capabilities,
    /// The peer sent nonsense: from then on nothing it sent is believed.
    nonsense: Option<Fault>,
}

impl TcpLink {
    /// Makes a link of connected and authenticated streams; the peer makes one of their other ends, in any order.
    pub fn new(streams: Vec<TcpStream>, settings: &TcpSettings) -> Result<Self> {
        let count = streams.len();
        settings.check(count)?;
        let (slot_bytes, credits, window_bytes) = (settings.slot_bytes, settings.credits, settings.window_bytes());
        let hello = Hello::new(count, slot_bytes, credits);
        let sockets = streams.into_iter().map(|stream| Socket::new(stream, settings, count)).collect::<Result<_>>()?;
        let mut link = Self {
            sockets,
            incoming: Incoming::new(count, window_bytes, slot_bytes, hello),
            outgoing: Outgoing::new(count, window_bytes, slot_bytes, &hello),
            capabilities: Capabilities { name: "tcp", slot_bytes, credits },
            nonsense: None,
        };
        // The hellos. Whatever is wrong with a socket shows when the link is used.
        link.outgoing.pump(&link.sockets, &link.incoming.consumed());
        Ok(link)
    }

    /// Says that nothing more will be sent, and that nothing more is wanted.
    ///
    /// Closing a socket destroys what is still on its way to the peer if anything comes from there later, be it mere credit. So whoever is done
    /// with a link that worked leaves first, and drops it when [`TcpLink::has_left`] says so or patience ends.
    pub fn leave(&mut self) {
        self.outgoing.end(Fault::Lost("this end has left".to_owned()));
        self.sockets.iter().for_each(Socket::finish_sending);
    }

    /// Whether everything that was sent is out of harm: the peer has come to the end of it, or is gone. What still comes is thrown away.
    /// A peer that does not look at its end of the link does not answer.
    pub fn has_left(&mut self) -> bool {
        self.incoming.discard(&self.sockets);
        (0..self.sockets.len()).all(|socket| self.incoming.has_ended(socket))
    }

    /// Runs something that receives, and passes on the credit that it brought.
    #[inline]
    fn receive<T>(&mut self, act: impl FnOnce(&mut Incoming, &[Socket]) -> Result<T, Fault>) -> Result<T, Fault> {
        self.unless_nonsense()?;
        let mut result = act(&mut self.incoming, &self.sockets);
        if let Some(credit) = self.incoming.take_credit()
            && let Err(fault) = self.outgoing.learn(&credit)
        {
            result = Err(fault);
        }
        if let Err(fault @ Fault::Nonsense(_)) = &result {
            self.nonsense = Some(fault.clone());
        }
        result
    }

    #[inline]
    fn unless_nonsense(&self) -> Result<(), Fault> {
        self.nonsense.clone().map_or(Ok(()), Err)
    }
}

impl Drop for TcpLink {
    fn drop(&mut self) {
        // As good as it can be without waiting.
        self.leave();
        self.has_left();
    }
}

impl Transport for TcpLink {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn open(&mut self, lane: usize, head: &Head) -> Result<bool, Fault> {
        self.unless_nonsense()?;
        self.outgoing.open(&self.sockets, lane, head, &self.incoming.consumed())
    }

    fn write(&mut self, lane: usize, payload: &[u8]) -> Result<usize, Fault> {
        self.unless_nonsense()?;
        self.outgoing.write(&self.sockets, lane, payload, &self.incoming.consumed())
    }

    fn head(&mut self, lane: usize) -> Result<Option<Head>, Fault> {
        self.receive(|incoming, sockets| incoming.head(sockets, lane))
    }

    fn read(&mut self, lane: usize, into: &mut [u8]) -> Result<usize, Fault> {
        self.receive(|incoming, sockets| incoming.read(sockets, lane, into))
    }

    fn peek(&mut self, lane: usize) -> Result<&[u8], Fault> {
        self.receive(|incoming, sockets| incoming.gather(sockets, lane))?;
        Ok(self.incoming.lend(lane))
    }

    fn consume(&mut self, lane: usize, bytes: usize) {
        self.incoming.consume(lane, bytes);
    }

    fn pump(&mut self) -> Result<bool, Fault> {
        let received = self.receive(Incoming::pump)?;
        let sent = self.outgoing.pump(&self.sockets, &self.incoming.consumed());
        Ok(received || sent)
    }

    fn arm(&mut self) -> Result<bool, Fault> {
        Ok(true)
    }

    fn descriptors(&self, each: &mut dyn FnMut(BorrowedFd<'_>, Interest)) {
        for (number, socket) in self.sockets.iter().enumerate() {
            let interest = match (self.incoming.has_ended(number), self.outgoing.wants(number)) {
                (false, false) => Interest::Read,
                (false, true) => Interest::ReadWrite,
                (true, _) => Interest::None,
            };
            each(socket.as_fd(), interest);
        }
    }
}
