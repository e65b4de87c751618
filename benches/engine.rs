//! What the engine adds to schedule and links: one call of 8 bytes between 2 ranks of one thread, over simulated links without delay.
//!
//! `cargo bench --bench engine` ends with a table that sets a call beside the same messages over the bare links and beside going
//! through the schedules' steps alone, in the same run; `cargo bench --bench engine table` prints that alone.

use criterion::Criterion;
use serried::engine::{Engine, Job, Layout, Progress};
use serried::reduce::kernels;
use serried::schedule::{Algorithm, AllReduce, Schedule, Step};
use serried::transport::sim::{Network, Settings, SimLink};
use serried::transport::{Head, Transport};
use serried::{Call, DataType, Op};
use std::hint::black_box;
use std::time::{Duration, Instant};

const RANKS: usize = 2;
const BYTES: usize = 8;

/// Calls after which the network forgets what has arrived, which is not timed.
const CALLS: u64 = 100;

/// Alternating runs of [`CALLS`] calls, of which the best counts.
const RUNS: usize = 500;

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    if !std::env::args().any(|argument| argument == "table") {
        let mut group = criterion.benchmark_group("engine, 2 ranks, 8 B");
        for algorithm in AllReduce::ALGORITHMS {
            let mut ranks = Ranks::new(algorithm);
            group.bench_function(algorithm.name(), |bencher| {
                bencher.iter_custom(|calls| ranks.time(calls, Ranks::call))
            });
        }
        group.finish();
    }
    table();
    criterion.final_summary();
}

fn table() {
    println!(
        "{:>10} {:>6} {:>10} {:>12} {:>12} {:>12} {:>12}",
        "algorithm", "steps", "ns a call", "ns a step", "bare links", "bare steps", "call/links"
    );
    for algorithm in AllReduce::ALGORITHMS {
        let (mut ranks, mut bare) = (Ranks::new(algorithm), Ranks::new(algorithm));
        let steps = f64::from(ranks.schedules.iter().map(Schedule::len).sum::<u32>());
        let mut best = [f64::MAX; 3];
        for _ in 0..RUNS {
            let times = [
                ranks.time(CALLS, Ranks::call),
                bare.time(CALLS, Ranks::move_messages),
                bare.time(CALLS, Ranks::go_through_steps),
            ];
            for (best, time) in best.iter_mut().zip(times) {
                *best = best.min(time.as_secs_f64() * 1e9 / CALLS as f64);
            }
        }
        let [call, links, schedule] = best;
        println!(
            "{:>10} {steps:>6} {call:>10.0} {:>12.1} {:>12.1} {:>12.1} {:>12.2}",
            algorithm.name(),
            call / steps,
            links / steps,
            schedule / steps,
            call / links
        );
    }
    println!(
        "steps: of both ranks; bare links: opening, writing, finding and reading the same messages; both in ns a step"
    );
}

/// Both ranks of one algorithm.
struct Ranks {
    network: Network,
    engines: Vec<Engine<SimLink>>,
    /// More links like those of the engines.
    links: Vec<Vec<Option<SimLink>>>,
    schedules: Vec<AllReduce>,
    input: Vec<u8>,
    outputs: Vec<Vec<u8>>,
    calls: u64,
}

impl Ranks {
    fn new(algorithm: Algorithm) -> Self {
        let settings = Settings { delay_ns: 0..1, pieces: false, ..Settings::default() };
        // Twice as many as needed: the second half is for the bare links.
        let (network, mut links) = Network::new(2 * RANKS as u32, settings);
        let mut bare = links.split_off(RANKS);
        bare.iter_mut().for_each(|links| drop(links.drain(..RANKS)));
        links.iter_mut().for_each(|links| links.truncate(RANKS));
        Self {
            network,
            engines: links.into_iter().map(Engine::new).collect(),
            links: bare,
            schedules: (0..RANKS as u32).map(|rank| AllReduce::new(algorithm, rank, RANKS as u32)).collect(),
            input: vec![1; BYTES],
            outputs: vec![vec![0; BYTES]; RANKS],
            calls: 0,
        }
    }

    /// How long so many of `act` take.
    fn time(&mut self, times: u64, act: impl Fn(&mut Self)) -> Duration {
        let mut time = Duration::ZERO;
        for first in (0..times).step_by(CALLS as usize) {
            let start = Instant::now();
            (first..times.min(first + CALLS)).for_each(|_| act(self));
            time += start.elapsed();
            while self.network.advance() {}
        }
        time
    }

    /// One call of both ranks.
    fn call(&mut self) {
        self.calls += 1;
        let count = BYTES / DataType::F32.size();
        let algorithm = self.schedules[0].algorithm();
        let call = Call::all_reduce(self.calls, count as u64, DataType::F32, Op::Sum, algorithm as u8);
        let layout = Layout::message(count, DataType::F32.size(), BYTES);
        let kernels = kernels(DataType::F32, Op::Sum);
        let mut outputs = self.outputs.iter_mut();
        let mut jobs: [_; RANKS] = std::array::from_fn(|rank| {
            let buffers = (Some(&self.input[..]), &mut outputs.next().expect("one each")[..]);
            Job::new(call, self.schedules[rank], kernels, RANKS as u32, layout, 1, buffers)
        });
        let mut done = [false; RANKS];
        while done.contains(&false) {
            for (rank, done) in done.iter_mut().enumerate() {
                if !*done {
                    *done = self.engines[rank].poll(&mut jobs[rank]).expect("nothing is wrong") == Progress::Done;
                }
            }
        }
    }

    /// The messages of one call, and nothing else.
    fn move_messages(&mut self) {
        let mut steps = [0; RANKS];
        while (0..RANKS).any(|rank| steps[rank] < self.schedules[rank].len()) {
            for (rank, at) in steps.iter_mut().enumerate() {
                while *at < self.schedules[rank].len() && self.move_message(rank, *at) {
                    *at += 1;
                }
            }
        }
    }

    /// The message of one step; whether it could be moved.
    fn move_message(&mut self, rank: usize, at: u32) -> bool {
        let step = self.schedules[rank].step(at);
        let parts = self.schedules[rank].parts() as usize;
        let bytes = BYTES / parts * step.chunks().count as usize;
        let sound = "nothing is wrong";
        match step {
            Step::Send { to, .. } => {
                let call = Call::all_reduce(1, 2, DataType::F32, Op::Sum, 0);
                let head = Head { call, slice: 0, step: at, bytes: bytes as u64 };
                let link = self.links[rank][to as usize].as_mut().expect(sound);
                link.open(0, &head).expect(sound) && link.write(0, &self.input[..bytes]).expect(sound) == bytes
            }
            Step::Recv { from, .. } | Step::RecvReduce { from, .. } => {
                let link = self.links[rank][from as usize].as_mut().expect(sound);
                link.head(0).expect(sound).is_some()
                    && link.read(0, &mut self.outputs[rank][..bytes]).expect(sound) == bytes
            }
            Step::ReduceOwn { .. } => true,
        }
    }

    fn go_through_steps(&mut self) {
        for schedule in &self.schedules {
            for at in 0..schedule.len() {
                black_box(black_box(schedule).step(at));
            }
        }
    }
}
