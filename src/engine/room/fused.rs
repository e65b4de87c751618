//! *Two-shot* of two ranks for messages that the caches do not keep: the same actions on the same slots as [`super::two_shot`], but the
//! three of one step (filling a piece, folding the one before, gathering the one before that) take turns strip by strip.
//! Reads from memory, reads from the other core and writes past the caches then overlap, where three loops would each
//! wait for one of them. It serves outputs apart from their inputs, and operators that end with the fold.
//!
//! Both ranks' flags of a step are set at its end, so they walk in step; what keeps slots apart is as in `two_shot`.

use super::layout::{Cut, FILLED_AT, FOLDED_AT, LINE_BYTES, ring_at};
use super::{Room, Scene};
use crate::Result;
use crate::reduce::{self, Interleaved};
use crate::transport::shm::Region;
use std::ops::Range;

/// What one action does before the next has its turn, where it is not line by line. (1,024 is twice as slow as 512 and 4,096.)
const STRIP_BYTES: usize = 512;

/// One action of a step: the bytes of the message that it moves, and where they lie in a slot.
#[derive(Clone, Default)]
struct Action {
    of_message: Range<usize>,
    at: usize,
}

impl Action {
    fn new(cut: &Cut, piece: Option<usize>, owner: usize) -> Self {
        let Some(piece) = piece.filter(|piece| *piece < cut.pieces) else { return Self::default() };
        let whole = cut.piece(piece);
        let part = cut.part(whole.len(), owner);
        Self {
            of_message: whole.start + part.start..whole.start + part.end,
            at: ring_at(cut.ranks, piece) + part.start,
        }
    }

    /// The part of the action that lies in this strip: bytes of the message, and where they are in the slot.
    #[inline]
    fn strip(&self, strip: &Range<usize>) -> (Range<usize>, usize) {
        let start = (self.of_message.start + strip.start).min(self.of_message.end);
        let end = (self.of_message.start + strip.end).min(self.of_message.end);
        (start..end, self.at + (start - self.of_message.start))
    }
}

impl Room {
    pub(super) fn fused(&mut self, scene: &Scene<'_>, cut: &Cut, src: &[u8], dst: &mut [u8]) -> Result<()> {
        let (me, peer) = (self.me, 1 - self.me);
        for step in 0..cut.pieces + 2 {
            let (fold_piece, gather_piece) = (step.checked_sub(1), step.checked_sub(2));
            let fill = Action::new(cut, Some(step), peer);
            let fold = Action::new(cut, fold_piece, me);
            let gather = Action::new(cut, gather_piece, peer);
            if let Some(piece) = fold_piece.filter(|piece| *piece < cut.pieces) {
                self.wait_for_all(scene, FILLED_AT, piece)?;
            }
            if let Some(piece) = gather_piece {
                self.wait_for_all(scene, FOLDED_AT, piece)?;
            }
            self.interleave(scene, [&fill, &fold, &gather], src, dst);
            if step < cut.pieces {
                self.set(scene, FILLED_AT, step);
            }
            if let Some(piece) = fold_piece.filter(|piece| *piece < cut.pieces) {
                self.set(scene, FOLDED_AT, piece);
            }
        }
        reduce::fence();
        self.pieces = self.pieces.wrapping_add(cut.pieces as u32);
        Ok(())
    }

    /// Does the three actions of a step by turns: line by line as far as all three go, strip by strip elsewhere.
    fn interleave(&mut self, scene: &Scene<'_>, actions: [&Action; 3], src: &[u8], dst: &mut [u8]) {
        let lens = actions.map(|action| action.of_message.len());
        let [shortest, longest] = [lens.into_iter().min().unwrap_or(0), lens.into_iter().max().unwrap_or(0)];
        let mut done = to_first_line(dst).min(longest);
        self.strip(scene, actions, 0..done, src, dst);
        if done < shortest {
            self.lines(scene, actions, done..shortest, src, dst);
            done = shortest;
        }
        while done < longest {
            let end = (done + STRIP_BYTES).min(longest);
            self.strip(scene, actions, done..end, src, dst);
            done = end;
        }
    }

    /// The three actions line by line.
    fn lines(&mut self, scene: &Scene<'_>, actions: [&Action; 3], strip: Range<usize>, src: &[u8], dst: &mut [u8]) {
        let [(fill_range, fill_at), (fold_range, fold_at), (gather_range, gather_at)] =
            actions.map(|action| action.strip(&strip));
        let (mine, theirs) = pair(&mut self.regions, self.me);
        let (fill, gather_from) = mine.bytes_apart(fill_at, gather_at, strip.len());
        let [folded, gathered] = dst
            .get_disjoint_mut([fold_range.clone(), gather_range])
            .expect("two owners' parts of two pieces do not overlap");
        (scene.kernels.interleave)(Interleaved {
            fill,
            fill_from: &src[fill_range],
            fold: theirs.bytes_mut(fold_at, strip.len()),
            fold_own: &src[fold_range],
            folded,
            gathered,
            gather_from,
        });
    }

    /// The three actions on a strip, of which each may have less or nothing.
    fn strip(&mut self, scene: &Scene<'_>, actions: [&Action; 3], strip: Range<usize>, src: &[u8], dst: &mut [u8]) {
        let [fill, fold, gather] = actions.map(|action| action.strip(&strip));
        let (of_message, at) = fill;
        self.regions[self.me].bytes_mut(at, of_message.len()).copy_from_slice(&src[of_message]);

        let (of_message, at) = fold;
        let theirs = self.regions[1 - self.me].bytes_mut(at, of_message.len());
        (scene.kernels.reduce)(theirs, &src[of_message.clone()]);
        reduce::stream(&mut dst[of_message], theirs);

        let (of_message, at) = gather;
        let ours = self.regions[self.me].bytes(at, of_message.len());
        reduce::stream(&mut dst[of_message], ours);
    }
}

/// The own and the peer's region of two.
fn pair(regions: &mut [Region], me: usize) -> (&mut Region, &mut Region) {
    let (first, second) = regions.split_at_mut(1);
    if me == 0 { (&mut first[0], &mut second[0]) } else { (&mut second[0], &mut first[0]) }
}

/// Bytes before the first line of the output: with these done apart, all that follows begins on a line, which is what streaming
/// stores want. Pieces and parts begin at multiples of a line, so what holds for the output's start holds for each of them.
fn to_first_line(dst: &[u8]) -> usize {
    let bytes = dst.as_ptr().align_offset(LINE_BYTES);
    // It must cut between elements, of which the largest take 8 bytes. An output that is not even so aligned goes as it is.
    if bytes.is_multiple_of(8) { bytes } else { 0 }
}
