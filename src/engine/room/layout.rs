//! Where everything is in a rank's region, and how a message is cut. Pure arithmetic.

use crate::transport::shm::SLOTS_AT;

/// A cache line.
pub(super) const LINE_BYTES: usize = 64;
/// Bytes that ranks on different cores write apart: two lines, since lines are fetched in pairs.
const APART: usize = 128;

/// The CPU that the region's rank was last seen on, plus one.
pub(super) const CPU_AT: usize = 0;
/// What wakes those who sleep until the region's rank moves on.
pub(super) const BELL_AT: usize = APART;
/// The call that the region's rank is stuck in or failed with.
pub(super) const DESCRIPTOR_AT: usize = 2 * APART;
/// Flag: pieces that the rank has filled in.
pub(super) const FILLED_AT: usize = 3 * APART;
/// Flag of *two-shot*: pieces whose own part the rank has folded and written back.
pub(super) const FOLDED_AT: usize = 4 * APART;
/// Flag of calls that are carried or read: pieces that the rank has taken. (The flag counts what was folded in *two-shot*.)
pub(super) const TAKEN_AT: usize = FOLDED_AT;
/// What the rank offers to let the others map: places of input and output.
pub(super) const OFFER_AT: usize = (5 + SLOTS) * APART;
/// Flag: the offer is made.
pub(super) const OFFERED_AT: usize = OFFER_AT + APART;
/// Whether the rank could map all that was offered.
pub(super) const ANSWER_AT: usize = OFFERED_AT + APART;
/// Flag: the answer is given.
pub(super) const AGREED_AT: usize = ANSWER_AT + 64;
/// Flag: the rank has done its part in everybody's mapped buffers.
pub(super) const DONE_AT: usize = ANSWER_AT + APART;
/// The process that made the region, and something in it to read.
pub(super) const PROCESS_AT: usize = DONE_AT + APART;
/// Whether the rank has given up: its buffers are its own again, whoever still reads them.
pub(super) const GONE_AT: usize = PROCESS_AT + APART;
/// Tags of the last turns that had a root, close together: who looks at eight of them fetches one line.
const CAME_AT: usize = GONE_AT + APART;
/// Bytes of a region's words.
pub(super) const WORDS_BYTES: usize = CAME_AT + LEADS * size_of::<u64>();

/// Slots of turns in which everybody takes from everybody: a rank may be one turn ahead of another, never two.
pub(super) const PARITIES: usize = 2;
/// Slots of turns that have a root, after those: it may be so many turns ahead, less one. (Of 4 ranks on 2 cores, 32 make small calls a fifth faster than 16: they
/// are switched half as often.)
pub(super) const LEADS: usize = 32;
const SLOTS: usize = PARITIES + LEADS;

/// So many turns that have a root keep their tags in one line.
pub(super) const TURNS_A_LINE: u32 = (LINE_BYTES / size_of::<u64>()) as u32;
const _: () = assert!(LEADS as u32 >= 2 * TURNS_A_LINE, "one line of turns is looked at while the next is written");

/// Where a rank says that it has come to `turn`, which has a root.
pub(super) const fn came_at(turn: u32) -> usize {
    CAME_AT + turn as usize % LEADS * size_of::<u64>()
}

/// The line of slot number `index`.
pub(super) const fn line_at(index: usize) -> usize {
    5 * APART + index * APART
}

/// What one turn moves: well above the size up to which reading everything pays in an allreduce, so that a larger message run that
/// way by choice still moves in few turns. (One way between two cores, slots of 8 KiB to 128 KiB are level.)
pub(super) const EXCHANGE_BYTES: usize = 32 << 10;

/// How many turns before its own a slot is asked for: then neither a giver's stores nor a taker's loads wait for each line by itself. (Two ranks, 8 B to 512 B: a fifth
/// off, and a third where cores are far apart.)
pub(super) const AHEAD_TURNS: u32 = 2;
/// Slots that show more than so much are not asked for: of 32 of them, lines have left the caches by their turn.
pub(super) const AHEAD_BYTES: usize = 2 << 10;

/// Where slot number `index` begins.
pub(super) const fn exchange_at(index: usize) -> usize {
    SLOTS_AT + index * EXCHANGE_BYTES
}

/// Slots of *two-shot* and of calls that are carried: one that is filled, one that is folded, one that is gathered, and one of slack.
pub(super) const RING_SLOTS: usize = 4;

/// The largest piece that *two-shot* moves at a time, and the size of its slots: for two ranks, the slots of both stay inside an L2
/// cache; for more, times are level from 256 KiB on, and memory is not.
pub(super) const fn piece_bytes_max(ranks: usize) -> usize {
    if ranks == 2 { 128 << 10 } else { 256 << 10 }
}

/// Where the slot of *two-shot*'s piece number `piece` begins.
pub(super) const fn ring_at(ranks: usize, piece: usize) -> usize {
    exchange_at(SLOTS) + piece % RING_SLOTS * piece_bytes_max(ranks)
}

/// Payload bytes of a region.
pub(super) const fn payload_bytes(ranks: usize) -> usize {
    exchange_at(SLOTS) + RING_SLOTS * piece_bytes_max(ranks)
}

/// What a fold of more than two inputs does at a time: small beside an L1 cache, large beside the cost of a call.
pub(super) const SCRATCH_BYTES: usize = 8 << 10;

/// How *two-shot* cuts a message: `pieces` of `piece_bytes` (the last may be shorter), each cut again by rank.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) bytes: usize,
    pub(super) ranks: usize,
    pub(super) piece_bytes: usize,
    pub(super) pieces: usize,
}

impl Cut {
    /// Cuts `bytes` into equal pieces of about `wanted` bytes.
    pub(super) fn new(bytes: usize, ranks: usize, wanted: usize) -> Self {
        // One piece even of nothing: every call exchanges something, or ranks that disagree would not find out.
        let pieces = bytes.div_ceil(wanted).max(1);
        let piece_bytes = bytes.div_ceil(pieces).max(1).next_multiple_of(APART * ranks).min(piece_bytes_max(ranks));
        Self { bytes, ranks, piece_bytes, pieces: bytes.div_ceil(piece_bytes).max(1) }
    }

    /// The bytes of the message that piece number `piece` is.
    pub(super) fn piece(&self, piece: usize) -> std::ops::Range<usize> {
        let start = (piece * self.piece_bytes).min(self.bytes);
        start..(start + self.piece_bytes).min(self.bytes)
    }

    /// The bytes of a piece of `len` bytes that `rank` owns: whole lines, hence whole elements; the last ranks' may be none.
    pub(super) fn part(&self, len: usize, rank: usize) -> std::ops::Range<usize> {
        let part_bytes = len.div_ceil(self.ranks).next_multiple_of(APART);
        (rank * part_bytes).min(len)..((rank + 1) * part_bytes).min(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_parts_tile_every_message() {
        for ranks in 2..=9 {
            for bytes in (0..300).chain([4_095, 4_096, 4_097, 100_001, 1 << 20, (3 << 20) + 17, 5_000_000_011]) {
                for wanted in [8 << 10, 64 << 10, piece_bytes_max(ranks)] {
                    let cut = Cut::new(bytes, ranks, wanted);
                    assert!(cut.pieces >= 1 && cut.piece_bytes <= piece_bytes_max(ranks));
                    let mut end = 0;
                    for piece in [0, 1, cut.pieces / 2, cut.pieces - 1] {
                        let range = cut.piece(piece.min(cut.pieces - 1));
                        assert_eq!(range.start % APART, 0);
                        let mut part_end = 0;
                        for rank in 0..ranks {
                            let part = cut.part(range.len(), rank);
                            assert_eq!(part.start, part_end);
                            part_end = part.end;
                        }
                        assert_eq!(part_end, range.len());
                        end = end.max(range.end);
                    }
                    assert_eq!(end, bytes, "{cut:?}");
                    assert!(
                        (1..cut.pieces).all(|piece| cut.piece(piece).start == cut.piece(piece - 1).end)
                            || bytes > 1 << 30
                    );
                }
            }
        }
    }

    #[test]
    fn slots_do_not_overlap() {
        for ranks in 2..=64 {
            assert!(exchange_at(SLOTS - 1) + EXCHANGE_BYTES <= ring_at(ranks, 0));
            assert_eq!(ring_at(ranks, RING_SLOTS), ring_at(ranks, 0));
            assert!(ring_at(ranks, RING_SLOTS - 1) + piece_bytes_max(ranks) <= payload_bytes(ranks));
        }
    }
}
