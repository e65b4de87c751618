//! Collectives that are larger than one slot, in pieces through the ring of slots that *two-shot* has: while takers read one piece, its giver fills the next.
//!
//! A call begins with a turn in which everybody sees everybody: then whoever sets a flag of this call knows that nobody waits for one of an earlier call. A rank
//! counts the pieces that it has *filled*, and those that it has *taken* from everybody it wants something of.
//!
//! # Why nothing is overwritten that somebody still reads
//!
//! A giver fills a slot again when all its takers have taken the slot's former piece. *Two ranks* that both give and take swap slots each time round the ring: a
//! rank writes where it has read, which it has done before it comes there again, so it need not wait, and lines move between the cores once instead of three times.
//! After the last piece a giver goes on without waiting for its takers, and remembers that: before slots of the ring are filled again, in whatever call, it sees
//! that they have taken all, or a turn has shown that they have come to a later call.

use super::choice::{self, Stores};
use super::collective::Task;
use super::layout::{FILLED_AT, FOLDED_AT, RING_SLOTS, SCRATCH_BYTES, ring_at};
use super::shape::{Wants, cut};
use super::two_shot::copy;
use super::wait::Awaited;
use super::{Room, Scene};
use crate::Result;
use std::ops::Range;

/// The flag that counts what was taken; *two-shot* counts by it what was folded.
const TAKEN_AT: usize = FOLDED_AT;

/// How a call is cut.
#[derive(Clone, Copy)]
struct Pieces {
    /// Bytes of the message, or of each block, that a piece has.
    width: usize,
    count: usize,
    stores: Stores,
    /// Two ranks that both give and take.
    swaps: bool,
}

impl Room {
    pub(super) fn carry(&mut self, scene: &Scene<'_>, task: &mut Task<'_>) -> Result<()> {
        let shape = task.shape;
        let tag = self.begin_turn(scene)?;
        self.show(self.slot(self.me), &[], tag);
        self.ring();
        self.wait_for_tags(scene, tag)?;
        self.saw_everybody();
        let blocks = if shape.shows_each() { self.size() } else { 1 };
        let width = choice::carried_bytes(self.size(), blocks, shape.longest);
        let stores = choice::stores(self.size(), task.dst.len(), !(shape.part.in_place && shape.reduces()));
        let swaps = self.size() == 2 && !shape.part.kind.has_root();
        let pieces = Pieces { width, count: shape.longest.div_ceil(width), stores, swaps };
        let fills = (0..self.size()).any(|seat| self.gives_to(task, seat));
        for step in 0..=pieces.count {
            if step < pieces.count {
                if fills {
                    self.fill_piece(scene, task, &pieces, step)?;
                }
                task.keep_own(step, width);
            }
            if let Some(piece) = step.checked_sub(1) {
                self.take_piece(scene, task, &pieces, piece)?;
            }
        }
        self.pieces = self.pieces.wrapping_add(pieces.count as u32);
        if fills {
            let root = shape.is_for_root().then_some(shape.part.root as usize);
            self.leave_pieces(scene.call, self.pieces, root);
        }
        Ok(())
    }

    /// Whether this rank gives `seat`, another one, something.
    pub(super) fn gives_to(&self, task: &Task<'_>, seat: usize) -> bool {
        let wanted = !task.shape.is_for_root() || seat == task.shape.part.root as usize;
        seat != self.me && wanted && task.shape.gives(self.me)
    }

    /// Where the slot of `seat`'s piece number `piece` is: in which region, and where there.
    fn piece_slot(&self, pieces: &Pieces, seat: usize, piece: usize) -> (usize, usize) {
        let number = self.pieces.wrapping_add(piece as u32) as usize;
        let region = if pieces.swaps { (seat + number / RING_SLOTS) % 2 } else { seat };
        (region, ring_at(self.size(), number))
    }

    /// Puts one piece of what this rank gives where others read it.
    fn fill_piece(&mut self, scene: &Scene<'_>, task: &mut Task<'_>, pieces: &Pieces, piece: usize) -> Result<()> {
        let shape = task.shape;
        if let Some(former) = piece.checked_sub(RING_SLOTS).filter(|_| !pieces.swaps) {
            let number = self.pieces.wrapping_add(former as u32).wrapping_add(1);
            let root = shape.is_for_root().then_some(shape.part.root as usize);
            self.wait_until_taken(scene, number, root)?;
        }
        let (region, at) = self.piece_slot(pieces, self.me, piece);
        let seats = if shape.shows_each() { 0..self.size() } else { self.me..self.me + 1 };
        for seat in seats.clone().filter(|seat| seats.len() == 1 || *seat != self.me) {
            let given = task.input(cut(&shape.given(seat), piece, pieces.width));
            let place = at + (seat - seats.start) * pieces.width;
            self.regions[region].bytes_mut(place, given.len()).copy_from_slice(given);
        }
        self.raise(scene, FILLED_AT, self.pieces.wrapping_add(piece as u32).wrapping_add(1));
        Ok(())
    }

    /// Takes one piece of what this rank wants.
    fn take_piece(&mut self, scene: &Scene<'_>, task: &mut Task<'_>, pieces: &Pieces, piece: usize) -> Result<()> {
        let shape = task.shape;
        let number = self.pieces.wrapping_add(piece as u32).wrapping_add(1);
        match shape.wants() {
            Wants::Nobody => return Ok(()),
            Wants::One(seat) => self.copy_piece(scene, task, pieces, piece, seat)?,
            Wants::Everybody if shape.reduces() => self.fold_piece(scene, task, pieces, piece)?,
            Wants::Everybody => {
                if self.size() > 2 {
                    self.wait_beside(scene, |seat| self.count_of(scene, seat, FILLED_AT, number))?;
                }
                for seat in (self.me + 1..self.size()).chain(0..self.me) {
                    self.copy_piece(scene, task, pieces, piece, seat)?;
                }
            }
        }
        self.raise_taken(scene, number);
        Ok(())
    }

    /// Says that this rank has taken so many pieces of everybody it wants something of.
    pub(super) fn raise_taken(&self, scene: &Scene<'_>, number: u32) {
        self.raise(scene, TAKEN_AT, number);
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
        let (region, at) = self.piece_slot(pieces, seat, piece);
        let start = if task.shape.shows_each() { at + self.me * pieces.width } else { at };
        let len = cut(&task.shape.taken(seat), piece, pieces.width).len();
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
        let place = cut(&task.shape.taken(seat), piece, pieces.width);
        copy(&mut task.dst[place], self.regions[region].bytes(at.start, at.len()), pieces.stores);
        Ok(())
    }

    /// Folds everybody's piece, in the order of ranks.
    fn fold_piece(&mut self, scene: &Scene<'_>, task: &mut Task<'_>, pieces: &Pieces, piece: usize) -> Result<()> {
        if self.size() == 2 {
            let (region, at) = self.filled(scene, task, pieces, piece, 1 - self.me)?;
            task.fold_pair(scene.kernels, piece, pieces.width, self.regions[region].bytes(at.start, at.len()));
            return Ok(());
        }
        let number = self.pieces.wrapping_add(piece as u32).wrapping_add(1);
        self.wait_beside(scene, |seat| self.count_of(scene, seat, FILLED_AT, number))?;
        for seat in (0..self.size()).filter(|seat| *seat != self.me) {
            self.filled(scene, task, pieces, piece, seat)?;
        }
        let place = cut(&task.shape.taken(self.me), piece, pieces.width);
        let own = cut(&task.shape.given(self.me), piece, pieces.width);
        let start = if task.shape.shows_each() { self.me * pieces.width } else { 0 };
        let at = ring_at(self.size(), number.wrapping_sub(1) as usize) + start;
        for begin in (0..place.len()).step_by(SCRATCH_BYTES) {
            let len = SCRATCH_BYTES.min(place.len() - begin);
            let Self { regions, scratch, me, .. } = self;
            let strip = &mut scratch[..len];
            let own = task.input(own.start + begin..own.start + begin + len);
            let input = |seat: usize| if seat == *me { own } else { regions[seat].bytes(at + begin, len) };
            (scene.kernels.combine)(strip, input(0), input(1));
            for seat in 2..regions.len() {
                (scene.kernels.reduce)(strip, input(seat));
            }
            if let Some(finish) = scene.kernels.finish {
                finish(strip, regions.len() as u32);
            }
            copy(&mut task.dst[place.start + begin..place.start + begin + len], strip, pieces.stores);
        }
        Ok(())
    }

    /// Waits until this rank's takers (`root` alone, or everybody) have taken `number` pieces.
    pub(super) fn wait_until_taken(&self, scene: &Scene<'_>, number: u32, root: Option<usize>) -> Result<()> {
        let awaited = |seat| self.count_of(scene, seat, TAKEN_AT, number);
        if let Some(root) = root {
            return self.wait(scene, awaited(root));
        }
        if self.size() > 2 {
            self.wait_beside(scene, awaited)?;
        }
        (0..self.size()).filter(|seat| *seat != self.me).try_for_each(|seat| self.wait(scene, awaited(seat)))
    }
}
