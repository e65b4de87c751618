//! Measuring the links of a communicator, before its first call: short exchanges between pairs of ranks, all pairs of a round at once.
//!
//! First one pair in a host measures alone, and one between hosts, while all others sleep: what a message costs its two threads. Then all do, as neighbours: what they
//! wait longer for where they are more than there are cores. Then hosts pair up, at distances of
//! 1, 2, 4, …: so every host meets others in few rounds, and a slow one is told from those that only met it. One rank of each measures the link, and then all of them at
//! once what they share. What all find, all hear, and make the same network of it.

use super::compute::{cores, fold_byte_ns};
use super::numbers::{least, median, numbers};
use super::pair::{Found, Memory, Pair};
use super::places::Places;
use crate::bootstrap::Control;
use crate::communicator::executor::Executor;
use crate::error::Result;
use crate::tune::calls::Calls;
use crate::tune::network::{LinkCost, Network, SLOTS_MOST};
use crate::types::Grouping;
use std::time::Duration;

/// About how long all streams of slow links together take, unless the shortest take longer; some pieces come before each.
const STREAMS: Duration = Duration::from_millis(28);

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
pub(super) fn measure_links(executor: &mut Executor, control: &Control, places: &Places) -> Result<Network> {
    let grouping = executor.grouping.clone();
    let rank = control.rank();
    let rounds = Round::all(&grouping);
    places.settle(control, |_| true)?;
    let mut mine = vec![fold_byte_ns()];
    let mut memory = Memory::new();
    let partners: Vec<Option<u32>> = rounds.iter().map(|round| round.partner(rank, &grouping)).collect();
    for peer in partners.iter().flatten() {
        // All make their links in the order of rounds: nobody waits in a circle.
        if !executor.is_linked(*peer) {
            Pair::of(executor, control, *peer, &mut memory).there_and_back(1, 1)?;
        }
    }
    let time = STREAMS / rounds.iter().map(|round| round.streams()).sum::<u32>().max(1);
    for (round, partner) in rounds.iter().zip(partners) {
        let pair = partner.map(|peer| Pair::of(executor, control, peer, &mut memory));
        let together = || places.settle(control, |rank| round.partner(rank, &grouping).is_some());
        let found = round.measure(pair, time, together)?;
        mine.extend([found.latency_ns, found.busy_ns, found.byte_ns, found.both_byte_ns, found.slots]);
    }
    let bytes: Vec<u8> = mine.iter().flat_map(|number| number.to_le_bytes()).collect();
    let all = control.exchange(&bytes)?;
    let numbers = all.iter().enumerate().map(|(rank, bytes)| numbers(rank, bytes, mine.len()));
    let machines = executor.machines();
    let cores = cores(&grouping, &machines, executor.cards());
    Ok(network(&grouping, machines, cores, &rounds, &numbers.collect::<Result<Vec<_>>>()?))
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
            // Of up to three hosts only those two meet that have measured alone.
            let met_alone = distance == 1 && grouping.hosts() <= 3;
            let between = (!met_alone).then_some(Self::Between { distance });
            [between, shared.then_some(Self::Shared { distance })].into_iter().flatten()
        });
        alone.into_iter().flatten().chain(between).collect()
    }

    /// How many streams a pair makes.
    fn streams(self) -> u32 {
        match self {
            Self::AloneInside | Self::AloneBetween => 2,
            Self::Crowded => 0,
            Self::Between { .. } | Self::Shared { .. } => 1,
        }
    }

    /// This rank measures if it is of a pair, streams for about so long each. Exchanges make all begin together: those who measure alone are disturbed by nobody's
    /// waiting, and those who share something do so throughout.
    fn measure(self, pair: Option<Pair<'_>>, time: Duration, together: impl Fn() -> Result<()>) -> Result<Found> {
        together()?;
        let shares = matches!(self, Self::Shared { .. });
        let Some(mut pair) = pair else {
            if shares {
                together()?;
            }
            return Ok(Found::default());
        };
        match self {
            Self::AloneInside | Self::AloneBetween => pair.measure(time),
            Self::Crowded => pair.exchange(),
            Self::Between { .. } => pair.meet(time),
            Self::Shared { .. } => {
                let (latency_ns, streams) = pair.approach(time)?;
                together()?;
                pair.share(latency_ns, streams)
            }
        }
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
    let is_between = |round: &Round| matches!(round, Round::AloneBetween | Round::Between { .. });
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
        calls: Calls::NONE,
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
                    if matches!(round, Round::AloneBetween | Round::Between { .. }) {
                        met[grouping.host_of(rank) as usize] += 1;
                    }
                }
            }
            assert!(sizes.len() == 1 || met.iter().all(|times| *times > 0), "every host of {sizes:?} meets another");
        }
    }

    #[test]
    fn two_hosts_are_known_by_what_they_measured_alone() {
        let grouping = Grouping::new(&[0, 1]);
        let rounds = Round::all(&grouping);
        assert_eq!(rounds, [Round::AloneBetween, Round::Crowded]);
        let told = [&[0.5][..], &[10_000.0, 500.0, 8.0, 9.0, 4.0], &[11_000.0, 0.0, 0.0, 0.0, 0.0]].concat();
        let network = network(&grouping, vec![0, 1], vec![4; 2], &rounds, &[told.clone(), told]);
        assert_eq!((network.between.latency_ns, network.between.byte_ns), (10_000.0, 8.0));
        assert_eq!((network.between.busy_byte_ns, network.between.slots), (1.0, 4));
        assert_eq!((network.shared_byte_ns, network.crowded_ns), (vec![9.0; 2], 1_000.0));
        let of_three = Round::all(&Grouping::new(&[0, 0, 1, 1, 2]));
        assert!(!of_three.contains(&Round::Between { distance: 1 }), "{of_three:?}");
        assert!(
            of_three.contains(&Round::Shared { distance: 1 }) && of_three.contains(&Round::Between { distance: 2 })
        );
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
