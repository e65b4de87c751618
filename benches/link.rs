//! The shared-memory link between two threads, beside what the machine does in the same run: a message's way beside a cache line's,
//! its bandwidth beside a plain copy's.

use serried::transport::shm::{Region, ShmLink};
use serried::transport::{Head, Transport};
use serried::{Call, DataType, Op};
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Turns of a ping-pong, and how often it is timed.
const TURNS: u32 = 20_000;
const RUNS: usize = 10;
/// Payload that a bandwidth run moves.
const STREAM_BYTES: usize = 256 << 20;

fn main() {
    let line = fastest(line_way);
    println!("{:>8} {:>10} {:>8}   ratio to a cache line's way, {:.0} ns", "bytes", "ns one way", "ratio", line * 1e9);
    for bytes in [8, 64, 512, 4096, 16 << 10, 64 << 10] {
        let way = fastest(|| message_way(bytes));
        println!("{bytes:>8} {:>10.0} {:>8.2}", way * 1e9, way / line);
    }
    println!("{:>8} {:>10} {:>8}   ratio to memcpy of the same chunks by one thread", "bytes", "GB/s", "ratio");
    for bytes in [4096, 16 << 10, 64 << 10] {
        let (link, copy) = (fastest(|| stream(bytes)), fastest(|| copy(bytes)));
        println!("{bytes:>8} {:>10.1} {:>8.2}", STREAM_BYTES as f64 / link / 1e9, copy / link);
    }
}

fn fastest(mut run: impl FnMut() -> f64) -> f64 {
    (0..RUNS).map(|_| run()).fold(f64::MAX, f64::min)
}

/// Seconds that a cache line takes from one core to the other.
fn line_way() -> f64 {
    let word = AtomicU32::new(0);
    let turns = |mine: u32| {
        for turn in (mine..2 * TURNS).step_by(2) {
            while word.load(Ordering::Acquire) != turn {
                spin_loop();
            }
            word.store(turn + 1, Ordering::Release);
        }
    };
    timed(|| turns(0), || turns(1)) / f64::from(2 * TURNS)
}

/// Seconds that a message takes from its sender's buffer to its receiver's.
fn message_way(bytes: usize) -> f64 {
    let [mut a, mut b] = pair();
    let turns = TURNS / (1 + bytes as u32 / 4096);
    let (mut ours, mut theirs) = (vec![1; bytes], vec![2; bytes]);
    let first = || {
        for _ in 0..turns {
            send(&mut a, &ours);
            receive(&mut a, &mut ours);
        }
    };
    let second = || {
        for _ in 0..turns {
            receive(&mut b, &mut theirs);
            send(&mut b, &theirs);
        }
    };
    timed(first, second) / f64::from(2 * turns)
}

/// Seconds that many messages on one lane take, one after the other.
fn stream(bytes: usize) -> f64 {
    let [mut a, mut b] = pair();
    let (ours, mut theirs) = (vec![1; bytes], vec![2; bytes]);
    let count = STREAM_BYTES / bytes;
    timed(|| (0..count).for_each(|_| send(&mut a, &ours)), || (0..count).for_each(|_| receive(&mut b, &mut theirs)))
}

fn copy(bytes: usize) -> f64 {
    let (ours, mut theirs) = (vec![1u8; bytes], vec![2u8; bytes]);
    let start = Instant::now();
    (0..STREAM_BYTES / bytes).for_each(|_| black_box(&mut theirs[..]).copy_from_slice(black_box(&ours)));
    start.elapsed().as_secs_f64()
}

fn send(link: &mut ShmLink, payload: &[u8]) {
    let call = Call::all_reduce(1, payload.len() as u64, DataType::U8, Op::Sum, 0);
    let head = Head { call, slice: 0, step: 0, bytes: payload.len() as u64 };
    while !link.open(0, &head).expect("the peer does not lie") {
        spin_loop();
    }
    assert_eq!(link.write(0, payload).expect("the peer does not lie"), payload.len());
}

fn receive(link: &mut ShmLink, payload: &mut [u8]) {
    let mut come = 0;
    while come < payload.len() {
        match link.read(0, &mut payload[come..]).expect("the peer does not lie") {
            0 => spin_loop(),
            bytes => come += bytes,
        }
    }
}

fn pair() -> [ShmLink; 2] {
    let (a, b) = (ShmLink::inbox().expect("there is room"), ShmLink::inbox().expect("there is room"));
    let open = |region: &Region| Region::open(&region.card()).expect("the own process can be reached");
    let (to_a, to_b) = (open(&a), open(&b));
    [(a, to_b), (b, to_a)]
        .map(|(inbox, outbox)| ShmLink::new(inbox, outbox, serried::engine::copy).expect("the sizes agree"))
}

/// Seconds from the start of both until both have ended, each on a CPU of its own.
fn timed(first: impl FnOnce() + Send, second: impl FnOnce() + Send) -> f64 {
    let ready = std::sync::Barrier::new(2);
    let on = |cpu: usize, work: &mut dyn FnMut()| {
        pin(cpu);
        ready.wait();
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    let (mut first, mut second) = (Some(first), Some(second));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| on(1, &mut || second.take().expect("it runs once")()));
        let time = on(0, &mut || first.take().expect("it runs once")());
        time.max(other.join().expect("it does not panic"))
    })
}

/// Keeps the calling thread on one CPU, as far as the system lets it.
fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    let _ = rustix::thread::sched_setaffinity(None, &set);
}
