//! Making links, at the first use of an algorithm that needs them.
//!
//! A link begins as one authenticated connection through the control plane, dialled by the lower rank. If both ranks say that they are on
//! one host, the dialler offers a shared region over it; when the other can map it they go on over shared memory and the
//! connection closes, otherwise the connection itself (and more beside it) carries a TCP link. Whether memory can be shared is thus found by trying.

use super::card::Card;
use super::config::TransportChoice;
use super::watch::CallWatch;
use crate::bootstrap::Control;
use crate::error::{Cause, Error, Operation, Result};
use crate::transport::Link;
use crate::transport::shm::{self, Region, ShmLink};
use crate::transport::tcp::{TcpLink, TcpSettings};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use zerocopy::IntoBytes;

/// How often a wait for a peer asks whether it is still worth it.
const ASK: Duration = Duration::from_millis(20);

/// The tag of a link's first connection; further sockets count on from it.
const FIRST: u32 = 0;

/// What is sent instead of a region's card where there is none to offer.
const NO_OFFER: shm::Card = shm::Card { pid: 0, fd: 0, words: 0, bytes: 0, cookie: [0; 16] };

/// What making links needs to know.
pub(super) struct Connector<'a> {
    pub(super) control: &'a Control,
    pub(super) cards: &'a [Card],
    pub(super) transport: TransportChoice,
    pub(super) tcp: &'a TcpSettings,
    pub(super) sockets: u32,
    pub(super) watch: CallWatch<'a>,
    pub(super) patience: Duration,
}

impl Connector<'_> {
    /// Links to all of `peers`. All ranks come here for the same algorithm, so every dial meets its accept; dialling comes first and needs
    /// only the peer's control plane, so the order among peers cannot deadlock.
    pub(super) fn connect(&self, peers: &[u32]) -> Result<Vec<(u32, Link)>> {
        let me = self.control.rank();
        let mut dialled = Vec::new();
        for &peer in peers.iter().filter(|peer| me < **peer) {
            let mut stream = self.dialled(peer, FIRST)?;
            let offer = self.offer(peer)?;
            self.write(&mut stream, peer, offer.as_ref().map_or(NO_OFFER, Region::card).as_bytes())?;
            dialled.push((peer, stream, offer));
        }
        let mut links = Vec::new();
        for &peer in peers.iter().filter(|peer| me > **peer) {
            links.push((peer, self.accept(peer)?));
        }
        for (peer, mut stream, offer) in dialled {
            let mut answer = [0];
            self.hear(&mut stream, peer, &mut answer)?;
            let link = match offer {
                Some(region) if answer == *TAKEN => Link::Shm(ShmLink::new(region, me, peer)?),
                _ => self.tcp(peer, stream)?,
            };
            links.push((peer, link));
        }
        Ok(links)
    }

    /// A region for the link to `peer`, if the two may share memory.
    fn offer(&self, peer: u32) -> Result<Option<Region>> {
        let near = self.cards[peer as usize].host == self.cards[self.control.rank() as usize].host;
        match self.transport {
            TransportChoice::Tcp => Ok(None),
            TransportChoice::Auto if !near => Ok(None),
            TransportChoice::Auto => Ok(Region::create(ShmLink::region_bytes()).inspect_err(no_room).ok()),
            TransportChoice::Shm if near => Region::create(ShmLink::region_bytes()).map(Some),
            TransportChoice::Shm => Err(not_shared(self.control.rank(), peer, "it is on another host")),
        }
    }

    fn accept(&self, peer: u32) -> Result<Link> {
        let me = self.control.rank();
        let mut stream = self.accepted(peer, FIRST)?;
        let mut offer = NO_OFFER;
        self.hear(&mut stream, peer, offer.as_mut_bytes())?;
        let region = match self.transport {
            TransportChoice::Tcp => Err(Error::InvalidArgument { what: "only TCP is asked for".into() }),
            _ if offer == NO_OFFER => Err(Error::InvalidArgument { what: "it offered none".into() }),
            _ => Region::open(&offer),
        };
        match region {
            Ok(region) => {
                self.write(&mut stream, peer, TAKEN)?;
                Ok(Link::Shm(ShmLink::new(region, me, peer)?))
            }
            Err(error) if self.transport == TransportChoice::Shm => Err(not_shared(me, peer, &error.to_string())),
            Err(error) => {
                tracing::debug!(peer, %error, "no shared memory with this peer: TCP");
                self.write(&mut stream, peer, REFUSED)?;
                self.tcp(peer, stream)
            }
        }
    }

    fn tcp(&self, peer: u32, first: TcpStream) -> Result<Link> {
        if self.transport == TransportChoice::Shm {
            return Err(not_shared(self.control.rank(), peer, "it could not map this rank's memory"));
        }
        let mut streams = vec![first];
        for tag in FIRST + 1..FIRST + self.sockets.max(1) {
            streams.push(match self.control.rank() < peer {
                true => self.dialled(peer, tag)?,
                false => self.accepted(peer, tag)?,
            });
        }
        Ok(Link::Tcp(TcpLink::new(streams, self.tcp)?))
    }

    /// A connection that the peer dials when it comes to this call: how late it may be is the operation's business.
    fn accepted(&self, peer: u32, tag: u32) -> Result<TcpStream> {
        self.control.accept(peer, tag, self.patience)
    }

    fn dialled(&self, peer: u32, tag: u32) -> Result<TcpStream> {
        let endpoint = &self.cards[peer as usize].endpoint;
        self.control.dial(peer, &endpoint.reachable(), tag, self.control.source())
    }

    fn write(&self, stream: &mut TcpStream, peer: u32, bytes: &[u8]) -> Result<()> {
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
                    self.watch.ask(Operation::Connect, peer)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.lost(peer, error.to_string())),
            }
        }
        Ok(())
    }

    fn lost(&self, peer: u32, reason: String) -> Error {
        let rank = self.control.rank();
        let cause = Cause::Link { with: rank, transport: "connecting".into(), reason };
        Error::Peer { rank, peer, operation: Operation::Connect, cause }
    }
}

/// The acceptor's answer to an offer: mapped.
const TAKEN: &[u8; 1] = b"+";
/// The acceptor's answer to an offer, or to none: let us go on over TCP.
const REFUSED: &[u8; 1] = b"-";

fn no_room(error: &Error) {
    tracing::warn!(%error, "no memory to share: TCP");
}

fn not_shared(rank: u32, peer: u32, why: &str) -> Error {
    Error::Setting {
        name: "transport".into(),
        value: "shm".into(),
        why: format!("rank {rank} and rank {peer} cannot share memory: {why}"),
    }
}
