//! Numbers that ranks measure and tell each other, and what counts of several.

use crate::error::{Error, Result};
use crate::tune::network::COSTS;
use std::time::Instant;

/// What `rank` has told, if it is so many numbers.
pub(super) fn numbers(rank: usize, bytes: &[u8], count: usize) -> Result<Vec<f64>> {
    let words = bytes.as_chunks::<8>().0;
    let numbers: Vec<f64> = words.iter().map(|word| f64::from_le_bytes(*word)).collect();
    let sound = numbers.len() == count && numbers.iter().all(|number| COSTS.contains(number));
    let odd = || Error::InvalidArgument { what: format!("rank {rank} measured {} odd bytes", bytes.len()) };
    sound.then_some(numbers).ok_or_else(odd)
}

/// The middle one; 0 of nothing: then there is no such link.
pub(super) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}

/// The least, of what is only ever made longer; 0 of nothing.
pub(super) fn least(numbers: Vec<f64>) -> f64 {
    numbers.into_iter().min_by(f64::total_cmp).unwrap_or(0.0)
}

/// What a quarter of them do not exceed: in a crowd some are lucky, and what disturbs makes others longer. Of one at least.
pub(super) fn undisturbed(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 4]
}

pub(super) fn nanoseconds(since: Instant) -> f64 {
    since.elapsed().as_nanos() as f64
}
