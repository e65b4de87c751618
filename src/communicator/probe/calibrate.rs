//! Whole calls beside their prices: what they take longer than their messages do when measured by themselves, or less long, is put on the network.
//!
//! A rank that answers another sleeps and wakes otherwise than one that exchanges with several; threads that are more than cores get in each other's way; and a call
//! has work of its own, by some algorithms more than by others. So small calls by those that may be the best are run, and large ones by those, or, where these take long, by the best. What small ones
//! take longer than they are priced at is kept as a factor of latency, what large ones do as one of bytes, for each algorithm that was tried; the middle of them counts for all other calls. Calls are made only while rank 0 finds that
//! there is time.

use super::numbers::{median, nanoseconds, numbers, undisturbed};
use super::places::Places;
use crate::bootstrap::Control;
use crate::communicator::executor::Executor;
use crate::error::{Error, Result};
use crate::tune::calls::{Longer, Times};
use crate::tune::{Candidates, Choice, Measured};
use crate::types::CollectiveKind;
use std::time::{Duration, Instant};

const KIND: CollectiveKind = CollectiveKind::AllReduce;
/// Calls that are all latency, by so many algorithms at most: those that are expected to take no longer than so many times the best, and need no more than so many times
/// its links.
const SMALL_BYTES: usize = 1 << 10;
const TRIED: usize = 7;
const NEAR: f64 = 5.0;
const LINKS: usize = 2;
/// Calls that are mostly bytes: the largest serves that all may make that may be the best, in the time there is, or else the largest that is expected to take no longer than so much, by the best. (None smaller: a shaper may let 64 KiB pass at once. Where these take longer, the wire does, which streams have shown.)
const LARGE_BYTES: [usize; 3] = [256 << 10, 1 << 20, 4 << 20];
const LARGE_NS: f64 = 8e6;
/// About how long one trial takes, if there is so much time, unless the fewest calls take longer.
const TRIAL_NS: f64 = 15e6;
/// Less time than so much is none: what to try has to be priced first.
const LEFT_LEAST: Duration = Duration::from_millis(10);
/// Small calls, with making their links, may take so much of the time that is left.
const SMALL_PART: f64 = 0.75;
/// Rounds of each way's calls.
const ROUNDS: [usize; 2] = [2, 5];
/// Calls of a round, at most: of few, a rank is through before it has waited for all others, and others wait longer in the next.
const SMALL_CALLS: usize = 12;
/// So many are left where several ways are tried.
const FEW_CALLS: f64 = 4.0;
const LARGE_CALLS: usize = 2;
/// No more than so much may be wrong with what was measured.
const MOST: f64 = 8.0;

/// Calls that all ranks make.
struct Trial {
    bytes: usize,
    choices: Vec<Choice>,
}

/// How many of them: in so many rounds, so many by each choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Effort {
    rounds: usize,
    calls: usize,
}

/// The candidates on a network on which calls take what they were seen to take, as far as there is time `until` then, by rank 0's clock. All ranks call it.
///
/// # Errors
/// As the calls that it makes.
pub(super) fn calibrate(
    executor: &mut Executor,
    control: &Control,
    places: &Places,
    mut candidates: Candidates,
    until: Instant,
) -> Result<Candidates> {
    let until_small = Instant::now() + left(until).mul_f64(SMALL_PART);
    let Some(trial) = Trial::agreed(control, &candidates, until_small, small)? else {
        return Ok(candidates);
    };
    let latencies = trial.compared(executor, control, places, &candidates, until_small, Longer::latency_of)?;
    candidates.network.calls.others.latency = median(latencies.clone());
    for (choice, latency) in trial.choices.iter().zip(latencies) {
        candidates.network.calls.tried_mut(choice.algorithm).latency = latency;
    }
    if let Some(trial) = Trial::agreed(control, &candidates, until, large)? {
        let bytes = trial.compared(executor, control, places, &candidates, until, Longer::byte_of)?;
        if !bytes.is_empty() {
            candidates.network.calls.set_byte(median(bytes.clone()));
        }
        for (choice, byte) in trial.choices.iter().zip(bytes) {
            candidates.network.calls.tried_mut(choice.algorithm).byte = byte;
        }
    }
    Ok(candidates)
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Whether it is later than `until` by rank 0's clock.
fn is_late(control: &Control, until: Instant) -> Result<bool> {
    Ok(control.exchange(&[u8::from(left(until).is_zero())])?[0] != [0])
}

/// Bytes, by which choices, and what these are expected to take; none where none is short enough.
type Wanted = (usize, Vec<(Choice, f64)>);

/// Small calls by those that may be the best, of no more than `call_ns` each.
fn small(candidates: &Candidates, call_ns: f64) -> Wanted {
    let mut all = near(candidates, SMALL_BYTES);
    all.retain(|(_, ns)| *ns <= call_ns);
    if let Some((_, best_ns)) = all.first() {
        // Where a call takes long, fewer are tried, at last the best alone.
        all.truncate(((TRIAL_NS / (ROUNDS[0] as f64 * FEW_CALLS * best_ns)) as usize).clamp(1, TRIED));
    }
    (SMALL_BYTES, all)
}

/// Large calls by those that may be the best, of no more than `calls_ns` together, or, where these take longer, the largest that the best alone can make in that time.
fn large(candidates: &Candidates, calls_ns: f64) -> Wanted {
    let longest = calls_ns.min(LARGE_NS);
    let is_short = |(_, all): &Wanted| all.iter().map(|(_, ns)| ns).sum::<f64>() <= longest;
    let mut alone = None;
    for bytes in LARGE_BYTES.into_iter().rev() {
        let all = (bytes, near(candidates, bytes));
        if is_short(&all) {
            return all;
        }
        alone = alone.or_else(|| Some((bytes, all.1.into_iter().take(1).collect())).filter(is_short));
    }
    alone.unwrap_or_default()
}

/// Those by which calls of `bytes` may be the fastest; the fastest first.
fn near(candidates: &Candidates, bytes: usize) -> Vec<(Choice, f64)> {
    let mut all = candidates.algorithms(KIND, bytes);
    if let Some((best, best_ns)) = all.first().copied() {
        let most = LINKS * candidates.links(KIND, &best);
        all.retain(|(choice, ns)| *ns <= NEAR * best_ns && candidates.links(KIND, choice) <= most);
        all.truncate(TRIED);
    }
    all
}

impl Trial {
    /// As rank 0 wants it; none if it finds that there is no time.
    fn agreed(
        control: &Control,
        candidates: &Candidates,
        until: Instant,
        wanted: impl FnOnce(&Candidates, f64) -> Wanted,
    ) -> Result<Option<Self>> {
        // Two calls are made before more is known, and they may take longer than expected.
        let (rank, left) = (control.rank(), left(until));
        let is_time = rank == 0 && left >= LEFT_LEAST;
        let wanted = is_time.then(|| wanted(candidates, left.as_nanos() as f64 / 4.0));
        let told = wanted.filter(|(_, choices)| !choices.is_empty()).map(|(bytes, choices)| {
            let choices: Vec<String> = choices.iter().map(|(choice, _)| choice.to_string()).collect();
            format!("{bytes} {}", choices.join(" "))
        });
        let told = told.unwrap_or_default();
        let told = control.exchange(told.as_bytes())?;
        if told[0].is_empty() {
            return Ok(None);
        }
        let odd = || Error::InvalidArgument {
            what: format!("rank {rank}: measuring the network: rank 0 told of calls that cannot run"),
        };
        Self::parse(&String::from_utf8_lossy(&told[0]), candidates).map(Some).ok_or_else(odd)
    }

    /// From the text of rank 0, if that can run.
    fn parse(told: &str, candidates: &Candidates) -> Option<Self> {
        let (bytes, choices) = told.split_once(' ')?;
        let trial = Self { bytes: bytes.parse().ok()?, choices: Measured::choices(choices).ok()? };
        let is_sound = (trial.bytes == SMALL_BYTES || LARGE_BYTES.contains(&trial.bytes))
            && (1..=TRIED).contains(&trial.choices.len())
            && trial.choices.iter().all(|choice| candidates.can_run(KIND, choice));
        is_sound.then_some(trial)
    }

    /// By choice that there was time for, what `of` makes of what is known so far of its calls, what they took, and what their messages are priced at. Each rank finds its share,
    /// and tells the others.
    fn compared(
        &self,
        executor: &mut Executor,
        control: &Control,
        places: &Places,
        candidates: &Candidates,
        until: Instant,
        of: impl Fn(Longer, f64, Times) -> f64,
    ) -> Result<Vec<f64>> {
        let measured_ns = self.run(executor, control, places, until)?;
        let sound = |factor: f64| factor.clamp(1.0 / MOST, MOST);
        let (rank, size) = (control.rank() as usize, control.size() as usize);
        let share = |rank: usize| (0..measured_ns.len()).skip(rank).step_by(size);
        let mine = share(rank).flat_map(|at| {
            let choice = &self.choices[at];
            let longer = candidates.network.calls.of(KIND, choice.algorithm);
            let times = candidates.times_of_messages(KIND, self.bytes, choice);
            sound(of(longer, measured_ns[at], times)).to_le_bytes()
        });
        let told = control.exchange(&mine.collect::<Vec<u8>>())?;
        let mut all = vec![1.0; measured_ns.len()];
        for (rank, bytes) in told.iter().enumerate() {
            let numbers = numbers(rank, bytes, share(rank).len())?;
            share(rank).zip(numbers).for_each(|(at, number)| all[at] = sound(number));
        }
        Ok(all)
    }

    /// By choice that there was time for, what a call takes until the last rank is through. Nothing of large ones if there was no time for a second round.
    fn run(&self, executor: &mut Executor, control: &Control, places: &Places, until: Instant) -> Result<Vec<f64>> {
        let mut data = vec![0; self.bytes];
        let tried = self.first_calls(executor, control, &mut data, until)?;
        let mut round = |calls: usize| -> Result<Vec<f64>> {
            let one = |choice| {
                let began = Instant::now();
                (0..calls).try_for_each(|_| executor.try_all_reduce(control, choice, None, &mut data))?;
                Ok(nanoseconds(began) / calls as f64)
            };
            self.choices[..tried].iter().map(one).collect()
        };
        let began = Instant::now();
        let mut rounds = vec![round(1)?];
        let most = if self.bytes == SMALL_BYTES { SMALL_CALLS } else { LARGE_CALLS };
        let effort = Effort::of(nanoseconds(began), left(until).as_nanos() as f64, most).agreed(control, most)?;
        if effort.rounds == 0 && self.bytes != SMALL_BYTES {
            // Of a single large call something may have been lost and sent again: what streams have shown is worth more.
            return Ok(Vec::new());
        }
        let settled = |_| places.settle(control, |_| true).and_then(|()| round(effort.calls));
        let more: Vec<_> = (0..effort.rounds).map(settled).collect::<Result<_>>()?;
        // Small calls one by one are not like those in a row; of large ones all rounds count, for they may be few.
        if self.bytes == SMALL_BYTES && !more.is_empty() {
            rounds = more;
        } else {
            rounds.extend(more);
        }
        let times = |choice: usize| rounds.iter().map(|times| times[choice]).collect();
        let mine: Vec<u8> = (0..tried).flat_map(|choice| undisturbed(times(choice)).to_le_bytes()).collect();
        let all = control.exchange(&mine)?;
        let all = all.iter().enumerate().map(|(rank, bytes)| numbers(rank, bytes, tried));
        let all = all.collect::<Result<Vec<_>>>()?;
        Ok((0..tried).map(|choice| all.iter().map(|ns| ns[choice]).fold(0.0, f64::max)).collect())
    }

    /// Makes links and touches memory, by as many of the choices as half of the time is enough for: their number.
    fn first_calls(
        &self,
        executor: &mut Executor,
        control: &Control,
        data: &mut [u8],
        until: Instant,
    ) -> Result<usize> {
        let half = Instant::now() + left(until) / 2;
        for (tried, choice) in self.choices.iter().enumerate() {
            if tried > 0 && is_late(control, half)? {
                return Ok(tried);
            }
            executor.try_all_reduce(control, choice, None, data)?;
        }
        Ok(self.choices.len())
    }
}

impl Effort {
    /// Where one call by each choice takes so long, and so much time is left; no more calls than `most`.
    fn of(round_ns: f64, left_ns: f64, most: usize) -> Self {
        let within = |time_ns: f64, each_ns: f64| (time_ns / each_ns.max(1.0)) as usize;
        let calls = within(TRIAL_NS, ROUNDS[0] as f64 * round_ns).clamp(1, most);
        let calls = calls.min(within(left_ns, round_ns).max(1));
        let each_ns = calls as f64 * round_ns;
        Self { rounds: within(TRIAL_NS, each_ns).clamp(ROUNDS[0], ROUNDS[1]).min(within(left_ns, each_ns)), calls }
    }

    /// That of rank 0, within what any can be.
    fn agreed(self, control: &Control, most: usize) -> Result<Self> {
        let told = control.exchange(&[self.rounds as u8, self.calls as u8])?;
        Ok(Self::told(&told[0], most))
    }

    fn told(bytes: &[u8], most: usize) -> Self {
        let number = |at: usize| bytes.get(at).copied().map_or(0, usize::from);
        Self { rounds: number(0).min(ROUNDS[1]), calls: number(1).clamp(1, most) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UniqueId;
    use crate::bootstrap::Settings;
    use crate::tune::{Allowed, Reach};

    fn of_two_hosts() -> Candidates {
        let text = "serried network 1\nhosts 0 1\ninside 0 0 0 0 1\nbetween 10000 1000 1 0.1 2\nshared 1 1\nfold 0.1\nmachines 0 1\ncores 8 8\ncrowded 0\n";
        let (network, reach) = (text.parse().expect("a network"), Reach::Links { slot_bytes: 1 << 19 });
        Candidates { network, reach, allowed: Allowed::default() }
    }

    #[test]
    fn what_rank_0_wants_to_measure_can_run() {
        let candidates = of_two_hosts();
        let trial = Trial::parse("1024 ring:1024:2 tree:512:1", &candidates).expect("two ways that run");
        assert_eq!((trial.bytes, trial.choices.len()), (1024, 2));
        let one = "ring:64:1 ";
        for odd in [
            "",
            "1024",
            "1024 ",
            "x ring:64:1",
            "0 ring:64:1",
            "1023 ring:64:1",
            "4194305 ring:64:1",
            "1024 ring:64:0",
            "1024 bruck:64:1",
            &format!("1024 {}", one.repeat(TRIED + 1)),
        ] {
            assert!(Trial::parse(odd, &candidates).is_none(), "{odd:?}");
        }
    }

    #[test]
    fn large_calls_are_tried_by_all_that_may_be_the_best_or_by_the_best_alone_as_there_is_time() {
        let candidates = of_two_hosts();
        let together = |bytes| near(&candidates, bytes).iter().map(|(_, ns)| ns).sum::<f64>();
        let best = |bytes| near(&candidates, bytes)[0];
        let [least, .., most] = LARGE_BYTES;
        let (bytes, all) = large(&candidates, together(least));
        assert_eq!((bytes, all.len()), (least, near(&candidates, least).len()), "as long as they take");
        assert!((2..=TRIED).contains(&all.len()) && all.is_sorted_by_key(|(_, ns)| *ns), "{all:?}");
        // No time for all, even of the smallest: the largest for which the best has it.
        let (bytes, alone) = large(&candidates, best(most).1.min(together(least) * 0.99));
        assert_eq!((bytes > least, alone.len(), alone[0].0), (true, 1, best(bytes).0));
        assert!(large(&candidates, best(least).1 * 0.99).1.is_empty(), "no time for one");
        let (bytes, small) = small(&candidates, f64::INFINITY);
        assert_eq!((bytes, &small[0]), (SMALL_BYTES, &best(SMALL_BYTES)));
        assert!(small.iter().all(|(_, ns)| *ns <= NEAR * small[0].1) && small.len() > 1, "{small:?}");
    }

    #[test]
    fn nothing_is_tried_when_rank_0_has_no_time() {
        let settings = Settings::default();
        let id = UniqueId::create(&settings).expect("a place to meet");
        let candidates = of_two_hosts();
        let tried = |rank: u32, left: [Duration; 2]| {
            let control = Control::join(&id, rank, 2, &settings).expect("the other is there");
            let tried = left.map(|left| {
                let trial = Trial::agreed(&control, &candidates, Instant::now() + left, small);
                trial.expect("rank 0 told").is_some()
            });
            control.leave();
            tried
        };
        let (much, none) = (Duration::from_secs(60), Duration::ZERO);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| tried(1, [much, none]));
            assert_eq!(tried(0, [none, much]), [false, true]);
            assert_eq!(other.join().expect("it ends"), [false, true], "by rank 0's clock");
        });
    }

    #[test]
    fn as_many_calls_are_made_as_there_is_time_for() {
        for (round_ns, left_ns, rounds, calls) in [
            (1e3, 90e6, 5, 12),
            (0.0, 90e6, 5, 12),
            (1e6, 90e6, 2, 7),
            (10e6, 90e6, 2, 1),
            (10e6, 15e6, 1, 1),
            (1e6, 5e6, 1, 5),
            (1e6, 0.9e6, 0, 1),
            (1e6, 0.0, 0, 1),
        ] {
            let effort = Effort::of(round_ns, left_ns, SMALL_CALLS);
            assert_eq!(effort, Effort { rounds, calls }, "{round_ns} ns a round, {left_ns} left");
        }
        for (told, rounds, calls) in [(&[][..], 0, 1), (&[255, 0], 5, 1), (&[0, 255], 0, 12), (&[3], 3, 1)] {
            assert_eq!(Effort::told(told, SMALL_CALLS), Effort { rounds, calls }, "{told:?}");
        }
    }
}
