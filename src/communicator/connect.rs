//! Making links, at the first use of an algorithm that needs them, be it to measure.
//!
//! A link begins as one authenticated connection through the control plane, dialled by the lower rank. Over it the two sides try what is
//! better than TCP, in turn: shared memory (`shm`) if both say that they are on one host, then RDMA verbs (`verbs`) if both have a device. What
//! works for both is used and the connection closes; otherwise the connection itself (and more beside it) carries a TCP link. So what two ranks can
//! use is found by trying, pair by pair, and both come to the same end.

mod shm;
mod verbs;

use super::card::Card;
use super::config::TransportChoice;
use super::links::{LinkReport, Refusal, SHM, TCP, VERBS};
use super::meet::OwnRail;
use super::watch::CallWatch;
use crate::bootstrap::Control;
use crate::engine::Watch;
use crate::error::{Cause, Error, Operation, Result};
use crate::transport::Link;
use crate::transport::tcp::{TcpLink, TcpSettings};
use crate::transport::verbs::Rail;
use crate::types::Call;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// How often a wait for a peer asks whether it is still worth it.
const ASK: Duration = Duration::from_millis(20);

/// The tag of a link's first connection; further sockets count on from it.
const FIRST: u32 = 0;

/// The longest reason for which a side declines; a longer one is cut.
const REASON_BYTES: usize = 400;

/// What making links needs to know of a communicator.
pub(super) struct LinkMaker {
    pub(super) cards: Arc<[Card]>,
    pub(super) transport: TransportChoice,
    pub(super) rail: OwnRail,
    pub(super) tcp: TcpSettings,
    pub(super) sockets: Option<u32>,
    /// How long a call may take.
    pub(super) timeout: Duration,
    /// Collective calls so far.
    pub(super) collectives: u64,
    /// They are made to measure, and their numbers come again.
    pub(super) is_measuring: bool,
}

impl LinkMaker {
    /// Makes links for `call`.
    pub(super) fn connector<'a>(&'a self, control: &'a Control, call: Call) -> Connector<'a> {
        let watch = CallWatch::new(control, self.timeout, &[], self.collectives);
        Connector {
            control,
            cards: &self.cards,
            transport: self.transport,
            rail: self.rail.as_ref().map_err(String::as_str),
            tcp: &self.tcp,
            sockets: self.sockets,
            call,
            watch: if self.is_measuring { watch.silent() } else { watch },
            timeout: self.timeout,
        }
    }
}

/// Makes links for one call.
pub(super) struct Connector<'a> {
    pub(super) control: &'a Control,
    pub(super) cards: &'a [Card],
    pub(super) transport: TransportChoice,
    /// The RDMA port to use, or why there is none.
    pub(super) rail: Result<&'a Arc<Rail>, &'a str>,
    pub(super) tcp: &'a TcpSettings,
    pub(super) sockets: Option<u32>,
    pub(super) call: Call,
    pub(super) watch: CallWatch<'a>,
    /// How long the call may take.
    pub(super) timeout: Duration,
}

impl Connector<'_> {
    /// Links to all of `peers`, which ascend. All ranks come here for the same algorithm, so every dial meets its accept. Dialling needs only the
    /// peer's control plane; the talks that follow need the peer itself, and since every rank takes its peers in ascending order, the
    /// least pair that still has to talk always can.
    pub(super) fn connect(&self, peers: &[u32]) -> Result<Vec<(Link, LinkReport)>> {
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
        streams.into_iter().map(|(peer, stream)| self.link(peer, stream)).collect()
    }

    /// A connection between this rank and `peer`. How late an accepted one may be is the operation's business: the peer dials it when it comes to
    /// the same call.
    fn stream(&self, peer: u32, tag: u32) -> Result<TcpStream> {
        if self.control.rank() < peer {
            return self.control.dial(peer, &self.addresses(peer, tag), tag);
        }
        self.control.accept(peer, tag, || self.watch.check(&self.call, peer))
    }

    /// Where to dial `peer`. A link's sockets take turns at the paths, and so do the ranks of this host.
    fn addresses(&self, peer: u32, tag: u32) -> Vec<SocketAddr> {
        let (own, card) = (self.own_card(), &self.cards[peer as usize]);
        let mut addresses = card.endpoint.reachable();
        let paths: Vec<SocketAddr> = card.path_addresses().collect();
        if !paths.is_empty() && own.endpoint.host() != card.endpoint.host() {
            let before = &self.cards[..self.control.rank() as usize];
            let turn = before.iter().filter(|card| card.endpoint.host() == own.endpoint.host()).count();
            let path = paths[(turn + tag as usize) % paths.len()];
            // The others are for when that one leads nowhere.
            addresses.sort_by_key(|address| *address != path);
        }
        addresses
    }

    /// How many sockets a link to `peer` has; both ends come to the same.
    fn sockets_to(&self, peer: u32) -> u32 {
        let (own, card) = (self.own_card(), &self.cards[peer as usize]);
        let by_paths = || match own.endpoint.host() == card.endpoint.host() {
            true => 1,
            false => own.paths.count_ones().min(card.paths.count_ones()).max(1),
        };
        self.sockets.unwrap_or_else(by_paths)
    }

    fn own_card(&self) -> &Card {
        &self.cards[self.control.rank() as usize]
    }

    /// The best link that works for both. Each way is tried by both or by none, as the cards and settings that all have say.
    fn link(&self, peer: u32, mut stream: TcpStream) -> Result<(Link, LinkReport)> {
        let mut report = LinkReport::of(peer);
        if self.transport.has_shm() {
            match self.share_memory(peer, &mut stream)? {
                Ok(link) => return Ok((Link::Shm(link), report.by(SHM, String::new(), String::new()))),
                Err(refusal) => report.refused.push(refusal),
            }
        }
        if self.transport.has_verbs() {
            match self.use_verbs(peer, &mut stream)? {
                Ok(link) => {
                    let here = self.rail.map_or_else(str::to_owned, ToString::to_string);
                    return Ok((
                        Link::Verbs(Box::new(link)),
                        report.by(VERBS, here, self.cards[peer as usize].rail.clone()),
                    ));
                }
                Err(refusal) => report.refused.push(refusal),
            }
        }
        let why = report.refused.iter().map(|refusal| refusal.words(peer)).collect::<Vec<_>>().join("; ");
        if !self.transport.has_tcp() {
            return Err(self.refused(peer, &why));
        }
        tracing::info!(peer, why, "TCP to this peer");
        let mut streams = vec![stream];
        for tag in FIRST + 1..FIRST + self.sockets_to(peer) {
            streams.push(self.stream(peer, tag)?);
        }
        let here = distinct(streams.iter().map(TcpStream::local_addr));
        let there = distinct(streams.iter().map(TcpStream::peer_addr));
        Ok((Link::Tcp(TcpLink::new(streams, self.tcp)?), report.by(TCP, here, there)))
    }

    /// Both sides tell each other whether they got something, and if not, why: only if both did, either goes on with it.
    fn agree<T>(
        &self,
        transport: &'static str,
        peer: u32,
        stream: &mut TcpStream,
        mine: Result<T, String>,
    ) -> Result<Result<T, Refusal>> {
        let mut reasons = [[0; REASON_BYTES]; 2];
        if let Err(why) = &mine {
            let why = if why.is_empty() { "it gives no reason" } else { why };
            let bytes = &why.as_bytes()[..why.len().min(REASON_BYTES)];
            reasons[0][..bytes.len()].copy_from_slice(bytes);
        }
        self.say(stream, peer, &reasons[0])?;
        self.hear(stream, peer, &mut reasons[1])?;
        let end = reasons[1].iter().position(|byte| *byte == 0).unwrap_or(REASON_BYTES);
        let there = (end > 0).then(|| String::from_utf8_lossy(&reasons[1][..end]).into_owned());
        Ok(match (mine, there) {
            (Ok(made), None) => Ok(made),
            (mine, there) => Err(Refusal { transport, here: mine.err(), there }),
        })
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
        if let Some(failure) = self.control.explain(peer, crate::engine::VERDICT_GRACE) {
            return failure.error(rank, operation);
        }
        let cause = Cause::Link { with: rank, transport: "new".into(), reason };
        Error::Peer { rank, peer, operation, cause }
    }

    fn refused(&self, peer: u32, why: &str) -> Error {
        let rank = self.control.rank();
        Error::Setting {
            name: "transport".into(),
            value: self.transport.name().into(),
            why: format!("rank {rank} and rank {peer} {why}"),
        }
    }
}

/// The addresses of some ends, each once.
fn distinct(ends: impl Iterator<Item = std::io::Result<SocketAddr>>) -> String {
    let addresses: BTreeSet<_> = ends.flatten().map(|end| end.ip()).collect();
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UniqueId;
    use crate::bootstrap::Settings;
    use crate::types::{CollectiveKind, DataType, Op};
    use std::time::Instant;

    /// What waits too long for a link is stated to the others; not what is made to measure, since a later call has its number.
    #[test]
    fn links_that_are_made_to_measure_state_nothing() {
        let settings = Settings::default();
        let id = UniqueId::create(&settings).expect("a place to meet");
        let call = |sequence| Call::new(CollectiveKind::AllReduce, sequence, 0, 1, DataType::F32, Op::Sum as u8, 0);
        let wait = |control: &Control, sequence, is_measuring| {
            let maker = LinkMaker {
                cards: Arc::from([]),
                transport: TransportChoice::Auto,
                rail: Err("none here".to_owned()),
                tcp: TcpSettings::default(),
                sockets: None,
                timeout: Duration::from_secs(1),
                collectives: sequence,
                is_measuring,
            };
            let connector = maker.connector(control, call(sequence));
            let late = loop {
                if let Err(error) = connector.watch.check(&connector.call, 0) {
                    break error;
                }
                std::thread::yield_now();
            };
            assert!(matches!(late, Error::Timeout { .. }), "{late}");
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let control = Control::join(&id, 1, 2, &settings).expect("rank 0 is there");
                wait(&control, 1, true);
                wait(&control, 2, false);
                control.exchange(&[]).expect("rank 0 is there");
                control.leave();
            });
            let control = Control::join(&id, 0, 2, &settings).expect("rank 1 is there");
            let until = Instant::now() + Duration::from_secs(30);
            while control.contradiction(2, b"another").is_none() {
                assert!(Instant::now() < until, "call 2 was not stated");
                std::thread::yield_now();
            }
            // Words come in the order in which they were said.
            assert_eq!(control.contradiction(1, b"another"), None);
            control.exchange(&[]).expect("rank 1 is there");
            control.leave();
        });
    }
}
