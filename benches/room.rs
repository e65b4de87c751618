//! Times allreduce (float, sum) in a room of processes, pinned to CPU `rank % CPUs`: bytes and microseconds, beside how near
//! the CPUs are placed. It stands on the room alone, so it shows what the layers above can reach.
//!
//! `cargo bench --bench room -- [--ranks N] [--min BYTES] [--max BYTES] [--factor F] [--rounds R] [--seconds S] [--offset BYTES] [--in-place] [--algorithm 0|1]`
//!
//! (`--algorithm`: 0 direct, 1 two-shot, instead of the room's own choice.)
//!
//! The time is the slowest rank's mean over a run, the least of the rounds (other work on the machine only adds). Beside it: every rank
//! copying its input to its output, in the same run, and the ratio of the two. Buffers are
//! 4 KiB aligned unless offset, out of place unless told, and reused, as MPI's benchmarks do.

use rustix::thread::{CpuSet, sched_setaffinity};
use serried::engine::Watch;
use serried::engine::room::Room;
use serried::reduce::{Kernels, copy_streaming, kernels};
use serried::schedule::Grouping;
use serried::topology::last_caches;
use serried::transport::shm::{Card, Region};
use serried::tune::{Allowed, Reach, Table};
use serried::{Call, CollectiveKind, DataType, Error, Op};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use zerocopy::{FromBytes, IntoBytes};

/// Warm-up calls of each size, which also tell how many fill the time.
const WARM_UP: u64 = 5;
const ALIGNMENT: usize = 4096;
/// Copies of so many bytes bypass the caches.
const STREAMED: usize = 4 << 20;

#[derive(Clone, Debug)]
struct Options {
    ranks: usize,
    min: usize,
    max: usize,
    factor: usize,
    rounds: usize,
    seconds: f64,
    offset: usize,
    in_place: bool,
    algorithm: Option<u8>,
    rank: Option<usize>,
}

fn main() {
    let options = parse(std::env::args().skip(1));
    match options.rank {
        Some(rank) => run_rank(&options, rank),
        None => run_all(&options),
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Options {
    let mut options = Options {
        ranks: 2,
        min: 8,
        max: 32 << 20,
        factor: 4,
        rounds: 3,
        seconds: 0.05,
        offset: 0,
        in_place: false,
        algorithm: None,
        rank: None,
    };
    while let Some(name) = arguments.next() {
        if name == "--in-place" {
            options.in_place = true;
            continue;
        }
        if name == "--bench" {
            continue; // cargo's own
        }
        let value = arguments.next().unwrap_or_else(|| panic!("{name} needs a value"));
        let number = || value.parse::<usize>().unwrap_or_else(|_| panic!("{name}: {value} is no number"));
        match name.as_str() {
            "--ranks" => options.ranks = number(),
            "--min" => options.min = number(),
            "--max" => options.max = number(),
            "--factor" => options.factor = number(),
            "--rounds" => options.rounds = number(),
            "--offset" => options.offset = number(),
            "--rank" => options.rank = Some(number()),
            "--algorithm" => options.algorithm = Some(number() as u8),
            "--seconds" => options.seconds = value.parse().expect("--seconds takes a number"),
            _ => panic!("unknown option {name}"),
        }
    }
    options
}

/// Starts the ranks, hands their cards round, and frames rank 0's table with the placement.
fn run_all(options: &Options) {
    println!("# {} ranks, placement before {}", options.ranks, placement());
    println!("#      bytes           us       GB/s      copy us  x copy");
    let program = std::env::current_exe().expect("the program has a path");
    let mut ranks: Vec<_> = (0..options.ranks)
        .map(|rank| {
            Command::new(&program)
                .args(std::env::args().skip(1))
                .args(["--rank", &rank.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("the program starts once more")
        })
        .collect();
    let mut outputs: Vec<_> =
        ranks.iter_mut().map(|rank| BufReader::new(rank.stdout.take().expect("it is piped"))).collect();
    let mut cards = String::new();
    for output in &mut outputs {
        output.read_line(&mut cards).expect("every rank shows its card");
    }
    for rank in &mut ranks {
        rank.stdin.take().expect("it is piped").write_all(cards.as_bytes()).expect("every rank takes the cards");
    }
    for line in outputs.swap_remove(0).lines() {
        println!("{}", line.expect("rank 0 writes text"));
    }
    for mut rank in ranks {
        assert!(rank.wait().expect("it can be waited for").success(), "a rank failed");
    }
    println!("# placement after {}", placement());
}

/// Looks on: a benchmark has nobody to give up for it.
struct Patience;

impl Watch for Patience {
    fn check(&self, _: &Call, _: u32) -> Result<(), Error> {
        Ok(())
    }
}

struct Rank {
    room: Room,
    table: Table,
    sequence: u64,
    algorithm: Option<u8>,
}

impl Rank {
    fn all_reduce(&mut self, kernels: &Kernels, op: Op, src: Option<&[u8]>, dst: &mut [u8]) {
        self.sequence += 1;
        let algorithm = self.algorithm.unwrap_or_else(|| self.table.choice(dst.len()).algorithm as u8);
        let call = Call::all_reduce(self.sequence, (dst.len() / 4) as u64, DataType::F32, op, algorithm);
        self.room.all_reduce(&call, kernels, src, dst, &Patience).expect("the call ends well");
    }

    /// The largest of the ranks' values.
    fn max(&mut self, value: f32) -> f32 {
        let mut value = value.to_ne_bytes();
        self.all_reduce(kernels(DataType::F32, Op::Max), Op::Max, None, &mut value);
        f32::from_ne_bytes(value)
    }
}

fn run_rank(options: &Options, rank: usize) {
    pin(rank % std::thread::available_parallelism().map_or(1, |n| n.get()));
    let table = Table::new(
        CollectiveKind::AllReduce,
        &Grouping::one_host(options.ranks as u32),
        Reach::Room { slot_bytes: 1 << 17 },
        &Allowed::default(),
    );
    let mut rank = Rank { room: join(options.ranks, rank), table, sequence: 0, algorithm: options.algorithm };
    let mut src = Buffer::new(options.max, options.offset);
    let mut dst = Buffer::new(options.max, options.offset);
    for (i, value) in src.bytes().as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *value = ((i % 1000) as f32).to_ne_bytes();
    }
    let mut bytes = options.min;
    while bytes <= options.max {
        let (mut least, mut copy) = (f32::INFINITY, f32::INFINITY);
        for _ in 0..options.rounds {
            let (src, dst) = (&src.bytes()[..bytes], &mut dst.bytes()[..bytes]);
            least = least.min(time(options, &mut rank, Work::AllReduce, src, dst));
            copy = copy.min(time(options, &mut rank, Work::Copy, src, dst));
        }
        if options.rank == Some(0) {
            let (us, copy_us) = (least * 1e6, copy * 1e6);
            println!(
                "{bytes:>12} {us:>12.3} {:>10.3} {copy_us:>12.3} {:>8.2}",
                bytes as f32 / least / 1e9,
                least / copy
            );
        }
        bytes *= options.factor;
    }
}

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    AllReduce,
    /// Every rank copies its input to its output, past the caches if they are large: the bound for large messages, in the same run.
    Copy,
}

/// Seconds that the work takes on the slowest rank; checks the results of calls out of place.
fn time(options: &Options, rank: &mut Rank, work: Work, src: &[u8], dst: &mut [u8]) -> f32 {
    let sum = kernels(DataType::F32, Op::Sum);
    let run = |rank: &mut Rank, calls: u64, dst: &mut [u8]| {
        rank.max(0.0);
        let start = Instant::now();
        for _ in 0..calls {
            match work {
                Work::AllReduce => rank.all_reduce(sum, Op::Sum, (!options.in_place).then_some(src), dst),
                Work::Copy if src.len() < STREAMED => black_box(&mut *dst).copy_from_slice(black_box(src)),
                Work::Copy => copy_streaming(black_box(&mut *dst), black_box(src)),
            }
        }
        let mean = start.elapsed().as_secs_f32() / calls as f32;
        rank.max(mean)
    };
    let warm = run(rank, WARM_UP, dst);
    let calls = ((options.seconds / f64::from(warm)) as u64).clamp(5, 200_000);
    dst.fill(0);
    let mean = run(rank, calls, dst);
    for (src, dst) in src
        .as_chunks::<4>()
        .0
        .iter()
        .zip(dst.as_chunks::<4>().0)
        .filter(|_| work == Work::AllReduce && !options.in_place)
    {
        assert_eq!(f32::from_ne_bytes(*dst), f32::from_ne_bytes(*src) * options.ranks as f32, "a wrong sum");
    }
    mean
}

/// Shows the own card, reads all, and takes the seat.
fn join(ranks: usize, rank: usize) -> Room {
    let mine = Room::region(ranks).expect("there is room");
    let hex: String = mine.card().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{hex}");
    let mut mine = Some(mine);
    let cards = std::io::stdin().lines().map(|line| line.expect("the cards are text"));
    let regions = cards.enumerate().map(|(seat, card)| {
        if seat == rank {
            return mine.take().expect("there is one own seat");
        }
        let byte = |at: usize| u8::from_str_radix(&card[at..at + 2], 16).expect("cards are hex");
        let bytes: Vec<u8> = (0..card.len()).step_by(2).map(byte).collect();
        Region::open(&Card::read_from_bytes(&bytes).expect("a card has its size")).expect("the ranks share a host")
    });
    let regions = regions.collect();
    let mut room = Room::new(rank, (0..ranks as u32).collect(), regions).expect("everybody brought a region");
    if let Some(bytes) = last_caches() {
        room.set_caches(bytes);
    }
    room
}

/// Bytes at an offset from a page's start.
struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    fn new(len: usize, offset: usize) -> Self {
        let memory = vec![1; len + offset + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT) + offset;
        Self { memory, start, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    // Where pinning is forbidden the times are only less steady.
    let _ = sched_setaffinity(None, &set);
}

/// How near CPUs 0 and 1 are: nanoseconds for a line to go one way, and the word for it.
fn placement() -> String {
    const TURNS: u32 = 20_000;
    #[repr(align(256))]
    struct Apart(AtomicU32);
    let ping = Apart(AtomicU32::new(0));
    let pong = Apart(AtomicU32::new(0));
    let one = || {
        ping.0.store(0, Ordering::SeqCst);
        pong.0.store(0, Ordering::SeqCst);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(1);
                for turn in 1..=TURNS {
                    while ping.0.load(Ordering::Acquire) != turn {}
                    pong.0.store(turn, Ordering::Release);
                }
            });
            let here = scope.spawn(|| {
                pin(0);
                let mut start = Instant::now();
                for turn in 1..=TURNS {
                    ping.0.store(turn, Ordering::Release);
                    while pong.0.load(Ordering::Acquire) != turn {}
                    if turn == 1 {
                        start = Instant::now();
                    }
                }
                start.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS - 1) / 2.0
            });
            here.join().expect("it only counts")
        })
    };
    let nanoseconds = (0..5).map(|_| one()).fold(f64::INFINITY, f64::min);
    let word = if nanoseconds < 38.0 {
        "SMT"
    } else if nanoseconds < 120.0 {
        "NEAR"
    } else {
        "FAR"
    };
    format!("{word} ({nanoseconds:.0} ns)")
}
