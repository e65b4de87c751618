//! The engine over the simulated transport: seeded delays, overtaking between lanes, torn pieces, losses. The same engine, in virtual time.

use serried::engine::simulate::{self, Outcome};
use serried::engine::{Engine, Job, Layout, Stop};
use serried::reduce::kernels;
use serried::schedule::{Algorithm, AllReduce, Grouping};
use serried::transport::sim::{Network, Settings, SimLink};
use serried::tune::{Reach, Table};
use serried::{Call, CollectiveKind, DataType, Op};
use zerocopy::{FromBytes, IntoBytes};

/// A small seeded source for the tests' own choices.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Those of the allreduce.
const ALGORITHMS: &[Algorithm] = &AllReduce::ALGORITHMS;

struct Case {
    ranks: u32,
    algorithm: Algorithm,
    count: usize,
    op: Op,
    in_place: bool,
    settings: Settings,
}

const COUNTS: [usize; 10] = [0, 1, 2, 3, 5, 17, 100, 255, 1000, 3000];

impl Case {
    /// Another call for the same ranks and network, of which every part may differ.
    fn turn(&mut self, random: &mut Random) {
        self.algorithm = ALGORITHMS[random.below(7) as usize];
        self.count = COUNTS[random.below(10) as usize];
        self.op = Op::ALL[random.below(5) as usize];
        self.in_place = random.below(2) == 0;
    }
}

fn case(seed: u64) -> Case {
    let mut random = Random(seed);
    Case {
        ranks: 1 + random.below(9) as u32,
        algorithm: ALGORITHMS[random.below(7) as usize],
        count: COUNTS[random.below(10) as usize],
        op: Op::ALL[random.below(5) as usize],
        in_place: random.below(2) == 0,
        settings: Settings {
            seed,
            delay_ns: 100..100 + 10u64.pow(2 + random.below(4) as u32),
            lost_per_million: 0,
            slot_bytes: 512 << random.below(3),
            credits: 1 + random.below(2) as u32,
            pieces: random.below(4) != 0,
        },
    }
}

/// Inputs whose reduction is exact in any order: small integers for sums, ±1 and 2 for products.
fn input(rank: u32, index: usize, op: Op) -> f32 {
    let mixed = (rank as usize * 31 + index * 7 + index / 13) % 17;
    match op {
        Op::Prod => [1.0, -1.0, 2.0, 0.5][mixed % 4],
        _ => mixed as f32 - 8.0,
    }
}

fn expected(ranks: u32, index: usize, op: Op) -> f32 {
    let values = (0..ranks).map(|rank| input(rank, index, op));
    match op {
        Op::Sum => values.sum(),
        Op::Prod => values.product(),
        Op::Max => values.fold(f32::NEG_INFINITY, f32::max),
        Op::Min => values.fold(f32::INFINITY, f32::min),
        Op::Avg => values.sum::<f32>() / ranks as f32,
    }
}

/// Runs the case as the only call of its network; `other_count_on` makes that rank's call another one.
fn simulate(
    case: &Case,
    network: &Network,
    links: Vec<Vec<Option<SimLink>>>,
    other_count_on: Option<u32>,
) -> (Vec<Outcome>, Vec<Vec<f32>>) {
    let mut engines: Vec<_> = links.into_iter().map(Engine::new).collect();
    call(case, network, &mut engines, 1, other_count_on)
}

/// Runs the case as call number `sequence` of these engines.
fn call(
    case: &Case,
    network: &Network,
    engines: &mut [Engine<SimLink>],
    sequence: u64,
    other_count_on: Option<u32>,
) -> (Vec<Outcome>, Vec<Vec<f32>>) {
    let Case { ranks, algorithm, count, op, in_place, .. } = *case;
    let counts: Vec<usize> = (0..ranks).map(|rank| count + usize::from(other_count_on == Some(rank))).collect();
    let inputs: Vec<Vec<f32>> =
        (0..ranks).map(|rank| (0..counts[rank as usize]).map(|index| input(rank, index, op)).collect()).collect();
    let mut outputs =
        if in_place { inputs.clone() } else { counts.iter().map(|count| vec![f32::NAN; *count]).collect() };
    let table = Table::new(
        CollectiveKind::AllReduce,
        &Grouping::one_host(ranks),
        Reach::Links { slot_bytes: case.settings.slot_bytes },
        &algorithm.into(),
    );
    let mut jobs: Vec<_> = outputs
        .iter_mut()
        .enumerate()
        .map(|(rank, output)| {
            let choice = table.choice(output.len() * 4);
            let call = Call::all_reduce(sequence, output.len() as u64, DataType::F32, op, algorithm as u8);
            let layout = Layout::message(output.len(), 4, choice.slice_bytes);
            let schedule = AllReduce::new(algorithm, rank as u32, ranks);
            let source = (!in_place).then(|| inputs[rank].as_bytes());
            let kernels = kernels(DataType::F32, op);
            Job::new(call, schedule, kernels, ranks, layout, choice.lanes, (source, output.as_mut_bytes()))
        })
        .collect();
    let outcomes = simulate::run(network, engines, &mut jobs, network.now_ns() + 60_000_000_000);
    drop(jobs);
    (outcomes, outputs)
}

#[test]
fn ten_thousand_seeds_of_delay_give_the_right_bits() {
    for seed in 0..10_000 {
        let mut case = case(seed);
        let mut random = Random(!seed);
        let (network, links) = Network::new(case.ranks, case.settings.clone());
        let mut engines: Vec<_> = links.into_iter().map(Engine::new).collect();
        // Further calls meet what the earlier ones left: credits under way, lanes in the middle of their slots, remembered inputs.
        let calls = 2 + random.below(2);
        for sequence in 1..=calls {
            let (outcomes, outputs) = call(&case, &network, &mut engines, sequence, None);
            let right: Vec<u32> = (0..case.count).map(|index| expected(case.ranks, index, case.op).to_bits()).collect();
            for (rank, (outcome, output)) in outcomes.iter().zip(&outputs).enumerate() {
                let label = || format!("seed {seed}, call {sequence} of {calls} by {}, rank {rank}", case.algorithm);
                assert!(matches!(outcome, Outcome::Done { .. }), "{}: {outcome:?}", label());
                assert_eq!(output.len(), right.len());
                for (index, (value, right)) in output.iter().zip(&right).enumerate() {
                    let wanted = f32::from_bits(*right);
                    assert_eq!(value.to_bits(), *right, "{}, index {index}: {value} for {wanted}", label());
                }
            }
            case.turn(&mut random);
        }
    }
}

#[test]
fn a_lost_message_ends_in_a_named_timeout_and_never_in_wrong_data() {
    let mut timed_out = 0;
    for seed in 0..2_000 {
        let mut case = case(seed);
        case.settings.lost_per_million = 20_000;
        let (network, links) = Network::new(case.ranks, case.settings.clone());
        let (outcomes, outputs) = simulate(&case, &network, links, None);
        for (outcome, output) in outcomes.iter().zip(&outputs) {
            match outcome {
                Outcome::Done { .. } => {
                    for (index, value) in output.iter().enumerate() {
                        assert_eq!(*value, expected(case.ranks, index, case.op), "seed {seed}");
                    }
                }
                Outcome::TimedOut { peer } => {
                    assert!(*peer < case.ranks);
                    timed_out += 1;
                }
                Outcome::Stopped(stop) => panic!("seed {seed}: {stop:?}"),
            }
        }
    }
    assert!(timed_out > 100, "losses must have been felt: {timed_out}");
}

#[test]
fn a_rank_that_is_cut_off_stops_everybody_and_nobody_for_ever() {
    for seed in 0..500 {
        let mut case = case(seed);
        case.ranks = case.ranks.max(2);
        let (network, links) = Network::new(case.ranks, case.settings.clone());
        network.cut(case.ranks - 1);
        let (outcomes, _) = simulate(&case, &network, links, None);
        // Nobody can have a result without the last rank's contribution.
        assert!(
            outcomes.iter().all(|outcome| matches!(outcome, Outcome::TimedOut { .. })),
            "seed {seed}: {outcomes:?}"
        );
    }
}

#[test]
fn a_rank_that_calls_with_another_count_is_found_by_a_peer() {
    for seed in 0..1_000 {
        let mut case = case(seed);
        case.ranks = case.ranks.max(2);
        let odd = (seed % u64::from(case.ranks)) as u32;
        let (network, links) = Network::new(case.ranks, case.settings.clone());
        let (outcomes, _) = simulate(&case, &network, links, Some(odd));
        let found = outcomes.iter().enumerate().filter(|(rank, outcome)| match outcome {
            Outcome::Stopped(Stop::Mismatch { peer, theirs }) => {
                let theirs_is_odd = theirs.count == case.count as u64 + 1;
                assert_eq!(theirs_is_odd, *peer == odd, "seed {seed}");
                (*rank as u32 == odd) != (*peer == odd)
            }
            Outcome::Stopped(other) => panic!("seed {seed}: {other:?}"),
            Outcome::Done { .. } | Outcome::TimedOut { .. } => false,
        });
        assert!(found.count() > 0, "seed {seed}: {outcomes:?}");
        assert!(!outcomes.iter().any(|outcome| matches!(outcome, Outcome::Done { .. })), "seed {seed}: {outcomes:?}");
    }
}

#[test]
fn half_precision_elements_survive_being_torn_apart() {
    use half::bf16;
    for seed in 0..300 {
        let ranks = 2 + (seed % 4) as u32;
        let algorithm = ALGORITHMS[(seed % 7) as usize];
        let settings = Settings { seed, ..Settings::default() };
        let (network, links) = Network::new(ranks, settings.clone());
        let table = Table::new(
            CollectiveKind::AllReduce,
            &Grouping::one_host(ranks),
            Reach::Links { slot_bytes: settings.slot_bytes },
            &algorithm.into(),
        );
        let mut data: Vec<Vec<bf16>> =
            (0..ranks).map(|rank| (0..777).map(|index| bf16::from_f32((rank + index % 5) as f32)).collect()).collect();
        let mut engines: Vec<_> = links.into_iter().map(Engine::new).collect();
        let mut jobs: Vec<_> = data
            .iter_mut()
            .enumerate()
            .map(|(rank, data)| {
                let choice = table.choice(777 * 2);
                let call = Call::all_reduce(1, 777, DataType::Bf16, Op::Sum, algorithm as u8);
                let layout = Layout::message(777, 2, choice.slice_bytes);
                let schedule = AllReduce::new(algorithm, rank as u32, ranks);
                let kernels = kernels(DataType::Bf16, Op::Sum);
                Job::new(call, schedule, kernels, ranks, layout, choice.lanes, (None, data.as_mut_bytes()))
            })
            .collect();
        let outcomes = simulate::run(&network, &mut engines, &mut jobs, u64::MAX);
        drop(jobs);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done { .. })), "seed {seed}: {outcomes:?}");
        for values in &data {
            let values = <[bf16]>::ref_from_bytes(values.as_bytes()).expect("whole elements");
            for (index, value) in values.iter().enumerate() {
                let right: u32 = (0..ranks).map(|rank| rank + index as u32 % 5).sum();
                assert_eq!(value.to_f32(), right as f32, "seed {seed}, index {index}");
            }
        }
    }
}
