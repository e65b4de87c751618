//! Whole calls beside their prices: what they take longer than their messages do when measured by themselves, or less long, is put on the network.
//!
//! A rank that answers another sleeps and wakes otherwise than one that exchanges with several; threads that are more than cores get in each other's way; and a call
//! has work of its own, by some algorithms more than by others. So small calls by those that may be the best are run, and a large one by the best so far. The latencies
//! and then the bytes of all links are multiplied by what makes their prices right, and by how much an algorithm is off the others is noted with it.

use super::executor::Executor;
use super::measure::{median, numbers, undisturbed};
use crate::bootstrap::Control;
use crate::error::{Error, Result};
use crate::tune::network::Network;
use crate::tune::{Candidates, Choice, Measured};
use crate::types::CollectiveKind;
use std::time::Instant;

const KIND: CollectiveKind = CollectiveKind::AllReduce;
/// Calls that are all latency, by so many algorithms at most: those that are expected to take no longer than so many times the best, and need no more than so many times
/// its links.
const SMALL_BYTES: usize = 1 << 10;
const TRIED: usize = 7;
const NEAR: f64 = 3.0;
const LINKS: usize = 2;
/// Calls that are mostly bytes: the largest serves that is expected to take no longer than `LARGE_NS`, or the first.
const LARGE_BYTES: [usize; 4] = [64 << 10, 256 << 10, 1 << 20, 4 << 20];
const LARGE_NS: f64 = 8e6;
/// About how long one trial takes, unless the fewest calls take longer.
const TRIAL_NS: f64 = 15e6;
/// Rounds of each way's calls.
const ROUNDS: [f64; 2] = [2.0, 5.0];
/// Calls of a round, at most: of few, a rank is through before it has waited for all others, and others wait longer in the next.
const SMALL_CALLS: f64 = 12.0;
/// So many are left where several ways are tried.
const FEW_CALLS: f64 = 4.0;
const LARGE_CALLS: f64 = 2.0;
/// No more than so much may be wrong with what was measured.
const MOST: f64 = 4.0;
/// How often the way from the least to the most is halved: to 2 %.
const HALVINGS: u32 = 7;

/// Calls that all ranks make.
struct Trial {
    bytes: usize,
    calls: usize,
    rounds: usize,
    choices: Vec<Choice>,
}

/// The candidates on a network on which calls take what they were seen to take. All ranks call it.
///
/// # Errors
/// As the calls that it makes.
pub(super) fn calibrate(executor: &mut Executor, control: &Control, mut candidates: Candidates) -> Result<Candidates> {
    let trial = Trial::agreed(control, &candidates, SMALL_CALLS, small)?;
    let factors = trial.factors(executor, control, &candidates, |network, by| network.scaled(by, 1.0))?;
    let middle = median(factors.clone());
    let calls = trial.choices.iter().zip(factors).map(|(choice, factor)| (choice.algorithm, factor / middle));
    candidates.network = Network { calls: calls.collect(), ..candidates.network.scaled(middle, 1.0) };

    let trial = Trial::agreed(control, &candidates, LARGE_CALLS, large)?;
    let factors = trial.factors(executor, control, &candidates, |network, by| network.scaled(1.0, by))?;
    candidates.network = candidates.network.scaled(1.0, median(factors));
    Ok(candidates)
}

/// Bytes, by which choices, and what these are expected to take.
type Wanted = (usize, Vec<(Choice, f64)>);

fn small(candidates: &Candidates) -> Wanted {
    let mut all = candidates.algorithms(KIND, SMALL_BYTES);
    if let Some((best, best_ns)) = all.first().copied() {
        let (longest, most) = (NEAR * best_ns, LINKS * candidates.links(KIND, &best));
        all.retain(|(choice, ns)| *ns <= longest && candidates.links(KIND, choice) <= most);
        // Where a call takes long, fewer are tried, at last the best alone.
        all.truncate(((TRIAL_NS / (ROUNDS[0] * FEW_CALLS * best_ns)) as usize).clamp(1, TRIED));
    }
    (SMALL_BYTES, all)
}

fn large(candidates: &Candidates) -> Wanted {
    let with_best = |bytes| {
        let best = candidates.best(KIND, bytes).map(|best| (best, candidates.time(KIND, bytes, &best)));
        (bytes, Vec::from_iter(best))
    };
    let is_short = |(_, best): &Wanted| best.iter().all(|(_, ns)| *ns <= LARGE_NS);
    let mut all = LARGE_BYTES.into_iter().rev().map(with_best);
    all.find(is_short).unwrap_or_else(|| with_best(LARGE_BYTES[0]))
}

impl Trial {
    /// As rank 0 wants it, of no more calls a round than `most`.
    fn agreed(
        control: &Control,
        candidates: &Candidates,
        most: f64,
        wanted: impl FnOnce(&Candidates) -> Wanted,
    ) -> Result<Self> {
        let rank = control.rank();
        let told = match (rank == 0).then(|| wanted(candidates)) {
            None => String::new(),
            Some((bytes, choices)) => {
                let ns: f64 = choices.iter().map(|(_, ns)| ns).sum();
                let calls = (TRIAL_NS / (ROUNDS[0] * ns)).clamp(1.0, most).floor();
                let rounds = (TRIAL_NS / (calls * ns)).clamp(ROUNDS[0], ROUNDS[1]).floor();
                let choices: Vec<String> = choices.iter().map(|(choice, _)| choice.to_string()).collect();
                format!("{bytes} {calls} {rounds} {}", choices.join(" "))
            }
        };
        let told = control.exchange(told.as_bytes())?;
        let odd = || Error::InvalidArgument {
            what: format!("rank {rank}: measuring the network: rank 0 told of calls that cannot run"),
        };
        Self::parse(&String::from_utf8_lossy(&told[0]), candidates).ok_or_else(odd)
    }

    /// From the text of rank 0, if that can run, and ends soon.
    fn parse(told: &str, candidates: &Candidates) -> Option<Self> {
        let mut words = told.splitn(4, ' ');
        let mut number = || words.next()?.parse().ok();
        let (bytes, calls, rounds) = (number()?, number()?, number()?);
        let trial = Self { bytes, calls, rounds, choices: Measured::choices(words.next()?).ok()? };
        let is_sound = (bytes == SMALL_BYTES || LARGE_BYTES.contains(&bytes))
            && (1..=SMALL_CALLS as usize).contains(&calls)
            && (1..=ROUNDS[1] as usize).contains(&rounds)
            && (1..=TRIED).contains(&trial.choices.len())
            && trial.choices.iter().all(|choice| candidates.can_run(KIND, choice));
        is_sound.then_some(trial)
    }

    /// By choice, what has to be multiplied, as `scaled` does it, for it to be predicted to take what it does. Each rank finds its share, and tells the others.
    fn factors(
        &self,
        executor: &mut Executor,
        control: &Control,
        candidates: &Candidates,
        scaled: impl Fn(&Network, f64) -> Network,
    ) -> Result<Vec<f64>> {
        let measured_ns = self.run(executor, control)?;
        let (rank, size) = (control.rank() as usize, control.size() as usize);
        let share = |rank: usize| (0..self.choices.len()).skip(rank).step_by(size);
        let mine = share(rank).flat_map(|choice| {
            let predicted_ns = |by| {
                let network = scaled(&candidates.network, by);
                Candidates { network, ..*candidates }.time(KIND, self.bytes, &self.choices[choice])
            };
            factor(measured_ns[choice], predicted_ns).to_le_bytes()
        });
        let told = control.exchange(&mine.collect::<Vec<u8>>())?;
        let mut factors = vec![1.0; self.choices.len()];
        for (rank, bytes) in told.iter().enumerate() {
            let numbers = numbers(rank, bytes, share(rank).len())?;
            share(rank).zip(numbers).for_each(|(choice, factor)| factors[choice] = factor.clamp(1.0 / MOST, MOST));
        }
        Ok(factors)
    }

    /// By choice, what a call takes until the last rank is through.
    fn run(&self, executor: &mut Executor, control: &Control) -> Result<Vec<f64>> {
        let mut data = vec![0; self.bytes];
        let mut call = |choice| executor.try_all_reduce(control, choice, None, &mut data);
        // Links are made, and memory is touched.
        self.choices.iter().try_for_each(&mut call)?;
        let mut times = vec![Vec::with_capacity(self.rounds); self.choices.len()];
        for _ in 0..self.rounds {
            for (choice, times) in self.choices.iter().zip(&mut times) {
                let began = Instant::now();
                (0..self.calls).try_for_each(|_| call(choice))?;
                times.push(began.elapsed().as_nanos() as f64 / self.calls as f64);
            }
        }
        let mine: Vec<u8> = times.into_iter().flat_map(|times| undisturbed(times).to_le_bytes()).collect();
        let all = control.exchange(&mine)?;
        let all = all.iter().enumerate().map(|(rank, bytes)| numbers(rank, bytes, self.choices.len()));
        let all = all.collect::<Result<Vec<_>>>()?;
        Ok((0..self.choices.len()).map(|choice| all.iter().map(|ns| ns[choice]).fold(0.0, f64::max)).collect())
    }
}

/// What has to be multiplied for `measured_ns` to be predicted; predictions grow with it.
fn factor(measured_ns: f64, predicted_ns: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (1.0 / MOST, MOST);
    for _ in 0..HALVINGS {
        let middle = f64::sqrt(low * high);
        if predicted_ns(middle) < measured_ns { low = middle } else { high = middle }
    }
    f64::sqrt(low * high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::{Allowed, Reach};

    #[test]
    fn what_rank_0_wants_to_measure_can_run_and_ends_soon() {
        let text = "serried network 1\nhosts 0 1\ninside 0 0 0 0 1\nbetween 10000 1000 1 0.1 2\nshared 1 1\nfold 0.1\nmachines 0 1\ncores 8 8\ncrowded 0\n";
        let (network, reach) = (text.parse().expect("a network"), Reach::Links { slot_bytes: 1 << 19 });
        let candidates = Candidates { network, reach, allowed: Allowed::default() };
        let trial = Trial::parse("1024 12 3 ring:1024:2 tree:512:1", &candidates).expect("two ways that run");
        assert_eq!((trial.bytes, trial.calls, trial.rounds, trial.choices.len()), (1024, 12, 3, 2));
        let one = "ring:64:1 ";
        for odd in [
            "",
            "1024",
            "1024 12",
            "1024 12 3",
            "1024 12 3 ",
            "x 12 3 ring:64:1",
            "1024 0 3 ring:64:1",
            "1024 13 3 ring:64:1",
            "1024 12 0 ring:64:1",
            "1024 12 6 ring:64:1",
            "0 12 3 ring:64:1",
            "1023 12 3 ring:64:1",
            "4194305 12 3 ring:64:1",
            "1024 12 3 ring:64:0",
            "1024 12 3 bruck:64:1",
            &format!("1024 12 3 {}", one.repeat(TRIED + 1)),
        ] {
            assert!(Trial::parse(odd, &candidates).is_none(), "{odd:?}");
        }
    }

    #[test]
    fn a_factor_makes_a_prediction_right_within_its_limits() {
        for (measured, expected) in [(280.0, 1.8), (160.0, 0.6), (200.0, 1.0), (1e9, MOST), (0.0, 1.0 / MOST)] {
            let factor = factor(measured, |by| 100.0 + 100.0 * by);
            assert!((factor / expected - 1.0).abs() < 0.02, "{measured}: {factor}, not {expected}");
        }
    }
}
