//! Measuring what ranks that share a host's memory do there, by running it: allreduces, and all-to-alls and broadcasts that are read from where they lie or carried.

use super::compute::{cores, fold_byte_ns};
use super::numbers::{numbers, undisturbed};
use super::places::Places;
use crate::bootstrap::Control;
use crate::communicator::executor::Executor;
use crate::engine::room::READS;
use crate::error::Result;
use crate::schedule::Algorithm;
use crate::tune::calls::Calls;
use crate::tune::network::{Curve, LinkCost, Network};
use crate::tune::{Choice, IN_ROOM};
use crate::types::Reads;
use std::ops::Range;
use std::time::Instant;

/// What is measured: where one overtakes the other, and beyond.
const SIZES: [usize; 9] = [8, 2 << 10, 8 << 10, 16 << 10, 32 << 10, 128 << 10, 512 << 10, 1 << 20, 4 << 20];
/// The inputs of all ranks together are no more than this: what outgrows the caches goes on as it does.
const INPUT_BYTES_MOST: usize = 16 << 20;
/// What all ranks together read in a call is no more than this: beyond, reading everything has long been overtaken.
const READ_BYTES_MOST: usize = 32 << 20;
/// Rounds, of which one of the fastest counts: whatever disturbs one only makes it slower, and in a crowd some are lucky. Fewer where they move more than so much, all ranks together, but for the least.
const ROUNDS: (usize, usize) = (2, 6);
const MOVED_BYTES: usize = 96 << 20;
/// Calls of a round, in a row as a program makes them: as many as have so many bytes, a few at least, but no more small ones of all ranks together than `CALLS`. (Of few ranks a small one is over in the
/// time that a clock takes. Large ones take twice as long at first as they do later, while buffers and slots come into the caches.)
const ROW_BYTES: usize = 4 << 20;
const ROW_LEAST: usize = 2;
const CALLS: usize = 32;

/// Blocks of an all-to-all that are read and carried, as long as all ranks together move no more than so much to others.
const BLOCKS: [usize; 6] = [32 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20, 2 << 20];
const BLOCKS_MOVED_MOST: usize = 4 << 20;
/// As many calls are made in a row as have so many bytes, all ranks together, but `ROW_LEAST` at least. (Single calls vary where ranks share cores: four ranks on two cores far apart carried blocks of 64 KiB
/// in 60 to 100 µs, and in a row in 90 to 100.)
const BLOCKS_ROW: usize = 8 << 20;
/// Broadcasts of two ranks that are read and carried, of each size as many in a row as move what one of the largest does, for the root of the first ones gets ahead. (Among more ranks
/// reading was slower nearly everywhere.)
const BROADCASTS: [usize; 4] = [64 << 10, 256 << 10, 1 << 20, 4 << 20];
/// From here on none is read: larger ones were not tried.
const BROADCASTS_END: usize = 8 << 20;
/// Rounds of each way, of which the fastest counts.
const WAYS_ROUNDS: usize = 3;

/// What so many ranks run, and at which sizes.
fn points(ranks: usize) -> Vec<(Algorithm, usize)> {
    let all = SIZES.into_iter().flat_map(|bytes| IN_ROOM.map(|algorithm| (algorithm, bytes)));
    let is_run = |(algorithm, bytes): &(Algorithm, usize)| {
        let inputs = bytes * ranks;
        inputs <= INPUT_BYTES_MOST && (*algorithm != Algorithm::Direct || inputs * ranks <= READ_BYTES_MOST)
    };
    all.filter(is_run).collect()
}

/// How an algorithm is measured at a size: rounds, and calls in each.
fn effort(algorithm: Algorithm, bytes: usize, ranks: usize) -> (usize, usize) {
    let moved = bytes * ranks * if algorithm == Algorithm::Direct { ranks } else { 2 };
    let calls = (ROW_BYTES / bytes).min(CALLS / ranks).min(MOVED_BYTES / (ROUNDS.0 * moved)).max(ROW_LEAST);
    ((MOVED_BYTES / (calls * moved)).clamp(ROUNDS.0, ROUNDS.1), calls)
}

/// Measures, as all ranks do.
pub(super) fn measure_room(executor: &mut Executor, control: &Control, places: &Places) -> Result<Network> {
    let ranks = executor.grouping.size() as usize;
    let points = points(ranks);
    let largest = points.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    // Memory that was never touched would be measured as well.
    let (given, mut taken) = (vec![1; largest], vec![2; largest]);
    places.settle(control, |_| true)?;
    let mut mine = vec![fold_byte_ns()];
    for (algorithm, bytes) in &points {
        let (rounds, calls) = effort(*algorithm, *bytes, ranks);
        let choice = Choice::in_room(*algorithm);
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let began = Instant::now();
            for _ in 0..calls {
                executor.try_all_reduce(control, &choice, Some(&given[..*bytes]), &mut taken[..*bytes])?;
            }
            times.push(began.elapsed().as_nanos() as f64 / calls as f64);
        }
        mine.push(undisturbed(times));
    }
    let moves = Moves::of(executor.can_read(), ranks);
    mine.extend(moves.time(executor, control)?);
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
        calls: Calls::NONE,
        reads: moves.reads(|way| slowest(1 + points.len() + way)),
        room: IN_ROOM.map(curve).into(),
    })
}

/// What is run both ways, by bytes of a block or message.
#[derive(Debug)]
struct Moves {
    blocks: Vec<usize>,
    broadcasts: Vec<usize>,
}

impl Moves {
    fn of(can_read: bool, ranks: usize) -> Self {
        let is_short = |block: &usize| can_read && block * ranks * (ranks - 1) <= BLOCKS_MOVED_MOST;
        Self {
            blocks: BLOCKS.into_iter().filter(is_short).collect(),
            broadcasts: if can_read && ranks == 2 { BROADCASTS.into() } else { Vec::new() },
        }
    }

    /// What each takes that is read, and what it takes carried.
    fn time(&self, executor: &mut Executor, control: &Control) -> Result<Vec<f64>> {
        let ranks = executor.grouping.size() as usize;
        let largest = |sizes: &[usize]| sizes.last().copied().unwrap_or(0);
        let (most, all) = (largest(&self.blocks), largest(&self.broadcasts));
        let given = vec![1; most * ranks];
        // Memory that was never touched would be measured as well.
        let mut taken = vec![2; given.len().max(all)];
        let row = |block: usize| block_calls(block, ranks);
        let blocks = self.blocks.iter().map(|block| (Some(&given[..block * ranks]), block * ranks, row(*block)));
        let broadcasts = self.broadcasts.iter().map(|bytes| (None, *bytes, all / bytes));
        let mut fastest = Vec::new();
        for (given, bytes, calls) in blocks.chain(broadcasts) {
            // The root of a broadcast is through before the other, and waits for it in the next call. Its bytes are new each time: others would be in the other's cache.
            let leads = given.is_none() && control.rank() == 0;
            let mut ways = [f64::INFINITY; 2];
            // One way after the other: after a change it takes some calls until the caches hold what that way needs.
            for (is_read, fastest) in [true, false].into_iter().zip(&mut ways) {
                for _ in 0..WAYS_ROUNDS {
                    let began = Instant::now();
                    let taken = &mut taken[..bytes];
                    for call in 0..calls {
                        if leads {
                            taken.fill(call as u8);
                        }
                        executor.try_to_move(control, is_read, given, taken)?;
                    }
                    *fastest = if leads { 0.0 } else { fastest.min(began.elapsed().as_nanos() as f64) };
                }
            }
            fastest.extend(ways);
        }
        Ok(fastest)
    }

    /// What is better read; `ns` says what the ways took.
    fn reads(&self, ns: impl Fn(usize) -> f64) -> Option<Reads> {
        // Larger ones than twice the largest were not tried, nor ever better read.
        let end = self.blocks.last().map_or(0, |largest| 2 * largest).max(READS.blocks.end);
        let blocks = better_read(&self.blocks, end, &ns)?;
        let broadcast = better_read(&self.broadcasts, BROADCASTS_END, |way| ns(2 * self.blocks.len() + way));
        Some(Reads { blocks, broadcast: broadcast.unwrap_or(READS.broadcast) })
    }
}

/// How many all-to-alls of such blocks are made in a row.
fn block_calls(block: usize, ranks: usize) -> usize {
    (BLOCKS_ROW / (block * ranks * ranks)).max(ROW_LEAST)
}

/// The run of sizes that gains most by being read, in all by the ratios of what the ways took, up to the size after it: `end` after the largest. `None` if no size was run.
fn better_read(sizes: &[usize], end: usize, ns: impl Fn(usize) -> f64) -> Option<Range<usize>> {
    let gain = |run: &Range<usize>| run.clone().map(|at| ns(2 * at + 1) / ns(2 * at)).product::<f64>();
    let runs = (0..sizes.len()).flat_map(|start| (start + 1..=sizes.len()).map(move |end| start..end));
    let best = runs.filter(|run| gain(run) > 1.0).max_by(|one, other| gain(one).total_cmp(&gain(other)));
    let size = |at: usize| sizes.get(at).copied().unwrap_or(end);
    (!sizes.is_empty()).then(|| best.map_or(0..0, |run| size(run.start)..size(run.end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_bounded_however_many_ranks_there_are() {
        for ranks in 2..=64 {
            let points = points(ranks);
            let sizes = |one| points.iter().filter(move |(algorithm, _)| *algorithm == one).count();
            assert!(sizes(Algorithm::Direct) >= 3 && sizes(Algorithm::TwoShot) >= 5, "{ranks} ranks: {points:?}");
            for (algorithm, bytes) in points {
                let (rounds, calls) = effort(algorithm, bytes, ranks);
                let moved = rounds * calls * bytes * ranks * if algorithm == Algorithm::Direct { ranks } else { 2 };
                assert!(
                    moved <= MOVED_BYTES.max(ROUNDS.0 * ROW_LEAST * READ_BYTES_MOST),
                    "{ranks} ranks, {bytes} bytes by {algorithm}"
                );
            }
        }
    }

    #[test]
    fn blocks_are_tried_while_few_bytes_move_and_never_where_nobody_can_read() {
        for (ranks, largest) in [(2, 2 << 20), (3, 256 << 10), (4, 256 << 10), (8, 64 << 10), (11, 32 << 10)] {
            let moves = Moves::of(true, ranks);
            assert_eq!(moves.blocks.last(), Some(&largest), "{ranks} ranks");
            assert_eq!(moves.broadcasts.is_empty(), ranks > 2, "{ranks} ranks");
            let moved = |block: &usize| block_calls(*block, ranks) * block * ranks * ranks;
            assert!(moves.blocks.iter().all(|block| moved(block) <= 2 * BLOCKS_ROW), "{ranks} ranks: {moves:?}");
            assert!(moves.blocks.iter().all(|block| block_calls(*block, ranks) >= ROW_LEAST));
        }
        for nothing in [Moves::of(true, 12), Moves::of(false, 2)] {
            assert!(nothing.blocks.is_empty() && nothing.broadcasts.is_empty(), "{nothing:?}");
        }
    }

    #[test]
    fn what_was_seen_to_be_faster_read_is() {
        let (sizes, end) = ([64, 256, 1024], 5000);
        for (ns, expected) in [
            ([1.0, 2.0, 1.0, 2.0, 1.0, 2.0], 64..end),
            ([2.0, 1.0, 1.0, 2.0, 2.0, 1.0], 256..1024),
            ([1.0, 2.0, 1.0, 1.2, 2.0, 1.0], 64..1024),
            ([2.0, 1.0, 2.0, 1.0, 1.0, 2.0], 1024..end),
            ([2.0, 1.0, 1.0, 1.0, 2.0, 1.0], 0..0),
            // One that is a little slower read does not part others.
            ([1.0, 2.0, 1.1, 1.0, 1.0, 2.0], 64..end),
            ([1.0, 2.0, 3.0, 1.0, 1.0, 2.5], 1024..end),
            ([0.0, 0.0, 0.0, 0.0, 2.0, 1.0], 0..0),
        ] {
            assert_eq!(better_read(&sizes, end, |way| ns[way]), Some(expected), "{ns:?}");
        }
        assert_eq!(better_read(&[], end, |_| 0.0), None);
    }
}
