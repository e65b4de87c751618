//! Making links, at the first use of an algorithm that needs them.
//!
//! A link begins as one authenticated connection through the control plane, dialled by the lower rank. Over it each side offers a region that
//! the other may send into, if both say that they are on one host; when both can map what they were offered they go on
//! over shared memory and the connection closes. Otherwise the connection itself (and more beside it) carries a TCP link. So whether two ranks can
//! share memory is found by trying, pair by pair.

use super::card::Card;
use super::config::TransportChoice;
use super::watch::CallWatch;
use crate::bootstrap::Control;
use crate::engine::Watch;
use crate::error::{Cause, Error, Operation, Result};
use crate::transport::Link;
use crate::transport::shm::{self, Region, ShmLink};
use crate::transport::tcp::{TcpLink, TcpSettings};
use crate::types::Call;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use zerocopy::{FromZeros, IntoBytes};

/// How often a wait for a peer asks whether it is still worth it.
const ASK: Duration = Duration::from_millis(20);

/// The tag of a link's first connection; further sockets count on from it.
const FIRST: u32 = 0;

/// The longest reason for which a side declines to share memory.
const REASON_BYTES: usize = 120;

/// What making links for a call needs to know.
pub(super) struct Connector<'a> {
    pub(super) control: &'a Control,
    pub(super) cards: &'a [Card],
    pub(super) transport: TransportChoice,
    pub(super) tcp: &'a TcpSettings,
    pub(super) sockets: u32,
    pub(super) call: Call,
    pub(super) watch: CallWatch<'a>,
}

impl Connector<'_> {
    /// Links to all of `peers`, which ascend. All ranks come here for the same algorithm, so every dial meets its accept. Dialling needs only the
    /// peer's control plane; the talks that follow need the peer itself, and since every rank takes its peers in ascending order, the
    /// least pair that still has to talk always can.
    pub(super) fn connect(&self, peers: &[u32]) -> Result<Vec<(u32, Link)>> {
        let me = self.control.rank();
        let mut dialled = Vec::new();
        for &peer in peers.iter().filter(|peer| me < **peer) {
            dialled.push((peer, self.stream(peer, FIRST)?));
        }
        let mut streams = Vec::new();
        for &peer in peers.iter().filter(|peer| me > **peer) {
            streams.push((peer, self.stream(peer, FIRST)?));
        }
        streams.append(&mut dialled);
        streams.into_iter().map(|(peer, stream)| Ok((peer, self.link(peer, stream)?))).collect()
    }

    /// A connection between this rank and `peer`. How late an accepted one may be is the operation's business: the peer dials it when it comes to
    /// the same call.
    fn stream(&self, peer: u32, tag: u32) -> Result<TcpStream> {
        if self.control.rank() < peer {
            return self.control.dial(peer, &self.cards[peer as usize].endpoint.reachable(), tag);
        }
        self.control.accept(peer, tag, || self.watch.check(&self.call, peer))
    }

    fn link(&self, peer: u32, mut stream: TcpStream) -> Result<Link> {
        match self.share(peer, &mut stream)? {
            Ok(link) => Ok(Link::Shm(link)),
            Err(why) if self.transport == TransportChoice::Shm => Err(self.not_shared(peer, &why)),
            Err(why) => {
                tracing::info!(peer, why, "TCP to this peer");
                let mut streams = vec![stream];
                for tag in FIRST + 1..FIRST + self.sockets.max(1) {
                    streams.push(self.stream(peer, tag)?);
                }
                Ok(Link::Tcp(TcpLink::new(streams, self.tcp)?))
            }
        }
    }

    /// Tries to share memory with the peer, who does the same at the other end; both come to the same end, or to the reason why not.
    fn share(&self, peer: u32, stream: &mut TcpStream) -> Result<Result<ShmLink, String>> {
        let inbox = self.offer(peer);
        let mut theirs = shm::Card::new_zeroed();
        let mine = inbox.as_ref().map_or_else(|_| shm::Card::new_zeroed(), Region::card);
        self.say(stream, peer, mine.as_bytes())?;
        self.hear(stream, peer, theirs.as_mut_bytes())?;
        let link = match inbox {
            Ok(_) if theirs == shm::Card::new_zeroed() => Err("it offers none".to_owned()),
            Ok(inbox) => {
                Region::open(&theirs).and_then(|outbox| ShmLink::new(inbox, outbox)).map_err(|error| error.to_string())
            }
            Err(why) => Err(why),
        };
        // A side that cannot says why; both hear both.
        let mut reasons = [[0; REASON_BYTES]; 2];
        if let Err(why) = &link {
            let bytes = &why.as_bytes()[..why.len().min(REASON_BYTES)];
            reasons[0][..bytes.len()].copy_from_slice(bytes);
        }
        self.say(stream, peer, &reasons[0])?;
        self.hear(stream, peer, &mut reasons[1])?;
        match (link, reasons[1].iter().position(|byte| *byte == 0)) {
            (Ok(mut link), Some(0)) => {
                link.close_descriptor();
                Ok(Ok(link))
            }
            (Ok(_), end) => Ok(Err(String::from_utf8_lossy(&reasons[1][..end.unwrap_or(REASON_BYTES)]).into_owned())),
            (Err(why), _) => Ok(Err(why)),
        }
    }

    /// A region for the peer to send into, or why there is none.
    fn offer(&self, peer: u32) -> Result<Region, String> {
        let host = |rank: u32| &self.cards[rank as usize].host;
        if self.transport == TransportChoice::Tcp {
            return Err("only TCP is wanted".into());
        }
        if host(peer) != host(self.control.rank()) {
            return Err("it is on another host".into());
        }
        ShmLink::inbox().map_err(|error| error.to_string())
    }

    fn say(&self, stream: &mut TcpStream, peer: u32, bytes: &[u8]) -> Result<()> {
        // A few hundred bytes on a new connection always find room in the socket's buffer.
        stream.write_all(bytes).map_err(|error| self.lost(peer, error.to_string()))
    }

    /// Reads exactly `into`; the peer may still be on its way to this call, so the wait is the operation's.
    fn hear(&self, stream: &mut TcpStream, peer: u32, into: &mut [u8]) -> Result<()> {
        stream.set_read_timeout(Some(ASK)).map_err(|error| self.lost(peer, error.to_string()))?;
        let mut have = 0;
        while have < into.len() {
            match stream.read(&mut into[have..]) {
                Ok(0) => return Err(self.lost(peer, "it closed the connection".into())),
                Ok(bytes) => have += bytes,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.watch.check(&self.call, peer)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(peer, error.to_string())),
            }
        }
        Ok(())
    }

    /// A connection broke: the control plane may know why.
    fn lost(&self, peer: u32, reason: String) -> Error {
        let (rank, operation) = (self.control.rank(), Operation::Call(self.call));
        if let Some(failure) = self.control.explain(peer, super::executor::VERDICT_GRACE) {
            return failure.error(rank, operation);
        }
        let cause = Cause::Link { with: rank, transport: "new".into(), reason };
        Error::Peer { rank, peer, operation, cause }
    }

    fn not_shared(&self, peer: u32, why: &str) -> Error {
        let rank = self.control.rank();
        Error::Setting {
            name: "transport".into(),
            value: "shm".into(),
            why: format!("rank {rank} and rank {peer} cannot share memory: {why}"),
        }
    }
}
