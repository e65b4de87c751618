//! Which schedule and which pieces serve which size. Constants, each with the measurement that it comes from; a tuner that has
//! measured better passes another algorithm number.

use super::layout::piece_bytes_max;

/// The number of the schedule in which everybody reads everything.
pub const DIRECT: u8 = 0;
/// The number of the schedule in which the owner of a part folds it and writes it back.
pub const TWO_SHOT: u8 = 1;

/// *Direct* for two ranks: it moves twice the bytes that *two-shot* does, but waits once. Level between 8 and 32 KiB.
const DIRECT_BYTES_MAX_PAIR: usize = 16 << 10;
/// *Direct* for more ranks, where it moves n − 1 times the message to every rank.
const DIRECT_BYTES_MAX: usize = 4 << 10;

/// From here on the output outgrows the caches: it is written past them, and a step's actions are interleaved so that
/// reads and writes overlap.
const STREAMING_BYTES_MIN: usize = 8 << 20;

/// The algorithm number for `bytes` a rank in a room of `ranks`.
pub fn algorithm(ranks: usize, bytes: usize) -> u8 {
    let direct_max = if ranks == 2 { DIRECT_BYTES_MAX_PAIR } else { DIRECT_BYTES_MAX };
    if bytes <= direct_max { DIRECT } else { TWO_SHOT }
}

/// The piece that *two-shot* should move at a time.
pub(super) fn piece_bytes(ranks: usize, bytes: usize) -> usize {
    let max = piece_bytes_max(ranks);
    if ranks == 2 { (bytes / 2).clamp(16 << 10, max) } else { max }
}

/// How an output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stores {
    /// Through the caches: it will be read again from there.
    Cached,
    /// Past them.
    Streaming,
}

/// How an output of `bytes` is written.
pub(super) fn stores(bytes: usize) -> Stores {
    if bytes >= std::env::var("SMIN").map_or(STREAMING_BYTES_MIN, |x| x.parse().unwrap_or(0)) {
        Stores::Streaming
    } else {
        Stores::Cached
    }
}
