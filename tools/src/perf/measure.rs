//! One half of a row: warms up, times, and then checks on other data. Runs on every rank in step.
//!
//! Inside the timed loop there is nothing but the calls; all that ranks agree on comes before and after.

use crate::perf::buffers::{Batch, Buffer, GUARD_BYTES};
use crate::perf::calls::{Average, Calls, agree, agree_counts, barrier};
use crate::perf::collective::{Collective, Place, Seat};
use crate::perf::data::{Recipe, Reduction};
use crate::perf::flags::{Calling, PerCall, Plan};
use crate::perf::histogram::{Histogram, Spread};
use crate::perf::progress::Progress;
use crate::perf::samples::Sample;
use crate::perf::table::{Half, TimeColumn, Work};
use crate::perf::task::{Task, Waiting};
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

    /// Measures one half of a row; `None` for what there is not: started calls out of place, and what has no form in place.
    pub(crate) fn measure<T: Sample>(&mut self, place: Place, work: &Work) -> Result<Option<Measured>> {
        let Self { calls, plan, progress, .. } = *self;
        let count = work.count as usize;
        let (rank, ranks, root) = (calls.rank(), calls.size(), work.root.unwrap_or(0));
        let seat = Seat { collective: work.collective, count, rank, ranks, root, place };
        let guard = GUARD_BYTES / size_of::<T>();
        let mut task = match (plan.calling, place) {
            (Calling::Started(_), Place::Out) => return Ok(None),
            (Calling::Started(calls), Place::In) => {
                Task::Started(Batch::allocate(plan.memory, calls as usize, count)?, work.reduction)
            }
            (Calling::Waiting, Place::In) if !work.collective.is_in_place() => return Ok(None),
            (Calling::Waiting, _) => {
                let input = seat.input().map(|elements| self.src.elements(elements).0);
                let (output, behind) = self.dst.elements(seat.output());
                Task::Waiting(Waiting::new(seat, work.reduction, input, output, &mut behind[..guard]))
            }
        };
        let reduction = work.reduction;
        let shift =
            &mut Shift { calls, plan, progress, reduction, repetition: &mut self.repetition, each_seconds: 0.0 };
        let (lap, iterations, spread) = shift.time::<T>(&mut task)?;
        // A barrier leaves nothing to look at.
        let wrong = if work.collective == Collective::Barrier { None } else { shift.check(&mut task)? };
        let per_call = (iterations * task.calls() as u64) as f64;
        let wall = agree(calls, lap.wall.as_secs_f64() / per_call, plan.average)?;
        let cpu = agree(calls, lap.cpu.as_secs_f64() / per_call, plan.average)?;
        let shown = if plan.time == TimeColumn::Wall { wall } else { cpu };
        let bytes = work.bytes();
        let alg_bw = if bytes == 0 { 0.0 } else { bytes as f64 / wall / 1e9 };
        let half = Half { time_us: shown * 1e6, alg_bw, bus_bw: alg_bw * work.collective.bus_factor(ranks), wrong };
        Ok(Some(Measured { half, iterations, spread }))
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
    reduction: Reduction,
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
        let calls = self.calls;
        lap(iterations, each, || task.run(calls))
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
            let mut wrong = [task.wrong(recipe)];
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
        let (reduction, ranks, first) = (self.reduction, self.calls.size(), *self.repetition);
        *self.repetition += task.calls() as u64;
        move |call| Recipe { reduction, ranks, repetition: first + call as u64 }
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
mod tests;
