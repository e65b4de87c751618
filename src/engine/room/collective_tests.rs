//! Rooms of threads: long random sequences of all collectives, so that roots run ahead through the ring of slots, in large calls as in small ones.

use super::shape::Shape;
use super::tests::{DEADLINE, Deadline, Random, expected, in_room, input, vary};
use super::*;
use crate::engine::{Extent, Part};
use crate::reduce::kernels;
use crate::types::CollectiveKind;
use crate::{DataType, Op};
use std::sync::atomic::Ordering;
use std::time::Duration;

const KINDS: [CollectiveKind; 8] = [
    CollectiveKind::AllReduce,
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
            CollectiveKind::AllReduce | CollectiveKind::Reduce => expected(sequence, n, bytes, sum),
            CollectiveKind::Scatter => block(&from(root)),
            CollectiveKind::ReduceScatter => block(&expected(sequence, n, n * bytes, sum)),
            CollectiveKind::AllToAll => all(&|giver| block(&from(giver))),
            _ => all(&from),
        }
    }
}

/// So many random calls of `n` ranks.
fn random_plan(n: usize, calls: usize) -> Vec<Planned> {
    let mut random = Random(n as u64);
    let next = |before: &Option<Planned>| Some(Some(Planned::random(&mut random, n, *before)));
    std::iter::successors(Some(None), next).flatten().take(calls).collect()
}

/// Runs the plan on `n` ranks; what `reads` says is read from where it lies.
fn run_plan(n: usize, plan: &[Planned], reads: Option<Reads>) {
    in_room(n, |mut room| {
        // Numbers go round on the way.
        (room.turn, room.pieces) = (u32::MAX - 100, u32::MAX - 40);
        let can_read = room.can_read_all();
        if reads.is_some() && !can_read {
            println!("skipped: reading another process: the system allows none");
        }
        room.reads = reads.clone().filter(|_| can_read);
        let mut pace = Random(room.me as u64);
        for (sequence, planned) in (1..).zip(plan) {
            // Each rank is late in turn, for some calls.
            if (sequence / 64) as usize % n == room.me {
                (0..pace.below(8)).for_each(|_| std::thread::yield_now());
            }
            vary(&mut room, sequence as usize);
            run(&mut room, sequence, planned);
        }
    });
}

/// Runs one call of a plan, and looks at its result.
fn run(room: &mut Room, sequence: u64, planned: &Planned) {
    let (Planned { kind, root, bytes }, n) = (*planned, room.size());
    let part = Part { kind, root: root as u32, rank: room.me as u32, in_place: false };
    let elements = bytes / 4;
    let extent = match kind {
        CollectiveKind::AllReduce | CollectiveKind::Broadcast | CollectiveKind::Reduce => Extent::Message(elements),
        _ => Extent::Blocks { ranks: n as u32, elements },
    };
    let way = if sequence.is_multiple_of(2) { DIRECT } else { TWO_SHOT };
    let call = Call::new(kind, sequence, root as u32, elements as u64, DataType::I32, Op::Sum as u8, way);
    let due = planned.due(sequence, room.me, n);
    let (given, mut taken) = (planned.given(sequence, room.me, n), vec![0xee; due.len()]);
    let (kernels, watch) = (kernels(DataType::I32, Op::Sum), Deadline::after(DEADLINE));
    match kind {
        CollectiveKind::AllReduce => room.all_reduce(&call, kernels, Some(&given), &mut taken, &watch),
        _ => room.collective(&call, part, extent, kernels, 4, Some(&given), &mut taken, &watch),
    }
    .expect("all ranks follow the plan");
    assert!(taken == due, "rank {} of {n}, call {sequence}: {planned:?}", room.me);
}

#[test]
fn what_far_ranks_read_is_written_past_the_caches() {
    // In even calls an allreduce is a turn as well.
    for (n, kind, bytes, streams) in [
        (2, CollectiveKind::Broadcast, 100_000, true),
        (3, CollectiveKind::AllReduce, 20_000, true),
        (3, CollectiveKind::Scatter, 10_000, true),
        (3, CollectiveKind::Scatter, 1_000, false),
        (3, CollectiveKind::AllGather, 20_000, true),
        (3, CollectiveKind::AllGather, 200_000, true),
        (3, CollectiveKind::AllToAll, 100_000, true),
        // Of many takers each reads little; and two ranks swap their slots.
        (8, CollectiveKind::AllToAll, 4_000, false),
        (2, CollectiveKind::AllGather, 20_000, false),
        (2, CollectiveKind::AllToAll, 100_000, false),
    ] {
        let planned = Planned { kind, root: 0, bytes };
        let streamed = in_room(n, |mut room| {
            room.fills = Fills::far();
            run(&mut room, 2, &planned);
            room.fills.streamed > 0
        });
        assert_eq!(streamed[0], streams, "{n} ranks, {planned:?}");
    }
}

#[test]
fn what_ranks_have_of_a_call_is_counted_on_all_of_them() {
    use CollectiveKind::*;
    in_room(3, |mut room| {
        room.set_caches(6 << 20);
        assert_eq!(room.cached_bytes, 1 << 20, "half a share");
        for (kind, each) in
            [(Broadcast, 1), (Reduce, 1), (Gather, 2), (Scatter, 2), (AllGather, 4), (ReduceScatter, 4), (AllToAll, 6)]
        {
            let bytes = 40;
            let planned = Planned { kind, root: 0, bytes };
            let part = Part { kind, root: 0, rank: room.me as u32, in_place: false };
            let extent = match kind {
                Broadcast | Reduce => Extent::Message(bytes / 4),
                _ => Extent::Blocks { ranks: 3, elements: bytes / 4 },
            };
            let own = planned.given(1, room.me, 3).len() + planned.due(1, room.me, 3).len();
            assert_eq!(Shape::new(part, extent, 4, 3).bytes_each(own), each * bytes, "{kind:?}");
        }
        for (bytes, stores) in [(1 << 19, Stores::Streaming), ((1 << 19) - 1, Stores::Cached)] {
            let (src, mut dst) = (vec![0; bytes], vec![0; bytes]);
            assert_eq!(room.stores(&Buffers { src: Some(&src), dst: &mut dst }), stores, "{bytes} bytes each way");
        }
    });
}

#[test]
fn roots_that_run_ahead_keep_their_slots_apart() {
    for (n, calls) in [(2, 800), (3, 400), (5, 150)] {
        run_plan(n, &random_plan(n, calls), None);
    }
}

#[test]
fn what_is_read_from_where_it_lies_is_whole_between_calls_that_go_other_ways() {
    for reads in [0..usize::MAX, 40..20_000] {
        for (n, calls) in [(2, 400), (3, 200), (5, 100)] {
            run_plan(n, &random_plan(n, calls), Some(Reads { blocks: reads.clone(), broadcast: reads.clone() }));
        }
    }
}

#[test]
fn large_calls_with_a_root_are_whole() {
    // With a last turn of a few bytes, and by any stores.
    let bytes = (1 << 20) + 4 * 77;
    let kinds = [CollectiveKind::Broadcast, CollectiveKind::Scatter, CollectiveKind::Gather, CollectiveKind::Reduce];
    for n in [2, 3] {
        let plan = kinds.map(|kind| [Planned { kind, root: n - 1, bytes }; 4]).concat();
        run_plan(n, &plan, None);
    }
}

/// An all-gather that is read, as the first call; what it ends with, and the room.
fn gather_by_reading(room: &mut Room, patience: Duration) -> Result<()> {
    room.set_reads(READS);
    let elements = 64 << 10;
    let part = Part { kind: CollectiveKind::AllGather, root: 0, rank: room.me as u32, in_place: false };
    let extent = Extent::Blocks { ranks: 2, elements };
    let call = Call::new(part.kind, 1, 0, elements as u64, DataType::U8, Op::Sum as u8, DIRECT);
    let (given, mut taken) = (vec![room.me as u8; elements], vec![0xee; 2 * elements]);
    let kernels = kernels(DataType::U8, Op::Sum);
    room.collective(&call, part, extent, kernels, 1, Some(&given), &mut taken, &Deadline::after(patience))?;
    assert!(taken == [vec![0; elements], vec![1; elements]].concat());
    Ok(())
}

#[test]
fn what_is_read_of_a_rank_that_gave_up_is_an_error() {
    let errors = in_room(2, |mut room| {
        let patience = if room.me == 0 { DEADLINE } else { Duration::from_millis(300) };
        if room.me == 0 {
            // As if the other had given up between showing its buffer and this rank's reading it.
            room.regions[1].word(super::layout::GONE_AT).store(1, Ordering::SeqCst);
        }
        gather_by_reading(&mut room, patience).expect_err("one has gone, the other waits in vain").to_string()
    });
    assert!(errors[0].contains("reading 65536 bytes from rank 11") && errors[0].contains("gave up"), "{errors:?}");
    assert!(errors[1].contains("rank 10"), "{errors:?}");
}

#[test]
fn a_rank_that_gives_up_says_so_before_its_buffer_is_its_own_again() {
    let gone = in_room(2, |mut room| {
        if room.me == 1 {
            return None;
        }
        gather_by_reading(&mut room, Duration::from_millis(50)).expect_err("the other never comes");
        Some(room.regions[0].word(super::layout::GONE_AT).load(Ordering::SeqCst))
    });
    assert_eq!(gone, [Some(1), None]);
}

#[test]
fn a_giver_that_goes_on_to_no_other_call_is_found_by_those_that_disagree() {
    let errors = in_room(3, |mut room| {
        let watch = Deadline::after(DEADLINE);
        let elements = if room.me == 2 { 9 } else { 8 };
        let part = Part { kind: CollectiveKind::Broadcast, root: 0, rank: room.me as u32, in_place: true };
        let call = Call::new(part.kind, 1, 0, elements as u64, DataType::U8, Op::Sum as u8, DIRECT);
        let kernels = kernels(DataType::U8, Op::Sum);
        let extent = Extent::Message(elements);
        room.collective(&call, part, extent, kernels, 1, None, &mut vec![0; elements], &watch).err()
    });
    // The giver awaits no one. The other two may find each other before they look at the giver.
    assert!(errors[0].is_none(), "{errors:?}");
    assert!(matches!(errors[1], None | Some(Error::Mismatch { rank: 11, peer: 12, .. })), "{errors:?}");
    assert!(matches!(errors[2], Some(Error::Mismatch { rank: 12, .. })), "{errors:?}");
}

/// A broadcast of a few bytes, as the call `sequence`.
fn lead(room: &mut Room, sequence: u64, root: u32) -> Result<()> {
    let part = Part { kind: CollectiveKind::Broadcast, root, rank: room.me as u32, in_place: true };
    let call = Call::new(part.kind, sequence, root, 8, DataType::U8, Op::Sum as u8, DIRECT);
    let kernels = kernels(DataType::U8, Op::Sum);
    room.collective(&call, part, Extent::Message(8), kernels, 1, None, &mut [0; 8], &Deadline::after(DEADLINE))
}

#[test]
fn what_two_ranks_disagreed_about_is_found_however_well_they_agree_later() {
    // Up to far more calls than a root may be ahead; or one in which each waits for the other.
    for (agreed, is_met) in [(1, true), (5, true), (100, false), (100, true)] {
        let errors = in_room(2, |mut room| {
            // Both take themselves for the root, and wait for nobody.
            let me = room.me as u32;
            lead(&mut room, 1, me)?;
            (2..2 + agreed).try_for_each(|sequence| lead(&mut room, sequence, 0))?;
            if is_met {
                let call = Call::all_reduce(2 + agreed, 8, DataType::U8, Op::Sum, DIRECT);
                let kernels = kernels(DataType::U8, Op::Sum);
                room.all_reduce(&call, kernels, None, &mut [0; 8], &Deadline::after(DEADLINE))?;
            }
            Ok(())
        });
        let found = |result: &Result<()>| matches!(result, Err(Error::Mismatch { .. }));
        assert!(errors.iter().all(found), "{agreed} calls, {is_met}: {errors:?}");
    }
}
