//! What is told: for each size the ways, their prices and what they took, and how good the choice was. Pure.

use super::policies;
use crate::perf::Collective;
use serde_json::{Value, json};
use serried::tune::network::Network;
use serried::tune::price::Price;
use serried::tune::{Candidates, Choice, Table};

/// A prediction counts as good if it is off by no more than this, of what was measured.
const GOOD: f64 = 0.3;
/// Ways that take longer than so many times the best do not matter.
const MATTERS: f64 = 2.0;

/// One way of running calls of one size.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) choice: Choice,
    /// `None` where nothing was measured that tells.
    pub(crate) price: Option<Price>,
    pub(crate) measured: Option<Measured>,
}

/// What a way took when it was run, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    /// The median of all rounds.
    pub(crate) us: f64,
    /// Of every other round, from the first and from the second on.
    halves: [f64; 2],
}

impl Measured {
    /// Of what it took in each round, of which there are two or more.
    pub(crate) fn of(rounds: &[f64]) -> Self {
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0
        };
        let half = |first| median(rounds.iter().copied().skip(first).step_by(2).collect());
        Self { us: median(rounds.to_vec()), halves: [half(0), half(1)] }
    }
}

/// One size.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Of the message, or of all blocks.
    pub(crate) bytes: u64,
    /// The fastest first, as predicted.
    pub(crate) ways: Vec<Way>,
    /// Which of them is chosen.
    pub(crate) chosen: usize,
    /// Which would be without measuring.
    pub(crate) unmeasured: usize,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) collective: Collective,
    pub(crate) network: Network,
    pub(crate) rows: Vec<Row>,
}

/// How a tuner's choices did, over all sizes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) tuner: &'static str,
    pub(crate) mean: f64,
    pub(crate) worst: f64,
}

/// Each four times the one before.
fn sizes(min: u64, max: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(min.max(1)), |bytes| bytes.checked_mul(4)).take_while(move |bytes| *bytes <= max)
}

impl Story {
    /// The ways and their prices.
    pub(crate) fn of(collective: Collective, candidates: &Candidates, min: u64, max: u64) -> Self {
        let mut story = Self { collective, network: candidates.network.clone(), rows: Vec::new() };
        let kind = collective.kind();
        for bytes in sizes(min, max) {
            let own = story.block_bytes(bytes);
            let price = |choice| Way { choice, price: candidates.predict(kind, own, &choice), measured: None };
            let mut ways: Vec<Way> = candidates.of(kind, own).into_iter().map(&price).collect();
            let ns = |way: &Way| way.price.map_or(f64::INFINITY, |price| price.total_ns);
            ways.sort_by(|one, other| ns(one).total_cmp(&ns(other)));
            let table = Table::new(kind, &candidates.network.grouping, candidates.reach, &candidates.allowed);
            let mut row = Row { bytes, ways, chosen: 0, unmeasured: 0 };
            row.unmeasured = row.place(price(*table.choice(own)));
            row.chosen = candidates.choice(kind, own).map_or(row.unmeasured, |choice| row.place(price(choice)));
            story.rows.push(row);
        }
        story
    }

    /// Bytes of the message or of one block, whole floats.
    pub(crate) fn block_bytes(&self, bytes: u64) -> usize {
        let ranks = self.network.grouping.size();
        4 * self.collective.count(bytes, 4, ranks) as usize
    }

    /// What the choices cost, and what those of other tuners would; nothing if nothing was measured.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let grouping = &self.network.grouping;
        let ring = |row: &Row| policies::ring(&row.ways);
        let constants = |row: &Row| policies::constants(&row.ways, grouping, row.bytes);
        let verdict = |tuner, pick: &dyn Fn(&Row) -> Option<usize>| {
            let regrets: Option<Vec<f64>> = self.rows.iter().map(|row| row.regret(pick(row)?)).collect();
            let regrets = regrets.filter(|regrets| !regrets.is_empty())?;
            let mean = regrets.iter().sum::<f64>() / regrets.len() as f64;
            Some(Verdict { tuner, mean, worst: regrets.into_iter().fold(0.0, f64::max) })
        };
        let ours = verdict("this one", &|row| Some(row.chosen));
        let unmeasured = verdict("without measuring", &|row| Some(row.unmeasured));
        let others = [verdict("always the ring", &ring), verdict("ring or tree by constants", &constants)];
        [ours, unmeasured].into_iter().chain(others).flatten().collect()
    }

    /// Of the ways that matter and were measured, how many there are and how many were predicted well.
    pub(crate) fn predicted_well(&self) -> (usize, usize) {
        let matter = self.rows.iter().flat_map(|row| {
            let best = row.best_us().unwrap_or(0.0);
            row.ways.iter().filter(move |way| way.measured_us().is_some_and(|us| us <= MATTERS * best))
        });
        let errors: Vec<f64> = matter.filter_map(Way::error).collect();
        (errors.len(), errors.iter().filter(|error| error.abs() <= GOOD).count())
    }

    pub(crate) fn json(&self) -> Value {
        let ranks = self.network.grouping.size();
        let row = |row: &Row| {
            let ways: Vec<_> = row.ways.iter().map(Way::json).collect();
            json!({ "bytes": row.bytes, "chosen": row.chosen, "regret": row.regret(row.chosen), "ways": ways })
        };
        let verdicts = self.verdicts().into_iter();
        let verdicts: Vec<_> = verdicts
            .map(|one| json!({ "tuner": one.tuner, "mean_regret": one.mean, "worst_regret": one.worst }))
            .collect();
        let (matter, good) = self.predicted_well();
        json!({
            "version": 1,
            "serried_version": env!("CARGO_PKG_VERSION"),
            "collective": self.collective.name(),
            "ranks": ranks,
            "network": self.network.to_string(),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "verdicts": verdicts,
            "predictions": { "matter": matter, "within_30_percent": good },
        })
    }
}

impl Row {
    /// Where among the ways this one is.
    pub(crate) fn place(&mut self, way: Way) -> usize {
        let place = self.ways.iter().position(|one| one.choice == way.choice);
        place.unwrap_or_else(|| {
            // A size between two that were priced goes as the smaller one, perhaps in slices of another size than any of its own ways.
            self.ways.push(way);
            self.ways.len() - 1
        })
    }

    fn best_us(&self) -> Option<f64> {
        self.ways.iter().filter_map(Way::measured_us).min_by(f64::total_cmp)
    }

    /// What taking this way costs beyond the best, of the best. Of many ways that take the same, one looks faster by chance, and every choice worse for it: so which is the best
    /// is asked of each half of the rounds, and what it takes of the other. (Where chance is all, the mean of many is 0, and a single one may be below.)
    pub(crate) fn regret(&self, way: usize) -> Option<f64> {
        let mine = self.ways.get(way)?.measured?.halves;
        let all: Vec<[f64; 2]> = self.ways.iter().filter_map(|way| Some(way.measured?.halves)).collect();
        let beyond = |half: usize| {
            let best = all.iter().min_by(|one, other| one[1 - half].total_cmp(&other[1 - half]))?;
            Some(mine[half] / best[half] - 1.0)
        };
        Some((beyond(0)? + beyond(1)?) / 2.0)
    }
}

impl Way {
    pub(crate) fn measured_us(&self) -> Option<f64> {
        self.measured.map(|measured| measured.us)
    }

    /// How far the prediction is off, of what was measured.
    pub(crate) fn error(&self) -> Option<f64> {
        let measured = self.measured_us()?;
        Some((self.price?.total_ns / 1e3 - measured) / measured)
    }

    fn json(&self) -> Value {
        let Choice { algorithm, slice_bytes, lanes } = self.choice;
        let slice = (slice_bytes != usize::MAX).then_some(slice_bytes);
        let price = self.price.map(|price| {
            let us = |ns: f64| ns / 1e3;
            json!({ "total_us": us(price.total_ns), "latency_us": us(price.latency_ns),
                    "bandwidth_us": us(price.bandwidth_ns), "reduction_us": us(price.reduction_ns) })
        });
        json!({ "algorithm": algorithm.name(), "slice_bytes": slice, "lanes": lanes, "predicted": price, "measured_us": self.measured_us() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serried::schedule::Algorithm;

    fn way(algorithm: Algorithm, predicted_us: f64, measured_us: f64) -> Way {
        let price = Price { total_ns: predicted_us * 1e3, ..Price::default() };
        let choice = Choice { algorithm, slice_bytes: 1 << 20, lanes: 2 };
        Way { choice, price: Some(price), measured: Some(Measured::of(&[measured_us; 2])) }
    }

    fn story(rows: Vec<Row>) -> Story {
        let text = "serried network 1\nhosts 0 1\ninside 0 0 0 0 1\nbetween 10000 1000 1 0.1 2\nshared 1 1\nfold 0.1\nmachines 0 1\ncores 8 8\ncrowded 0\n";
        Story { collective: Collective::AllReduce, network: text.parse().expect("a network"), rows }
    }

    #[test]
    fn regret_is_what_the_choice_costs_beside_the_best() {
        let small = vec![way(Algorithm::Tree, 10.0, 12.0), way(Algorithm::Ring, 11.0, 10.0)];
        let large = vec![way(Algorithm::Ring, 90.0, 100.0), way(Algorithm::Tree, 210.0, 400.0)];
        let story = story(vec![
            Row { bytes: 1024, ways: small, chosen: 0, unmeasured: 1 },
            Row { bytes: 1 << 20, ways: large, chosen: 0, unmeasured: 1 },
        ]);
        let verdicts = story.verdicts();
        assert!((verdicts[0].mean - 0.1).abs() < 1e-9 && (verdicts[0].worst - 0.2).abs() < 1e-9, "{verdicts:?}");
        assert_eq!((verdicts[1].mean, verdicts[1].worst), (1.5, 3.0), "{verdicts:?}");
        assert_eq!((verdicts[2].mean, verdicts[2].worst), (0.0, 0.0), "{verdicts:?}");
        // The tree of the large message takes four times the best: it does not matter how well that was predicted.
        assert_eq!(story.predicted_well(), (3, 3));
    }

    #[test]
    fn what_chance_made_look_faster_is_no_regret() {
        let rounds = |rounds: &[f64]| Way { measured: Some(Measured::of(rounds)), ..way(Algorithm::Tree, 1.0, 1.0) };
        // Each has a half in which it is the fastest by chance.
        let row = |ways| Row { bytes: 8, ways, chosen: 0, unmeasured: 0 };
        let alike = row(vec![rounds(&[10.0; 6]), rounds(&[8.0, 12.0, 8.0, 12.0, 8.0, 12.0])]);
        let regret = |row: &Row, way| row.regret(way).expect("measured");
        assert!((regret(&alike, 0) + 1.0 / 12.0).abs() < 1e-9, "{alike:?}");
        let better = row(vec![rounds(&[10.0; 6]), rounds(&[5.0, 4.0, 5.0, 4.0, 5.0, 4.0])]);
        assert!((regret(&better, 0) - 1.25).abs() < 1e-9 && regret(&better, 1) == 0.0, "{better:?}");
        // One disturbed round of a half changes nothing.
        let disturbed = row(vec![rounds(&[10.0, 10.0, 90.0, 10.0, 10.0, 10.0]), rounds(&[5.0; 6])]);
        assert!((regret(&disturbed, 0) - 1.0).abs() < 1e-9, "{disturbed:?}");
    }

    #[test]
    fn what_was_not_measured_has_no_verdict() {
        let unmeasured = Way { measured: None, ..way(Algorithm::Ring, 1.0, 1.0) };
        let story = story(vec![Row { bytes: 8, ways: vec![unmeasured], chosen: 0, unmeasured: 0 }]);
        assert_eq!((story.verdicts(), story.predicted_well()), (vec![], (0, 0)));
    }

    #[test]
    fn a_choice_of_other_slices_is_a_way_of_its_own() {
        let mut row = Row { bytes: 8, ways: vec![way(Algorithm::Ring, 1.0, 1.0)], chosen: 0, unmeasured: 0 };
        let other = way(Algorithm::Ring, 2.0, 1.0);
        let other = Way { choice: Choice { slice_bytes: 4096, ..other.choice }, measured: None, ..other };
        assert_eq!((row.place(other.clone()), row.place(other), row.ways.len()), (1, 1, 2));
        assert_eq!(row.regret(1), None);
    }
}
