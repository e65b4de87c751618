//! Which pieces and stores serve which size. Constants, each with the measurement that it comes from. Which schedule runs is not
//! chosen here: the call says it.

use super::layout::{LINE_BYTES, piece_bytes_max};
use crate::schedule::Algorithm;
use crate::transport::shm::Stores;

/// The number of the schedule in which everybody reads everything.
pub const DIRECT: u8 = Algorithm::Direct as u8;
/// The number of the schedule in which the owner of a part folds it and writes it back.
pub const TWO_SHOT: u8 = Algorithm::TwoShot as u8;

/// Input and output of a rank that have so much are not kept in caches however large those are: more was not measured. (8 MiB of each outgrow those of a Cascade Lake whose cores share 36 MiB.)
pub(super) const CACHED_BYTES_MAX: usize = 16 << 20;
/// What is smaller is kept, however many ranks there are: less was not measured.
const CACHED_BYTES_MIN: usize = 1 << 20;

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

/// How much each of so many ranks may have, input and output together, before they outgrow the host's last caches, which have `caches` bytes: half a share of
/// them. From there on outputs are written past the caches, and a step's actions are interleaved so that reads and writes overlap. (Two cores of a Zen 3 that share 32 MiB, 2 and 4
/// ranks: allreduces, all-to-alls, all-gathers and broadcasts that have 8 to 12 MiB together take 0.5 to 0.8 of the time through the caches, those that have 16 to 20 MiB 1.3 to 2.1 times as
/// long, or as long at least; between cores that do not, one takes 0.8 to 1.3 of the other.)
pub(super) fn cached_bytes(ranks: usize, caches: usize) -> usize {
    (caches / ranks / 2).clamp(CACHED_BYTES_MIN, CACHED_BYTES_MAX)
}

/// How an output is written of which, with its input, a rank has `bytes`, where it may have less than `cached_bytes` in the caches; the output is `apart` from the input or in its place. In
/// place its lines have just been read, and two ranks find most of them in their own caches: streaming there doubles the time.
pub(super) fn stores(ranks: usize, bytes: usize, cached_bytes: usize, apart: bool) -> Stores {
    if bytes >= cached_bytes && (apart || ranks > 2) { Stores::Streaming } else { Stores::Cached }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_go_past_caches_that_all_ranks_outgrow_together() {
        let caches = 32 << 20;
        assert_eq!([2, 4].map(|ranks| cached_bytes(ranks, caches)), [8 << 20, 4 << 20]);
        assert_eq!((cached_bytes(2, caches << 5), cached_bytes(64, caches)), (CACHED_BYTES_MAX, CACHED_BYTES_MIN));
        for (ranks, bytes, apart, streams) in
            [(2, 8, true, true), (2, 7, true, false), (2, 8, false, false), (3, 8, false, true), (3, 7, false, false)]
        {
            assert_eq!(stores(ranks, bytes, 8, apart) == Stores::Streaming, streams, "{ranks} ranks, {bytes} bytes");
        }
    }
}
