//! The rendezvous: a service in one process at which all ranks report, and which tells each where the rank above it listens.
//!
//! Per rank it receives two messages and sends two, so its work grows as the number of ranks. Everything else goes over the tree.

use super::auth::{HANDSHAKE_TIMEOUT, Membership, RENDEZVOUS, Refusal, Role, Visitor};
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::listener::Listener;
use super::rendezvous::{Answer, Reason, Report};
use super::tree;
use super::unique_id::{Secret, fill_random};
use super::wire::{self, RENDEZVOUS_FRAME_MAX};
use crate::error::{Cause, Error};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// How long the answer to one rank may take to go out. It is small and the connection's buffers are empty, so it takes no time at all.
const ANSWERING: Duration = Duration::from_secs(1);

/// How long ranks may take to close their connections after the last answer; closing first might cost them that answer.
const CLOSING: Duration = Duration::from_secs(2);

/// How long a rendezvous that is over still says so to those who come late.
const EPILOGUE: Duration = Duration::from_secs(60);

/// Descriptors that a process needs beside those for its ranks.
const OTHER_DESCRIPTORS: u64 = 256;

/// Messages received and sent.
pub(super) type Counter = Arc<AtomicU64>;

/// What a rendezvous does once it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// Says so to late-comers for a while. For a unique id, which serves once.
    Answer,
    /// Goes before it tells the ranks, who may come back at once: for a place that the next rendezvous may be at.
    Close,
}

/// The rank for whose launch a rendezvous is: it does not outlast that rank's joining.
pub(super) struct Host {
    /// When the host gives up, and its timeout.
    pub(super) deadline: (Instant, Duration),
    /// How the host's joining ended; dropped when it was given up.
    pub(super) ended: oneshot::Receiver<Result<(), Error>>,
}

/// Serves one rendezvous to its end; waits for the first rank for ever.
pub(super) async fn serve(listener: Listener, secret: Secret, afterwards: Afterwards, counter: Counter) {
    meet(listener, secret, afterwards, Root::new(counter), std::future::pending()).await;
}

/// The same for ranks that are known to come, in this time.
pub(super) async fn serve_members(listener: Listener, secret: Secret, time: Duration) {
    let root = Root { deadline: Some((Instant::now() + time, time)), ..Root::new(Counter::default()) };
    meet(listener, secret, Afterwards::Close, root, std::future::pending()).await;
}

/// Serves one rendezvous in a place that the next one may be at, for as long as rank 0, the `host`, needs it.
pub(super) async fn serve_for(host: Host, listener: Listener, secret: Secret) {
    let root = Root { deadline: Some(host.deadline), ..Root::new(Counter::default()) };
    let given_up = async {
        let why = match host.ended.await {
            Ok(Ok(())) => std::future::pending().await,
            Ok(Err(why)) => why,
            Err(_) => Error::Cancelled { rank: 0 },
        };
        Reason::Failed(Failure { peer: 0, cause: Cause::Reported(why.to_string()), reporter: 0 })
    };
    meet(listener, secret, Afterwards::Close, root, given_up).await;
}

async fn meet(
    listener: Listener,
    secret: Secret,
    afterwards: Afterwards,
    mut root: Root,
    given_up: impl Future<Output = Reason>,
) {
    let (admit, mut visitors) = mpsc::channel(64);
    let mut open = listener.open(Membership::of_rendezvous(&secret), RENDEZVOUS, admit);
    let outcome = root.meet(&mut visitors, std::pin::pin!(given_up)).await;
    tracing::debug!(?outcome, "the rendezvous is over");
    if afterwards == Afterwards::Close {
        open.shutdown().await;
        visitors.close();
        while visitors.try_recv().is_ok() {}
    }
    let answer = outcome.as_ref().map_or_else(|reason| Answer::Refused(reason.clone()), |()| Answer::Go);
    root.answer_all(&answer).await;
    root.close().await;
    if afterwards == Afterwards::Answer {
        let late = outcome.err().unwrap_or_else(|| {
            Reason::Contradiction(
                "this unique id is used up: all ranks have come (is a rank number given out twice?)".into(),
            )
        });
        // Ends by the timeout.
        let _ = timeout(EPILOGUE, root.turn_away(&mut visitors, late)).await;
    }
}

/// One rank at the rendezvous.
struct Seat {
    connection: u64,
    to: OwnedWriteHalf,
    endpoint: Endpoint,
    ready: bool,
}

struct Event {
    connection: u64,
    rank: u32,
    what: What,
}

enum What {
    Registered { to: OwnedWriteHalf, size: u32, patience: Duration, timeout: Duration, endpoint: Endpoint },
    Ready,
    Trouble(Failure),
    Gone,
}

struct Root {
    seats: BTreeMap<u32, Seat>,
    /// How many ranks there are, and which said so first.
    size: Option<(u32, u32)>,
    /// When the least patient rank gives up, and its timeout.
    deadline: Option<(Instant, Duration)>,
    welcomed: bool,
    connections: u64,
    events: mpsc::Sender<Event>,
    arriving: mpsc::Receiver<Event>,
    readers: JoinSet<()>,
    counter: Counter,
}

impl Root {
    fn new(counter: Counter) -> Self {
        let (events, arriving) = mpsc::channel(64);
        Self {
            seats: BTreeMap::new(),
            size: None,
            deadline: None,
            welcomed: false,
            connections: 0,
            events,
            arriving,
            readers: JoinSet::new(),
            counter,
        }
    }

    /// Until all ranks are connected, or it comes to nothing.
    async fn meet(
        &mut self,
        visitors: &mut mpsc::Receiver<Visitor>,
        mut given_up: Pin<&mut impl Future<Output = Reason>>,
    ) -> Result<(), Reason> {
        loop {
            let deadline = self.deadline.map(|(at, _)| at);
            tokio::select! {
                Some(visitor) = visitors.recv() => self.receive(visitor),
                Some(event) = self.arriving.recv() => self.hear(event).await?,
                reason = &mut given_up => return Err(reason),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return Err(self.missing()),
            }
            while self.readers.try_join_next().is_some() {}
            let (Some((size, _)), came) = (self.size, self.seats.len()) else { continue };
            if came < size as usize {
                continue;
            }
            if !self.welcomed {
                self.welcome_all().await?;
            } else if self.seats.values().all(|seat| seat.ready) {
                return Ok(());
            }
        }
    }

    fn receive(&mut self, visitor: Visitor) {
        self.connections += 1;
        let (events, counter) = (self.events.clone(), Arc::clone(&self.counter));
        let reader = Reader { connection: self.connections, rank: visitor.purpose.from, events, counter };
        self.readers.spawn(async move {
            if visitor.purpose.role != Role::Register {
                return visitor.refuse(Refusal::Unexpected).await;
            }
            reader.listen(visitor).await;
            reader.tell(What::Gone).await;
        });
    }

    async fn hear(&mut self, Event { connection, rank, what }: Event) -> Result<(), Reason> {
        let seated = self.seats.get_mut(&rank).filter(|seat| seat.connection == connection);
        match (what, seated) {
            (What::Registered { mut to, size, patience, timeout, endpoint }, _) => {
                match self.judge(rank, size) {
                    Err(reason) => {
                        // It has no seat, so it is told apart from the others.
                        self.answer(&mut to, &Answer::Refused(reason.clone())).await;
                        return Err(reason);
                    }
                    Ok(Some(refusal)) => self.answer(&mut to, &Answer::Refused(Reason::Contradiction(refusal))).await,
                    Ok(None) => self.seat(
                        Seat { connection, to, endpoint, ready: false },
                        rank,
                        size,
                        (Instant::now() + patience, timeout),
                    ),
                }
            }
            (What::Ready, Some(seat)) => seat.ready = true,
            (What::Trouble(failure), Some(_)) => return Err(Reason::Failed(failure)),
            (What::Gone, Some(_)) => {
                return Err(Reason::Failed(Failure { peer: rank, cause: Cause::Died, reporter: rank }));
            }
            // A connection that was refused its seat.
            (_, None) => {}
        }
        Ok(())
    }

    /// Whether a rank may be seated: why not, or what makes the whole rendezvous fail.
    fn judge(&self, rank: u32, size: u32) -> Result<Option<String>, Reason> {
        if let Some((agreed, first)) = self.size
            && agreed != size
        {
            return Err(Reason::Contradiction(format!(
                "the ranks disagree on their number: rank {first} says {agreed}, rank {rank} says {size}"
            )));
        }
        if rank >= size {
            return Ok(Some(format!("rank {rank} cannot be one of {size} ranks: they are numbered from 0")));
        }
        let taken = format!("rank {rank} is taken: two processes claim it");
        Ok(self.seats.contains_key(&rank).then_some(taken))
    }

    fn seat(&mut self, seat: Seat, rank: u32, size: u32, deadline: (Instant, Duration)) {
        if self.size.is_none() {
            make_room(size);
        }
        self.size.get_or_insert((size, rank));
        if self.deadline.is_none_or(|(at, _)| deadline.0 < at) {
            self.deadline = Some(deadline);
        }
        self.seats.insert(rank, seat);
    }

    fn missing(&self) -> Reason {
        let (size, _) = self.size.unwrap_or_default();
        let here = |rank: &u32| self.seats.get(rank).is_some_and(|seat| seat.ready || !self.welcomed);
        let missing = (0..size).filter(|rank| !here(rank)).collect();
        Reason::Missing { missing, after: self.deadline.map(|(_, after)| after).unwrap_or_default() }
    }

    async fn welcome_all(&mut self) -> Result<(), Reason> {
        let mut session = [0; 32];
        fill_random(&mut session).map_err(|e| Reason::Contradiction(e.to_string()))?;
        self.welcomed = true;
        let endpoints: Vec<_> = self.seats.values().map(|seat| seat.endpoint.clone()).collect();
        let mut seats = std::mem::take(&mut self.seats);
        for (rank, seat) in &mut seats {
            let above = tree::parent(*rank).map(|parent| endpoints[parent as usize].clone());
            self.answer(&mut seat.to, &Answer::Welcome { session, above }).await;
        }
        self.seats = seats;
        Ok(())
    }

    async fn answer_all(&mut self, answer: &Answer) {
        let mut seats = std::mem::take(&mut self.seats);
        for seat in seats.values_mut() {
            self.answer(&mut seat.to, answer).await;
        }
        self.seats = seats;
    }

    async fn answer(&self, to: &mut OwnedWriteHalf, answer: &Answer) {
        self.counter.fetch_add(1, Ordering::Relaxed);
        // A rank that cannot be told is gone, which its reader tells.
        let _ = timeout(ANSWERING, to.write_all(&answer.frame())).await;
    }

    /// Closes all connections, once the ranks have.
    async fn close(&mut self) {
        self.seats.clear();
        self.arriving.close();
        let all = async { while self.readers.join_next().await.is_some() {} };
        let _ = timeout(CLOSING, all).await;
    }

    /// Tells everybody who comes that it is over.
    async fn turn_away(&mut self, visitors: &mut mpsc::Receiver<Visitor>, reason: Reason) {
        while let Some(visitor) = visitors.recv().await {
            let frame = Answer::Refused(reason.clone()).frame();
            self.readers.spawn(async move {
                if let Ok(mut stream) = visitor.admit().await {
                    let _ = timeout(ANSWERING, stream.write_all(&frame)).await;
                    // The rank's own first message must not meet a closed connection, which would lose the answer.
                    let _ = timeout(CLOSING, wire::read_frame(&mut stream, RENDEZVOUS_FRAME_MAX, || ())).await;
                }
            });
            while self.readers.try_join_next().is_some() {}
        }
    }
}

/// Reads what one rank reports.
struct Reader {
    connection: u64,
    rank: u32,
    events: mpsc::Sender<Event>,
    counter: Counter,
}

impl Reader {
    /// Until its connection ends.
    async fn listen(&self, visitor: Visitor) {
        let Ok(stream) = visitor.admit().await else { return };
        let (mut from, to) = stream.into_split();
        let first = timeout(HANDSHAKE_TIMEOUT, wire::read_frame(&mut from, RENDEZVOUS_FRAME_MAX, || ())).await;
        let Ok(Ok(Some(body))) = first else { return };
        let Ok(Report::Register { size, patience, timeout, endpoint }) = Report::parse(&body) else { return };
        // Times are added to a clock, so those that would overflow it are cut.
        let patience = patience.min(Duration::from_secs(u32::MAX.into()));
        self.tell(What::Registered { to, size, patience, timeout, endpoint }).await;
        while let Ok(Some(body)) = wire::read_frame(&mut from, RENDEZVOUS_FRAME_MAX, || ()).await {
            match Report::parse(&body) {
                Ok(Report::Ready) => self.tell(What::Ready).await,
                Ok(Report::Trouble(failure)) => self.tell(What::Trouble(failure)).await,
                Ok(Report::Register { .. }) | Err(_) => return,
            }
        }
    }

    async fn tell(&self, what: What) {
        let Self { connection, rank, .. } = *self;
        if !matches!(what, What::Gone) {
            self.counter.fetch_add(1, Ordering::Relaxed);
        }
        // The receiver ends when nobody is interested any more.
        let _ = self.events.send(Event { connection, rank, what }).await;
    }
}

/// A rendezvous holds a connection for each rank: more than the usual soft limit of 1,024 descriptors, within the hard one.
fn make_room(size: u32) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = u64::from(size) + OTHER_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let current = limit.maximum.map(|maximum| maximum.min(wanted)).or(Some(wanted));
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum }) {
            tracing::warn!(%error, wanted, "cannot raise the limit of open files for the rendezvous");
        }
    }
}
