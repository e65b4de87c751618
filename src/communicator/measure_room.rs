//! Measuring the allreduces of ranks that share a host's memory, by running them.

use super::executor::Executor;
use super::measure::{cores, fold_byte_ns, numbers};
use crate::bootstrap::Control;
use crate::error::Result;
use crate::schedule::Algorithm;
use crate::tune::network::{Curve, LinkCost, Network};
use crate::tune::{Choice, IN_ROOM};
use std::time::Instant;

/// What is measured: where one overtakes the other, and beyond.
const SIZES: [usize; 7] = [8, 2 << 10, 8 << 10, 32 << 10, 128 << 10, 512 << 10, 2 << 20];
/// All that a rank reads in a call is no more than this: beyond, reading everything has long been overtaken.
const READ_BYTES_MOST: usize = 4 << 20;
/// Rounds, of which the fastest counts: whatever disturbs one only makes it slower. Fewer where they move more than so much, all ranks together.
const ROUNDS: (usize, usize) = (2, 6);
const MOVED_BYTES_MOST: usize = 96 << 20;
/// Calls a round, of all ranks together: of few ranks a call is over in the time that a clock takes.
const CALLS: usize = 32;

fn rounds(algorithm: Algorithm, bytes: usize, ranks: usize) -> usize {
    let each = if algorithm == Algorithm::Direct { ranks } else { 2 };
    (MOVED_BYTES_MOST / (bytes * ranks * each)).clamp(ROUNDS.0, ROUNDS.1)
}

/// Measures, as all ranks do.
pub(super) fn measure_room(executor: &mut Executor, control: &Control) -> Result<Network> {
    let ranks = executor.grouping.size() as usize;
    let points: Vec<(Algorithm, usize)> = SIZES
        .into_iter()
        .flat_map(|bytes| IN_ROOM.map(|algorithm| (algorithm, bytes)))
        .filter(|(algorithm, bytes)| *algorithm != Algorithm::Direct || bytes * ranks <= READ_BYTES_MOST)
        .collect();
    let mut buffer = vec![0; SIZES[SIZES.len() - 1]];
    let mut mine = vec![fold_byte_ns()];
    for (algorithm, bytes) in &points {
        let calls = if *bytes > SIZES[2] { 1 } else { (CALLS / ranks).max(1) };
        let (choice, mut fastest) = (Choice::in_room(*algorithm), f64::INFINITY);
        for _ in 0..rounds(*algorithm, *bytes, ranks) {
            let began = Instant::now();
            for _ in 0..calls {
                executor.try_all_reduce(control, &choice, &mut buffer[..*bytes])?;
            }
            fastest = fastest.min(began.elapsed().as_nanos() as f64 / calls as f64);
        }
        mine.push(fastest);
    }
    let bytes: Vec<u8> = mine.iter().flat_map(|number| number.to_le_bytes()).collect();
    let all = control.exchange(&bytes)?;
    let all =
        all.iter().enumerate().map(|(rank, bytes)| numbers(rank, bytes, mine.len())).collect::<Result<Vec<_>>>()?;
    // A call is over when the last rank is through.
    let slowest = |index: usize| all.iter().map(|numbers| numbers[index]).fold(0.0, f64::max);
    let curve = |algorithm: Algorithm| {
        let own = points.iter().enumerate().filter(|(_, (one, _))| *one == algorithm);
        let points = own.map(|(index, (_, bytes))| (*bytes, slowest(index + 1)));
        Curve::measured(algorithm, points.collect())
    };
    Ok(Network {
        grouping: (*executor.grouping).clone(),
        inside: LinkCost::default(),
        between: LinkCost::default(),
        shared_byte_ns: vec![0.0],
        fold_byte_ns: slowest(0),
        machines: vec![0],
        cores: cores(&executor.grouping, &[0], executor.cards()),
        crowded_ns: 0.0,
        calls: Vec::new(),
        room: IN_ROOM.map(curve).into(),
    })
}
