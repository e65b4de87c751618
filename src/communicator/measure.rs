//! Measuring the links of a communicator, before its first call: short exchanges between pairs of ranks, all pairs of a round at once.
//!
//! First one pair in a host measures alone, and one between hosts, while all others sleep: what a message costs its two threads. Then all do, as neighbours: what they
//! wait longer for where they are more than there are cores. Then hosts pair up, at distances of
//! 1, 2, 4, …: so every host meets others in few rounds, and a slow one is told from those that only met it. One rank of each measures the link, and then all of them at
//! once what they share. What all find, all hear, and make the same network of it.

use super::card::Card;
use super::executor::Executor;
use super::messages::Message;
use crate::bootstrap::Control;
use crate::error::{Error, Result};
use crate::reduce::kernels;
use crate::tune::network::{COSTS, LinkCost, Network, SLOTS_MOST};
use crate::types::{DataType, Grouping, Op};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Messages there and back, of which the fastest counts; as many come before.
const PINGS: usize = 16;
/// Small messages one after the other.
const BURST: usize = 24;
/// Bytes of a large message.
const PIECE_BYTES: usize = 128 << 10;
/// The most of them in a row.
const PIECES_MOST: usize = 16;
/// About how long they take.
const STREAM: Duration = Duration::from_millis(1);
/// So many tries, of which one counts.
const TRIES: usize = 3;
/// Where no more pieces than so many take that long, a link is slow: a stream is no shorter then, and lasts so long if it can. A shaper may let some bytes pass before it holds back, a fifth of a
/// piece by default, and threads that wait for a core may add half a millisecond, however long the stream is.
const PIECES_SLOW: usize = 3;
const STREAM_SLOW: Duration = Duration::from_millis(5);
/// So many tries of that.
const TRIES_SLOW: usize = 2;
/// Bytes that are reduced, some times over, to see how fast that is: what comes off a link is in a cache.
const FOLD_BYTES: usize = 128 << 10;
const FOLDS: usize = 8;

/// What one pair found in a round; zeros where there was nobody to measure with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Found {
    latency_ns: f64,
    busy_ns: f64,
    /// One way.
    byte_ns: f64,
    /// Both ways at once.
    both_byte_ns: f64,
    /// What a lane has.
    slots: f64,
}

/// Who pairs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Two ranks of one host, and nobody else.
    AloneInside,
    /// Two ranks of different hosts, and nobody else.
    AloneBetween,
    /// All ranks, each with its neighbour.
    Crowded,
    /// Of hosts at this distance, one rank each.
    Between { distance: u32 },
    /// Of hosts at this distance, all ranks.
    Shared { distance: u32 },
}

/// Measures the links of a communicator, as all its ranks do.
pub(super) fn measure_links(executor: &mut Executor, control: &Control) -> Result<Network> {
    let grouping = executor.grouping.clone();
    let rank = control.rank();
    let rounds = Round::all(&grouping);
    let mut mine = vec![fold_byte_ns()];
    // Once, and before links are measured: who waits for its turn is to be still. Memory that was never touched would be measured as well.
    let mut memory = [1, 2].map(|byte| vec![byte; PIECES_MOST * PIECE_BYTES]);
    let partners: Vec<Option<u32>> = rounds.iter().map(|round| round.partner(rank, &grouping)).collect();
    for peer in partners.iter().flatten() {
        // Whoever has no link yet makes it, all of them in the order of rounds: nobody waits in a circle.
        Pair::of(executor, control, *peer, &mut memory).there_and_back(1, 1)?;
    }
    for (round, partner) in rounds.iter().zip(partners) {
        let pair = partner.map(|peer| Pair::of(executor, control, peer, &mut memory));
        let found = measure_round(control, *round, pair)?;
        mine.extend([found.latency_ns, found.busy_ns, found.byte_ns, found.both_byte_ns, found.slots]);
    }
    let bytes: Vec<u8> = mine.iter().flat_map(|number| number.to_le_bytes()).collect();
    let all = control.exchange(&bytes)?;
    let numbers = all.iter().enumerate().map(|(rank, bytes)| numbers(rank, bytes, mine.len()));
    let machines = executor.machines();
    let cores = cores(&grouping, &machines, executor.cards());
    Ok(network(&grouping, machines, cores, &rounds, &numbers.collect::<Result<Vec<_>>>()?))
}

/// One round, in which this rank measures if it is of a pair. Exchanges make all begin each part together: those who measure alone are disturbed by nobody's waiting,
/// and those who share something do so throughout.
fn measure_round(control: &Control, round: Round, pair: Option<Pair<'_>>) -> Result<Found> {
    let together = || control.exchange(&[]).map(drop);
    together()?;
    let Some(mut pair) = pair else {
        return together().map(|()| Found::default());
    };
    if round == Round::Crowded {
        let found = pair.exchange()?;
        return together().map(|()| found);
    }
    let shared = matches!(round, Round::Shared { .. });
    let (found, streams) = if shared { pair.approach()? } else { pair.measure()? };
    together()?;
    let both_byte_ns = pair.both_ways_byte_ns(found.latency_ns, streams, shared)?;
    Ok(Found { both_byte_ns, ..found })
}

/// What `rank` has told, if it is so many numbers.
pub(super) fn numbers(rank: usize, bytes: &[u8], count: usize) -> Result<Vec<f64>> {
    let words = bytes.as_chunks::<8>().0;
    let numbers: Vec<f64> = words.iter().map(|word| f64::from_le_bytes(*word)).collect();
    let sound = numbers.len() == count && numbers.iter().all(|number| COSTS.contains(number));
    let odd = || Error::InvalidArgument { what: format!("rank {rank} measured {} odd bytes", bytes.len()) };
    sound.then_some(numbers).ok_or_else(odd)
}

impl Round {
    fn all(grouping: &Grouping) -> Vec<Self> {
        let shared = grouping.largest() > 1;
        let alone = [
            shared.then_some(Self::AloneInside),
            (grouping.hosts() > 1).then_some(Self::AloneBetween),
            Some(Self::Crowded),
        ];
        let distances = (0..u32::BITS).map(|bit| 1 << bit).take_while(|distance| *distance < grouping.hosts());
        let between = distances.flat_map(|distance| {
            [Some(Self::Between { distance }), shared.then_some(Self::Shared { distance })].into_iter().flatten()
        });
        alone.into_iter().flatten().chain(between).collect()
    }

    /// With whom `rank` measures.
    fn partner(self, rank: u32, grouping: &Grouping) -> Option<u32> {
        let (host, place) = (grouping.host_of(rank), grouping.place_of(rank));
        let on = |host: u32, place: u32| {
            let members = (host < grouping.hosts()).then(|| grouping.members(host))?;
            members.get(place as usize).copied()
        };
        match self {
            Self::AloneInside => {
                let first = (0..grouping.hosts()).find(|host| grouping.members(*host).len() > 1)?;
                (host == first && place < 2).then(|| on(host, place ^ 1))?
            }
            Self::Crowded if grouping.largest() > 1 => on(host, place ^ 1),
            Self::Crowded => on(host ^ 1, place),
            Self::AloneBetween => (host < 2 && place == 0).then(|| on(host ^ 1, 0))?,
            Self::Between { distance } => (place == 0).then(|| on(host ^ distance, 0))?,
            Self::Shared { distance } => on(host ^ distance, place),
        }
    }
}

/// What comes of it when all have measured, by rank: what a fold takes, then five numbers a round.
fn network(grouping: &Grouping, machines: Vec<u32>, cores: Vec<u32>, rounds: &[Round], all: &[Vec<f64>]) -> Network {
    // By round; nothing where the rank had nobody to measure with.
    let found = |wanted: &dyn Fn(&Round) -> bool, rank: usize| -> Vec<Option<Found>> {
        let numbers = all[rank][1..].as_chunks::<5>().0;
        let rounds = rounds.iter().zip(numbers).filter(|(round, _)| wanted(round));
        rounds.map(|(_, numbers)| Some(Found::of(*numbers)).filter(|found| found.latency_ns > 0.0)).collect()
    };
    let everybody = |wanted: &dyn Fn(&Round) -> bool| -> Vec<Found> {
        (0..all.len()).flat_map(|rank| found(wanted, rank)).flatten().collect()
    };
    let is_between = |round: &Round| matches!(round, Round::Between { .. });
    let alone = |wanted: Round| link(&everybody(&|round| *round == wanted));
    // Where all ranks of the hosts measured, what they share shows; where hosts have one rank each, their links do.
    let shares: &dyn Fn(&Round) -> bool =
        if grouping.largest() > 1 { &|round| matches!(round, Round::Shared { .. }) } else { &is_between };
    let shared_byte_ns = (0..grouping.hosts()).map(|host| {
        let members = grouping.members(host);
        let by_round: Vec<Vec<Option<Found>>> = members.iter().map(|rank| found(shares, *rank as usize)).collect();
        let rounds = by_round.iter().map(Vec::len).max().unwrap_or(0);
        let rate = |round: usize| -> f64 {
            by_round.iter().filter_map(|found| found[round]).map(|found| 1.0 / found.both_byte_ns).sum()
        };
        // A slow host slows those that meet it: what a host can do shows with the fastest. One that met nobody shares nothing.
        let fastest = (0..rounds).map(rate).fold(0.0, f64::max);
        if fastest > 0.0 { 1.0 / fastest } else { 0.0 }
    });
    let met = everybody(&is_between);
    let (latencies, bytes): (Vec<f64>, Vec<f64>) = met.iter().map(|found| (found.latency_ns, found.byte_ns)).unzip();
    let (inside, alone_between) = (alone(Round::AloneInside), alone(Round::AloneBetween));
    let neighbours = if grouping.largest() > 1 { inside } else { alone_between };
    let crowded = median(everybody(&|round| *round == Round::Crowded).iter().map(|found| found.latency_ns).collect());
    Network {
        inside,
        // The two that measured alone may be near each other, or slow.
        between: LinkCost { latency_ns: median(latencies), byte_ns: least(bytes), ..alone_between },
        crowded_ns: (crowded - neighbours.latency_ns).max(0.0),
        machines,
        cores,
        shared_byte_ns: shared_byte_ns.collect(),
        fold_byte_ns: median(all.iter().map(|numbers| numbers[0]).collect()),
        grouping: grouping.clone(),
        calls: Vec::new(),
        reads: None,
        room: Vec::new(),
    }
}

/// A kind of link, of what the two ends of a pair found.
fn link(found: &[Found]) -> LinkCost {
    let each = |number: fn(&Found) -> f64| found.iter().map(number).collect::<Vec<f64>>();
    let (byte_ns, both_byte_ns) = (least(each(|found| found.byte_ns)), least(each(|found| found.both_byte_ns)));
    let latency_ns = median(each(|found| found.latency_ns));
    LinkCost {
        latency_ns,
        busy_ns: median(each(|found| found.busy_ns)).min(latency_ns / 2.0),
        byte_ns,
        // What both ways at once take longer than one: the threads' time. Where the wire is the limit, each way has its own.
        busy_byte_ns: (both_byte_ns - byte_ns).clamp(0.0, byte_ns),
        slots: (least(each(|found| found.slots)) as u32).clamp(1, SLOTS_MOST),
    }
}

/// By machine, how many processors its ranks can run on: if they are bound, to cores or to sockets, those of all.
pub(super) fn cores(grouping: &Grouping, machines: &[u32], cards: &[Card]) -> Vec<u32> {
    let count = machines.iter().max().map_or(0, |last| last + 1);
    let of = |machine: u32| {
        let ranks = (0..grouping.size()).filter(|rank| machines[grouping.host_of(*rank) as usize] == machine);
        let mut sets: BTreeMap<u32, u32> = BTreeMap::new();
        for [first, count] in ranks.map(|rank| cards[rank as usize].processors) {
            let most = sets.entry(first).or_default();
            *most = count.max(*most);
        }
        sets.into_values().fold(0, u32::saturating_add).max(1)
    };
    (0..count).map(of).collect()
}

/// 0 of nothing: then there is no such link.
pub(super) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}

fn least(numbers: Vec<f64>) -> f64 {
    numbers.into_iter().min_by(f64::total_cmp).unwrap_or(0.0)
}

impl Found {
    fn of([latency_ns, busy_ns, byte_ns, both_byte_ns, slots]: [f64; 5]) -> Self {
        Self { latency_ns, busy_ns, byte_ns, both_byte_ns, slots }
    }
}

/// One end of a pair that measures.
struct Pair<'a> {
    executor: &'a mut Executor,
    control: &'a Control,
    rank: u32,
    peer: u32,
    given: &'a mut [u8],
    taken: &'a mut [u8],
}

impl<'a> Pair<'a> {
    fn of(executor: &'a mut Executor, control: &'a Control, peer: u32, [given, taken]: &'a mut [Vec<u8>; 2]) -> Self {
        Self { executor, control, rank: control.rank(), peer, given, taken }
    }

    /// What streams a link is to carry where only these are to be seen, and about what a message takes.
    fn approach(&mut self) -> Result<(Found, Streams)> {
        let latency_ns = least(some(PINGS / 2, || self.there_and_back(1, 1))?) / 2.0;
        Ok((Found { latency_ns, ..Found::default() }, self.streams()?))
    }

    /// What a link does one way, and what streams it is to carry. Both ends come to the same numbers but for their clocks.
    fn measure(&mut self) -> Result<(Found, Streams)> {
        let mut ways = Vec::with_capacity(PINGS);
        for ping in 0..2 * PINGS {
            let began = Instant::now();
            self.there_and_back(1, 1)?;
            if ping >= PINGS {
                ways.push(nanoseconds(began) / 2.0);
            }
        }
        let latency_ns = least(ways);
        let burst = least(some(TRIES, || self.there_and_back(1, BURST))?);
        let busy_ns = ((burst - 2.0 * latency_ns) / (BURST - 1) as f64).max(0.0);
        let streams = self.streams()?;
        let times = some(streams.tries, || self.there_and_back(PIECE_BYTES, streams.pieces))?;
        let byte_ns = streams.byte_ns(least(times), latency_ns);
        let slots = f64::from(self.executor.slots_to(self.peer));
        Ok((Found { latency_ns, busy_ns, byte_ns, both_byte_ns: 0.0, slots }, streams))
    }

    /// What a byte takes while as many go the other way. Of ranks that share something the fastest try may be the one that ran alone.
    fn both_ways_byte_ns(&mut self, latency_ns: f64, streams: Streams, shared: bool) -> Result<f64> {
        // A shaper has saved up some bytes since the last stream: they are let pass before the first.
        self.both_ways(PIECE_BYTES, 1)?;
        let stream = || {
            self.both_ways(PIECE_BYTES, streams.pieces)?;
            // Until both have all: or one begins the next while the other still takes this one, and neither counts those bytes.
            self.both_ways(1, 1)
        };
        let times = some(streams.tries, stream)?;
        Ok(streams.byte_ns(if shared { median(times) } else { least(times) }, latency_ns))
    }

    /// What a small message each way at once takes; nothing else.
    fn exchange(&mut self) -> Result<Found> {
        let mut times = Vec::with_capacity(PINGS);
        for exchange in 0..2 * PINGS {
            let began = Instant::now();
            self.both_ways(1, 1)?;
            if exchange >= PINGS {
                times.push(nanoseconds(began));
            }
        }
        Ok(Found { latency_ns: undisturbed(times), ..Found::default() })
    }

    fn is_first(&self) -> bool {
        self.rank < self.peer
    }

    /// `count` messages from the lower rank to the higher, and one of a byte back.
    fn there_and_back(&mut self, bytes: usize, count: usize) -> Result<()> {
        let mut answer = [0];
        let Self { executor, control, peer, .. } = self;
        let mut exchange = |messages| executor.messages(control, messages);
        if self.rank < *peer {
            let given = self.given[..bytes * count].chunks(bytes);
            exchange(given.map(|data| Message::send(DataType::U8, data, *peer)).collect())?;
            return exchange(vec![Message::recv(DataType::U8, &mut answer, *peer)]);
        }
        let taken = self.taken[..bytes * count].chunks_mut(bytes);
        exchange(taken.map(|data| Message::recv(DataType::U8, data, *peer)).collect())?;
        exchange(vec![Message::send(DataType::U8, &answer, *peer)])
    }

    /// `count` messages each way at once.
    fn both_ways(&mut self, bytes: usize, count: usize) -> Result<()> {
        let Self { executor, control, peer, given, taken, .. } = self;
        let sent = given[..bytes * count].chunks(bytes).map(|data| Message::send(DataType::U8, data, *peer));
        let received = taken[..bytes * count].chunks_mut(bytes).map(|data| Message::recv(DataType::U8, data, *peer));
        let both = sent.zip(received).flat_map(|(send, receive)| [send, receive]);
        executor.messages(control, both.collect())
    }

    /// What streams both make: those that the lower rank would, after a piece.
    fn streams(&mut self) -> Result<Streams> {
        let began = Instant::now();
        self.there_and_back(PIECE_BYTES, 1)?;
        let Streams { pieces, tries } = Streams::of(nanoseconds(began));
        let mut agreed = [pieces as u8, tries as u8];
        let peer = self.peer;
        let message = match self.is_first() {
            true => Message::send(DataType::U8, &agreed, peer),
            false => Message::recv(DataType::U8, &mut agreed, peer),
        };
        self.executor.messages(self.control, vec![message])?;
        let [pieces, tries] = agreed.map(usize::from);
        Ok(Streams { pieces: pieces.clamp(1, PIECES_MOST), tries: tries.clamp(1, TRIES) })
    }
}

/// Large messages in a row, several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Streams {
    pieces: usize,
    tries: usize,
}

impl Streams {
    /// For a link on which one piece takes so long.
    fn of(piece_ns: f64) -> Self {
        let within = |time: Duration| (time.as_nanos() as f64 / piece_ns) as usize;
        match within(STREAM) {
            ..=PIECES_SLOW => Self { pieces: within(STREAM_SLOW).clamp(PIECES_SLOW, PIECES_MOST), tries: TRIES_SLOW },
            pieces => Self { pieces: pieces.min(PIECES_MOST), tries: TRIES },
        }
    }

    /// What a byte takes, of what a stream does.
    fn byte_ns(self, ns: f64, latency_ns: f64) -> f64 {
        // Large messages take most of it, whatever disturbed the small ones.
        (ns - 2.0 * latency_ns).max(ns / 2.0) / (self.pieces * PIECE_BYTES) as f64
    }
}

/// What a quarter of them do not exceed: in a crowd some are lucky, and what disturbs makes others longer.
pub(super) fn undisturbed(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 4]
}

/// What some tries take.
fn some(tries: usize, mut what: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let one = |_| {
        let began = Instant::now();
        what().map(|()| nanoseconds(began))
    };
    (0..tries).map(one).collect()
}

fn nanoseconds(since: Instant) -> f64 {
    since.elapsed().as_nanos() as f64
}

/// What reducing a byte takes here.
pub(super) fn fold_byte_ns() -> f64 {
    let (mut sum, input) = (vec![0; FOLD_BYTES], vec![0; FOLD_BYTES]);
    let fold = kernels(DataType::F32, Op::Sum).reduce;
    fold(&mut sum, &input);
    let began = Instant::now();
    (0..FOLDS).for_each(|_| fold(&mut sum, std::hint::black_box(&input)));
    nanoseconds(began) / (FOLDS * FOLD_BYTES) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_that_has_a_partner_is_its_partner() {
        for sizes in [&[1u32, 2, 3][..], &[4], &[1, 1, 1], &[2, 2], &[3, 1, 5, 2, 2]] {
            let hosts: Vec<u32> = (0..).zip(sizes).flat_map(|(host, size)| vec![host; *size as usize]).collect();
            let grouping = Grouping::new(&hosts);
            let mut met = vec![0; sizes.len()];
            for round in Round::all(&grouping) {
                for rank in 0..grouping.size() {
                    let Some(peer) = round.partner(rank, &grouping) else { continue };
                    assert_eq!(round.partner(peer, &grouping), Some(rank), "{round:?} of {sizes:?}");
                    assert_ne!(peer, rank);
                    if matches!(round, Round::Between { .. }) {
                        met[grouping.host_of(rank) as usize] += 1;
                    }
                }
            }
            assert!(sizes.len() == 1 || met.iter().all(|times| *times > 0), "every host of {sizes:?} meets another");
        }
    }

    #[test]
    fn streams_last_on_slow_links_and_are_short_on_fast_ones() {
        for (piece_ns, pieces, tries) in [
            (40e3, 16, 3),
            (100e3, 10, 3),
            (240e3, 4, 3),
            (300e3, 16, 2),
            (1e6, 5, 2),
            (1.1e6, 4, 2),
            (11e6, 3, 2),
            (0.0, 16, 3),
        ] {
            assert_eq!(Streams::of(piece_ns), Streams { pieces, tries }, "{piece_ns}");
        }
        let streams = Streams { pieces: 4, tries: 2 };
        assert_eq!(streams.byte_ns(1e3 + 4.0 * PIECE_BYTES as f64, 0.5e3), 1.0);
        assert_eq!(streams.byte_ns(1e6, 1e6), 0.5e6 / (4 * PIECE_BYTES) as f64, "the pings were disturbed");
    }

    #[test]
    fn a_slow_host_is_told_from_those_that_meet_it() {
        let grouping = Grouping::new(&[0, 1, 2, 3]);
        let rounds = Round::all(&grouping);
        assert_eq!(
            rounds,
            [Round::AloneBetween, Round::Crowded, Round::Between { distance: 1 }, Round::Between { distance: 2 }]
        );
        // Host 2 is ten times as slow: hosts 3 and 0 meet it.
        let (fast, slow) = ([10_000.0, 500.0, 8.0, 8.0, 8.0], [10_000.0, 500.0, 80.0, 80.0, 8.0]);
        let (nothing, crowd) = ([0.0; 5], [13_000.0, 0.0, 0.0, 0.0, 0.0]);
        let told = |rounds: [[f64; 5]; 4]| [&[0.5][..], &rounds.concat()].concat();
        let all = [
            told([fast, crowd, fast, slow]),
            told([fast, crowd, fast, fast]),
            told([nothing, crowd, slow, slow]),
            told([nothing, crowd, slow, fast]),
        ];
        let network = network(&grouping, vec![0, 0, 1, 2], vec![4; 3], &rounds, &all);
        assert_eq!(network.crowded_ns, 3_000.0);
        assert_eq!((network.machines, network.cores), (vec![0, 0, 1, 2], vec![4, 4, 4]));
        assert_eq!(network.shared_byte_ns, [8.0, 8.0, 80.0, 8.0]);
        assert_eq!((network.between.byte_ns, network.between.busy_byte_ns), (8.0, 0.0));
        assert_eq!((network.fold_byte_ns, network.inside.latency_ns), (0.5, 0.0));
    }
}
