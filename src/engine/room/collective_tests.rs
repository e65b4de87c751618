//! Rooms of threads: long random sequences of all collectives, so that roots run ahead through the ring of slots, in large calls as in small ones.

use super::tests::{DEADLINE, Deadline, Random, expected, in_room, input};
use super::*;
use crate::engine::{Extent, Part};
use crate::reduce::kernels;
use crate::types::CollectiveKind;
use crate::{DataType, Op};

const KINDS: [CollectiveKind; 7] = [
    CollectiveKind::Broadcast,
    CollectiveKind::Reduce,
    CollectiveKind::Gather,
    CollectiveKind::Scatter,
    CollectiveKind::AllGather,
    CollectiveKind::ReduceScatter,
    CollectiveKind::AllToAll,
];

#[derive(Clone, Copy, Debug)]
struct Planned {
    kind: CollectiveKind,
    root: usize,
    /// Of the message or of each block, in bytes.
    bytes: usize,
}

impl Planned {
    fn random(random: &mut Random, n: usize, before: Option<Self>) -> Self {
        // Runs of calls alike, in which a root gets ahead.
        if let Some(before) = before.filter(|_| random.below(3) > 0) {
            return before;
        }
        let most = [3, 20, 300, 9_000, 150_000][random.below(5)];
        Self { kind: KINDS[random.below(KINDS.len())], root: random.below(n), bytes: 4 * random.below(most) }
    }

    /// What `rank` gives in call number `sequence`.
    fn given(&self, sequence: u64, rank: usize, n: usize) -> Vec<u8> {
        match self.kind {
            CollectiveKind::Broadcast | CollectiveKind::Scatter if rank != self.root => Vec::new(),
            CollectiveKind::Scatter | CollectiveKind::ReduceScatter | CollectiveKind::AllToAll => {
                input(sequence, rank, n * self.bytes)
            }
            _ => input(sequence, rank, self.bytes),
        }
    }

    /// What `rank` has to end with.
    fn due(&self, sequence: u64, rank: usize, n: usize) -> Vec<u8> {
        let Self { kind, root, bytes } = *self;
        let block = |all: &[u8]| all[rank * bytes..][..bytes].to_vec();
        let from = |giver| self.given(sequence, giver, n);
        let all = |each: &dyn Fn(usize) -> Vec<u8>| (0..n).flat_map(each).collect();
        let sum = kernels(DataType::I32, Op::Sum);
        match kind {
            CollectiveKind::Reduce | CollectiveKind::Gather if rank != root => Vec::new(),
            CollectiveKind::Broadcast => from(root),
            CollectiveKind::Reduce => expected(sequence, n, bytes, sum),
            CollectiveKind::Scatter => block(&from(root)),
            CollectiveKind::ReduceScatter => block(&expected(sequence, n, n * bytes, sum)),
            CollectiveKind::AllToAll => all(&|giver| block(&from(giver))),
            _ => all(&from),
        }
    }
}

#[test]
fn roots_that_run_ahead_keep_their_slots_apart() {
    for (n, calls) in [(2, 800), (3, 400), (5, 150)] {
        let mut random = Random(n as u64);
        let mut plan: Vec<Planned> = Vec::new();
        for _ in 0..calls {
            let next = Planned::random(&mut random, n, plan.last().copied());
            plan.push(next);
        }
        in_room(n, |mut room| {
            let watch = Deadline::after(DEADLINE);
            let mut pace = Random(room.me as u64);
            for (sequence, planned) in (1..).zip(&plan) {
                let Planned { kind, root, bytes } = *planned;
                // Each rank is late in turn, for some calls.
                if (sequence / 64) as usize % n == room.me {
                    (0..pace.below(8)).for_each(|_| std::thread::yield_now());
                }
                let part = Part { kind, root: root as u32, rank: room.me as u32, in_place: false };
                let elements = bytes / 4;
                let extent = match kind {
                    CollectiveKind::Broadcast | CollectiveKind::Reduce => Extent::Message(elements),
                    _ => Extent::Blocks { ranks: n as u32, elements },
                };
                let call =
                    Call::new(kind, sequence, root as u32, elements as u64, DataType::I32, Op::Sum as u8, DIRECT);
                let due = planned.due(sequence, room.me, n);
                let (given, mut taken) = (planned.given(sequence, room.me, n), vec![0xee; due.len()]);
                room.collective(
                    &call,
                    part,
                    extent,
                    kernels(DataType::I32, Op::Sum),
                    4,
                    Some(&given),
                    &mut taken,
                    &watch,
                )
                .expect("all ranks follow the plan");
                assert!(taken == due, "rank {} of {n}, call {sequence}: {planned:?}", room.me);
            }
        });
    }
}
