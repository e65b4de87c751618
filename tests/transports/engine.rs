//! What the engine makes of a schedule over a world's links: on every rank the bits that the schedule means, which are near what
//! was asked for, whatever the transport.

use crate::Random;
use crate::interpreter::interpret;
use crate::worlds::{SLOT_BYTES, World};
use half::bf16;
use serried::engine::{Engine, Job, Layout, Progress};
use serried::reduce::kernels;
use serried::schedule::{Algorithm, AllReduce, Grouping};
use serried::tune::{Choice, Reach, Table};
use serried::{Call, CollectiveKind, DataType, Op};
use std::sync::OnceLock;

/// The most ranks that are tried.
pub(crate) const RANKS_MAX: usize = 8;

/// What is reduced: a float whose sums depend on the order, the smallest element, and one that is rounded and divided.
const KINDS: [(DataType, Op); 3] = [(DataType::F32, Op::Sum), (DataType::I8, Op::Max), (DataType::Bf16, Op::Avg)];

/// A call that has many slices, for these numbers of ranks only: it takes long.
const LARGE: usize = 70_001;
const RANKS_OF_LARGE: [usize; 3] = [2, 3, 7];

/// One call, but for where its output goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) ranks: usize,
    pub(crate) algorithm: Algorithm,
    pub(crate) count: usize,
    pub(crate) data_type: DataType,
    pub(crate) op: Op,
}

/// Whether the output lies where the input was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buffers {
    InPlace,
    OutOfPlace,
}

/// A case and every rank's bits.
struct Expected {
    case: Case,
    bits: Vec<u8>,
}

pub(crate) fn every_algorithm_gives_the_bits_of_its_schedule<W: World>(world: &mut W, ranks: usize) {
    let mut engines: Vec<_> = world.join(ranks).into_iter().map(Engine::new).collect();
    let mut sequence = 0;
    for Expected { case, bits } in expected(ranks) {
        for buffers in [Buffers::OutOfPlace, Buffers::InPlace] {
            sequence += 1;
            for (rank, output) in run(world, &mut engines, case, buffers, sequence).iter().enumerate() {
                assert!(output == bits, "{case:?}, {buffers:?}: other bits on rank {rank}");
            }
        }
    }
}

/// Every rank's output of one call over these engines.
pub(crate) fn run<W: World>(
    world: &mut W,
    engines: &mut [Engine<W::Link>],
    case: &Case,
    buffers: Buffers,
    sequence: u64,
) -> Vec<Vec<u8>> {
    let Case { ranks, algorithm, count, data_type, op } = *case;
    let inputs = case.inputs();
    let mut outputs = match buffers {
        Buffers::InPlace => inputs.clone(),
        Buffers::OutOfPlace => vec![vec![0xee; count * data_type.size()]; ranks],
    };
    let call = Call::all_reduce(sequence, count as u64, data_type, op, algorithm as u8);
    let (choice, kernels) = (case.choice(), kernels(data_type, op));
    let mut jobs: Vec<_> = case
        .schedules()
        .into_iter()
        .zip(inputs.iter().zip(&mut outputs))
        .map(|(schedule, (input, output))| {
            let input = (buffers == Buffers::OutOfPlace).then_some(&input[..]);
            Job::new(call, schedule, kernels, ranks as u32, case.layout(), choice.lanes, (input, &mut output[..]))
        })
        .collect();
    // A rank that is done is not asked again before the next call: what the others still need of it has left with its call.
    let mut running: Vec<usize> = (0..ranks).collect();
    while !running.is_empty() {
        let mut moved = false;
        running.retain(|rank| {
            let progress = engines[*rank].poll(&mut jobs[*rank]).expect("nothing is wrong");
            moved |= progress != Progress::Blocked;
            progress != Progress::Done
        });
        let waits = |rank: &usize| (*rank, jobs[*rank].waits_for());
        assert!(
            moved || world.pass(engines.iter_mut().flat_map(Engine::links_mut)),
            "{case:?}, {buffers:?}: nothing is under way; ranks and whom they wait for: {:?}",
            running.iter().map(waits).collect::<Vec<_>>()
        );
    }
    drop(jobs);
    outputs
}

impl Case {
    /// All of `ranks` ranks.
    fn all(ranks: usize) -> Vec<Self> {
        let mut counts = vec![0, 1, 2, ranks - 1, ranks, ranks + 1, 17, 1000];
        if RANKS_OF_LARGE.contains(&ranks) {
            counts.push(LARGE);
        }
        counts.sort_unstable();
        counts.dedup();
        let mut cases = Vec::new();
        for algorithm in AllReduce::ALGORITHMS {
            for &count in &counts {
                for (data_type, op) in KINDS {
                    cases.push(Self { ranks, algorithm, count, data_type, op });
                }
            }
        }
        cases
    }

    /// The choice is the same over every transport, since the bits depend on where slices and chunks begin.
    fn choice(&self) -> Choice {
        let reach = Reach::Links { slot_bytes: SLOT_BYTES };
        *Table::new(CollectiveKind::AllReduce, &Grouping::one_host(self.ranks as u32), reach, &self.algorithm.into())
            .choice(self.count * self.data_type.size())
    }

    fn layout(&self) -> Layout<'static> {
        Layout::message(self.count, self.data_type.size(), self.choice().slice_bytes)
    }

    fn schedules(&self) -> Vec<AllReduce> {
        (0..self.ranks as u32).map(|rank| AllReduce::new(self.algorithm, rank, self.ranks as u32)).collect()
    }

    /// Every rank's input. Floats differ so much in size that every order of adding them rounds differently.
    pub(crate) fn inputs(&self) -> Vec<Vec<u8>> {
        let input = |rank: usize| {
            let mut random = Random((self.count * RANKS_MAX + rank) as u64);
            let mut float = |mantissa: u64, exponent: usize| {
                let (bits, exponent) = (random.next(), random.below(exponent) as i32);
                let size = (1 + bits % mantissa) as f32 * 2f32.powi(exponent);
                if bits >> 63 == 0 { size } else { -size }
            };
            match self.data_type {
                DataType::F32 => (0..self.count).flat_map(|_| float(1 << 24, 12).to_ne_bytes()).collect(),
                DataType::Bf16 => {
                    (0..self.count).flat_map(|_| bf16::from_f32(float(1 << 8, 6)).to_ne_bytes()).collect()
                }
                _ => (0..self.count * self.data_type.size()).map(|_| random.next() as u8).collect(),
            }
        };
        (0..self.ranks).map(input).collect()
    }

    /// What the schedule means, as interpreted; checked to be the same on all ranks and near the exact result.
    pub(crate) fn expected(&self) -> Vec<u8> {
        let inputs = self.inputs();
        let outputs = interpret(&self.schedules(), kernels(self.data_type, self.op), &self.layout(), &inputs);
        assert!(outputs.iter().all(|output| *output == outputs[0]), "{self:?}: the ranks end with different bits");
        self.check_values(&inputs, &outputs[0]);
        outputs.into_iter().next().expect("there is a rank 0")
    }

    /// Checks that values are right but for the rounding that any order may bring.
    fn check_values(&self, inputs: &[Vec<u8>], output: &[u8]) {
        for index in 0..self.count {
            let values: Vec<f64> = inputs.iter().map(|input| self.value(input, index)).collect();
            let sum: f64 = values.iter().sum();
            let size: f64 = values.iter().map(|value| value.abs()).sum();
            let ranks = self.ranks as f64;
            let (right, tolerance) = match self.op {
                Op::Max => (values.iter().copied().fold(f64::MIN, f64::max), 0.0),
                Op::Avg => (sum / ranks, (size / ranks) * (ranks + 1.0) * f64::from(bf16::EPSILON)),
                _ => (sum, size * ranks * f64::from(f32::EPSILON)),
            };
            let got = self.value(output, index);
            assert!((got - right).abs() <= tolerance, "{self:?}, element {index}: {got} where {right} is due");
        }
    }

    fn value(&self, bytes: &[u8], index: usize) -> f64 {
        let bytes = &bytes[index * self.data_type.size()..][..self.data_type.size()];
        match *bytes {
            [byte] => f64::from(byte as i8),
            [a, b] => f64::from(bf16::from_ne_bytes([a, b])),
            [a, b, c, d] => f64::from(f32::from_ne_bytes([a, b, c, d])),
            _ => unreachable!("the kinds have at most four bytes"),
        }
    }
}

/// What every case of so many ranks must give; found out once, for all worlds.
fn expected(ranks: usize) -> &'static [Expected] {
    static ALL: [OnceLock<Vec<Expected>>; RANKS_MAX + 1] = [const { OnceLock::new() }; RANKS_MAX + 1];
    ALL[ranks]
        .get_or_init(|| Case::all(ranks).into_iter().map(|case| Expected { case, bits: case.expected() }).collect())
}

#[test]
fn algorithms_differ_in_their_bits() {
    // So a world that ran another schedule, or the right one in another order, would be found out.
    for (data_type, op) in [KINDS[0], KINDS[2]] {
        let algorithms = AllReduce::ALGORITHMS.iter();
        let bits: Vec<_> =
            algorithms.map(|&algorithm| Case { ranks: 7, algorithm, count: 1000, data_type, op }.expected()).collect();
        let ring = &bits[Algorithm::Ring as usize];
        for algorithm in [Algorithm::Direct, Algorithm::Tree, Algorithm::Doubling, Algorithm::Nhr] {
            assert_ne!(&bits[algorithm as usize], ring, "{algorithm}, {data_type}");
        }
    }
}
