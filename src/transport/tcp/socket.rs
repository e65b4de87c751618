//! One socket of a TCP link: its set-up, and sending and receiving without ever blocking. Knows nothing of frames.

use super::settings::TcpSettings;
use crate::error::{Error, Result};
use crate::transport::Fault;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::{SockRef, TcpKeepalive};
use std::io::{IoSlice, IoSliceMut};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Time between probes of an idle connection, and how many unanswered ones end it.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 6;

/// With several sockets, how much may wait in one's send buffer before it counts as busy: so that the faster path takes more.
const UNSENT_BYTES_MAX: u32 = 256 << 10;

/// The congestion control of connections within a host: it sends as the window allows. What paces itself to a bandwidth that it measures (bbr)
/// measures its own reader there, and takes up to twice as long at 1 MiB and above, in some connections and not in others. Every Linux has
/// this one, and lets everybody choose it.
const WITHIN_HOST: &[u8] = b"reno";

/// The peer ended the connection in good order.
pub(super) const CLOSED: &str = "the peer closed the connection";

/// A connected, non-blocking socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    #[cfg(test)]
    pub(super) calls: Calls,
}

/// How many system calls a socket has made, for tests to count.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) sends: std::cell::Cell<u32>,
    pub(super) receives: std::cell::Cell<u32>,
}

/// What a receive brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing is there now.
    Nothing,
    /// Nothing will ever come again: the peer closed its end.
    Closed,
    /// The connection broke; the system's words.
    Broken(String),
}

impl Socket {
    /// Sets `stream` up as one of `siblings` sockets of a link.
    pub(super) fn new(stream: TcpStream, settings: &TcpSettings, siblings: usize) -> Result<Self> {
        set_up(SockRef::from(&stream), settings, siblings)
            .map_err(|error| Error::System { what: "setting up a TCP link".to_owned(), reason: error.to_string() })?;
        if stays_within_host(&stream) {
            leave_pace_to_reader(&stream);
        }
        Ok(Self {
            stream,
            #[cfg(test)]
            calls: Calls::default(),
        })
    }

    /// Sends the parts, one after the other, as far as the kernel takes them: returns how many bytes it took, maybe none.
    pub(super) fn send(&self, parts: [&[u8]; 3]) -> Result<usize, Fault> {
        #[cfg(test)]
        self.calls.sends.set(self.calls.sends.get() + 1);
        let slices = parts.map(IoSlice::new);
        loop {
            // NOSIGNAL: a library must not kill its host program with SIGPIPE.
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::sendmsg(&self.stream, &slices, &mut SendAncillaryBuffer::default(), flags) {
                Ok(bytes) => return Ok(bytes),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(0),
                Err(Errno::PIPE) => return Err(Fault::Lost(CLOSED.to_owned())),
                Err(error) => return Err(Fault::Lost(words(error))),
            }
        }
    }

    /// Tells the peer that nothing more will be sent. Whatever is wrong with the socket shows when it is read.
    pub(super) fn finish_sending(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Receives into `place`, and what comes beyond it into `ahead`. They are not both empty.
    pub(super) fn receive(&self, place: &mut [u8], ahead: &mut [u8]) -> Received {
        #[cfg(test)]
        self.calls.receives.set(self.calls.receives.get() + 1);
        loop {
            let result = if ahead.is_empty() {
                rustix::net::recv(&self.stream, &mut *place, RecvFlags::DONTWAIT).map(|(bytes, _)| bytes)
            } else if place.is_empty() {
                rustix::net::recv(&self.stream, &mut *ahead, RecvFlags::DONTWAIT).map(|(bytes, _)| bytes)
            } else {
                rustix::io::readv(&self.stream, &mut [IoSliceMut::new(place), IoSliceMut::new(ahead)])
            };
            match result {
                Ok(0) => return Received::Closed,
                Ok(bytes) => return Received::Bytes(bytes),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Received::Nothing,
                Err(error) => return Received::Broken(words(error)),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn set_up(socket: SockRef<'_>, settings: &TcpSettings, siblings: usize) -> std::io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = settings.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = settings.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(idle) = settings.keepalive {
        let keepalive =
            TcpKeepalive::new().with_time(idle).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if settings.user_timeout.is_some() {
        socket.set_tcp_user_timeout(settings.user_timeout)?;
    }
    if siblings > 1 {
        socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    }
    Ok(())
}

/// Whether the peer's address is one of this host: the connection's own, or a loopback one.
fn stays_within_host(stream: &TcpStream) -> bool {
    let (Ok(own), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return false };
    peer.ip().is_loopback() || peer.ip() == own.ip()
}

/// A system that refuses it works as well as it did.
fn leave_pace_to_reader(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_tcp_congestion(WITHIN_HOST) {
        tracing::debug!(%error, "the congestion control stays as it is");
    }
}

fn words(error: Errno) -> String {
    std::io::Error::from(error).to_string()
}
