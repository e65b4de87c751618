//! Runs every way of every size, on all ranks, and notes what each took.

use super::story::{Measured, Story};
use crate::perf::Collective;
use crate::perf::buffers::{Buffer, Kind};
use crate::perf::calls::{Average, Call, Calls, agree, barrier};
use crate::perf::collective::{Place, Seat};
use crate::perf::data::Reduction;
use serried::{Communicator, Op, Result};
use std::time::Instant;
use zerocopy::IntoBytes;

/// Rounds, each of all ways in turn, of which the median counts: whatever disturbs one way disturbs its neighbours. Even, for two halves.
const ROUNDS: usize = 6;
/// About how long one way is run in a round.
const ROUND_US: f64 = 8_000.0;
/// And how often, at least and at most.
const CALLS: [f64; 2] = [2.0, 400.0];

/// Measures, as all ranks do.
pub(super) fn run(communicator: &Communicator, collective: Collective, story: &mut Story) -> Result<()> {
    for index in 0..story.rows.len() {
        let bytes = story.block_bytes(story.rows[index].bytes);
        let row = &mut story.rows[index];
        let seat = Seat {
            collective,
            count: bytes / 4,
            rank: communicator.rank(),
            ranks: communicator.size(),
            root: 0,
            place: Place::Out,
        };
        let call = Call::new::<f32>(seat, Reduction::Op(Op::Sum));
        let (given, taken) = (seat.input().unwrap_or(0), seat.output());
        let mut input = Buffer::allocate(Kind::Private, 4 * given)?;
        let mut output = Buffer::allocate(Kind::Private, 4 * taken)?;
        let mut times = vec![Vec::new(); row.ways.len()];
        for _ in 0..ROUNDS {
            for (way, times) in row.ways.iter().zip(&mut times) {
                communicator.choose(collective.kind(), way.choice)?;
                let input = input.elements::<f32>(given).0.as_bytes();
                let output = output.elements::<f32>(taken).0.as_mut_bytes();
                let once = |output: &mut [u8]| communicator.call(&call, Some(input), output);
                // What a way needs to be connected, it is before.
                once(output)?;
                let expected = way.price.map_or(ROUND_US, |price| price.total_ns / 1e3);
                let calls = (ROUND_US / expected).clamp(CALLS[0], CALLS[1]) as u32;
                barrier(communicator)?;
                let began = Instant::now();
                for _ in 0..calls {
                    once(output)?;
                }
                let mine = began.elapsed().as_nanos() as f64 / 1e3 / f64::from(calls);
                times.push(agree(communicator, mine, Average::Max)?);
            }
        }
        for (way, times) in row.ways.iter_mut().zip(times) {
            way.measured = Some(Measured::of(&times));
        }
    }
    Ok(())
}
