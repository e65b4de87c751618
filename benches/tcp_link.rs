//! What a TCP link costs beside a bare socket that does the same, in the same run: small messages to and fro, and large ones both ways
//! at once.
//!
//! `cargo bench --bench tcp_link` ends with a table of ratios (link to bare socket, the best of alternating runs), which is what to
//! look at where the machine is not quiet; `cargo bench --bench tcp_link ratios` prints that alone.

use criterion::{BenchmarkId, Criterion, Throughput};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use serried::transport::tcp::{TcpLink, TcpSettings};
use serried::transport::{Head, Transport};
use serried::{Call, DataType, Op};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Alternating runs of which the best counts.
const RUNS: usize = 200;

const LARGE_BYTES: usize = 1 << 20;

/// Slots that are tried: bytes and credits.
const SLOTS: [(usize, u32); 4] = [(128 << 10, 4), (256 << 10, 2), (512 << 10, 2), (1 << 20, 1)];

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    if std::env::args().any(|argument| argument == "ratios") {
        return ratios();
    }
    for (name, bytes) in [("8 B", 8), ("8 KiB", 8 << 10), ("1 MiB", LARGE_BYTES)] {
        let mut group = criterion.benchmark_group(format!("exchange {name}"));
        group.throughput(Throughput::Bytes(bytes as u64));
        let mut bare = Pair::new(Bare::new, bytes);
        group.bench_function("bare socket", |bencher| bencher.iter_custom(|rounds| bare.run(rounds)));
        for (slot_bytes, credits) in SLOTS {
            let mut link = link(slot_bytes, credits, bytes);
            let id = BenchmarkId::new("link", format!("{} KiB x {credits}", slot_bytes >> 10));
            group.bench_function(id, |bencher| bencher.iter_custom(|rounds| link.run(rounds)));
        }
        group.finish();
    }
    ratios();
    criterion.final_summary();
}

/// Alternates runs of both, each shorter than a slice of the system's scheduler, and compares the best.
fn ratios() {
    println!("{:>8} {:>12} {:>12} {:>12} {:>8}", "bytes", "slots", "socket (µs)", "link (µs)", "ratio");
    for (bytes, rounds) in [(8, 50), (8 << 10, 50), (128 << 10, 10), (LARGE_BYTES, 2), (16 << 20, 1)] {
        let mut bare = Pair::new(Bare::new, bytes);
        let mut links = SLOTS.map(|(slot_bytes, credits)| link(slot_bytes, credits, bytes));
        let mut best = [f64::MAX; 1 + SLOTS.len()];
        for _ in 0..RUNS {
            let mut note = |k: usize, time: Duration| best[k] = best[k].min(time.as_secs_f64() * 1e6 / rounds as f64);
            note(0, bare.run(rounds));
            links.iter_mut().enumerate().for_each(|(k, link)| note(k + 1, link.run(rounds)));
        }
        for ((slot_bytes, credits), time) in SLOTS.iter().zip(&best[1..]) {
            let slots = format!("{} KiB x {credits}", slot_bytes >> 10);
            println!("{bytes:>8} {slots:>12} {:>12.2} {time:>12.2} {:>8.2}", best[0], time / best[0]);
        }
    }
}

/// One end of something that both ends send `bytes` through at once.
trait End: Send + 'static {
    fn exchange(&mut self);
}

/// Two ends, of which the other runs in a thread of its own and does as many rounds as this.
struct Pair<E> {
    end: E,
    rounds: Option<mpsc::Sender<u64>>,
    other: Option<std::thread::JoinHandle<()>>,
}

impl<E: End> Pair<E> {
    fn new(make: impl Fn(TcpStream, usize) -> E, bytes: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let one = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        let mut other = make(listener.accept().expect("connecting").0, bytes);
        let (rounds, orders) = mpsc::channel();
        let serve = move || orders.iter().for_each(|rounds| (0..rounds).for_each(|_| other.exchange()));
        Self { end: make(one, bytes), rounds: Some(rounds), other: Some(std::thread::spawn(serve)) }
    }

    fn run(&mut self, rounds: u64) -> Duration {
        // The first round waits until the other thread is awake.
        self.rounds.as_ref().expect("until dropped").send(rounds + 1).expect("the thread lives");
        self.end.exchange();
        let start = Instant::now();
        (0..rounds).for_each(|_| self.end.exchange());
        start.elapsed()
    }
}

impl<E> Drop for Pair<E> {
    fn drop(&mut self) {
        self.rounds = None;
        self.other.take().expect("joined once").join().expect("the other end is sound");
    }
}

/// A bare socket.
struct Bare {
    stream: TcpStream,
    out: Vec<u8>,
    into: Vec<u8>,
}

impl Bare {
    fn new(stream: TcpStream, bytes: usize) -> Self {
        stream.set_nonblocking(true).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, out: vec![1; bytes], into: vec![0; bytes] }
    }
}

impl End for Bare {
    fn exchange(&mut self) {
        // Never more ahead than this, as a link's window has it: without it loopback is slower.
        const WINDOW_BYTES: usize = 512 << 10;
        let none_now = |error| if error == Errno::AGAIN { 0 } else { panic!("{error}") };
        let (mut sent, mut received) = (0, 0);
        while sent < self.out.len() || received < self.into.len() {
            let upto = self.out.len().min(received + WINDOW_BYTES);
            if sent < upto {
                sent += rustix::net::send(&self.stream, &self.out[sent..upto], SendFlags::NOSIGNAL)
                    .unwrap_or_else(none_now);
            }
            if received < self.into.len() {
                let place = &mut self.into[received..];
                received += rustix::net::recv(&self.stream, place, RecvFlags::empty())
                    .map_or_else(none_now, |(bytes, _)| bytes);
            }
        }
    }
}

/// A link; what does not fit one slot goes over its lanes in turn.
struct Link {
    link: TcpLink,
    slot_bytes: usize,
    out: Vec<u8>,
    into: Vec<u8>,
}

fn link(slot_bytes: usize, credits: u32, bytes: usize) -> Pair<Link> {
    let settings = TcpSettings { slot_bytes, credits, ..TcpSettings::default() };
    let make = |stream, bytes| Link {
        link: TcpLink::new(vec![stream], &settings).expect("sound settings"),
        slot_bytes,
        out: vec![1; bytes],
        into: vec![0; bytes],
    };
    Pair::new(make, bytes)
}

impl End for Link {
    fn exchange(&mut self) {
        const LANES_USED: usize = 2;
        let call = Call::all_reduce(1, 1, DataType::F32, Op::Sum, 0);
        let mut out = self.out.chunks(self.slot_bytes).enumerate();
        let mut into = self.into.chunks_mut(self.slot_bytes).enumerate();
        let (mut writing, mut reading) = (out.next(), into.next());
        let mut open = false;
        while writing.is_some() || reading.is_some() {
            self.link.pump().expect("sound");
            while let Some((k, payload)) = writing {
                let lane = k % LANES_USED;
                let head = Head { call, slice: k as u32, step: 0, bytes: payload.len() as u64 };
                open = open || self.link.open(lane, &head).expect("sound");
                let accepted = if open { self.link.write(lane, payload).expect("sound") } else { 0 };
                if accepted < payload.len() {
                    writing = Some((k, &payload[accepted..]));
                    break;
                }
                open = false;
                writing = out.next();
            }
            while let Some((k, place)) = reading {
                let bytes = self.link.read(k % LANES_USED, place).expect("sound");
                if bytes < place.len() {
                    reading = Some((k, &mut place[bytes..]));
                    break;
                }
                reading = into.next();
            }
        }
    }
}
