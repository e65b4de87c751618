//! The handle that a rank holds on the control plane.
//!
//! Every call blocks its thread, with a deadline, while the control thread does the work; all may be made from any thread (in a
//! hook, which runs on the control thread itself, they fail).

use super::auth::{Membership, Purpose, Role};
use super::claims::Claims;
use super::endpoint::Endpoint;
use super::exchange::contribution_max;
use super::failure::Failure;
use super::member::{Command, Place};
use super::news::News;
use super::rank_set::RankSet;
use super::rendezvous::Meeting;
use super::settings::Settings;
use super::site::Site;
use super::statements::{STATEMENT_BYTES_MAX, Statement};
use super::thread::ControlThread;
use super::unique_id::UniqueId;
use super::{dial, join, thread};
use crate::error::{Cause, Error, Operation, Result};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// How long a report may take to become the verdict: it waits for nothing but its being passed on.
const REPORTING: Duration = Duration::from_secs(1);

/// The most that leaving takes: its own phases have shorter deadlines.
const LEAVING: Duration = Duration::from_secs(5);

/// A rank's end of the control plane: exchange of small data, authenticated connections, and news of failures.
///
/// Clones are handles on the same end. When the last is dropped, the rank leaves (or, in a panic, drops out as if it had died).
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    rank: u32,
    size: u32,
    endpoint: Endpoint,
    membership: Membership,
    news: Arc<News>,
    claims: Arc<Claims>,
    connect_timeout: Duration,
    commands: mpsc::UnboundedSender<Command>,
    thread: ControlThread,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // If the member is gone there is nothing to abandon.
            let _ = self.commands.send(Command::Abandon);
        }
    }
}

impl Control {
    /// Joins the communicator of `id` as `rank` of `size`; returns once all ranks have joined.
    ///
    /// Fails with [`Error::Missing`] if some ranks do not come within the init timeout, with [`Error::Unreachable`] if the rendezvous
    /// does not answer, with [`Error::InvalidArgument`] if ranks contradict each other, and with [`Error::Peer`] if one fails.
    /// [`Error::Cancelled`] says that it was cancelled: then this rank has not come or, if all had, has left.
    pub fn join(id: &UniqueId, rank: u32, size: u32, settings: &Settings) -> Result<Self> {
        Self::join_while(id, rank, size, settings, || Ok(()))
    }

    /// The same, for as long as `ask`, which is asked now and then, says nothing against it.
    pub(crate) fn join_while(
        id: &UniqueId,
        rank: u32,
        size: u32,
        settings: &Settings,
        ask: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        Self::wait_for(join::join(id.into(), rank, size, settings.clone()), rank, settings, ask)
    }

    pub(super) fn join_at(meeting: Meeting, rank: u32, size: u32, settings: &Settings) -> Result<Self> {
        Self::wait_for(join::join(meeting, rank, size, settings.clone()), rank, settings, || Ok(()))
    }

    /// Waits for a join to end, or to be ended.
    pub(super) fn wait_for(
        joining: impl Future<Output = Result<Self>> + Send + 'static,
        rank: u32,
        settings: &Settings,
        mut ask: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        settings.cancel.check(rank)?;
        thread::handle()?.block_while(joining, || settings.cancel.check(rank).and_then(|()| ask()))
    }

    /// The handle of a member that is about to run in the present runtime.
    pub(super) fn new(place: &Place, commands: mpsc::UnboundedSender<Command>) -> Self {
        let shared = Shared {
            rank: place.rank,
            size: place.size,
            endpoint: place.endpoint.clone(),
            membership: place.membership.clone(),
            news: Arc::clone(&place.news),
            claims: Arc::clone(&place.claims),
            connect_timeout: place.connect_timeout,
            commands,
            thread: ControlThread::present(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Whether both are handles on the same end.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// What this rank proves itself by.
    #[cfg(test)]
    pub(super) fn membership(&self) -> Membership {
        self.shared.membership.clone()
    }

    /// This rank.
    pub fn rank(&self) -> u32 {
        self.shared.rank
    }

    /// How many ranks there are.
    pub fn size(&self) -> u32 {
        self.shared.size
    }

    /// Where this rank listens, to be given to peers that shall [`dial`](Self::dial) it.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// The addresses of [`endpoint`](Self::endpoint), best first.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.shared.endpoint.addresses()
    }

    /// A collective exchange: every rank contributes `mine`, and every rank gets all contributions by rank. All ranks must call it, the
    /// same number of times; it fails once a rank has failed or left, and with [`Error::Timeout`] after the connect timeout.
    pub fn exchange(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.shared.thread.block(self.exchange_task(mine.to_vec()))
    }

    pub(super) fn exchange_task(&self, mine: Vec<u8>) -> impl Future<Output = Result<Vec<Vec<u8>>>> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        async move {
            let most = contribution_max(shared.size);
            if mine.len() > most {
                let what =
                    format!("an exchange among {} ranks takes {most} bytes of each, not {}", shared.size, mine.len());
                return Err(Error::InvalidArgument { what });
            }
            let (reply, answer) = oneshot::channel();
            // A member that is gone drops the command, and its reply with it.
            let _ = shared.commands.send(Command::Exchange { mine, reply });
            answer.await.unwrap_or_else(|_| Err(shared.over()))
        }
    }

    /// Makes an authenticated data connection to `peer`, which listens at `addresses` (see [`Endpoint::reachable`]), and has it
    /// accepted there under the same `tag`. It comes from an address that this rank listens on, where one fits.
    ///
    /// The stream is blocking, without delay (Nagle), and carries nothing of its own any more. A tag is for one connection at a time.
    pub fn dial(&self, peer: u32, addresses: &[SocketAddr], tag: u32) -> Result<TcpStream> {
        self.shared.thread.block(self.dial_task(peer, addresses.to_vec(), tag))
    }

    pub(super) fn dial_task(
        &self,
        peer: u32,
        addresses: Vec<SocketAddr>,
        tag: u32,
    ) -> impl Future<Output = Result<TcpStream>> + Send + use<> {
        let (shared, dialling) = (Arc::clone(&self.shared), self.dial_anyhow_task(peer, addresses, tag));
        async move {
            shared.check_peer(peer)?;
            tokio::select! {
                biased;
                verdict = shared.news.fallen() => Err(shared.error(verdict)),
                dialled = dialling => dialled,
            }
        }
    }

    /// As [`dial`](Self::dial), and a verdict does not matter: survivors of a failure can still reach each other. `ask` is asked now and then, and an
    /// error from it ends the wait.
    pub fn dial_anyhow(
        &self,
        peer: u32,
        addresses: &[SocketAddr],
        tag: u32,
        ask: impl FnMut() -> Result<()>,
    ) -> Result<TcpStream> {
        self.shared.thread.block_while(self.dial_anyhow_task(peer, addresses.to_vec(), tag), ask)
    }

    fn dial_anyhow_task(
        &self,
        peer: u32,
        addresses: Vec<SocketAddr>,
        tag: u32,
    ) -> impl Future<Output = Result<TcpStream>> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        async move {
            shared.check_peer(peer)?;
            let deadline = Instant::now() + shared.connect_timeout;
            let purpose = Purpose { role: Role::Data, from: shared.rank, to: peer, tag };
            let site = Site::Addresses(addresses);
            match dial::dial(&shared.membership, purpose, &site, shared.endpoint.addresses(), deadline).await {
                Ok(stream) => blocking(stream),
                Err(unreached) => Err(shared.unreached(peer, unreached.to_string())),
            }
        }
    }

    /// Takes the connection that `peer` dials under `tag`, now or later. How late it may be is the caller's to say: `ask` is asked now and then, and
    /// an error from it ends the wait.
    pub fn accept(&self, peer: u32, tag: u32, ask: impl FnMut() -> Result<()>) -> Result<TcpStream> {
        self.shared.thread.block_while(self.accept_task(peer, tag), ask)
    }

    pub(super) fn accept_task(&self, peer: u32, tag: u32) -> impl Future<Output = Result<TcpStream>> + Send + use<> {
        let (shared, accepting) = (Arc::clone(&self.shared), self.accept_anyhow_task(peer, tag));
        async move {
            shared.check_peer(peer)?;
            tokio::select! {
                biased;
                verdict = shared.news.fallen() => Err(shared.error(verdict)),
                accepted = accepting => accepted,
            }
        }
    }

    /// As [`accept`](Self::accept), and a verdict does not matter.
    pub fn accept_anyhow(&self, peer: u32, tag: u32, ask: impl FnMut() -> Result<()>) -> Result<TcpStream> {
        self.shared.thread.block_while(self.accept_anyhow_task(peer, tag), ask)
    }

    fn accept_anyhow_task(&self, peer: u32, tag: u32) -> impl Future<Output = Result<TcpStream>> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        async move {
            shared.check_peer(peer)?;
            let claim = shared.claims.claim(peer, tag);
            claim.await.map_err(|_| shared.over()).and_then(blocking)
        }
    }

    /// The failure that broke the communicator, if one did: one load when all is well.
    #[inline]
    pub fn verdict(&self) -> Option<&Failure> {
        self.shared.news.verdict()
    }

    /// Tells all ranks of a failure. Returns when the verdict has fallen, which is another failure if one came first.
    pub fn report(&self, failure: Failure) -> &Failure {
        let shared = Arc::clone(&self.shared);
        let ours = failure.clone();
        let reported: Result<()> = self.shared.thread.block(async move {
            let _ = shared.commands.send(Command::Report(failure));
            let _ = timeout(REPORTING, shared.news.fallen()).await;
            Ok(())
        });
        if self.verdict().is_none() {
            tracing::debug!(?reported, "a report that no member passed on: it has left");
            self.shared.news.pronounce(ours);
        }
        self.verdict().expect("pronounced above at the latest")
    }

    /// Tells all ranks that this rank's call number `sequence` is `what` (at most 64 bytes) and takes long. What ranks say at about the same time travels
    /// together, so what it costs does not grow with how many they are.
    pub fn state(&self, sequence: u64, what: &[u8]) {
        let what = what[..what.len().min(STATEMENT_BYTES_MAX)].to_vec();
        // A member that has left tells nobody, and nobody waits for it.
        let _ = self.shared.commands.send(Command::State(Statement {
            ranks: RankSet::of(self.shared.rank),
            sequence,
            what,
        }));
    }

    /// A rank that said another thing of call number `sequence` than `what`, and what it said.
    #[inline]
    pub fn contradiction(&self, sequence: u64, what: &[u8]) -> Option<(u32, Vec<u8>)> {
        self.shared.news.statements.contradiction(sequence, what)
    }

    /// What `rank` has said of a call after number `sequence`, if it has.
    pub fn later(&self, rank: u32, sequence: u64) -> Option<Vec<u8>> {
        self.shared.news.statements.later(rank, sequence)
    }

    /// A rank that, as far as is known, has not come to call number `sequence`, of which this rank has said `what`: `awaited` if it has not, else the
    /// lowest. A rank that is through with the call and says nothing since looks the same.
    pub fn absent(&self, sequence: u64, what: &[u8], awaited: u32) -> Option<u32> {
        self.shared.news.statements.absent(sequence, what, self.size(), awaited)
    }

    /// Has `hook` called once when the verdict falls, on the control thread (so it must be quick, and make no call of this
    /// handle that waits); at once, here, if it has fallen. A hook that is never called is dropped when the rank leaves.
    pub fn subscribe(&self, hook: impl FnOnce(&Failure) + Send + 'static) {
        self.shared.news.subscribe(Box::new(hook));
    }

    /// Whether `peer` has said that it leaves.
    pub fn left(&self, peer: u32) -> bool {
        self.shared.news.left_in_order(peer)
    }

    /// Whether any rank has said that it leaves: one load.
    #[inline]
    pub fn any_left(&self) -> bool {
        self.shared.news.any_left()
    }

    /// Why a data connection to `peer` may have ended: the verdict, or that `peer` left; waits at most `patience` for such news.
    pub fn explain(&self, peer: u32, patience: Duration) -> Option<Failure> {
        self.shared.news.explain(peer, patience)
    }

    /// Leaves the communicator: says goodbye to all, so that the end of this rank's connections is no death. Takes a moment while ranks
    /// below this one in the control tree still work, and has a deadline. Other clones of this handle are of no use afterwards.
    pub fn leave(self) {
        let task = self.leave_task();
        // Its result is only that it is over.
        let _ = self.shared.thread.block(async {
            task.await;
            Ok(())
        });
    }

    pub(super) fn leave_task(&self) -> impl Future<Output = ()> + Send + use<> {
        let (done, over) = oneshot::channel();
        let _ = self.shared.commands.send(Command::Leave { done });
        async move {
            // Ends by the sender's being dropped.
            let _ = timeout(LEAVING, over).await;
        }
    }
}

impl Shared {
    fn error(&self, verdict: &Failure) -> Error {
        verdict.error(self.rank, Operation::Connect)
    }

    fn unreached(&self, peer: u32, reason: String) -> Error {
        let cause = if self.news.left(peer) {
            Cause::Left
        } else {
            // The text that all ranks will read: who dialled whom.
            let reason = format!("rank {} does not reach it: {reason}", self.rank);
            Cause::Link { with: self.rank, transport: "tcp".into(), reason }
        };
        Error::Peer { rank: self.rank, peer, operation: Operation::Connect, cause }
    }

    /// The error of a call after this rank has left.
    fn over(&self) -> Error {
        match self.news.verdict() {
            Some(verdict) => self.error(verdict),
            None => Error::InvalidArgument { what: format!("rank {} has left this communicator", self.rank) },
        }
    }

    fn check_peer(&self, peer: u32) -> Result<()> {
        if peer < self.size && peer != self.rank {
            return Ok(());
        }
        let what = format!("rank {peer} is no peer of rank {} among {} ranks", self.rank, self.size);
        Err(Error::InvalidArgument { what })
    }
}

/// A stream as a transport wants it.
fn blocking(stream: tokio::net::TcpStream) -> Result<TcpStream> {
    let made = stream.set_nodelay(true).and_then(|()| stream.into_std()).and_then(|stream| {
        stream.set_nonblocking(false)?;
        Ok(stream)
    });
    made.map_err(|e| Error::System { what: "preparing a data connection".into(), reason: e.to_string() })
}
