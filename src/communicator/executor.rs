//! What runs a communicator's calls, one at a time: the room of a shared host, or the engine over links.

use super::card::Card;
use super::config::{Config, Probe, TransportChoice};
use super::connect::LinkMaker;
use super::inherited::Inherited;
use super::lending::Lending;
use super::links::{LinkReport, SHM};
use super::meet::{Meeting, OwnRail};
use super::messages::Counters;
use super::probe::network;
use super::request::{Counts, Request};
use super::watch::CallWatch;
use crate::bootstrap::{Control, Failure};
use crate::engine::room::Room;
use crate::engine::wait::{Backoff, End};
use crate::engine::{Engine, Job, Layout, Stop, VERDICT_GRACE, Work};
use crate::error::{Cause, Error, Operation, Result};
use crate::memory;
use crate::schedule::{Algorithm, Grouping, Program, Schedule, Step};
use crate::transport::tcp::TcpSettings;
use crate::transport::{Fault, Link, Transport};
use crate::tune::{Choice, RANKS_MOST, Reach, Tables};
use crate::types::{Call, CollectiveKind, DataType, Op};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use zerocopy::IntoBytes;

/// The place that events about links name as theirs.
const LINKS: &str = "serried::transport::link";

/// Runs one communicator's calls.
#[derive(Debug)]
pub(super) struct Executor {
    pub(super) rank: u32,
    pub(super) size: u32,
    /// Which ranks share a host.
    pub(super) grouping: Arc<Grouping>,
    tables: Tables,
    pub(super) room: Option<Room>,
    engine: Engine<Link>,
    /// Which links, by peer, are streams.
    streams: Vec<bool>,
    /// How the links came to be, by peer.
    reports: Vec<Option<LinkReport>>,
    backoff: Backoff,
    cards: Arc<[Card]>,
    /// The programs whose links are there: kind, algorithm and root.
    connected: HashSet<(CollectiveKind, Algorithm, u32)>,
    /// Where the blocks begin that a running call takes and gives, if their sizes are uneven; kept, so that nothing is allocated.
    starts: [Vec<usize>; 2],
    /// Where inputs are multiplied before they are reduced; kept, too.
    scaled: Vec<u8>,
    transport: TransportChoice,
    rail: OwnRail,
    lending: Option<Lending>,
    tcp: TcpSettings,
    sockets: Option<u32>,
    pub(super) timeout: Duration,
    /// The smallest slot among the kinds of link that ranks may use.
    pub(super) slot_bytes: usize,
    /// Collective calls so far.
    pub(super) sequence: u64,
    /// Calls are made to measure, and no user's.
    is_measuring: bool,
    pub(super) counters: Counters,
    pub(super) broken: Option<Error>,
}

impl Executor {
    /// Meets the other ranks, and is ready for calls.
    pub(super) fn prepare(control: &Control, local_rank: u32, config: &Config, mut parent: Inherited) -> Result<Self> {
        let port = parent.rail.take();
        let Meeting { cards, room, rail, slot_bytes } = Meeting::hold(control, local_rank, config, port)?;
        let allowed = config.algorithms;
        let reach = match &room {
            Some(_) if allowed.fits_room() => Reach::Room { slot_bytes },
            _ => Reach::Links { slot_bytes },
        };
        let (rank, size) = (control.rank(), control.size());
        // Every rank sees the same cards.
        let hosts: Vec<&str> = cards.iter().map(|card| card.host.as_str()).collect();
        let grouping = Arc::new(Grouping::new(&hosts));
        let room = room.filter(|_| matches!(reach, Reach::Room { .. }));
        if room.is_some() {
            let peers = (0..size).filter(|peer| *peer != rank);
            peers.for_each(|peer| tracing::info!(target: LINKS, rank, peer, transport = SHM, "linked"));
        }
        let mut executor = Self {
            rank,
            size,
            tables: Tables::new(grouping.clone(), reach, &allowed),
            grouping,
            room,
            engine: Engine::new((0..size).map(|_| None).collect()),
            streams: vec![false; size as usize],
            reports: vec![None; size as usize],
            backoff: Backoff::new()?,
            cards: cards.into(),
            connected: HashSet::new(),
            starts: Default::default(),
            scaled: Vec::new(),
            transport: config.transport,
            lending: rail.as_ref().ok().cloned().map(Lending::new),
            rail,
            tcp: TcpSettings::default(),
            sockets: config.sockets,
            timeout: config.timeout,
            slot_bytes,
            sequence: 0,
            is_measuring: false,
            counters: Counters::new(size),
            broken: None,
        };
        // What would connect nothing is told by the call that needs it.
        let is_linked = config.transport != TransportChoice::Shm || executor.grouping.hosts() == 1;
        if config.probe != Probe::Off && (2..=RANKS_MOST).contains(&size) && is_linked {
            if let Some(measured) = network(&mut executor, control, config, reach, parent)? {
                executor.tables.take(measured);
            }
            executor.read_as_measured();
        }
        if rank == 0 {
            executor.tables.tell();
        }
        Ok(executor)
    }

    /// The RDMA port, or why there is none.
    pub(super) fn rail(&self) -> &OwnRail {
        &self.rail
    }

    /// The choices for calls, and what they cost.
    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The same, to change them.
    pub(super) fn tables_mut(&mut self) -> &mut Tables {
        &mut self.tables
    }

    /// What each rank has told.
    pub(super) fn cards(&self) -> &[Card] {
        &self.cards
    }

    /// By host, the number of the machine that it is on.
    pub(super) fn machines(&self) -> Vec<u32> {
        let first = |host| &self.cards[self.grouping.members(host)[0] as usize].machine;
        let names: Vec<&String> = (0..self.grouping.hosts()).map(first).collect();
        let machines = Grouping::new(&names);
        (0..self.grouping.hosts()).map(|host| machines.host_of(host)).collect()
    }

    /// From now on calls are made to measure, until [`Self::forget_calls`].
    pub(super) fn begin_measuring(&mut self) {
        self.is_measuring = true;
    }

    /// Whether calls run in memory that all ranks share.
    pub(super) fn has_room(&self) -> bool {
        self.room.is_some()
    }

    /// Slots that a lane to `peer` has; none without a link.
    pub(super) fn slots_to(&self, peer: u32) -> u32 {
        self.engine.link(peer).map_or(0, |link| link.capabilities().credits)
    }

    /// What was called so far was to measure: the user's calls are counted from here. All ranks exchange something before the first of them.
    pub(super) fn forget_calls(&mut self) {
        self.is_measuring = false;
        self.room.iter_mut().for_each(Room::forget_calls);
        self.sequence = 0;
        self.counters = Counters::new(self.size);
    }

    /// Where a rank listens, best first.
    pub(super) fn addresses(&self, rank: u32) -> Vec<SocketAddr> {
        self.cards[rank as usize].endpoint.reachable()
    }

    /// One collective call, from its arguments to its end. A failure breaks the communicator here and, by the control plane, everywhere.
    pub(super) fn collective(&mut self, control: &Control, request: Request<'_>) -> Result<()> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.sequence += 1;
        if let Err(error) = request.check(self.rank, self.size) {
            return Err(self.refuse(control, &request, error));
        }
        let choice = match request.counts {
            Counts::Exchanged { .. } => *self.tables.uneven_exchange(),
            _ => *self.tables.choice(request.kind, request.bytes(self.size)),
        };
        let Request { kind, root, reduction, .. } = request;
        let (data_type, op) = (reduction.data_type(), reduction.number());
        let call =
            Call::new(kind, self.sequence, root, request.count(self.size), data_type, op, choice.algorithm as u8);
        // Costs one load when nobody traces.
        if reduction.number() >= Op::PRE_MUL_SUM || tracing::enabled!(tracing::Level::TRACE) {
            return self.run_apart(control, &call, &choice, request);
        }
        // An error is large, and moving it where there is none costs a small call more than its lookups: so no combinators here.
        if let Err(error) = self.run(control, &call, &choice, request) {
            return Err(self.fail(control, error));
        }
        Ok(())
    }

    /// A call that makes no sense here counts as made: ranks that all refuse it go on together, and those that wait for this one in it hear why.
    #[cold]
    pub(super) fn refuse(&self, control: &Control, request: &Request<'_>, error: Error) -> Error {
        let (data_type, op) = (request.data_type(), request.reduction.number());
        let call = Call::new(request.kind, self.sequence, request.root, 0, data_type, op, Call::REFUSED);
        control.state(self.sequence, call.as_bytes());
        error
    }

    /// Refuses to meet the others in what they agree on, as a call of its own.
    pub(super) fn refuse_to_agree(&mut self, control: &Control, error: Error) -> Error {
        self.count_refused(control, CollectiveKind::Barrier);
        error
    }

    /// Counts a call of which there is no request, since its arguments make none.
    pub(super) fn count_refused(&mut self, control: &Control, kind: CollectiveKind) {
        self.sequence += 1;
        let call = Call::new(kind, self.sequence, 0, 0, DataType::U8, Op::Sum as u8, Call::REFUSED);
        control.state(self.sequence, call.as_bytes());
    }

    #[inline]
    fn run(&mut self, control: &Control, call: &Call, choice: &Choice, request: Request<'_>) -> Result<()> {
        if let Some(failure) = control.verdict() {
            return Err(failure.error(self.rank, Operation::Call(*call)));
        }
        let Some(room) = self.room.as_mut().filter(|_| !matches!(request.counts, Counts::Exchanged { .. })) else {
            return self.over_links(control, *call, choice, request);
        };
        let watch = CallWatch::new(control, self.timeout, &[], self.sequence);
        let (data_type, part) = (request.data_type(), request.part(self.rank));
        let kernels = request.reduction.kernels();
        if request.kind == CollectiveKind::AllReduce {
            return room.all_reduce(call, kernels, request.input, request.output, &watch);
        }
        let [extent, _] = request.extents(self.size, &mut self.starts);
        let Request { input, output, .. } = request;
        room.collective(call, part, extent, kernels, data_type.size(), input, output, &watch)
    }

    /// A call that is traced, or whose operator is not built in.
    #[cold]
    fn run_apart(&mut self, control: &Control, call: &Call, choice: &Choice, request: Request<'_>) -> Result<()> {
        let _span = tracing::trace_span!("call", %call).entered();
        let is_own = request.reduction.is_own();
        let mut scaled = std::mem::take(&mut self.scaled);
        let ran = if is_own {
            // The callers' code may do anything; the other ranks are to hear of it at once.
            let ran = catch_unwind(AssertUnwindSafe(|| self.run(control, call, choice, request)));
            ran.unwrap_or_else(|_| {
                let what = format!("rank {}: {call}: its operator panicked", self.rank);
                let error = Error::InvalidArgument { what };
                self.room.iter_mut().for_each(|room| room.give_up(call, &error));
                Err(error)
            })
        } else if request.reduction.scales() {
            let request = request.scaled(&mut scaled, self.rank, self.size);
            request.and_then(|request| self.run(control, call, choice, request))
        } else {
            self.run(control, call, choice, request)
        };
        self.scaled = scaled;
        ran.map_err(|error| self.fail(control, error))
    }

    #[cold]
    pub(super) fn fail(&mut self, control: &Control, error: Error) -> Error {
        self.break_down(control, &error);
        error
    }

    /// Connects to all peers that have no link yet, as all ranks do; then how each link came to be, by peer.
    pub(super) fn links(&mut self, control: &Control) -> Result<Vec<LinkReport>> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.sequence += 1;
        let call = Call::connect(self.sequence);
        let peers = (0..self.size).filter(|peer| *peer != self.rank).collect();
        let connected = match control.verdict() {
            Some(failure) => Err(failure.error(self.rank, Operation::Call(call))),
            None => self.connect(control, call, peers),
        };
        connected.map_err(|error| self.fail(control, error))?;
        Ok(self.reports.iter().flatten().cloned().collect())
    }

    /// Tells the rank's device of a buffer that is listed, if it has one.
    pub(super) fn register(&self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Some(buffer) = memory::steady(bytes) else {
            let what =
                format!("rank {}: register: the elements are not in a `Memory` or a `Registered` buffer", self.rank);
            return Err(Error::InvalidArgument { what });
        };
        match &self.lending {
            Some(lending) => lending.register(&buffer).map_err(|failure| Error::System {
                what: format!("rank {}: registering {} bytes", self.rank, buffer.bytes),
                reason: failure.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// The error that broke the communicator on this rank, if one did.
    pub(super) fn broken(&self) -> Option<&Error> {
        self.broken.as_ref()
    }

    /// Ends the links so that what was sent still arrives, unless the job has failed.
    pub(super) fn finish(&mut self, control: &Control) {
        if self.broken.is_none() && control.verdict().is_none() {
            self.backoff.part(&mut self.engine);
        }
    }

    #[inline(never)]
    pub(super) fn over_links(
        &mut self,
        control: &Control,
        call: Call,
        choice: &Choice,
        request: Request<'_>,
    ) -> Result<()> {
        let Request { kind, root, reduction, .. } = request;
        let grouping = self.grouping.clone();
        let program = Program::new(kind, root, choice.algorithm, self.rank, &grouping)
            .expect("the table chooses among what serves the collective");
        let key = (kind, choice.algorithm, if kind.has_root() { root } else { 0 });
        if !self.connected.contains(&key) {
            self.connect(control, call, named(&program))?;
            self.connected.insert(key);
        }
        self.lend(&[request.input, Some(&*request.output)]);
        let part = request.part(self.rank);
        let mut starts = std::mem::take(&mut self.starts);
        let [input, output] = request.extents(self.size, &mut starts);
        let layout = Layout::new(part, input, output, reduction.data_type().size(), choice.slice_bytes);
        let buffers = (request.input, request.output);
        let mut job = Job::new(call, program, reduction.kernels(), self.size, layout, choice.lanes, buffers);
        let driven = self.drive(control, call, &mut job);
        self.starts = starts;
        driven
    }

    /// Tells the links what of a call's buffers they may send from where it lies.
    pub(super) fn lend(&mut self, buffers: &[Option<&[u8]>]) {
        if let Some(lending) = &mut self.lending {
            let lent = lending.of_call(buffers);
            self.engine.links_mut().for_each(|link| link.lend(lent));
        }
    }

    /// Runs `work` over the links to its end; `call` is what it does, or the first of it.
    pub(super) fn drive(&mut self, control: &Control, call: Call, work: &mut impl Work<Link>) -> Result<()> {
        let mut watch = CallWatch::new(control, self.timeout, &self.streams, self.sequence);
        if self.is_measuring {
            watch = watch.silent();
        }
        match self.backoff.drive(&mut self.engine, work, &watch) {
            Ok(()) => Ok(()),
            Err(End::Watch(error)) => Err(error),
            Err(End::Stop(stop)) => Err(self.explain(control, work.call().unwrap_or(call), stop)),
        }
    }

    /// Links to those of `peers`, which ascend, that have none yet.
    pub(super) fn connect(&mut self, control: &Control, call: Call, mut peers: Vec<u32>) -> Result<()> {
        peers.retain(|peer| self.engine.link(*peer).is_none());
        for (link, report) in self.link_maker().connector(control, call).connect(&peers)? {
            self.engine.connect(report.peer, link);
            self.note_link(report);
        }
        Ok(())
    }

    /// Whether there is a link to `peer`.
    pub(super) fn is_linked(&self, peer: u32) -> bool {
        self.engine.link(peer).is_some()
    }

    /// What making links needs, apart from this executor.
    pub(super) fn link_maker(&self) -> LinkMaker {
        LinkMaker {
            cards: self.cards.clone(),
            transport: self.transport,
            rail: self.rail.clone(),
            tcp: self.tcp.clone(),
            sockets: self.sockets,
            timeout: self.timeout,
            collectives: self.sequence,
            is_measuring: self.is_measuring,
        }
    }

    /// Waits for what `peer` may have sent before it left, until it is known how it sends.
    pub(super) fn take_for_stream(&mut self, peer: u32) {
        self.streams[peer as usize] = true;
    }

    /// Remembers what a new link is.
    pub(super) fn note_link(&mut self, report: LinkReport) {
        let peer = report.peer;
        let link = self.engine.link(peer).expect("it was just made");
        if let (Link::Verbs(_), Some(lending)) = (link, &mut self.lending) {
            lending.begin();
        }
        self.streams[peer as usize] = link.ends_in_order();
        let LinkReport { transport, here, there, .. } = &report;
        tracing::info!(target: LINKS, rank = self.rank, peer, transport, here, there, "linked");
        self.reports[peer as usize] = Some(report);
    }

    /// Why the engine stopped: what the control plane knows comes first, since a broken link is often only a symptom.
    fn explain(&self, control: &Control, call: Call, stop: Stop) -> Error {
        let operation = Operation::Call(call);
        match stop {
            Stop::Mismatch { peer, theirs } => Error::Mismatch { rank: self.rank, ours: call, peer, theirs },
            Stop::Fault { peer, transport, fault } => {
                if let Fault::Lost(_) = fault
                    && let Some(failure) = control.explain(peer, VERDICT_GRACE)
                {
                    return failure.error(self.rank, operation);
                }
                let cause = match fault {
                    Fault::Lost(reason) | Fault::Nonsense(reason) => {
                        Cause::Link { with: self.rank, transport: transport.into(), reason }
                    }
                };
                Error::Peer { rank: self.rank, peer, operation, cause }
            }
        }
    }

    /// Remembers the first error, and tells the others unless they told us.
    pub(super) fn break_down(&mut self, control: &Control, error: &Error) {
        if self.broken.is_some() {
            return;
        }
        tracing::error!(%error, "the communicator is broken");
        self.broken = Some(error.clone());
        if control.verdict().is_none() {
            let (peer, cause) = match error {
                Error::Peer { peer, cause, .. } => (*peer, cause.clone()),
                other => (self.rank, Cause::Reported(other.to_string())),
            };
            control.report(Failure { peer, cause, reporter: self.rank });
        }
        // The caller has its buffers again when it has the error: no device may read them any more, for what it sent would pass for a result.
        self.engine.disconnect(|link| matches!(link, Link::Verbs(_)));
    }
}

/// The peers that a program names, ascending.
fn named(schedule: &Program<'_>) -> Vec<u32> {
    let mut peers: Vec<u32> = (0..schedule.len())
        .filter_map(|step| match schedule.step(step) {
            Step::Send { to, .. } => Some(to),
            Step::Recv { from, .. } | Step::RecvReduce { from, .. } => Some(from),
            Step::ReduceOwn { .. } => None,
        })
        .collect();
    peers.sort_unstable();
    peers.dedup();
    peers
}
