//! One half of a row: warms up, times, and then checks on other data. Runs on every rank in step.
//!
//! Inside the timed loop there is nothing but the calls; all that ranks agree on comes before and after.

use crate::perf::buffers::{Batch, Buffer, GUARD_BYTES};
use crate::perf::calls::{Average, Calls, agree, agree_counts, barrier};
use crate::perf::data::{Recipe, Sample, poison, written};
use crate::perf::flags::{Calling, PerCall, Plan};
use crate::perf::histogram::{Histogram, Spread};
use crate::perf::progress::Progress;
use crate::perf::table::{Half, TimeColumn};
use rustix::time::{ClockId, clock_gettime};
use serried::{Op, Result};
use std::time::{Duration, Instant};

/// What one size is timed for at least, when the number of iterations is left open.
const TIMED_SECONDS: f64 = 0.1;
/// The fewest iterations then.
const LEAST_ITERATIONS: f64 = 20.0;
/// A trial as long as this tells a call's time well enough to choose the number of iterations.
const TRIAL_SECONDS: f64 = 0.002;
/// No trial is longer than this many iterations, whatever the clock says.
const TRIAL_ITERATIONS: u64 = 1 << 20;

/// About what it takes to make one rank's input of one element again, for the progress line.
const CHECKED_SECONDS: f64 = 3e-9;

/// Where a call's result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Into another buffer than the input's.
    Out,
    /// Over the input.
    In,
}

/// What was measured of one half of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// The columns.
    pub(crate) half: Half,
    /// Timed iterations.
    pub(crate) iterations: u64,
    /// Times of single calls over all ranks, if they were asked for.
    pub(crate) spread: Option<Spread>,
}

/// A rank's bench: its calls, its buffers and how far its data have come.
pub(crate) struct Bench<'a, C> {
    calls: &'a C,
    plan: &'a Plan,
    progress: &'a Progress,
    src: Buffer,
    dst: Buffer,
    repetition: u64,
}

impl<'a, C: Calls> Bench<'a, C> {
    /// Allocates the buffers for the largest size.
    pub(crate) fn new(calls: &'a C, plan: &'a Plan, progress: &'a Progress) -> Result<Self> {
        let largest = plan.sizes.iter().last().unwrap_or(0);
        let bytes = usize::try_from(largest).map_err(|_| serried::Error::InvalidArgument {
            what: format!("a message of {largest} bytes is larger than this machine's addresses"),
        })?;
        if let Calling::Started(calls) = plan.calling {
            Batch::<u8>::room(calls as usize, bytes)?;
        }
        // Started calls bring their own buffers.
        let bytes = if plan.calling == Calling::Waiting { bytes } else { 0 };
        let (src, dst) = (Buffer::allocate(plan.memory, bytes)?, Buffer::allocate(plan.memory, bytes)?);
        Ok(Self { calls, plan, progress, src, dst, repetition: 0 })
    }

    /// Measures `count` elements; `None` for what there is not: started calls out of place.
    pub(crate) fn measure<T: Sample>(&mut self, place: Place, count: usize, op: Op) -> Result<Option<Measured>> {
        let Self { calls, plan, progress, .. } = *self;
        let guard = GUARD_BYTES / size_of::<T>();
        let mut task = match (plan.calling, place) {
            (Calling::Started(_), Place::Out) => return Ok(None),
            (Calling::Started(calls), Place::In) => Task::Started(Batch::allocate(plan.memory, calls as usize, count)?),
            (Calling::Waiting, Place::Out) => {
                let (dst, behind) = self.dst.elements(count);
                Task::OutOfPlace { src: self.src.elements(count).0, dst, behind: &mut behind[..guard] }
            }
            (Calling::Waiting, Place::In) => {
                let (data, behind) = self.dst.elements(count);
                Task::InPlace { data, behind: &mut behind[..guard] }
            }
        };
        let shift = &mut Shift { calls, plan, progress, op, repetition: &mut self.repetition, each_seconds: 0.0 };
        let (lap, iterations, spread) = shift.time::<T>(&mut task)?;
        let wrong = shift.check(&mut task)?;
        let per_call = (iterations * task.calls() as u64) as f64;
        let wall = agree(calls, lap.wall.as_secs_f64() / per_call, plan.average)?;
        let cpu = agree(calls, lap.cpu.as_secs_f64() / per_call, plan.average)?;
        let shown = if plan.time == TimeColumn::Wall { wall } else { cpu };
        let alg_bw = if count == 0 { 0.0 } else { (count * size_of::<T>()) as f64 / wall / 1e9 };
        let ranks = f64::from(calls.size());
        let half = Half { time_us: shown * 1e6, alg_bw, bus_bw: alg_bw * 2.0 * (ranks - 1.0) / ranks, wrong };
        Ok(Some(Measured { half, iterations, spread }))
    }
}

/// What is called, and on which memory.
enum Task<'b, T: Sample> {
    OutOfPlace { src: &'b mut [T], dst: &'b mut [T], behind: &'b mut [T] },
    InPlace { data: &'b mut [T], behind: &'b mut [T] },
    Started(Batch<T>),
}

impl<T: Sample> Task<'_, T> {
    /// Calls an iteration.
    fn calls(&self) -> usize {
        match self {
            Self::Started(batch) => batch.calls(),
            Self::OutOfPlace { .. } | Self::InPlace { .. } => 1,
        }
    }

    /// Elements of all calls of an iteration.
    fn elements(&self) -> usize {
        match self {
            Self::OutOfPlace { dst, .. } => dst.len(),
            Self::InPlace { data, .. } => data.len(),
            Self::Started(batch) => batch.elements(),
        }
    }

    /// Makes the inputs of one iteration, and spoils whatever it must write or leave alone.
    fn prepare(&mut self, rank: u32, recipe: impl Fn(usize) -> Recipe) {
        match self {
            Self::OutOfPlace { src, dst, behind } => {
                recipe(0).fill(rank, src);
                poison(dst);
                poison(behind);
            }
            Self::InPlace { data, behind } => {
                recipe(0).fill(rank, data);
                poison(behind);
            }
            Self::Started(batch) => batch.each(|call, data| recipe(call).fill(rank, data)),
        }
    }

    /// Elements that are wrong after one iteration, and bytes that were written behind the output.
    fn wrong(&mut self, rank: u32, recipe: impl Fn(usize) -> Recipe) -> u64 {
        match self {
            // The input must be what it was, too.
            Self::OutOfPlace { src, dst, behind } => {
                recipe(0).wrong(dst) + written(behind) + recipe(0).spoilt(rank, src)
            }
            Self::InPlace { data, behind } => recipe(0).wrong(data) + written(behind),
            Self::Started(batch) => {
                let mut wrong = 0;
                batch.each(|call, data| wrong += recipe(call).wrong(data));
                wrong
            }
        }
    }
}

/// The time that some iterations took.
#[derive(Clone, Copy, Debug)]
struct Lap {
    wall: Duration,
    cpu: Duration,
}

/// Times and checks one task.
struct Shift<'b, C> {
    calls: &'b C,
    plan: &'b Plan,
    progress: &'b Progress,
    op: Op,
    repetition: &'b mut u64,
    /// About how long an iteration takes, once that is known.
    each_seconds: f64,
}

impl<C: Calls> Shift<'_, C> {
    /// The timed lap, how many iterations it had, and the spread of its calls.
    fn time<T: Sample>(&mut self, task: &mut Task<'_, T>) -> Result<(Lap, u64, Option<Spread>)> {
        let recipe = self.recipes(task);
        task.prepare(self.calls.rank(), recipe);
        let warm = self.lap(task, self.plan.warmup, None)?;
        let warm = warm.wall.as_secs_f64() / self.plan.warmup.max(1) as f64;
        let (iterations, each) = match self.plan.iterations {
            Some(iterations) => (iterations, warm),
            None => self.iterations(task)?,
        };
        self.each_seconds = each;
        self.progress.phase("timing", iterations as f64 * each);
        let mut histogram = (self.plan.per_call == PerCall::Timed).then(Histogram::new);
        barrier(self.calls)?;
        let lap = self.lap(task, iterations, histogram.as_mut())?;
        barrier(self.calls)?;
        let spread = histogram.map(|histogram| spread_of_all(self.calls, &histogram)).transpose()?.flatten();
        Ok((lap, iterations, spread))
    }

    /// How many iterations fill the time, the same on all ranks, and the seconds of each.
    fn iterations<T: Sample>(&self, task: &mut Task<'_, T>) -> Result<(u64, f64)> {
        let mut trial = 1;
        loop {
            barrier(self.calls)?;
            let lap = self.lap(task, trial, None)?;
            let seconds = agree(self.calls, lap.wall.as_secs_f64(), Average::Max)?;
            if seconds >= TRIAL_SECONDS || trial >= TRIAL_ITERATIONS {
                let each = seconds / trial as f64;
                let iterations = (TIMED_SECONDS / each).ceil().clamp(LEAST_ITERATIONS, 1e9);
                return Ok((iterations as u64, each));
            }
            trial *= 4;
        }
    }

    fn lap<T: Sample>(&self, task: &mut Task<'_, T>, iterations: u64, each: Option<&mut Histogram>) -> Result<Lap> {
        let (calls, op) = (self.calls, self.op);
        match task {
            Task::OutOfPlace { src, dst, .. } => lap(iterations, each, || calls.all_reduce_into(src, dst, op)),
            Task::InPlace { data, .. } => lap(iterations, each, || calls.all_reduce(data, op)),
            Task::Started(batch) => lap(iterations, each, || calls.all_reduce_batch(batch, op)),
        }
    }

    /// Wrong elements over all ranks in the first checked iteration that has any; `None` when none is to be checked.
    fn check<T: Sample>(&mut self, task: &mut Task<'_, T>) -> Result<Option<u64>> {
        let mut found = None;
        for _ in 0..self.plan.check {
            let rank = self.calls.rank();
            let recipe = self.recipes(task);
            let made = task.elements() as f64 * f64::from(self.calls.size()) * CHECKED_SECONDS;
            self.progress.phase("checking", self.each_seconds + made);
            task.prepare(rank, recipe);
            self.lap(task, 1, None)?;
            let mut wrong = [task.wrong(rank, recipe)];
            agree_counts(self.calls, &mut wrong, Op::Sum)?;
            found = Some(wrong[0]);
            if wrong[0] > 0 {
                break;
            }
        }
        Ok(found)
    }

    /// New data for each call of the next iteration.
    fn recipes<T: Sample>(&mut self, task: &Task<'_, T>) -> impl Fn(usize) -> Recipe + Copy + use<C, T> {
        let (op, ranks, first) = (self.op, self.calls.size(), *self.repetition);
        *self.repetition += task.calls() as u64;
        move |call| Recipe { op, ranks, repetition: first + call as u64 }
    }
}

/// Makes the calls, and does nothing else unless each is to be timed by itself.
#[inline]
fn lap(iterations: u64, each: Option<&mut Histogram>, mut call: impl FnMut() -> Result<()>) -> Result<Lap> {
    let (wall, cpu) = (Instant::now(), thread_cpu());
    if let Some(histogram) = each {
        let mut before = wall;
        for _ in 0..iterations {
            call()?;
            let now = Instant::now();
            histogram.add(u64::try_from((now - before).as_nanos()).unwrap_or(u64::MAX));
            before = now;
        }
    } else {
        for _ in 0..iterations {
            call()?;
        }
    }
    let wall = wall.elapsed();
    Ok(Lap { wall, cpu: thread_cpu().saturating_sub(cpu) })
}

fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

fn spread_of_all(calls: &impl Calls, mine: &Histogram) -> Result<Option<Spread>> {
    let mut sums = mine.sums();
    agree_counts(calls, &mut sums, Op::Sum)?;
    let (least, most) = mine.extremes_ns();
    let (mut least, mut most) = ([least], [most]);
    agree_counts(calls, &mut least, Op::Min)?;
    agree_counts(calls, &mut most, Op::Max)?;
    Ok(Histogram::from_ranks(sums, least[0], most[0]).spread())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perf::flags::Flags;
    use clap::Parser;
    use serried::Element;
    use std::cell::Cell;
    use zerocopy::IntoBytes;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    /// A rank alone, whose calls of more than one element go wrong from one of them on.
    #[derive(Default)]
    struct Erring {
        made: Cell<u64>,
        wrong_from: u64,
        error: Option<Mistake>,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Mistake {
        FlipsOneBit,
        WritesNothing,
        Fails,
    }

    const COUNT: usize = 100;

    impl Erring {
        fn call<T: Element>(&self, result: &mut [T], input: Option<&[T]>) -> Result<()> {
            let made = self.made.get() + u64::from(result.len() == COUNT);
            self.made.set(made);
            let error = self.error.filter(|_| result.len() == COUNT && made > self.wrong_from);
            if let Some(input) = input
                && error != Some(Mistake::WritesNothing)
            {
                result.copy_from_slice(input);
            }
            match error {
                Some(Mistake::FlipsOneBit) => result[COUNT / 2..].as_mut_bytes()[0] ^= 1,
                Some(Mistake::Fails) => return Err(serried::Error::InvalidArgument { what: "no".to_owned() }),
                Some(Mistake::WritesNothing) | None => {}
            }
            Ok(())
        }
    }

    impl Calls for Erring {
        fn rank(&self) -> u32 {
            0
        }

        fn size(&self) -> u32 {
            1
        }

        fn all_reduce<T: Element>(&self, data: &mut [T], _op: Op) -> Result<()> {
            self.call(data, None)
        }

        fn all_reduce_into<T: Element>(&self, src: &[T], dst: &mut [T], _op: Op) -> Result<()> {
            self.call(dst, Some(src))
        }

        fn all_reduce_batch<T: Element>(&self, batch: &mut Batch<T>, _op: Op) -> Result<()> {
            let Batch::Private(buffers) = batch else { unreachable!("the tests ask for no other") };
            buffers.iter_mut().try_for_each(|buffer| self.call(buffer, None))
        }
    }

    fn measure(line: &str, calls: &Erring, place: Place) -> Result<Option<Measured>> {
        let line = format!("perf -b 400 -e 400 -n 5 -w 2 {line}");
        let plan = Line::try_parse_from(line.split_whitespace()).expect("valid flags").flags.plan().expect("a plan");
        let progress = Progress::new(1);
        Bench::new(calls, &plan, &progress)?.measure::<f32>(place, COUNT, Op::Sum)
    }

    fn wrong(line: &str, calls: &Erring, place: Place) -> Option<u64> {
        measure(line, calls, place).expect("no call fails").expect("this half exists").half.wrong
    }

    #[test]
    fn warm_up_timed_and_checked_calls_are_as_many_as_asked_for() {
        let calls = Erring::default();
        assert_eq!(wrong("-c 3", &calls, Place::Out), Some(0));
        assert_eq!(calls.made.get(), 2 + 5 + 3);
        assert_eq!(wrong("-c 0", &calls, Place::In), None, "nothing was checked");
        assert_eq!(calls.made.get(), 10 + 2 + 5);
        assert_eq!(wrong("-c 1 -m 4", &calls, Place::In), Some(0));
        assert_eq!(calls.made.get(), 17 + 4 * (2 + 5 + 1));
        assert!(measure("-m 4", &calls, Place::Out).expect("no call fails").is_none(), "started calls are in place");
    }

    #[test]
    fn a_wrong_result_of_a_checked_call_is_counted() {
        let flip = || Erring { error: Some(Mistake::FlipsOneBit), ..Erring::default() };
        assert_eq!(wrong("", &flip(), Place::Out), Some(1));
        assert_eq!(wrong("", &flip(), Place::In), Some(1));
        assert_eq!(wrong("-m 3", &flip(), Place::In), Some(3), "one in each call of the batch");
        let third = Erring { wrong_from: 2 + 5 + 2, ..flip() };
        assert_eq!(wrong("-c 3", &third, Place::Out), Some(1), "the third checked call");
        let stale = Erring { error: Some(Mistake::WritesNothing), ..Erring::default() };
        assert_eq!(wrong("", &stale, Place::Out), Some(COUNT as u64));
    }

    #[test]
    fn a_failing_call_ends_the_measurement() {
        let failing = Erring { error: Some(Mistake::Fails), wrong_from: 4, ..Erring::default() };
        assert!(measure("", &failing, Place::Out).is_err());
        assert_eq!(failing.made.get(), 5);
    }

    #[test]
    fn an_open_number_of_iterations_fills_the_time() {
        let plan =
            Line::try_parse_from(["perf", "-e", "8", "-I", "1"]).expect("valid flags").flags.plan().expect("a plan");
        let (calls, progress) = (Erring::default(), Progress::new(1));
        let mut bench = Bench::new(&calls, &plan, &progress).expect("there is memory");
        let measured = bench.measure::<u8>(Place::Out, 8, Op::Max).expect("no call fails").expect("this half exists");
        // A copy of 8 bytes takes far less than 5 µs, so 0.1 s hold more than 20,000.
        assert!(measured.iterations > 20_000, "{}", measured.iterations);
        let spread = measured.spread.expect("it was asked for");
        assert!(spread.min_us <= spread.p50_us && spread.p50_us <= spread.p99_us && spread.p99_us <= spread.max_us);
        assert!(spread.min_us <= spread.avg_us && spread.avg_us <= spread.max_us);
    }
}
