//! Which pieces and stores serve which size. Constants, each with the measurement that it comes from. Which schedule runs is not
//! chosen here: the call says it.

use super::layout::{LINE_BYTES, piece_bytes_max};
use crate::schedule::Algorithm;
use crate::transport::shm::Stores;

/// The number of the schedule in which everybody reads everything.
pub const DIRECT: u8 = Algorithm::Direct as u8;
/// The number of the schedule in which the owner of a part folds it and writes it back.
pub const TWO_SHOT: u8 = Algorithm::TwoShot as u8;

/// From here on the output outgrows the caches: it is written past them, and a step's actions are interleaved so that
/// reads and writes overlap.
const STREAMING_BYTES_MIN: usize = 8 << 20;

/// The smallest piece: below it the flags cost more than the overlap of actions gains.
const PIECE_BYTES_MIN: usize = 32 << 10;
/// Into how many pieces two ranks cut a message between the smallest piece and the largest. Cores that share a cache gain 15 %
/// over two pieces at 512 KiB; others are level from one to eight.
const PIECES_PAIR: usize = 8;

/// The piece that *two-shot* should move at a time. More ranks than two are often more than there are cores, where every
/// piece costs switches of context: they take the largest.
pub(super) fn piece_bytes(ranks: usize, bytes: usize) -> usize {
    let max = piece_bytes_max(ranks);
    if ranks == 2 { (bytes / PIECES_PAIR).clamp(PIECE_BYTES_MIN, max) } else { max }
}

/// How many bytes of the message, or of each of so many `blocks` of which the longest has `longest` bytes, go in a piece of a collective that is carried.
pub(super) fn carried_bytes(ranks: usize, blocks: usize, longest: usize) -> usize {
    let wanted = piece_bytes(ranks, blocks * longest);
    (wanted / blocks / LINE_BYTES * LINE_BYTES).max(LINE_BYTES)
}

/// How an output of `bytes` is written, which is `apart` from the input or in its place. In place its lines have just been read, and
/// two ranks find most of them in their own caches: streaming there doubles the time.
pub(super) fn stores(ranks: usize, bytes: usize, apart: bool) -> Stores {
    if bytes >= STREAMING_BYTES_MIN && (apart || ranks > 2) { Stores::Streaming } else { Stores::Cached }
}
