//! Allreduce as a user calls it, 2 ranks as threads on two CPUs, over shared memory and TCP; beside it in the same run what the machine
//! can do: a cache line each way and a plain copy of the bytes, and a bare socket that carries them both ways.
//!
//! `cargo bench --bench all_reduce` ends with a table of ratios (the best of alternating runs), which is what to look at where the
//! machine is not quiet; `cargo bench --bench all_reduce ratios` prints that alone.

use criterion::{BenchmarkId, Criterion, Throughput};
use crossbeam_utils::CachePadded;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::thread::{CpuSet, sched_setaffinity};
use serried::{Communicator, Config, Op, TransportChoice, UniqueId};
use std::hint::{black_box, spin_loop};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const SIZES: [(&str, usize); 5] =
    [("8 B", 8), ("2 KiB", 2 << 10), ("32 KiB", 32 << 10), ("512 KiB", 512 << 10), ("8 MiB", 8 << 20)];

/// Alternating runs of which the best counts, and about how many bytes each moves.
const RUNS: usize = 60;
const RUN_BYTES: usize = 8 << 20;
const ROUNDS_MAX: u64 = 200;

const TRANSPORTS: [(&str, TransportChoice); 2] = [("shm", TransportChoice::Shm), ("tcp", TransportChoice::Tcp)];

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    if !std::env::args().any(|argument| argument == "ratios") {
        for (name, bytes) in SIZES {
            let mut group = criterion.benchmark_group(format!("all_reduce {name}"));
            group.throughput(Throughput::Bytes(bytes as u64));
            for (transport, choice) in TRANSPORTS {
                let mut ranks = ranks(choice, bytes);
                let id = BenchmarkId::from_parameter(transport);
                group.bench_function(id, |bencher| bencher.iter_custom(|rounds| ranks.run(rounds)));
            }
            group.finish();
        }
    }
    ratios();
    criterion.final_summary();
}

/// Alternates runs of calls and of their references, and compares the best.
fn ratios() {
    println!("{:>8} {:>10} {:>12} {:>8} {:>14} {:>8}", "", "bytes", "time (µs)", "GB/s", "reference (µs)", "ratio");
    for (transport, choice) in TRANSPORTS {
        for (_, bytes) in SIZES {
            let mut calls = ranks(choice, bytes);
            let best = match choice {
                TransportChoice::Tcp => alternate(&mut calls, &mut sockets(bytes), bytes),
                _ => alternate(&mut calls, &mut copies(bytes), bytes),
            };
            let [time, reference] = best;
            let speed = bytes as f64 / time / 1e3;
            println!(
                "{transport:>8} {bytes:>10} {time:>12.2} {speed:>8.2} {reference:>14.2} {:>8.2}",
                time / reference
            );
        }
    }
    println!(
        "reference: for shm a cache line each way and a copy of the bytes, for tcp the bytes both ways over a bare socket"
    );
}

/// The best time of either, in microseconds a round.
fn alternate(calls: &mut Pair<Rank>, reference: &mut Pair<impl End>, bytes: usize) -> [f64; 2] {
    let rounds = (RUN_BYTES / bytes).clamp(1, ROUNDS_MAX as usize) as u64;
    let mut best = [f64::MAX; 2];
    for _ in 0..RUNS {
        for (best, time) in best.iter_mut().zip([calls.run(rounds), reference.run(rounds)]) {
            *best = best.min(time.as_secs_f64() * 1e6 / rounds as f64);
        }
    }
    best
}

/// One of two ends that do the same at once.
trait End: Send + 'static {
    fn round(&mut self);
}

/// Two ends, of which the other runs in a thread of its own and does as many rounds as this.
struct Pair<E> {
    end: E,
    rounds: Option<mpsc::Sender<u64>>,
    other: Option<std::thread::JoinHandle<()>>,
}

impl<E: End> Pair<E> {
    /// `make` makes either end, on that end's thread, and both at once.
    fn new(make: impl Fn(usize) -> E + Send + Sync + 'static) -> Self {
        let make = Arc::new(make);
        let theirs = make.clone();
        let (rounds, orders) = mpsc::channel();
        let other = std::thread::spawn(move || {
            let mut end = theirs(1);
            pin(1);
            orders.iter().for_each(|rounds| (0..rounds).for_each(|_| end.round()));
        });
        let end = make(0);
        pin(0);
        Self { end, rounds: Some(rounds), other: Some(other) }
    }

    fn run(&mut self, rounds: u64) -> Duration {
        // The first round waits until the other thread is awake.
        self.rounds.as_ref().expect("until dropped").send(rounds + 1).expect("the thread lives");
        self.end.round();
        let start = Instant::now();
        (0..rounds).for_each(|_| self.end.round());
        start.elapsed()
    }
}

impl<E> Drop for Pair<E> {
    fn drop(&mut self) {
        self.rounds = None;
        self.other.take().expect("joined once").join().expect("the other end is sound");
    }
}

/// A rank with its buffers.
struct Rank {
    comm: Communicator,
    input: Vec<f32>,
    output: Vec<f32>,
}

fn ranks(transport: TransportChoice, bytes: usize) -> Pair<Rank> {
    let config = Config { transport, ..Config::default() };
    let id = UniqueId::create(&config.control).expect("a rendezvous");
    Pair::new(move |rank| {
        // Threads of the control plane are made here, and should be free to run anywhere.
        unpin();
        let comm = Communicator::create(&id, rank as u32, 2, &config).expect("both ranks come");
        let count = bytes / size_of::<f32>();
        Rank { comm, input: vec![1.0; count], output: vec![0.0; count] }
    })
}

impl End for Rank {
    fn round(&mut self) {
        self.comm.all_reduce_into(&self.input, &mut self.output, Op::Sum).expect("both ranks are well");
    }
}

/// A cache line each way, then a copy by each.
struct Copy {
    lines: Arc<[CachePadded<AtomicU64>; 2]>,
    me: usize,
    turn: u64,
    from: Vec<u8>,
    to: Vec<u8>,
}

fn copies(bytes: usize) -> Pair<Copy> {
    let lines: Arc<[CachePadded<AtomicU64>; 2]> = Arc::default();
    Pair::new(move |me| Copy { lines: lines.clone(), me, turn: 0, from: vec![1; bytes], to: vec![0; bytes] })
}

impl End for Copy {
    fn round(&mut self) {
        const SPINS: u32 = 2000;
        self.turn += 1;
        self.lines[self.me].store(self.turn, Ordering::Release);
        let mut spins = 0;
        while self.lines[1 - self.me].load(Ordering::Acquire) < self.turn {
            spins += 1;
            if spins < SPINS { spin_loop() } else { std::thread::yield_now() }
        }
        black_box(&mut self.to[..]).copy_from_slice(black_box(&self.from));
    }
}

/// A bare socket.
struct Socket {
    stream: TcpStream,
    out: Vec<u8>,
    into: Vec<u8>,
}

fn sockets(bytes: usize) -> Pair<Socket> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    Pair::new(move |me| {
        let stream = match me {
            0 => TcpStream::connect(listener.local_addr().expect("bound")).expect("listening"),
            _ => listener.accept().expect("connecting").0,
        };
        stream.set_nonblocking(true).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Socket { stream, out: vec![1; bytes], into: vec![0; bytes] }
    })
}

impl End for Socket {
    fn round(&mut self) {
        // Never more ahead than this, as a link's window has it: without it loopback is slower.
        const WINDOW_BYTES: usize = 512 << 10;
        let none_now = |error| if error == Errno::AGAIN { 0 } else { panic!("{error}") };
        let (mut sent, mut received) = (0, 0);
        while sent < self.out.len() || received < self.into.len() {
            let upto = self.out.len().min(received + WINDOW_BYTES);
            if sent < upto {
                let rest = &self.out[sent..upto];
                sent += rustix::net::send(&self.stream, rest, SendFlags::NOSIGNAL).unwrap_or_else(none_now);
            }
            if received < self.into.len() {
                let place = &mut self.into[received..];
                let came = rustix::net::recv(&self.stream, place, RecvFlags::empty());
                received += came.map_or_else(none_now, |(bytes, _)| bytes);
            }
        }
    }
}

/// Keeps the calling thread on one CPU, as far as the system lets it.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    let _ = sched_setaffinity(None, &set);
}

/// Lets the calling thread run on every CPU again.
fn unpin() {
    let mut set = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| set.set(cpu));
    let _ = sched_setaffinity(None, &set);
}
