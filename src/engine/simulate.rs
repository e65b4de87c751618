//! Running jobs of many ranks on one thread, in virtual time, over the simulated transport.

use super::{Engine, Job, Progress, Stop};
use crate::schedule::Schedule;
use crate::transport::sim::{Network, SimLink};

/// How a simulated rank's call ended.
#[derive(Debug)]
pub enum Outcome {
    /// It returned at this virtual time.
    Done {
        /// Nanoseconds since the network began.
        at_ns: u64,
    },
    /// It stopped with a fault or mismatch.
    Stopped(Stop),
    /// The deadline passed (or nothing was under way any more) while it waited for this rank.
    TimedOut {
        /// The rank it waited for.
        peer: u32,
    },
}

/// Polls all ranks until each has an outcome; `jobs[r]` runs on `engines[r]`. Ranks that cannot move are asked again after the next arrival,
/// until `deadline_ns` of virtual time.
pub fn run<S: Schedule>(
    network: &Network,
    engines: &mut [Engine<SimLink>],
    jobs: &mut [Job<'_, S>],
    deadline_ns: u64,
) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = jobs.iter().map(|_| None).collect();
    loop {
        let mut moved = false;
        for ((engine, job), outcome) in engines.iter_mut().zip(jobs.iter_mut()).zip(&mut outcomes) {
            if outcome.is_some() {
                continue;
            }
            match engine.poll(job) {
                Ok(Progress::Done) => *outcome = Some(Outcome::Done { at_ns: network.now_ns() }),
                Ok(Progress::Moved) => moved = true,
                Ok(Progress::Blocked) => {}
                Err(stop) => *outcome = Some(Outcome::Stopped(stop)),
            }
        }
        let over = outcomes.iter().all(Option::is_some);
        if over || !moved && (!network.advance() || network.now_ns() > deadline_ns) {
            let timed_out = |job: &Job<'_, S>| Outcome::TimedOut { peer: job.waits_for().unwrap_or(0) };
            return outcomes
                .into_iter()
                .zip(jobs)
                .map(|(outcome, job)| outcome.unwrap_or_else(|| timed_out(job)))
                .collect();
        }
    }
}
