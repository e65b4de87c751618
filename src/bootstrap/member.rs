//! A member of the control tree: one task that owns its edges and decides what each event means.
//!
//! A connection that ends without a goodbye means that its other end died; so does silence, though it is called otherwise. The first
//! such news, own or heard, is the verdict, and it goes out over every other edge before it is pronounced here: whoever acts on
//! it has passed it on. A rank that leaves says so (see `farewell`), and is no failure.
//!
//! How edges come to be is in `attach`, how a rank leaves in `farewell`. Data is none of its business: data connections go to
//! `Claims` as they come.

use super::auth::{Membership, Visitor};
use super::claims::Claims;
use super::dial::Unreached;
use super::edge::{Edge, Event, What};
use super::endpoint::Endpoint;
use super::exchange::{Exchanges, Reply};
use super::failure::Failure;
use super::farewell::Farewell;
use super::liveness::Pulse;
use super::message::Message;
use super::news::News;
use super::statements::Statement;
use super::tree;
use crate::error::{Cause, Error, Operation};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// How long the verdict waits until it is passed on. Only a stopped or cut-off neighbour takes longer than microseconds.
const PASSING_ON: Duration = Duration::from_millis(50);

/// News of who left is collected for so long before it is passed on: when all leave together, a rank says it once for many.
const LEFT_DELAY: Duration = Duration::from_millis(5);

/// Statements are collected for so long: ranks that wait for the same one stall within milliseconds of each other.
const STATED_DELAY: Duration = Duration::from_millis(20);

/// Events of edges that may wait for the member; readers wait beyond it.
const EVENTS: usize = 64;

/// What this rank's threads ask of the member.
#[derive(Debug)]
pub(super) enum Command {
    /// Take part in a collective exchange.
    Exchange { mine: Vec<u8>, reply: Reply },
    /// Tell all what this rank's call is.
    State(Statement),
    /// Tell all of a failure.
    Report(Failure),
    /// Leave; `done` is dropped once that is over.
    Leave { done: oneshot::Sender<()> },
    /// Close everything without a word, as if the process had died.
    Abandon,
}

/// What a member begins with.
pub(super) struct Place {
    pub(super) rank: u32,
    pub(super) size: u32,
    /// Where this rank listens, and dials from.
    pub(super) endpoint: Endpoint,
    pub(super) membership: Membership,
    pub(super) news: Arc<News>,
    pub(super) claims: Arc<Claims>,
    pub(super) connect_timeout: Duration,
    pub(super) silence: Duration,
}

/// The rank above, and where it listens.
pub(super) type Above = (u32, Endpoint);

/// A member at work.
pub(super) struct Member {
    pub(super) place: Place,
    /// The rank above as it should be; its edge may be on its way.
    pub(super) above: Option<Above>,
    /// A rank above that has said goodbye, until this rank is attached elsewhere.
    pub(super) former: Option<u32>,
    pub(super) edges: BTreeMap<u32, Edge>,
    pub(super) farewell: Option<Farewell>,
    /// The failure that is, or is about to be, the verdict.
    pub(super) fallen: Option<Failure>,
    /// Told once every edge that this rank begins with is there, or why one cannot be.
    pub(super) formed: Option<oneshot::Sender<Result<(), Failure>>>,
    exchanges: Exchanges,
    /// Who left first, as far as this rank heard: others may have left because of it.
    first_left: Option<u32>,
    /// Those who left, to be passed on at `pass_on_at`.
    tidings: Vec<u32>,
    pass_on_at: Option<Instant>,
    pub(super) generation: u64,
    pub(super) events: mpsc::Sender<Event>,
    /// The dial to the rank above.
    pub(super) climbing: JoinSet<(u32, Result<TcpStream, Unreached>)>,
    /// Last words of handshakes, and verdicts until they have been passed on. New edges come out of it.
    pub(super) errands: JoinSet<Option<(u32, TcpStream)>>,
}

/// Runs a member until it has left. The rank above must be reached by `deadline`; `formed` hears of it.
pub(super) async fn run(
    place: Place,
    above: Option<Above>,
    deadline: Instant,
    formed: oneshot::Sender<Result<(), Failure>>,
    mut visitors: mpsc::Receiver<Visitor>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let (events, mut arriving) = mpsc::channel(EVENTS);
    let mut pulse = Pulse::new(place.silence);
    let mut member = Member {
        place,
        above,
        former: None,
        edges: BTreeMap::new(),
        farewell: None,
        fallen: None,
        formed: Some(formed),
        exchanges: Exchanges::default(),
        first_left: None,
        tidings: Vec::new(),
        pass_on_at: None,
        generation: 0,
        events,
        climbing: JoinSet::new(),
        errands: JoinSet::new(),
    };
    member.climb(deadline);
    member.check_formed();
    while !member.may_depart() {
        let wake = member.pass_on_at.into_iter().chain(member.farewell.as_ref().map(|f| f.until)).min();
        tokio::select! {
            Some(event) = arriving.recv() => member.hear(event),
            command = commands.recv(), if member.farewell.is_none() => match command {
                Some(Command::Exchange { mine, reply }) => member.exchange(&mine, reply),
                Some(Command::State(statement)) => member.state(&statement),
                Some(Command::Report(failure)) => member.fail(failure, None),
                Some(Command::Leave { done }) => member.leave(Some(done)),
                Some(Command::Abandon) => return,
                // The last handle is gone: that is a leave for which nobody waits.
                None => member.leave(None),
            },
            Some(visitor) = visitors.recv() => member.receive(visitor),
            // Any end of a task is taken here: an arm whose pattern does not fit drops out until another event.
            Some(climbed) = member.climbing.join_next() => if let Ok((rank, reached)) = climbed {
                member.arrive(rank, reached);
            },
            Some(errand) = member.errands.join_next() => if let Ok(Some((peer, stream))) = errand {
                member.attach(peer, stream);
            },
            () = pulse.next() => member.beat(&pulse),
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                member.pass_on();
                member.part();
            }
        }
    }
    member.say_goodbye().await;
}

impl Member {
    /// Those below: every edge but those to the rank above, present or former.
    pub(super) fn below(&self) -> impl Iterator<Item = u32> + '_ {
        let above = self.above.as_ref().map(|(rank, _)| *rank);
        self.edges.keys().copied().filter(move |peer| Some(*peer) != above && Some(*peer) != self.former)
    }

    fn hear(&mut self, Event { peer, generation, what }: Event) {
        // An edge that was closed here may still have said something before.
        if self.edges.get(&peer).is_none_or(|edge| edge.generation != generation) {
            return;
        }
        let nonsense = match what {
            What::Message(message) => self.understand(peer, message).err().map(|nonsense| nonsense.to_string()),
            What::Nonsense(reason) => Some(reason),
            What::Ended => return self.end(peer),
        };
        if let Some(reason) = nonsense {
            let rank = self.place.rank;
            self.lose(peer, Cause::Link { with: rank, transport: "control".into(), reason });
        }
    }

    fn understand(&mut self, peer: u32, message: Message) -> Result<(), super::wire::Nonsense> {
        let is_above = self.above.as_ref().is_some_and(|(rank, _)| *rank == peer);
        // Exchanges need all ranks: once one has failed or left, what remains of them is noise.
        let exchanging = self.fallen.is_none() && !self.place.news.any_left();
        match message {
            Message::Heartbeat => {}
            Message::State { endpoint, left, verdict, .. } => {
                if let Some(edge) = self.edges.get_mut(&peer) {
                    edge.endpoint = Some(endpoint);
                }
                self.check_formed();
                left.into_iter().for_each(|rank| self.note_left(rank));
                if let Some(verdict) = verdict {
                    self.fail(verdict, Some(peer));
                }
            }
            Message::Gather { round, entries } if exchanging && !is_above => {
                self.exchanges.gathered(round, peer, entries)?;
                self.advance(round)?;
            }
            Message::Spread { round, entries } if exchanging && is_above => self.spread(round, entries)?,
            Message::Gather { .. } | Message::Spread { .. } if exchanging => {
                return Err(super::wire::Nonsense("an exchange that goes the wrong way"));
            }
            Message::Gather { .. } | Message::Spread { .. } => {}
            Message::Failed(failure) => self.fail(failure, Some(peer)),
            Message::Stated(statement) => self.state(&statement),
            Message::Left(ranks) => ranks.into_iter().for_each(|rank| self.note_left(rank)),
            Message::Goodbye { heir } => self.part_from(peer, heir),
            Message::Released => drop(self.edges.remove(&peer)),
        }
        Ok(())
    }

    fn exchange(&mut self, mine: &[u8], reply: Reply) {
        let deadline = Instant::now() + self.place.connect_timeout;
        let round = self.exchanges.begin(self.place.rank, mine, reply, deadline);
        if let Some(failure) = &self.fallen {
            return self.exchanges.fail(&failure.error(self.place.rank, Operation::Connect));
        }
        if let Some(peer) = self.first_left {
            return self.exchanges.fail(&self.peer_left(peer));
        }
        self.advance(round).expect("what this rank's children sent was checked as it came");
    }

    /// Passes an exchange on as soon as all below have contributed.
    fn advance(&mut self, round: u32) -> Result<(), super::wire::Nonsense> {
        let children = tree::children(self.place.rank, self.place.size);
        let Some(entries) = self.exchanges.ready(round, children) else { return Ok(()) };
        match self.above.as_ref().and_then(|(rank, _)| self.edges.get(rank)) {
            Some(above) => above.say(&Message::Gather { round, entries }),
            None => return self.spread(round, entries),
        }
        Ok(())
    }

    fn spread(&mut self, round: u32, entries: Vec<u8>) -> Result<(), super::wire::Nonsense> {
        self.exchanges.end(round, self.place.size, &entries)?;
        let frame: Arc<[u8]> = Message::Spread { round, entries }.frame().into();
        self.below().for_each(|peer| self.edges[&peer].send(Arc::clone(&frame), None));
        Ok(())
    }

    fn peer_left(&self, peer: u32) -> Error {
        Error::Peer { rank: self.place.rank, peer, operation: Operation::Connect, cause: Cause::Left }
    }

    /// A connection ended.
    fn end(&mut self, peer: u32) {
        let above = self.above.as_ref().is_some_and(|(rank, _)| *rank == peer);
        if above || self.edges.get(&peer).is_some_and(|edge| edge.endpoint.is_some()) {
            return self.lose(peer, Cause::Died);
        }
        // It never said a word: its dialler gave this dial up after the handshake, and makes another.
        self.edges.remove(&peer);
    }

    /// An edge is gone, or unusable.
    fn lose(&mut self, peer: u32, cause: Cause) {
        if !self.place.news.left(peer) {
            self.fail(Failure { peer, cause, reporter: self.place.rank }, None);
        } else if self.above.as_ref().is_some_and(|(rank, _)| *rank == peer) {
            // It ended between its goodbye's two halves; there is no heir to go to.
            self.above = None;
        }
        self.edges.remove(&peer);
        if self.former == Some(peer) {
            self.former = None;
        }
    }

    /// Passes the first failure on to all edges but the one it came `from`, then pronounces the verdict.
    pub(super) fn fail(&mut self, failure: Failure, from: Option<u32>) {
        if self.fallen.is_some() {
            return;
        }
        tracing::warn!(rank = self.place.rank, peer = failure.peer, cause = %failure.cause, reporter = failure.reporter, "failed");
        self.place.news.fall();
        self.fallen = Some(failure.clone());
        let frame: Arc<[u8]> = Message::Failed(failure.clone()).frame().into();
        let (written, mut all_written) = mpsc::channel(1);
        for (_, edge) in self.edges.iter().filter(|(peer, _)| Some(**peer) != from) {
            edge.send(Arc::clone(&frame), Some(written.clone()));
        }
        drop(written);
        self.exchanges.fail(&failure.error(self.place.rank, Operation::Connect));
        if let Some(formed) = self.formed.take() {
            let _ = formed.send(Err(failure.clone()));
        }
        let news = Arc::clone(&self.place.news);
        self.errands.spawn(async move {
            // The channel ends when the last edge has written, or at once without edges.
            let _ = timeout(PASSING_ON, all_written.recv()).await;
            news.pronounce(failure);
            None
        });
    }

    /// Notes a statement, to be passed on soon if it is news.
    fn state(&mut self, statement: &Statement) {
        let known = statement.ranks.last().is_some_and(|last| last < self.place.size);
        if known && self.place.news.statements.note(statement) {
            self.pass_on_within(STATED_DELAY);
        }
    }

    /// Notes that a rank has left, to be passed on soon.
    pub(super) fn note_left(&mut self, rank: u32) {
        if rank >= self.place.size || !self.place.news.note_left(rank) {
            return;
        }
        self.first_left = self.first_left.or(Some(rank));
        // It cannot have contributed: the end of an exchange overtakes the news of a rank that left after it.
        self.exchanges.fail(&self.peer_left(rank));
        self.tidings.push(rank);
        self.pass_on_within(LEFT_DELAY);
    }

    fn pass_on_within(&mut self, delay: Duration) {
        let at = Instant::now() + delay;
        self.pass_on_at = Some(self.pass_on_at.map_or(at, |sooner| sooner.min(at)));
    }

    pub(super) fn pass_on(&mut self) {
        self.pass_on_at = None;
        let tidings = std::mem::take(&mut self.tidings);
        if !tidings.is_empty() {
            self.tell_all(&Message::Left(tidings));
        }
        for statement in self.place.news.statements.take_news() {
            self.tell_all(&Message::Stated(statement));
        }
    }

    fn tell_all(&self, message: &Message) {
        let frame: Arc<[u8]> = message.frame().into();
        self.edges.values().for_each(|edge| edge.send(Arc::clone(&frame), None));
    }

    fn beat(&mut self, pulse: &Pulse) {
        let silence = self.place.silence;
        // Every edge is looked at, so that each counts this beat.
        let mut silent = None;
        for (peer, edge) in &mut self.edges {
            if pulse.gives_up(&mut edge.attention) {
                silent.get_or_insert(*peer);
            }
        }
        if let Some(peer) = silent {
            self.lose(peer, Cause::Silent(silence));
        }
        let frame: Arc<[u8]> = Message::Heartbeat.frame().into();
        self.edges.values().for_each(|edge| edge.send(Arc::clone(&frame), None));
        let Place { rank, connect_timeout: after, size, .. } = self.place;
        let children: Vec<_> = tree::children(rank, size).collect();
        let above = tree::parent(rank).unwrap_or(rank);
        let operation = Operation::Connect;
        self.exchanges.expire(Instant::now(), &children, above, |peer| Error::Timeout { rank, operation, peer, after });
    }
}
