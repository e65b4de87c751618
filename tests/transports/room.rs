//! The room and the engine read the same schedules: where both can run one, they end with the same bits.

use crate::engine::{self, Buffers, Case, RANKS_MAX};
use crate::worlds::{Sim, World};
use serried::engine::room::Room;
use serried::engine::{Engine, Watch};
use serried::reduce::kernels;
use serried::schedule::Algorithm;
use serried::transport::shm::{Card, Region};
use serried::{Call, DataType, Error, Memory, Op, Operation, Result};
use std::time::{Duration, Instant};

/// Nothing waits so long unless it hangs.
const HANG: Duration = Duration::from_secs(20);

/// Within one line, several lines, one piece, several pieces of a room, and several slices of an engine.
const COUNTS: [usize; 6] = [1, 17, 100, 1000, 40_001, 300_001];

/// Ends every wait that lasts too long.
struct Deadline(Instant);

impl Watch for Deadline {
    fn check(&self, call: &Call, peer: u32) -> Result<()> {
        let late = self.0.elapsed() > HANG;
        let error = || Error::Timeout { rank: 0, operation: Operation::Call(*call), peer, after: HANG };
        if late { Err(error()) } else { Ok(()) }
    }
}

#[test]
fn a_room_ends_with_the_bits_of_the_engine() {
    for ranks in 2..=RANKS_MAX {
        let mut cases = Vec::new();
        for algorithm in [Algorithm::Direct, Algorithm::TwoShot] {
            for count in COUNTS {
                for (data_type, op) in [(DataType::F32, Op::Sum), (DataType::Bf16, Op::Avg)] {
                    cases.push(Case { ranks, algorithm, count, data_type, op });
                }
            }
        }
        let in_room = in_room(&cases, ranks);
        let mut world = Sim::new(ranks as u64);
        let mut engines: Vec<_> = world.join(ranks).into_iter().map(Engine::new).collect();
        for (index, case) in cases.iter().enumerate() {
            let by_engine = engine::run(&mut world, &mut engines, case, Buffers::OutOfPlace, 1 + index as u64);
            for (rank, outputs) in in_room.iter().enumerate() {
                for (output, buffers) in
                    outputs[index].iter().zip(["out of place", "in place", "in memory that all map"])
                {
                    assert!(*output == by_engine[rank], "{case:?}, {buffers}: other bits on rank {rank}");
                }
            }
        }
    }
}

/// Every rank's outputs of every case, out of place, in place, and in memory that all map, from a room of threads.
fn in_room(cases: &[Case], ranks: usize) -> Vec<Vec<[Vec<u8>; 3]>> {
    let regions: Vec<Region> = (0..ranks).map(|_| Room::region(ranks).expect("there is room")).collect();
    let cards: Vec<Card> = regions.iter().map(Region::card).collect();
    // A rank opens the regions of the others before any of them can end and take its region away.
    let seat = |(me, mine): (usize, Region)| {
        let mut mine = Some(mine);
        let open = |(rank, card)| match rank == me {
            true => mine.take().expect("there is one own region"),
            false => Region::open(card).expect("the own process can be reached"),
        };
        let regions = cards.iter().enumerate().map(open).collect();
        Room::new(me, (0..ranks as u32).collect(), regions).expect("the regions fit")
    };
    let rooms: Vec<Room> = regions.into_iter().enumerate().map(seat).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            rooms.into_iter().enumerate().map(|(rank, room)| scope.spawn(move || calls(room, cases, rank))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no rank panics")).collect()
    })
}

/// One rank's outputs of all cases.
fn calls(mut room: Room, cases: &[Case], rank: usize) -> Vec<[Vec<u8>; 3]> {
    let mut sequence = 0;
    let mut all_reduce = |case: &Case, input: Option<&[u8]>, output: &mut [u8]| {
        sequence += 1;
        let call = Call::all_reduce(sequence, case.count as u64, case.data_type, case.op, case.algorithm as u8);
        let watch = Deadline(Instant::now());
        room.all_reduce(&call, kernels(case.data_type, case.op), input, output, &watch)
            .expect("all ranks make the same calls");
    };
    let outputs = cases.iter().map(|case| {
        let input = &case.inputs()[rank];
        let (mut out_of_place, mut in_place) = (vec![0xee; input.len()], input.clone());
        all_reduce(case, Some(input), &mut out_of_place);
        all_reduce(case, None, &mut in_place);
        let memory = || Memory::<u8>::allocate(input.len()).expect("there is room");
        let (mut mapped_input, mut mapped_output) = (memory(), memory());
        mapped_input.copy_from_slice(input);
        all_reduce(case, Some(&mapped_input), &mut mapped_output);
        [out_of_place, in_place, mapped_output.to_vec()]
    });
    outputs.collect()
}
