//! Measuring what ranks that share a host's memory do there, by running it: allreduces, and all-to-alls whose blocks are read from where they lie or carried.

use super::executor::Executor;
use super::measure::{cores, fold_byte_ns, numbers};
use crate::bootstrap::Control;
use crate::engine::room::READ_BYTES;
use crate::error::Result;
use crate::schedule::Algorithm;
use crate::tune::network::{Curve, LinkCost, Network};
use crate::tune::{Choice, IN_ROOM};
use std::ops::Range;
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

/// Blocks that are read and carried, as long as all ranks together move no more than so much.
const BLOCKS: [usize; 3] = [64 << 10, 256 << 10, 1 << 20];
const BLOCKS_MOVED_MOST: usize = 4 << 20;
/// Rounds of each way, of which the fastest counts.
const BLOCK_ROUNDS: usize = 4;

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
    let blocks = blocks(executor);
    mine.extend(time_blocks(executor, control, &blocks)?);
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
        reads: read_blocks(&blocks, |way| slowest(1 + points.len() + way)),
        room: IN_ROOM.map(curve).into(),
    })
}

/// The sizes of blocks of which both ways are run.
fn blocks(executor: &Executor) -> Vec<usize> {
    let ranks = executor.grouping.size() as usize;
    let is_short = |bytes: &usize| executor.can_read() && bytes * ranks * ranks <= BLOCKS_MOVED_MOST;
    BLOCKS.into_iter().filter(is_short).collect()
}

/// By size, what an all-to-all takes that reads its blocks, and one that carries them.
fn time_blocks(executor: &mut Executor, control: &Control, blocks: &[usize]) -> Result<Vec<f64>> {
    let ranks = executor.grouping.size() as usize;
    let all = blocks.last().map_or(0, |largest| largest * ranks);
    let (given, mut taken) = (vec![1; all], vec![0; all]);
    let mut fastest = Vec::new();
    for bytes in blocks.iter().map(|block| block * ranks) {
        let mut ways = [f64::INFINITY; 2];
        for _ in 0..BLOCK_ROUNDS {
            for (reads, fastest) in [true, false].into_iter().zip(&mut ways) {
                let began = Instant::now();
                executor.try_all_to_all(control, reads, &given[..bytes], &mut taken[..bytes])?;
                *fastest = fastest.min(began.elapsed().as_nanos() as f64);
            }
        }
        fastest.extend(ways);
    }
    Ok(fastest)
}

/// The blocks that are better read: from the first size on, and up to the one after the last, of which that was seen. `ns` says what the ways took.
fn read_blocks(blocks: &[usize], ns: impl Fn(usize) -> f64) -> Option<Range<usize>> {
    let is_read = |at: &usize| ns(2 * at) < ns(2 * at + 1);
    let (first, last) = ((0..blocks.len()).find(is_read), (0..blocks.len()).rfind(is_read));
    // Beyond what was seen, it is as for the largest.
    let after = |last: usize| blocks.get(last + 1).copied().unwrap_or(READ_BYTES.end);
    let read = first.zip(last).map(|(first, last)| blocks[first]..after(last));
    (!blocks.is_empty()).then(|| read.unwrap_or(0..0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_where_that_was_seen_to_be_faster() {
        let blocks = [64, 256, 1024];
        for (ns, expected) in [
            ([1.0, 2.0, 1.0, 2.0, 1.0, 2.0], 64..READ_BYTES.end),
            ([2.0, 1.0, 1.0, 2.0, 2.0, 1.0], 256..1024),
            ([1.0, 2.0, 2.0, 1.0, 2.0, 1.0], 64..256),
            ([2.0, 1.0, 2.0, 1.0, 1.0, 2.0], 1024..READ_BYTES.end),
            ([2.0, 1.0, 1.0, 1.0, 2.0, 1.0], 0..0),
        ] {
            assert_eq!(read_blocks(&blocks, |way| ns[way]), Some(expected), "{ns:?}");
        }
        assert_eq!(read_blocks(&[], |_| 0.0), None);
    }
}
