//! Every collective over the simulated transport: one call after another on the same links, of random kinds, roots, sizes and algorithms, with
//! seeded delays and torn pieces. Even and uneven blocks, in place and out of place.

use serried::engine::simulate::{self, Outcome};
use serried::engine::{Engine, Extent, Job, Layout, Part};
use serried::reduce::kernels;
use serried::schedule::{Algorithm, Grouping, Program};
use serried::transport::sim::{Network, Settings, SimLink};
use serried::tune::{Reach, Table};
use serried::{Call, CollectiveKind, DataType, Op};
use zerocopy::IntoBytes;

/// A small seeded source for the tests' own choices.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// What an output holds where nothing is to be written.
const UNTOUCHED: i32 = i32::MIN;

const COUNTS: [usize; 9] = [0, 1, 2, 3, 5, 17, 100, 255, 1000];

struct Case {
    kind: CollectiveKind,
    algorithm: Algorithm,
    ranks: u32,
    grouping: Grouping,
    root: u32,
    in_place: bool,
    /// Elements of the message, or of each rank's block. Of an exchange: by giver and taker.
    counts: Counts,
}

enum Counts {
    Even(usize),
    Blocks(Vec<usize>),
    Exchanged(Vec<Vec<usize>>),
}

impl Case {
    fn new(random: &mut Random, ranks: u32) -> Self {
        let kinds: Vec<_> = CollectiveKind::ALL.into_iter().filter(|kind| *kind != CollectiveKind::Send).collect();
        let kind = random.of(&kinds);
        let algorithm = random.of(Algorithm::serving(kind));
        let uneven = kind.is_of_blocks() && kind != CollectiveKind::Barrier && random.below(3) == 0;
        let counts = match (uneven, kind) {
            (true, CollectiveKind::AllToAll) if algorithm == Algorithm::Direct => {
                Counts::Exchanged((0..ranks).map(|_| (0..ranks).map(|_| random.of(&COUNTS)).collect()).collect())
            }
            (false, _) | (_, CollectiveKind::AllToAll) if kind == CollectiveKind::Barrier => Counts::Even(0),
            (false, _) | (_, CollectiveKind::AllToAll) => Counts::Even(random.of(&COUNTS)),
            (true, _) => Counts::Blocks((0..ranks).map(|_| random.of(&COUNTS)).collect()),
        };
        let root = if kind.has_root() { random.below(ranks as usize) as u32 } else { 0 };
        let in_place = kind != CollectiveKind::AllToAll && random.below(2) == 0;
        let hosts: Vec<_> = (0..ranks).map(|_| random.below(3)).collect();
        Self { kind, algorithm, ranks, grouping: Grouping::new(&hosts), root, in_place, counts }
    }

    /// Elements of `rank`'s block; of an exchange what `giver` has for it.
    fn block(&self, giver: u32, rank: u32) -> usize {
        match &self.counts {
            Counts::Even(count) => *count,
            Counts::Blocks(counts) => counts[rank as usize],
            Counts::Exchanged(counts) => counts[giver as usize][rank as usize],
        }
    }

    fn blocks(&self) -> usize {
        (0..self.ranks).map(|rank| self.block(0, rank)).sum()
    }

    /// A rank's whole input out of place, whatever it gives of it.
    fn input(&self, rank: u32, seed: usize) -> Vec<i32> {
        let whole = match self.kind {
            CollectiveKind::AllReduce | CollectiveKind::Reduce | CollectiveKind::Broadcast => self.block(0, 0),
            CollectiveKind::AllToAll => (0..self.ranks).map(|to| self.block(rank, to)).sum(),
            CollectiveKind::AllGather | CollectiveKind::Barrier | CollectiveKind::Gather => self.block(0, rank),
            _ => self.blocks(),
        };
        (0..whole).map(|index| (index as i32 * 7 + rank as i32 * 1001) ^ seed as i32).collect()
    }

    /// What `rank` ends with, by what everybody gave; nothing where nothing is asked.
    fn expected(&self, rank: u32, inputs: &[Vec<i32>]) -> Vec<i32> {
        let start = |rank: u32| (0..rank).map(|before| self.block(0, before)).sum::<usize>();
        let own = start(rank)..start(rank) + self.block(0, rank);
        let sum = |index: usize| inputs.iter().fold(0i32, |sum, input| sum.wrapping_add(input[index]));
        match self.kind {
            CollectiveKind::AllReduce => (0..inputs[0].len()).map(sum).collect(),
            CollectiveKind::Reduce if rank == self.root => (0..inputs[0].len()).map(sum).collect(),
            CollectiveKind::ReduceScatter => own.map(sum).collect(),
            CollectiveKind::Broadcast => inputs[self.root as usize].clone(),
            CollectiveKind::AllGather | CollectiveKind::Barrier => inputs.concat(),
            CollectiveKind::Gather if rank == self.root => inputs.concat(),
            CollectiveKind::Scatter => inputs[self.root as usize][own].to_vec(),
            CollectiveKind::AllToAll => {
                let from = |giver: u32| {
                    let start: usize = (0..rank).map(|to| self.block(giver, to)).sum();
                    inputs[giver as usize][start..start + self.block(giver, rank)].to_vec()
                };
                (0..self.ranks).flat_map(from).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A rank's buffers: the input, if it is apart, and the output before the call. In place only where the rank can.
    fn buffers(&self, rank: u32, input: &[i32], result: usize) -> (Option<Vec<i32>>, Vec<i32>) {
        let start: usize = (0..rank).map(|before| self.block(0, before)).sum();
        let at_root = rank == self.root;
        match self.kind {
            _ if !self.in_place => {}
            CollectiveKind::AllReduce | CollectiveKind::Reduce | CollectiveKind::ReduceScatter => {
                return (None, input.to_vec());
            }
            CollectiveKind::Broadcast if at_root => return (None, input.to_vec()),
            CollectiveKind::Scatter if at_root => return (None, input.to_vec()),
            CollectiveKind::Gather if !at_root => {}
            CollectiveKind::Broadcast => return (None, vec![UNTOUCHED; result]),
            CollectiveKind::AllGather | CollectiveKind::Barrier | CollectiveKind::Gather => {
                let mut whole = vec![UNTOUCHED; result];
                whole[start..start + input.len()].copy_from_slice(input);
                return (None, whole);
            }
            _ => {}
        }
        let gives = match self.kind {
            CollectiveKind::Broadcast | CollectiveKind::Scatter => at_root,
            _ => true,
        };
        (Some(if gives { input.to_vec() } else { Vec::new() }), vec![UNTOUCHED; result])
    }

    /// What the output must hold afterwards, in place or not.
    fn check(&self, rank: u32, output: &[i32], before: &[i32], expected: &[i32], in_place: bool, label: &str) {
        let start: usize = (0..rank).map(|before| self.block(0, before)).sum();
        let mut right = expected.to_vec();
        match self.kind {
            CollectiveKind::ReduceScatter | CollectiveKind::Scatter if in_place => {
                right = before.to_vec();
                right[start..start + expected.len()].copy_from_slice(expected);
            }
            CollectiveKind::Reduce if rank != self.root => right = before.to_vec(),
            _ => {}
        }
        assert!(output == right, "{label}, rank {rank}: {output:?} where {right:?} is due");
    }

    fn run(&self, network: &Network, engines: &mut [Engine<SimLink>], sequence: u64, slot_bytes: usize, label: &str) {
        let inputs: Vec<_> = (0..self.ranks).map(|rank| self.input(rank, sequence as usize)).collect();
        let expected: Vec<_> = (0..self.ranks).map(|rank| self.expected(rank, &inputs)).collect();
        let mut buffers: Vec<_> = (0..self.ranks)
            .map(|rank| self.buffers(rank, &inputs[rank as usize], expected[rank as usize].len()))
            .collect();
        let before: Vec<_> = buffers.iter().map(|(_, output)| output.clone()).collect();
        let uneven: Vec<_> = (0..self.ranks).map(|rank| self.uneven(rank)).collect();
        let table = Table::new(self.kind, &self.grouping, Reach::Links { slot_bytes }, &self.algorithm.into());
        let choice = table.choice(1000 * 4);
        let mut jobs: Vec<_> = (0..self.ranks)
            .zip(buffers.iter_mut().zip(&uneven))
            .map(|(rank, ((input, output), [given, got]))| {
                let part = Part { kind: self.kind, root: self.root, rank, in_place: input.is_none() };
                let layout = Layout::new(part, self.extent(given), self.extent(got), 4, choice.slice_bytes);
                let program =
                    Program::new(self.kind, self.root, self.algorithm, rank, &self.grouping).expect("it serves");
                let algorithm = self.algorithm as u8;
                let call = Call::new(self.kind, sequence, self.root, 0, DataType::I32, Op::Sum as u8, algorithm);
                let buffers = (input.as_deref().map(<[i32]>::as_bytes), output.as_mut_bytes());
                Job::new(call, program, kernels(DataType::I32, Op::Sum), self.ranks, layout, choice.lanes, buffers)
            })
            .collect();
        let outcomes = simulate::run(network, engines, &mut jobs, network.now_ns() + 60_000_000_000);
        drop(jobs);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done { .. })), "{label}: {outcomes:?}");
        for (rank, (input, output)) in (0..).zip(&buffers) {
            let at = rank as usize;
            self.check(rank, output, &before[at], &expected[at], input.is_none(), label);
        }
    }

    /// Counts and starts of what a rank gives and gets, if they are uneven.
    fn uneven(&self, rank: u32) -> [(Vec<usize>, Vec<usize>); 2] {
        let with_starts = |counts: Vec<usize>| {
            let starts = counts.iter().scan(0, |sum, count| Some(std::mem::replace(sum, *sum + count)));
            let starts = starts.collect();
            (counts, starts)
        };
        let given = (0..self.ranks).map(|to| self.block(rank, to)).collect();
        let got = match self.kind {
            CollectiveKind::AllToAll => (0..self.ranks).map(|giver| self.block(giver, rank)).collect(),
            _ => (0..self.ranks).map(|of| self.block(0, of)).collect(),
        };
        [with_starts(given), with_starts(got)]
    }

    fn extent<'a>(&self, (counts, starts): &'a (Vec<usize>, Vec<usize>)) -> Extent<'a> {
        match self.counts {
            Counts::Even(elements) if self.kind.is_of_blocks() => Extent::Blocks { ranks: self.ranks, elements },
            Counts::Even(elements) => Extent::Message(elements),
            Counts::Blocks(_) | Counts::Exchanged(_) => Extent::Uneven { counts, starts },
        }
    }
}

#[test]
fn thousands_of_seeds_give_every_collective_what_is_due() {
    for seed in 0..4_000 {
        let mut random = Random(seed);
        let ranks = 1 + random.below(9) as u32;
        let settings = Settings {
            seed,
            delay_ns: 100..100 + 10u64.pow(2 + random.below(4) as u32),
            lost_per_million: 0,
            slot_bytes: 512 << random.below(3),
            credits: 1 + random.below(2) as u32,
            pieces: random.below(4) != 0,
        };
        let slot_bytes = settings.slot_bytes;
        let (network, links) = Network::new(ranks, settings);
        let mut engines: Vec<_> = links.into_iter().map(Engine::new).collect();
        // Further calls meet what the earlier ones left: credits under way, lanes in the middle of their slots, remembered inputs.
        for sequence in 1..=4 {
            let case = Case::new(&mut random, ranks);
            let Case { kind, algorithm, root, in_place, .. } = case;
            let label = format!(
                "seed {seed}, call {sequence}: {} by {algorithm} of {ranks}, root {root}, in place {in_place}",
                kind.name()
            );
            case.run(&network, &mut engines, sequence, slot_bytes, &label);
        }
    }
}
