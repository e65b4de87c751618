//! Rooms of threads: every way, size and kind of element against an independent fold in the order of ranks; ranks that
//! disagree; ranks that never come.

use super::*;
use crate::reduce::kernels;
use crate::transport::shm::Card;
use crate::{DataType, Op};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Far above what any step here takes, even on a machine that is busy with other things.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// Gives up at a deadline, and counts how often it was asked.
pub(super) struct Deadline {
    end: Instant,
    asked: AtomicU32,
}

impl Deadline {
    pub(super) fn after(time: Duration) -> Self {
        Self { end: Instant::now() + time, asked: AtomicU32::new(0) }
    }
}

impl Watch for Deadline {
    fn check(&self, call: &Call, peer: u32) -> Result<()> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let late = Instant::now() > self.end;
        let operation = crate::Operation::Call(*call);
        if late { Err(Error::Timeout { rank: 99, operation, peer, after: DEADLINE }) } else { Ok(()) }
    }
}

/// Runs `body` on each of `n` threads with its seat in one room; ranks are numbered 10, 11, ….
pub(super) fn in_room<T: Send>(n: usize, body: impl Fn(Room) -> T + Sync) -> Vec<T> {
    let regions: Vec<Region> = (0..n).map(|_| Room::region(n).expect("there is room")).collect();
    let cards: Vec<Card> = regions.iter().map(Region::card).collect();
    let opened = Barrier::new(n);
    std::thread::scope(|scope| {
        let (cards, opened, body) = (&cards, &opened, &body);
        let seats = regions.into_iter().enumerate().map(|(me, mine)| {
            scope.spawn(move || {
                let mut mine = Some(mine);
                let open = |(seat, card)| match seat == me {
                    true => mine.take().expect("there is one own seat"),
                    false => Region::open(card).expect("the own process can be reached"),
                };
                let regions = cards.iter().enumerate().map(open).collect();
                let room = Room::new(me, (10..10 + n as u32).collect(), regions).expect("the regions fit");
                opened.wait();
                body(room)
            })
        });
        let seats: Vec<_> = seats.collect();
        seats.into_iter().map(|seat| seat.join().expect("no rank panics")).collect()
    })
}

/// A small generator (splitmix64), so that a failure can be run again.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// What `rank` puts into call number `sequence`: any bits, for floats as well.
pub(super) fn input(sequence: u64, rank: usize, bytes: usize) -> Vec<u8> {
    let mut random = Random(sequence << 8 | rank as u64);
    let mut all: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| random.next().to_ne_bytes()).collect();
    all.truncate(bytes);
    all
}

/// The fold in the order of ranks, by the kernels on whole plain buffers.
pub(super) fn expected(sequence: u64, n: usize, bytes: usize, kernels: &Kernels) -> Vec<u8> {
    let mut sum = input(sequence, 0, bytes);
    for rank in 1..n {
        (kernels.reduce)(&mut sum, &input(sequence, rank, bytes));
    }
    if let Some(finish) = kernels.finish {
        finish(&mut sum, n as u32);
    }
    sum
}

/// One call of a plan that all ranks follow.
#[derive(Clone, Copy, Debug)]
struct Planned {
    count: usize,
    data_type: DataType,
    op: Op,
    algorithm: u8,
    in_place: bool,
    /// Bytes that the buffers lie off an aligned address, by rank's parity.
    offset: usize,
}

/// Outputs are written past the caches or not, and slots filled so or not: on any two neighbours, each together with each in 4 and in 16 calls.
pub(super) fn vary(room: &mut Room, index: usize) {
    let is_even = |bit: usize| (index >> bit).is_multiple_of(2);
    let neighbour = room.me % 2;
    room.cached_bytes = if is_even(neighbour) { 0 } else { usize::MAX };
    room.fills = if is_even(2 + neighbour) { Fills::far() } else { Fills::default() };
}

/// Follows a plan, comparing every result to the bit.
fn follow(n: usize, plan: &[Planned]) {
    in_room(n, |mut room| {
        let watch = Deadline::after(DEADLINE);
        for (index, planned) in plan.iter().enumerate() {
            let Planned { count, data_type, op, algorithm, in_place, offset } = *planned;
            let (sequence, bytes) = (1 + index as u64, count * data_type.size());
            let offset = offset * (1 + room.me % 2);
            vary(&mut room, index);
            let call = Call::all_reduce(sequence, count as u64, data_type, op, algorithm);
            let kernels = kernels(data_type, op);
            let mut src = vec![0; offset];
            src.extend(input(sequence, room.me, bytes));
            let mut dst = if in_place { src.clone() } else { vec![0xee; offset + bytes] };
            let source = (!in_place).then_some(&src[offset..]);
            room.all_reduce(&call, kernels, source, &mut dst[offset..], &watch).expect("all ranks follow the plan");
            assert!(
                dst[offset..] == expected(sequence, n, bytes, kernels)[..],
                "rank {} of {n}, call {sequence}: {planned:?}",
                room.me
            );
        }
    });
}

/// Byte counts around every boundary of layout and choice.
fn boundaries(n: usize) -> Vec<usize> {
    let piece = layout::piece_bytes_max(n);
    let edges = [0, 8, 56, 128 * n, 4096, 16 << 10, layout::EXCHANGE_BYTES, piece, 2 * piece, 5 * piece];
    let around = edges.into_iter().flat_map(|edge| [edge.saturating_sub(8), edge, edge + 8, edge + 24]);
    let mut sizes: Vec<usize> = around.collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

#[test]
fn both_schedules_are_right_around_every_boundary() {
    for n in [2, 3, 4, 5, 8] {
        let mut plan = Vec::new();
        for (index, bytes) in boundaries(n).into_iter().enumerate() {
            for algorithm in [DIRECT, TWO_SHOT] {
                let in_place = (index + algorithm as usize).is_multiple_of(2);
                let data_type = [DataType::F32, DataType::U8, DataType::F64][index % 3];
                let count = bytes / data_type.size();
                plan.push(Planned { count, data_type, op: Op::Sum, algorithm, in_place, offset: index % 3 });
            }
        }
        follow(n, &plan);
    }
}

#[test]
fn every_type_and_operator_is_right() {
    for n in [2, 3, 4] {
        let mut plan = Vec::new();
        for data_type in DataType::ALL {
            for op in Op::ALL {
                for (count, algorithm) in [(1, DIRECT), (13, DIRECT), (1_001, DIRECT), (5_003, TWO_SHOT), (2, TWO_SHOT)]
                {
                    let in_place = plan.len() % 2 == 0;
                    plan.push(Planned { count, data_type, op, algorithm, in_place, offset: 0 });
                }
            }
        }
        follow(n, &plan);
    }
}

#[test]
fn many_pieces_are_right_at_any_alignment_and_by_any_stores() {
    let count = (1 << 20) / 4 + 77;
    let planned =
        |op, in_place, offset| Planned { count, data_type: DataType::F32, op, algorithm: TWO_SHOT, in_place, offset };
    let plan =
        [planned(Op::Sum, false, 0), planned(Op::Avg, false, 3), planned(Op::Sum, true, 4), planned(Op::Avg, true, 0)];
    for n in [2, 3] {
        follow(n, &plan.map(|planned| [planned; 4]).concat());
    }
}

#[test]
fn thousands_of_calls_of_random_sizes_keep_their_slots_apart() {
    for (n, calls) in [(2, 6_000), (3, 2_000), (4, 1_500), (5, 800), (8, 300)] {
        let mut random = Random(n as u64);
        let plan: Vec<Planned> = (0..calls)
            .map(|_| {
                let most = [2, 15, 40, 1_200, 9_000, 70_000][random.below(6)];
                let count = random.below(most);
                let choice = if random.below(2) == 0 { DIRECT } else { TWO_SHOT };
                let other = random.below(4) == 0 && count > 0;
                let algorithm = if other { 1 - choice } else { choice };
                let in_place = random.below(2) == 0;
                Planned { count, data_type: DataType::I32, op: Op::Sum, algorithm, in_place, offset: random.below(4) }
            })
            .collect();
        follow(n, &plan);
    }
}

/// Ranks call what `call_of` says for their seat; everybody must end with a mismatch that names two calls that were made, and keep
/// returning it.
fn disagree(n: usize, call_of: impl Fn(usize) -> Call + Sync, bytes_of: impl Fn(usize) -> usize + Sync) {
    in_room(n, |mut room| {
        let watch = Deadline::after(DEADLINE);
        let me = room.me;
        let sum = kernels(DataType::F32, Op::Sum);
        let fine = Call::all_reduce(1, 4, DataType::F32, Op::Sum, DIRECT);
        room.all_reduce(&fine, sum, None, &mut [0; 16], &watch).expect("they agree at first");
        let mut dst = vec![1; bytes_of(me)];
        let mut again = vec![1; 16];
        let error = room.all_reduce(&call_of(me), sum, None, &mut dst, &watch).expect_err("they disagree");
        let Error::Mismatch { rank, ours, peer, theirs } = &error else { panic!("{error}") };
        assert_eq!((*rank, *ours), (10 + me as u32, call_of(me)));
        assert_eq!(*theirs, call_of(*peer as usize - 10));
        assert_ne!(ours, theirs);
        let later = room.all_reduce(&fine, sum, None, &mut again, &watch).expect_err("the room is broken");
        assert_eq!(later.to_string(), error.to_string());
    });
}

#[test]
fn ranks_that_disagree_all_find_out() {
    let call = |count: u64, data_type, op, algorithm| Call::all_reduce(2, count, data_type, op, algorithm);
    let ways = [(4, DIRECT), (20, DIRECT), (2_000, DIRECT), (20_000, DIRECT), (20_000, TWO_SHOT), (400_000, TWO_SHOT)];
    for round in 0..50 {
        let n = [2, 3, 4][round % 3];
        let odd = round % n;
        let (count, algorithm) = ways[round % ways.len()];
        let (other_count, other_algorithm) = ways[(round + 1 + round / ways.len() % (ways.len() - 1)) % ways.len()];
        let usual = call(count, DataType::F32, Op::Sum, algorithm);
        let unusual = match round % 4 {
            0 => call(count + 1, DataType::F32, Op::Sum, algorithm),
            1 => call(count, DataType::I32, Op::Sum, algorithm),
            2 => call(count, DataType::F32, Op::Max, algorithm),
            _ => call(other_count, DataType::F32, Op::Sum, other_algorithm),
        };
        let call_of = |seat| if seat == odd { unusual } else { usual };
        disagree(n, call_of, |seat| 4 * call_of(seat).count as usize);
    }
}

#[test]
fn ranks_that_all_disagree_all_find_out() {
    for _ in 0..10 {
        disagree(
            4,
            |seat| Call::all_reduce(2, 100 << (4 * seat), DataType::F32, Op::Sum, (seat % 2) as u8),
            |seat| 400 << (4 * seat),
        );
    }
}

#[test]
fn a_rank_that_is_a_call_ahead_is_found() {
    let call_of = |seat| Call::all_reduce(2 + (seat == 1) as u64, 100, DataType::F32, Op::Sum, DIRECT);
    disagree(3, call_of, |_| 400);
}

#[test]
fn a_peer_that_never_comes_ends_the_wait_by_the_watch() {
    for algorithm in [DIRECT, TWO_SHOT] {
        let patience = Duration::from_millis(300);
        let asked = in_room(3, |mut room| {
            if room.me == 1 {
                return None;
            }
            let start = Instant::now();
            let watch = Deadline::after(patience);
            let call = Call::all_reduce(1, 10_000, DataType::F32, Op::Sum, algorithm);
            let sum = kernels(DataType::F32, Op::Sum);
            let error =
                room.all_reduce(&call, sum, None, &mut vec![0; 40_000], &watch).expect_err("rank 11 never comes");
            assert!(matches!(error, Error::Timeout { peer: 11, .. }), "{error}");
            assert!(start.elapsed() < DEADLINE);
            Some(watch.asked.load(Ordering::Relaxed))
        });
        // Sleeping between the questions: without it the watch would be asked a thousand times in this time.
        assert!(asked.iter().flatten().all(|asked| (4..100).contains(asked)), "{asked:?}");
    }
}

#[test]
fn a_late_peer_wakes_those_who_sleep() {
    let turns = 5;
    in_room(2, |mut room| {
        let watch = Deadline::after(DEADLINE);
        let sum = kernels(DataType::I32, Op::Sum);
        for sequence in 1..=turns {
            let call = Call::all_reduce(sequence, 1, DataType::I32, Op::Sum, DIRECT);
            if room.me == 1 {
                // Late on purpose, until the other has gone to sleep: its bell says so.
                while room.regions[1].word32(layout::BELL_AT).load(Ordering::SeqCst) % 2 == 0 {
                    std::thread::yield_now();
                }
            }
            let mut value = 7_i32.to_ne_bytes();
            room.all_reduce(&call, sum, None, &mut value, &watch).expect("the late one comes");
            assert_eq!(i32::from_ne_bytes(value), 14);
        }
    });
}

#[test]
fn a_bell_rings_once_for_those_who_sleep() {
    let region = Room::region(2).expect("there is room");
    let bell = region.word32(layout::BELL_AT);
    wait::wake_sleepers(&region);
    assert_eq!(bell.load(Ordering::SeqCst), 0, "nobody slept");
    for rung in 1..4 {
        bell.fetch_or(1, Ordering::SeqCst);
        wait::wake_sleepers(&region);
        assert_eq!(bell.load(Ordering::SeqCst), 2 * rung, "the sleeper's bit is clear, and one more ring is counted");
    }
}

#[test]
fn what_a_room_cannot_run_is_refused() {
    let seats = || vec![Room::region(2).expect("there is room"), Room::region(2).expect("there is room")];
    assert!(Room::new(2, vec![0, 1], seats()).is_err(), "no such seat");
    assert!(Room::new(0, vec![0, 1, 2], seats()).is_err(), "a region is missing");
    let other = vec![Room::region(2).expect("there is room"), Region::create(64, 64).expect("there is room")];
    assert!(Room::new(0, vec![0, 1], other).is_err(), "a region of another size");
    for n in [0, 1, RANKS_MAX + 1] {
        let regions = (0..n).map(|_| Room::region(n).expect("there is room")).collect();
        let error = Room::new(0, (0..n as u32).collect(), regions).expect_err("too few or too many ranks");
        assert!(matches!(&error, Error::InvalidArgument { what } if what.ends_with(&format!("not {n}"))), "{error}");
    }
    in_room(2, |mut room| {
        let watch = Deadline::after(DEADLINE);
        let sum = kernels(DataType::F32, Op::Sum);
        let ring = Call::all_reduce(1, 1, DataType::F32, Op::Sum, 2);
        room.all_reduce(&ring, sum, None, &mut [0; 4], &watch).expect_err("a room has no ring");
        let call = Call::all_reduce(1, 1, DataType::F32, Op::Sum, DIRECT);
        room.all_reduce(&call, sum, Some(&[0; 8]), &mut [0; 4], &watch).expect_err("buffers of two sizes");
        let mut value = 3.0_f32.to_ne_bytes();
        room.all_reduce(&call, sum, None, &mut value, &watch).expect("what was refused broke nothing");
        assert_eq!(f32::from_ne_bytes(value), 6.0);
    });
}
