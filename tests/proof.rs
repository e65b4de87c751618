//! Every schedule is proven for every number of ranks that a small cluster has, and for a sample of large ones.

use serried::engine::simulate::{self, Outcome};
use serried::engine::{Engine, Job, Layout};
use serried::reduce::kernels;
use serried::schedule::proof::{Flaw, Goal, Summary, prove};
use serried::schedule::{Algorithm, AllReduce, Chunks, Schedule, Step};
use serried::transport::sim::{Network, Settings};
use serried::{Call, DataType, Op};
use zerocopy::IntoBytes;

/// Every number of ranks up to this is proven.
const EVERY_SIZE: u32 = 128;

/// And these: neighbours of powers of two, and numbers far from any.
const LARGE_SIZES: [u32; 10] = [129, 192, 255, 256, 257, 500, 512, 1000, 1023, 1024];

/// And these where a rank has as many messages as there are ranks: then 1,024 ranks send a million or two, once is
/// enough.
const LARGE_SIZES_OF_LONG_PROGRAMS: [u32; 8] = [129, 192, 255, 256, 257, 500, 512, 1024];

fn programs(algorithm: Algorithm, size: u32) -> Vec<AllReduce> {
    (0..size).map(|rank| AllReduce::new(algorithm, rank, size)).collect()
}

fn proven(algorithm: Algorithm, size: u32) -> Summary {
    let programs = programs(algorithm, size);
    let credits = programs[0].credits();
    assert_eq!(credits, 1, "{algorithm}: no transport promises more");
    prove(Goal::AllReduce, &programs, credits).unwrap_or_else(|flaw| panic!("{algorithm} of {size}: {flaw}"))
}

/// Proves an algorithm for all sizes and checks what it costs: `expected` is (messages, chunks sent, depth).
fn prove_all(algorithm: Algorithm, expected: impl Fn(u32) -> (u32, u64, u32)) {
    let long = matches!(algorithm, Algorithm::Direct | Algorithm::TwoShot | Algorithm::Ring);
    let large: &[u32] = if long { &LARGE_SIZES_OF_LONG_PROGRAMS } else { &LARGE_SIZES };
    for size in (1..=EVERY_SIZE).chain(large.iter().copied()) {
        let summary = proven(algorithm, size);
        let costs = (summary.messages, summary.chunks_sent, summary.depth);
        assert_eq!(summary.ranks, size);
        assert_eq!(costs, expected(size), "{algorithm} of {size}: messages, chunks, depth");
    }
}

/// ⌈log2 size⌉.
fn rounds(size: u32) -> u32 {
    size.next_power_of_two().ilog2()
}

#[test]
fn direct() {
    prove_all(Algorithm::Direct, |n| (n - 1, u64::from(n - 1), u32::from(n > 1)));
}

#[test]
fn two_shot() {
    prove_all(Algorithm::TwoShot, |n| (2 * (n - 1), 2 * u64::from(n - 1), if n > 1 { 2 } else { 0 }));
}

#[test]
fn ring() {
    prove_all(Algorithm::Ring, |n| (2 * (n - 1), 2 * u64::from(n - 1), 2 * (n - 1)));
}

#[test]
fn nhr() {
    prove_all(Algorithm::Nhr, |n| (2 * rounds(n), 2 * u64::from(n - 1), 2 * rounds(n)));
}

#[test]
fn tree() {
    for size in (1..=EVERY_SIZE).chain(LARGE_SIZES) {
        let summary = proven(Algorithm::Tree, size);
        // At most the leaf's one, and the inner node's one up and two down, each half of the slice.
        assert!(summary.messages <= 4 && summary.chunks_sent <= 4, "{size} ranks: {} messages", summary.messages);
        assert!(summary.depth <= 2 * size.ilog2(), "{size} ranks: {} deep", summary.depth);
    }
    assert_eq!(proven(Algorithm::Tree, 1024).depth, 20);
}

#[test]
fn doubling() {
    prove_all(Algorithm::Doubling, |n| {
        let (rounds, core) = (n.ilog2(), 1 << n.ilog2());
        let (extras, messages) = (n - core, rounds + u32::from(n > core));
        // An extra's contribution goes through every round to the core rank with all bits flipped. Only if that is a
        // proxy too does its answer make the chain longer.
        (messages, messages.into(), messages + u32::from(extras > core / 2))
    });
}

#[test]
fn halving() {
    prove_all(Algorithm::Halving, |n| {
        let (rounds, core) = (n.ilog2(), 1_u32 << n.ilog2());
        let (inner, core) = (2 * u64::from(core - 1), u64::from(core));
        if n.is_power_of_two() {
            (2 * rounds, inner, 2 * rounds)
        } else {
            (2 * rounds + 1, inner + core, 2 * rounds + 2)
        }
    });
}

#[test]
fn every_rank_folds_in_the_order_of_ranks() {
    for size in 2..40 {
        let in_order = (1..size).fold("x0".to_string(), |sum, rank| format!("({sum}+x{rank})"));
        assert_eq!(proven(Algorithm::Direct, size).expression(0), in_order);
        let two_shot = proven(Algorithm::TwoShot, size);
        for chunk in 0..size {
            assert_eq!(two_shot.expression(chunk), in_order, "chunk {chunk} of {size}");
        }
    }
    assert_eq!(proven(Algorithm::Doubling, 6).expression(0), "(((x0+x1)+(x2+x3))+(x4+x5))");
    assert_eq!(proven(Algorithm::Ring, 4).expression(1), "((x0+(x2+x3))+x1)");
}

#[test]
fn one_credit_is_enough_and_none_is_not() {
    for algorithm in AllReduce::ALGORITHMS {
        for size in 2..20 {
            let programs = programs(algorithm, size);
            assert_eq!(programs[0].credits(), 1, "{algorithm}");
            for credits in 1..4 {
                assert!(
                    prove(Goal::AllReduce, &programs, credits).is_ok(),
                    "{algorithm} of {size} with {credits} credits"
                );
            }
            assert!(prove(Goal::AllReduce, &programs, 0).is_err(), "{algorithm} of {size} without credit");
        }
    }
}

/// A program of one of two ranks: it exchanges four chunks with the other, its sends and receives each in order.
#[derive(Clone, Debug)]
struct Exchange(Vec<Step>);

impl Exchange {
    const CHUNKS: u32 = 4;

    /// The bits of `choices` say whether a send or a receive comes next, where both may.
    fn with(peer: u32, choices: u32) -> Self {
        let (mut sent, mut received) = (0, 0);
        let next = |turn| {
            let sends = received == sent || (sent < Self::CHUNKS && choices >> turn & 1 == 0);
            if sends {
                sent += 1;
                return Step::Send { to: peer, chunks: Chunks::one(sent - 1) };
            }
            received += 1;
            Step::RecvReduce { from: peer, chunks: Chunks::one(received - 1), complete: true }
        };
        Self((0..2 * Self::CHUNKS).map(next).collect())
    }
}

impl Schedule for Exchange {
    fn parts(&self) -> u32 {
        Self::CHUNKS
    }

    fn len(&self) -> u32 {
        self.0.len() as u32
    }

    fn step(&self, pc: u32) -> Step {
        self.0[pc as usize]
    }

    fn widest(&self) -> u32 {
        1
    }

    fn reduces(&self) -> bool {
        true
    }
}

/// Whether the engine runs both programs to their end with so many credits, each chunk as large as a slot.
fn engine_ends(programs: &[Exchange; 2], credits: u32, seed: u64) -> bool {
    const CHUNK: usize = 16;
    let count = CHUNK * Exchange::CHUNKS as usize;
    let settings = Settings { seed, slot_bytes: CHUNK * 4, credits, ..Settings::default() };
    let (network, links) = Network::new(2, settings);
    let mut engines: Vec<_> = links.into_iter().map(Engine::new).collect();
    let mut buffers = [vec![1_f32; count], vec![2_f32; count]];
    let call = Call::all_reduce(1, count as u64, DataType::F32, Op::Sum, 0);
    let jobs = programs.iter().zip(&mut buffers).map(|(program, buffer)| {
        let layout = Layout::message(count, 4, count * 4);
        Job::new(call, program.clone(), kernels(DataType::F32, Op::Sum), 2, layout, 1, (None, buffer.as_mut_bytes()))
    });
    // A second of virtual time: a thousand times what the messages take.
    let outcomes = simulate::run(&network, &mut engines, &mut jobs.collect::<Vec<_>>(), 1_000_000_000);
    let ends = outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done { .. }));
    assert!(!ends || buffers.iter().flatten().all(|&sum| sum == 3.0));
    ends
}

#[test]
fn the_engine_waits_for_ever_just_where_the_proof_says_so() {
    let (mut ended, mut waited) = (0, 0);
    for credits in 1..=3 {
        for choices in 0..1 << 12 {
            let programs = [Exchange::with(1, choices & 0x3f), Exchange::with(0, choices >> 6)];
            let proven = prove(Goal::AllReduce, &programs, credits).map(drop);
            assert!(matches!(proven, Ok(()) | Err(Flaw::Deadlock { .. })), "{programs:?}: {proven:?}");
            let ends = engine_ends(&programs, credits, choices.into());
            assert_eq!(ends, proven.is_ok(), "{credits} credits: {programs:?}: {proven:?}");
            *if ends { &mut ended } else { &mut waited } += 1;
        }
    }
    assert!(ended > 1000 && waited > 1000, "{ended} ended, {waited} waited");
}
