//! Collectives without a root that are larger than one slot, in pieces through the ring of slots that *two-shot* has: while takers read one piece, its giver fills the next.
//!
//! A call begins with a turn in which everybody sees everybody: then whoever sets a flag of this call knows that nobody waits for one of an earlier call. A rank
//! counts the pieces that it has *filled*, and those that it has *taken* from everybody.
//!
//! # Why nothing is overwritten that somebody still reads
//!
//! A giver fills a slot again when all others have taken the slot's former piece. *Two ranks* swap slots each time round the ring: a
//! rank writes where it has read, which it has done before it comes there again, so it need not wait, and lines move between the cores once instead of three times.
//! After the last piece a giver goes on without waiting for the others, and remembers that: before slots of the ring are filled again, in whatever call, it sees
//! that they have taken all, or a turn has shown that they have come to a later call.

use super::choice;
use super::collective::Task;
use super::layout::{FILLED_AT, RING_SLOTS, SCRATCH_BYTES, TAKEN_AT, ring_at};
use super::shape::Slice;
use super::two_shot::fold_in_order;
use super::wait::Awaited;
use super::{Room, Scene};
use crate::Result;
use crate::engine::copy;
use std::ops::Range;

/// How a call is cut.
#[derive(Clone, Copy)]
struct Pieces {
    /// Bytes of the message, or of each block, that a piece has.
    width: usize,
    count: usize,
}

impl Pieces {
    fn slice(&self, index: usize) -> Slice {
        Slice { index, width: self.width }
    }
}

impl Room {
    pub(super) fn carry(&mut self, scene: &Scene<'_>, task: &mut Task<'_>, blocks: usize) -> Result<()> {
        let shape = task.shape;
        let tag = self.begin_turn(scene)?;
        self.show(self.slot(self.me), &[], tag);
        self.ring();
        self.wait_for_tags(scene, tag)?;
        self.saw_everybody();
        let width = choice::carried_bytes(self.size(), blocks, shape.longest);
        let pieces = Pieces { width, count: shape.longest.div_ceil(width) };
        for step in 0..=pieces.count {
            if step < pieces.count {
                self.fill_piece(scene, task, &pieces, step)?;
                task.keep_own(pieces.slice(step));
            }
            if let Some(piece) = step.checked_sub(1) {
                self.take_piece(scene, task, &pieces, piece)?;
            }
        }
        self.pieces = self.pieces.wrapping_add(pieces.count as u32);
        self.leave_pieces(scene.call, self.pieces);
        Ok(())
    }

    /// Where the slot of `seat`'s piece number `piece` is: in which region, and where there.
    fn piece_slot(&self, seat: usize, piece: usize) -> (usize, usize) {
        let number = self.pieces.wrapping_add(piece as u32) as usize;
        let region = if self.size() == 2 { (seat + number / RING_SLOTS) % 2 } else { seat };
        (region, ring_at(self.size(), number))
    }

    /// Puts one piece of what this rank gives where others read it.
    fn fill_piece(&mut self, scene: &Scene<'_>, task: &mut Task<'_>, pieces: &Pieces, piece: usize) -> Result<()> {
        let shape = task.shape;
        if let Some(former) = piece.checked_sub(RING_SLOTS).filter(|_| self.size() > 2) {
            self.wait_until_taken(scene, self.pieces.wrapping_add(former as u32).wrapping_add(1))?;
        }
        let (region, at) = self.piece_slot(self.me, piece);
        let (slice, ranks, me) = (pieces.slice(piece), self.size(), self.me);
        let Self { regions, fills, .. } = self;
        let mut put = |at: usize, given: Range<usize>, stores| {
            let given = task.input(slice.of(&given));
            copy(regions[region].bytes_mut(at, given.len()), given, stores);
        };
        // Two ranks swap slots.
        let read = |bytes| if ranks > 2 { bytes } else { 0 };
        if shape.shows_each() {
            let others = (0..ranks).filter(|seat| *seat != me);
            let (bytes, largest) = shape.given_bytes(slice, others.clone());
            fills.fill(bytes, read(largest), |stores| {
                others.for_each(|seat| put(at + seat * pieces.width, shape.given(seat), stores));
            });
        } else {
            let bytes = slice.of(&shape.given_to_all()).len();
            fills.fill(bytes, read(bytes), |stores| put(at, shape.given_to_all(), stores));
        }
        self.raise(scene, FILLED_AT, self.pieces.wrapping_add(piece as u32).wrapping_add(1));
        Ok(())
    }

    /// Takes one piece of what this rank wants.
    fn take_piece(&mut self, scene: &Scene<'_>, task: &mut Task<'_>, pieces: &Pieces, piece: usize) -> Result<()> {
        let number = self.pieces.wrapping_add(piece as u32).wrapping_add(1);
        if task.shape.reduces() {
            self.fold_piece(scene, task, pieces, piece)?;
        } else {
            if self.size() > 2 {
                self.wait_beside(scene, |seat| self.count_of(scene, seat, FILLED_AT, number))?;
            }
            for seat in (self.me + 1..self.size()).chain(0..self.me) {
                self.copy_piece(scene, task, pieces, piece, seat)?;
            }
        }
        self.raise(scene, TAKEN_AT, number);
        Ok(())
    }

    fn count_of(&self, scene: &Scene<'_>, seat: usize, at: usize, number: u32) -> Awaited {
        Awaited { peer: seat, region: seat, at, flag: scene.flag(number), or_later: false }
    }

    /// Where this rank's part of `seat`'s piece lies, once it is there.
    fn filled(
        &self,
        scene: &Scene<'_>,
        task: &Task<'_>,
        pieces: &Pieces,
        piece: usize,
        seat: usize,
    ) -> Result<(usize, Range<usize>)> {
        let number = self.pieces.wrapping_add(piece as u32).wrapping_add(1);
        self.wait(scene, self.count_of(scene, seat, FILLED_AT, number))?;
        let (region, at) = self.piece_slot(seat, piece);
        let start = if task.shape.shows_each() { at + self.me * pieces.width } else { at };
        let len = pieces.slice(piece).of(&task.shape.taken(seat)).len();
        Ok((region, start..start + len))
    }

    fn copy_piece(
        &self,
        scene: &Scene<'_>,
        task: &mut Task<'_>,
        pieces: &Pieces,
        piece: usize,
        seat: usize,
    ) -> Result<()> {
        let (region, at) = self.filled(scene, task, pieces, piece, seat)?;
        let place = pieces.slice(piece).of(&task.shape.taken(seat));
        copy(&mut task.dst[place], self.regions[region].bytes(at.start, at.len()), task.stores);
        Ok(())
    }

    /// Folds everybody's piece, in the order of ranks.
    fn fold_piece(&mut self, scene: &Scene<'_>, task: &mut Task<'_>, pieces: &Pieces, piece: usize) -> Result<()> {
        if self.size() == 2 {
            let (region, at) = self.filled(scene, task, pieces, piece, 1 - self.me)?;
            task.fold_pair(scene.kernels, pieces.slice(piece), self.regions[region].bytes(at.start, at.len()));
            return Ok(());
        }
        let number = self.pieces.wrapping_add(piece as u32).wrapping_add(1);
        self.wait_for_all_at(scene, FILLED_AT, number)?;
        let slice = pieces.slice(piece);
        let (place, own) = (slice.of(&task.shape.taken(self.me)), slice.of(&task.shape.given(self.me)));
        // A reduce-scatter: of each piece, the own part.
        let at = ring_at(self.size(), number.wrapping_sub(1) as usize) + self.me * pieces.width;
        for begin in (0..place.len()).step_by(SCRATCH_BYTES) {
            let len = SCRATCH_BYTES.min(place.len() - begin);
            let Self { regions, scratch, me, .. } = self;
            let strip = &mut scratch[..len];
            let own = task.input(own.start + begin..own.start + begin + len);
            let input = |seat: usize| if seat == *me { own } else { regions[seat].bytes(at + begin, len) };
            fold_in_order(scene.kernels, regions.len(), strip, input);
            copy(&mut task.dst[place.start + begin..place.start + begin + len], strip, task.stores);
        }
        Ok(())
    }

    /// Waits until all others have taken `number` pieces.
    pub(super) fn wait_until_taken(&self, scene: &Scene<'_>, number: u32) -> Result<()> {
        self.wait_for_all_at(scene, TAKEN_AT, number)
    }
}
