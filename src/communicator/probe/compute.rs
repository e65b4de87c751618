//! What ranks compute with: their processors, and how fast these reduce.

use super::numbers::nanoseconds;
use crate::communicator::card::Card;
use crate::reduce::kernels;
use crate::types::{DataType, Grouping, Op};
use std::collections::BTreeMap;
use std::time::Instant;

/// Bytes that are reduced, some times over, to see how fast that is: what comes off a link is in a cache.
const FOLD_BYTES: usize = 128 << 10;
const FOLDS: usize = 8;

/// By machine, how many processors its ranks can run on: if they are bound, to cores or to sockets, those of all.
pub(in crate::communicator) fn cores(grouping: &Grouping, machines: &[u32], cards: &[Card]) -> Vec<u32> {
    let count = machines.iter().max().map_or(0, |last| last + 1);
    let of = |machine: u32| {
        let ranks = (0..grouping.size()).filter(|rank| machines[grouping.host_of(*rank) as usize] == machine);
        let mut sets: BTreeMap<u32, u32> = BTreeMap::new();
        for [first, count] in ranks.map(|rank| cards[rank as usize].processors) {
            let most = sets.entry(first).or_default();
            *most = count.max(*most);
        }
        sets.into_values().fold(0, u32::saturating_add).max(1)
    };
    (0..count).map(of).collect()
}

/// What reducing a byte takes here.
pub(super) fn fold_byte_ns() -> f64 {
    let (mut sum, input) = (vec![0; FOLD_BYTES], vec![0; FOLD_BYTES]);
    let fold = kernels(DataType::F32, Op::Sum).reduce;
    fold(&mut sum, &input);
    let began = Instant::now();
    (0..FOLDS).for_each(|_| fold(&mut sum, std::hint::black_box(&input)));
    nanoseconds(began) / (FOLDS * FOLD_BYTES) as f64
}
