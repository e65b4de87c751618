//! What runs a communicator's calls, one at a time: the room of a shared host, or the engine over links.

use super::card::Card;
use super::check_lengths;
use super::config::{Config, TransportChoice};
use super::connect::Connector;
use super::lending::Lending;
use super::links::LinkReport;
use super::watch::CallWatch;
use crate::bootstrap::{Control, Failure};
use crate::engine::room::{RANKS_MAX, Room};
use crate::engine::wait::{Backoff, End};
use crate::engine::{Engine, Job, Layout, Stop};
use crate::error::{Cause, Error, Operation, Result};
use crate::memory;
use crate::reduce::kernels;
use crate::schedule::{Algorithm, AllReduce, Schedule, Step};
use crate::topology::HostId;
use crate::transport::shm::{Region, ShmLink};
use crate::transport::tcp::TcpSettings;
use crate::transport::verbs::{Rail, VerbsLink, survey};
use crate::transport::{Fault, Link};
use crate::tune::{Choice, Reach, Table};
use crate::types::{Call, DataType, Op};
use std::sync::Arc;
use std::time::Duration;

/// When a link breaks, the control plane usually knows why a moment later; a death is to be named within a second.
pub(super) const VERDICT_GRACE: Duration = Duration::from_millis(500);

/// Runs one communicator's calls.
#[derive(Debug)]
pub(super) struct Executor {
    rank: u32,
    size: u32,
    table: Table,
    room: Option<Room>,
    engine: Engine<Link>,
    /// Which links, by peer, are streams.
    streams: Vec<bool>,
    /// How the links came to be, by peer.
    reports: Vec<Option<LinkReport>>,
    backoff: Backoff,
    cards: Vec<Card>,
    connected: [bool; Algorithm::ALL.len()],
    transport: TransportChoice,
    /// The RDMA port to use, or why there is none.
    rail: Result<Arc<Rail>, String>,
    lending: Option<Lending>,
    tcp: TcpSettings,
    sockets: u32,
    timeout: Duration,
    sequence: u64,
    broken: Option<Error>,
}

impl Executor {
    /// Meets the other ranks: tells them about this one, and finds out whether all of them share this host.
    pub(super) fn prepare(control: &Control, local_rank: u32, config: &Config) -> Result<Self> {
        let (rank, size) = (control.rank(), control.size());
        config.check()?;
        let region = own_region(size, config)?;
        let rail = own_rail(rank, size, local_rank, config)?;
        let card = Card {
            host: config.host_id.clone().unwrap_or_else(|| format!("{:016x}", HostId::here().number())),
            settings: config.common(),
            region: region.as_ref().map(Region::card),
            rail: rail.as_ref().map_or_else(|_| String::new(), ToString::to_string),
            endpoint: control.endpoint().clone(),
        };
        let cards = control
            .exchange(&card.to_bytes())?
            .iter()
            .enumerate()
            .map(|(rank, bytes)| Card::from_bytes(rank, bytes))
            .collect::<Result<Vec<Card>>>()?;
        agree(rank, &cards)?;
        // Every rank sees the same cards, so all of them try the room or none does.
        let room = match region {
            Some(region) if cards.iter().all(|card| card.region.is_some() && card.host == cards[0].host) => {
                enter_room(control, region, &cards, config.transport)?
            }
            _ => None,
        };
        let fits_room = |algorithm| matches!(algorithm, Algorithm::Direct | Algorithm::TwoShot);
        let reach = match &room {
            Some(_) if config.algorithm.is_none_or(fits_room) => Reach::Room,
            _ => Reach::Links { slot_bytes: slot_bytes(&cards, config) },
        };
        tracing::info!(rank, size, ?reach, "ranks have met");
        Ok(Self {
            rank,
            size,
            table: Table::all_reduce(size, reach, config.algorithm),
            room: if reach == Reach::Room { room } else { None },
            engine: Engine::new((0..size).map(|_| None).collect()),
            streams: vec![false; size as usize],
            reports: vec![None; size as usize],
            backoff: Backoff::new()?,
            cards,
            connected: Default::default(),
            transport: config.transport,
            lending: rail.as_ref().ok().cloned().map(Lending::new),
            rail,
            tcp: TcpSettings::default(),
            sockets: config.sockets,
            timeout: config.timeout,
            sequence: 0,
            broken: None,
        })
    }

    /// One allreduce, from its arguments to its end. A failure breaks the communicator here and, by the control plane, everywhere.
    pub(super) fn all_reduce(
        &mut self,
        control: &Control,
        data_type: DataType,
        op: Op,
        input: Option<&[u8]>,
        output: &mut [u8],
    ) -> Result<()> {
        check_lengths(self.rank, data_type, input, output)?;
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.sequence += 1;
        let choice = *self.table.choice(output.len());
        // Sizes are powers of two; dividing by one takes a tenth of a small call.
        let count = output.len() >> data_type.size().trailing_zeros();
        let call = Call::all_reduce(self.sequence, count as u64, data_type, op, choice.algorithm as u8);
        // Costs one load when nobody traces.
        if tracing::enabled!(tracing::Level::TRACE) {
            return self.run_traced(control, &call, data_type, op, &choice, (input, output));
        }
        // An error is large, and moving it where there is none costs a small call more than its lookups: so no combinators here.
        if let Err(error) = self.run(control, &call, data_type, op, &choice, (input, output)) {
            return Err(self.fail(control, error));
        }
        Ok(())
    }

    #[inline]
    fn run(
        &mut self,
        control: &Control,
        call: &Call,
        data_type: DataType,
        op: Op,
        choice: &Choice,
        buffers: (Option<&[u8]>, &mut [u8]),
    ) -> Result<()> {
        if let Some(failure) = control.verdict() {
            return Err(failure.error(self.rank, Operation::Call(*call)));
        }
        match &mut self.room {
            Some(room) => {
                let watch = CallWatch::new(control, self.timeout, &[]);
                room.all_reduce(call, kernels(data_type, op), buffers.0, buffers.1, &watch)
            }
            None => self.over_links(control, *call, data_type, op, choice, buffers),
        }
    }

    #[cold]
    fn run_traced(
        &mut self,
        control: &Control,
        call: &Call,
        data_type: DataType,
        op: Op,
        choice: &Choice,
        buffers: (Option<&[u8]>, &mut [u8]),
    ) -> Result<()> {
        let _span = tracing::trace_span!("call", %call).entered();
        self.run(control, call, data_type, op, choice, buffers).map_err(|error| self.fail(control, error))
    }

    #[cold]
    fn fail(&mut self, control: &Control, error: Error) -> Error {
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

    /// Ends the links so that what was sent still arrives.
    pub(super) fn finish(&mut self) {
        if self.broken.is_none() {
            self.backoff.part(&mut self.engine);
        }
    }

    #[allow(clippy::too_many_arguments)]
    #[inline(never)]
    fn over_links(
        &mut self,
        control: &Control,
        call: Call,
        data_type: DataType,
        op: Op,
        choice: &Choice,
        buffers: (Option<&[u8]>, &mut [u8]),
    ) -> Result<()> {
        let schedule = AllReduce::new(choice.algorithm, self.rank, self.size);
        if !self.connected[choice.algorithm as usize] {
            self.connect(control, call, named(&schedule))?;
            self.connected[choice.algorithm as usize] = true;
        }
        if let Some(lending) = &mut self.lending {
            let lent = lending.of_call(buffers.0, buffers.1);
            self.engine.links_mut().for_each(|link| link.lend(lent));
        }
        let layout = Layout::message(call.count as usize, data_type.size(), choice.slice_bytes);
        let mut job = Job::new(call, schedule, kernels(data_type, op), self.size, layout, choice.lanes, buffers);
        let watch = CallWatch::new(control, self.timeout, &self.streams);
        match self.backoff.drive(&mut self.engine, &mut job, &watch) {
            Ok(()) => Ok(()),
            Err(End::Watch(error)) => Err(error),
            Err(End::Stop(stop)) => Err(self.explain(control, call, stop)),
        }
    }

    /// Links to those of `peers`, which ascend, that have none yet.
    fn connect(&mut self, control: &Control, call: Call, mut peers: Vec<u32>) -> Result<()> {
        peers.retain(|peer| self.engine.link(*peer).is_none());
        let connector = Connector {
            control,
            cards: &self.cards,
            transport: self.transport,
            rail: self.rail.as_ref().map_err(String::as_str),
            tcp: &self.tcp,
            sockets: self.sockets,
            call,
            watch: CallWatch::new(control, self.timeout, &[]),
            timeout: self.timeout,
        };
        for (link, report) in connector.connect(&peers)? {
            let peer = report.peer;
            if let (Link::Verbs(_), Some(lending)) = (&link, &mut self.lending) {
                lending.begin();
            }
            self.streams[peer as usize] = link.ends_in_order();
            self.engine.connect(peer, link);
            self.reports[peer as usize] = Some(report);
        }
        Ok(())
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
fn named(schedule: &AllReduce) -> Vec<u32> {
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

/// This rank's region for same-host calls; none when it would not be used or there is no room for it.
fn own_region(size: u32, config: &Config) -> Result<Option<Region>> {
    let wanted = matches!(config.transport, TransportChoice::Auto | TransportChoice::Shm);
    if !wanted || !(2..=RANKS_MAX as u32).contains(&size) {
        return Ok(None);
    }
    match Room::region(size as usize) {
        Ok(region) => Ok(Some(region)),
        Err(error) if config.transport == TransportChoice::Shm => Err(error),
        Err(error) => {
            tracing::warn!(%error, "no shared memory for same-host calls");
            Ok(None)
        }
    }
}

/// The RDMA port that this rank's links use, open; or why there is none, in words. The ranks of a host spread over its fastest ports.
fn own_rail(rank: u32, size: u32, local_rank: u32, config: &Config) -> Result<Result<Arc<Rail>, String>> {
    if size < 2 || !matches!(config.transport, TransportChoice::Auto | TransportChoice::Verbs) {
        return Ok(Err("it is not wanted".to_owned()));
    }
    let found = match survey(&config.verbs) {
        Err(unavailable) => Err(unavailable.to_string()),
        Ok(choice) => match choice.share(local_rank) {
            None => Err(choice.why_none()),
            Some(selection) => Rail::open(selection.clone(), config.verbs.clone()).map_err(|error| error.to_string()),
        },
    };
    if let Some(remark) = config.verbs.remark() {
        tracing::warn!(remark, "verbs");
    }
    match &found {
        Ok(rail) => tracing::info!(%rail, address = %rail.selection().gid.address(), "RDMA by this port"),
        Err(why) if config.transport == TransportChoice::Verbs => {
            let why = format!("rank {rank}: verbs cannot be used: {why}");
            return Err(Error::Setting { name: "transport".into(), value: "verbs".into(), why });
        }
        Err(why) => tracing::info!(why, "no RDMA"),
    }
    Ok(found)
}

/// The room of all ranks, if every one of them can map every other's region. All ranks come to the same answer.
fn enter_room(control: &Control, own: Region, cards: &[Card], transport: TransportChoice) -> Result<Option<Room>> {
    let (rank, size) = (control.rank(), control.size());
    let mut own = Some(own);
    let opened: Result<Vec<Region>> = (0..size)
        .map(|peer| match (&cards[peer as usize].region, own.take_if(|_| peer == rank)) {
            (_, Some(own)) => Ok(own),
            (Some(card), None) => Region::open(card),
            (None, None) => unreachable!("every card was seen to have a region"),
        })
        .collect();
    let mine = opened.as_ref().map_or_else(|error| format!("rank {rank}: {error}"), |_| String::new());
    let answers = control.exchange(mine.as_bytes())?;
    let refusal = answers.iter().find(|answer| !answer.is_empty());
    match (opened, refusal) {
        (Ok(mut regions), None) => {
            // Every rank has opened it, and none will again.
            regions[rank as usize].close_descriptor();
            Room::new(rank as usize, (0..size).collect(), regions).map(Some)
        }
        (_, refusal) => {
            let why = refusal.map_or(String::new(), |refusal| String::from_utf8_lossy(refusal).into_owned());
            if transport == TransportChoice::Shm {
                return Err(Error::Setting { name: "transport".into(), value: "shm".into(), why });
            }
            tracing::info!(why, "the ranks do not all share one host's memory");
            Ok(None)
        }
    }
}

/// Settings that must be the same everywhere are compared when ranks meet, not found out by a hang.
fn agree(rank: u32, cards: &[Card]) -> Result<()> {
    let (first, mine) = (&cards[0].settings, &cards[rank as usize].settings);
    match cards.iter().position(|card| card.settings != *first) {
        Some(odd) => Err(Error::Setting {
            name: "settings".into(),
            value: mine.clone(),
            why: format!(
                "rank 0 has {first}, and rank {odd} has {}; all ranks must have the same",
                cards[odd].settings
            ),
        }),
        None => Ok(()),
    }
}

/// The smallest slot among the kinds of link that this communicator may use; every rank computes the same.
fn slot_bytes(cards: &[Card], config: &Config) -> usize {
    let any_pair = |may: fn(&Card, &Card) -> bool| {
        cards.iter().enumerate().any(|(rank, card)| cards[..rank].iter().any(|other| may(card, other)))
    };
    let by_choice = config.transport == TransportChoice::Auto;
    let shm = config.transport == TransportChoice::Shm || by_choice && any_pair(|one, other| one.host == other.host);
    let verbs = config.transport == TransportChoice::Verbs
        || by_choice && any_pair(|one, other| !one.rail.is_empty() && !other.rail.is_empty());
    let kinds = [(shm, ShmLink::SLOT_BYTES), (verbs, VerbsLink::SLOT_BYTES), (true, TcpSettings::default().slot_bytes)];
    kinds.into_iter().filter_map(|(may, bytes)| may.then_some(bytes)).min().unwrap_or(ShmLink::SLOT_BYTES)
}
