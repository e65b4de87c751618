//! Every way in which a call may run, and what each is predicted to take.

use super::calls::Times;
use super::network::Network;
use super::price::{FLOOR_OFF, Price, Sizes, floor, price, time, time_within};
use super::{Allowed, Choice, IN_ROOM, Reach, sliced};
use crate::schedule::{Algorithm, Program, Schedule, Step};
use crate::types::CollectiveKind;
use std::collections::HashSet;

/// Among more ranks the measured network is not asked: running all their programs takes too long.
pub const RANKS_MOST: u32 = 64;

/// Sizes that are priced: curves cross slowly.
const PRICED: [usize; 9] = [0, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 32 << 20];

/// So much longer than the best an algorithm may take with its usual slices, for finer ones to be looked at.
const NEAR: f64 = 1.5;

/// Ways that take so much longer than the best at most are as good: prices are not finer. Among them those with the fewest links are preferred:
/// each link is then a steady stream, and congestion control, which begins anew on every link that was idle, is at its best.
const AS_GOOD: f64 = 1.05;

/// Smaller slices than this only add messages.
const SLICE_BYTES_LEAST: usize = 16 << 10;

/// What a choice is made among: the measured network, how ranks reach each other on it, and what is allowed.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidates {
    /// What was measured.
    pub network: Network,
    /// How ranks reach each other.
    pub reach: Reach,
    /// What may run.
    pub allowed: Allowed,
}

impl Candidates {
    /// The ways for one size: every algorithm that serves `kind` and is allowed, each with its usual slices and with finer ones. Where all ranks share a host's memory
    /// there are no slices. None for messages between two, which have one way.
    pub fn of(&self, kind: CollectiveKind, bytes: usize) -> Vec<Choice> {
        if kind == CollectiveKind::Send {
            return Vec::new();
        }
        let slot_bytes = match self.reach {
            Reach::Room { .. } if kind == CollectiveKind::AllReduce => {
                let allowed = IN_ROOM.into_iter().filter(|one| self.allowed.allows(kind, *one));
                return allowed.map(Choice::in_room).collect();
            }
            Reach::Room { slot_bytes } => {
                return vec![sliced(kind, Algorithm::Direct, &self.network.grouping, slot_bytes, bytes)];
            }
            Reach::Links { slot_bytes } => slot_bytes,
        };
        let mut all = Vec::new();
        for algorithm in self.allowed.of(kind) {
            let usual = sliced(kind, algorithm, &self.network.grouping, slot_bytes, bytes);
            all.push(usual);
            for (finer, lanes) in [(2, 2), (4, 4)] {
                let slice_bytes = usual.slice_bytes.min(bytes) / finer / 8 * 8;
                if slice_bytes >= SLICE_BYTES_LEAST {
                    all.push(Choice { slice_bytes, lanes, ..usual });
                }
            }
        }
        all
    }

    /// What a call is predicted to take, and what that is made of; `None` where it was not measured, or for what cannot run.
    pub fn predict(&self, kind: CollectiveKind, bytes: usize, choice: &Choice) -> Option<Price> {
        if !self.can_run(kind, choice) {
            return None;
        }
        match self.reach {
            Reach::Room { .. } => self.predict_in_room(kind, bytes, choice),
            Reach::Links { .. } => {
                let (programs, sizes) = (self.programs(kind, choice), self.sizes(kind, bytes, choice));
                let wire_ns = floor(&self.network, &programs, sizes).wire_ns;
                let longer = self.network.calls.of(kind, choice.algorithm);
                Some(longer.price(price(&self.network, &programs, sizes), wire_ns))
            }
        }
    }

    fn predict_in_room(&self, kind: CollectiveKind, bytes: usize, choice: &Choice) -> Option<Price> {
        let curves = self.network.room.iter().filter(|_| kind == CollectiveKind::AllReduce);
        let curve = curves.into_iter().find(|curve| curve.algorithm == choice.algorithm)?;
        let (total_ns, latency_ns) = (curve.at(bytes), curve.at(0));
        // Directly, each rank reduces everything; otherwise a part each.
        let ranks = f64::from(self.network.grouping.size());
        let parts = if choice.algorithm == Algorithm::Direct { 1.0 } else { ranks };
        let folded = (ranks - 1.0) / parts * bytes as f64 * self.network.fold_byte_ns;
        let reduction_ns = folded.min(total_ns - latency_ns).max(0.0);
        Some(Price {
            total_ns,
            latency_ns,
            reduction_ns,
            bandwidth_ns: (total_ns - latency_ns - reduction_ns).max(0.0),
        })
    }

    /// The way that calls of `bytes` go by, on a table that was made of what is here: as those of the largest size that is priced and not above. `None` for what is
    /// not chosen by prices.
    pub fn choice(&self, kind: CollectiveKind, bytes: usize) -> Option<Choice> {
        let cells = self.cells();
        Self::cell(&cells, kind, bytes).and_then(|cell| self.best(kind, cells[cell].1))
    }

    /// Which of the cells stands for calls of `bytes`.
    pub(super) fn cell(cells: &[(CollectiveKind, usize)], kind: CollectiveKind, bytes: usize) -> Option<usize> {
        cells.iter().rposition(|(one, priced)| *one == kind && *priced <= bytes)
    }

    /// Every algorithm for calls of `bytes` with its usual slices, and the time that it is predicted to take; the fastest first.
    pub(crate) fn algorithms(&self, kind: CollectiveKind, bytes: usize) -> Vec<(Choice, f64)> {
        let mut all = self.of(kind, bytes);
        // The usual slices come first of each.
        all.dedup_by_key(|choice| choice.algorithm);
        let mut all: Vec<_> = all.into_iter().map(|choice| (choice, self.time(kind, bytes, &choice))).collect();
        all.sort_by(|one, other| one.1.total_cmp(&other.1));
        all
    }

    /// The way that is predicted to be the fastest, or of those that are as good the one with the fewest links. Finer slices are looked at for those that
    /// are near it with their usual ones. `None` for messages between two.
    pub fn best(&self, kind: CollectiveKind, bytes: usize) -> Option<Choice> {
        let all = self.of(kind, bytes);
        // Of each algorithm, its usual slices come first.
        let ways = all.chunk_by(|one, other| one.algorithm == other.algorithm);
        let near = self.near(kind, bytes, ways.clone().map(|way| way[0]), NEAR, Vec::new());
        let is_near = |way: &&[Choice]| near.iter().any(|(_, usual)| usual.algorithm == way[0].algorithm);
        let finer = ways.filter(is_near).flat_map(|way| way[1..].iter().copied());
        let as_good = self.near(kind, bytes, finer, AS_GOOD, near.clone());
        let by_links = |(ns, choice): &(f64, Choice)| (self.links(kind, choice), ns.to_bits());
        as_good.into_iter().min_by_key(by_links).map(|(_, choice)| choice)
    }

    /// What `choices` and those that are `priced` take, but for those that take longer than `most` times the least: they need not be run to their ends, or at all. Those that may be short come first.
    fn near(
        &self,
        kind: CollectiveKind,
        bytes: usize,
        choices: impl Iterator<Item = Choice>,
        most: f64,
        mut priced: Vec<(f64, Choice)>,
    ) -> Vec<(f64, Choice)> {
        let mut least = priced.iter().map(|(ns, _)| *ns).fold(f64::INFINITY, f64::min);
        let mut choices: Vec<_> = choices.map(|choice| (self.floor(kind, bytes, &choice), choice)).collect();
        choices.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        for (floor, choice) in choices {
            if floor > most * least * FLOOR_OFF {
                break;
            }
            let ns = self.time_within(kind, bytes, &choice, most * least);
            least = least.min(ns);
            priced.push((ns, choice));
        }
        priced.retain(|(ns, _)| *ns <= most * least);
        priced
    }

    /// How many pairs of ranks send to each other, each direction counted; 0 where all share memory.
    pub(crate) fn links(&self, kind: CollectiveKind, choice: &Choice) -> usize {
        let Reach::Links { .. } = self.reach else { return 0 };
        let programs = self.programs(kind, choice);
        let peers = |program: &Program<'_>| {
            let sent = (0..program.len()).filter_map(|step| match program.step(step) {
                Step::Send { to, .. } => Some(to),
                _ => None,
            });
            sent.collect::<HashSet<u32>>().len()
        };
        programs.iter().map(peers).sum()
    }

    /// The time alone of what [`predict`](Self::predict) says.
    pub(crate) fn time(&self, kind: CollectiveKind, bytes: usize, choice: &Choice) -> f64 {
        self.time_within(kind, bytes, choice, f64::INFINITY)
    }

    /// The same; infinity as soon as it is seen to be more than `limit_ns`.
    fn time_within(&self, kind: CollectiveKind, bytes: usize, choice: &Choice, limit_ns: f64) -> f64 {
        match self.reach {
            Reach::Room { .. } => self.predict_in_room(kind, bytes, choice).map_or(0.0, |price| price.total_ns),
            Reach::Links { .. } => {
                let longer = self.network.calls.of(kind, choice.algorithm);
                let (programs, sizes) = (self.programs(kind, choice), self.sizes(kind, bytes, choice));
                let empty_ns = time(&self.network, &programs, Sizes { bytes: 0, ..sizes });
                let wire_ns = floor(&self.network, &programs, sizes).wire_ns;
                let limit_ns = longer.within(empty_ns, wire_ns, limit_ns);
                longer.time(Times { empty_ns, ns: time_within(&self.network, &programs, sizes, limit_ns), wire_ns })
            }
        }
    }

    /// What such a call takes at least.
    fn floor(&self, kind: CollectiveKind, bytes: usize, choice: &Choice) -> f64 {
        let Reach::Links { .. } = self.reach else { return 0.0 };
        let (programs, sizes) = (self.programs(kind, choice), self.sizes(kind, bytes, choice));
        let [empty, whole] = [0, bytes].map(|bytes| floor(&self.network, &programs, Sizes { bytes, ..sizes }));
        let times = Times { empty_ns: empty.ns, ns: whole.ns, wire_ns: whole.wire_ns };
        self.network.calls.of(kind, choice.algorithm).floor(times)
    }

    /// What such a call would take if it took what its messages do. Where ranks have links.
    pub(crate) fn times_of_messages(&self, kind: CollectiveKind, bytes: usize, choice: &Choice) -> Times {
        let (programs, sizes) = (self.programs(kind, choice), self.sizes(kind, bytes, choice));
        let [empty_ns, ns] = [0, bytes].map(|bytes| time(&self.network, &programs, Sizes { bytes, ..sizes }));
        Times { empty_ns, ns, wire_ns: floor(&self.network, &programs, sizes).wire_ns }
    }

    /// Whether `choice` can run for `kind`.
    pub fn can_run(&self, kind: CollectiveKind, choice: &Choice) -> bool {
        self.reach.can_run(kind, &self.network.grouping, choice)
    }

    /// For what the best is to be found: collectives that have several ways and can be predicted, at sizes that stand for all up to the next.
    pub fn cells(&self) -> Vec<(CollectiveKind, usize)> {
        let kinds = CollectiveKind::ALL.into_iter().filter(|kind| match self.reach {
            Reach::Room { .. } => *kind == CollectiveKind::AllReduce,
            Reach::Links { .. } => *kind != CollectiveKind::Send && !self.allowed.is_fixed(*kind),
        });
        let sizes = |kind| if kind == CollectiveKind::Barrier { &PRICED[..1] } else { &PRICED[..] };
        kinds.flat_map(|kind| sizes(kind).iter().map(move |bytes| (kind, *bytes))).collect()
    }

    fn programs(&self, kind: CollectiveKind, choice: &Choice) -> Vec<Program<'_>> {
        let grouping = &self.network.grouping;
        let program = |rank| Program::new(kind, 0, choice.algorithm, rank, grouping).expect("it serves the collective");
        (0..grouping.size()).map(program).collect()
    }

    fn sizes(&self, kind: CollectiveKind, bytes: usize, choice: &Choice) -> Sizes {
        let blocks = if kind.is_of_blocks() { self.network.grouping.size() } else { 1 };
        Sizes { bytes, slice_bytes: choice.slice_bytes, lanes: choice.lanes, blocks }
    }
}

#[cfg(test)]
mod tests {
    use super::super::calls::Longer;
    use super::*;

    #[test]
    fn what_is_skipped_would_not_have_been_the_best() {
        let text = "serried network 1\nhosts 0 0 1 1 1 2\ninside 2000 900 0.1 0.1 2\nbetween 20000 5000 1 0.2 2\nshared 1 1 2\nfold 0.1\nmachines 0 0 1\ncores 2 1\ncrowded 900\n";
        let network: Network = text.parse().expect("a network");
        let reach = Reach::Links { slot_bytes: 1 << 16 };
        let mut candidates = Candidates { network, reach, allowed: Allowed::default() };
        for (latency, byte) in [(1.0, 1.0), (3.0, 0.5), (0.5, 3.0)] {
            candidates.network.calls.others = Longer { latency, byte };
            *candidates.network.calls.tried_mut(Algorithm::Ring) = Longer { latency: byte, byte: latency };
            for (kind, bytes) in candidates.cells() {
                let all = candidates.of(kind, bytes);
                let timed: Vec<_> = all.iter().map(|choice| (*choice, candidates.time(kind, bytes, choice))).collect();
                for (choice, ns) in &timed {
                    let floor = candidates.floor(kind, bytes, choice);
                    assert!(floor <= ns * FLOOR_OFF, "{kind:?}, {bytes} bytes by {choice}: {floor} and {ns}");
                }
                let usual = all.chunk_by(|one, other| one.algorithm == other.algorithm).map(|way| way[0]);
                let ns_of = |choice: &Choice| timed.iter().find(|(one, _)| one == choice).expect("it was timed").1;
                let least = usual.clone().map(|choice| ns_of(&choice)).fold(f64::INFINITY, f64::min);
                let near: Vec<_> =
                    usual.filter(|choice| ns_of(choice) <= NEAR * least).map(|choice| choice.algorithm).collect();
                let looked_at = || timed.iter().filter(|(choice, _)| near.contains(&choice.algorithm));
                let least = looked_at().map(|(_, ns)| *ns).fold(f64::INFINITY, f64::min);
                let as_good = looked_at().filter(|(_, ns)| *ns <= AS_GOOD * least);
                let fewest = as_good.min_by_key(|(choice, ns)| (candidates.links(kind, choice), ns.to_bits()));
                let (best, expected) =
                    (candidates.best(kind, bytes).expect("there are ways"), fewest.expect("there are ways"));
                let found = (candidates.links(kind, &best), ns_of(&best));
                assert_eq!(found, (candidates.links(kind, &expected.0), expected.1), "{kind:?}, {bytes} bytes: {best}");
            }
        }
    }

    #[test]
    fn of_ways_that_are_as_good_the_one_with_the_fewest_links_is_taken() {
        let text = "serried network 1\nhosts 0 1 2 3\ninside 0 0 0 0 1\nbetween 20000 500 8 0 2\nshared 8 8 8 8\nfold 0.1\nmachines 0 1 2 3\ncores 8 8 8 8\ncrowded 0\n";
        let network: Network = text.parse().expect("a network");
        let reach = Reach::Links { slot_bytes: 1 << 19 };
        let candidates = Candidates { network, reach, allowed: Allowed::default() };
        let (kind, bytes) = (CollectiveKind::AllReduce, 4 << 20);
        let best = candidates.best(kind, bytes).expect("it has algorithms");
        assert_eq!((best.algorithm, candidates.links(kind, &best)), (Algorithm::Ring, 4));
        let predicted =
            |choice: &Choice| candidates.predict(kind, bytes, choice).expect("the links were measured").total_ns;
        let all = candidates.of(kind, bytes);
        let as_good = all.iter().filter(|choice| predicted(choice) <= AS_GOOD * predicted(&best));
        assert!(as_good.map(|choice| choice.algorithm).any(|algorithm| algorithm == Algorithm::Nhr));
        // Where the ring takes clearly longer, its few links do not help it.
        let small = candidates.best(kind, 1 << 10).expect("it has algorithms");
        assert!(candidates.links(kind, &small) > 4, "{small}");
        assert_eq!(candidates.choice(kind, 1 << 10), Some(small));
        assert_eq!(candidates.choice(kind, 2000), Some(small));
        assert_eq!(candidates.best(CollectiveKind::Send, 8), None);
    }
}
