//! *Two-shot*: every piece of the message is cut into parts, one owner each. Everybody copies the parts that it does not own into
//! its own slot; the owner folds its part from all slots in the order of ranks and writes the result back in place into all of
//! them; everybody gathers its output from its own slot. Pieces follow each other through a ring of slots, so that the
//! three actions of neighbouring pieces overlap.
//!
//! A slot's lines move between two cores as in a game of catch: the last to read a line is the next to write it.
//!
//! # Why nothing is overwritten that somebody still reads
//!
//! Each rank has two flags, *filled* and *folded*, that count pieces over all calls. A rank fills a slot again after it has
//! gathered the slot's former piece; where another way used the slots last, [`Room::settle`] has seen the end of that. Before gathering it has seen every other rank's *folded* of that piece, which each
//! sets after its last read and write of that piece in any slot but its own. So whoever fills is alone with its slot; this
//! holds from call to call as well, since a call ends with its last piece gathered. An owner writes into the slots of others
//! only after their *filled* and before its own *folded*, only bytes of its own part, which nobody else touches between the
//! two. A flag that has run ahead into the next call never hides one that is waited for: a rank sets *filled* of the next
//! call only when everybody has set *folded* in this one, for which everybody had to see *filled*; and likewise *folded*.

use super::choice;
use super::layout::{Cut, FILLED_AT, FOLDED_AT, RING_SLOTS, SCRATCH_BYTES, ring_at};
use super::wait::Awaited;
use super::{Buffers, Room, Scene};
use crate::Result;
use crate::engine::copy;
use crate::reduce::Kernels;
use crate::transport::shm::Stores;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// How far folding is behind filling, and gathering behind folding, in pieces.
const LAG: usize = 1;
const _: () = assert!(2 * LAG < RING_SLOTS, "a slot is gathered before it is filled again");

impl Room {
    pub(super) fn two_shot(&mut self, scene: &Scene<'_>, mut buffers: Buffers<'_>) -> Result<()> {
        self.settle(scene.watch)?;
        if self.mapped(scene, &mut buffers)? {
            return Ok(());
        }
        let bytes = buffers.dst.len();
        let cut = Cut::new(bytes, self.size(), choice::piece_bytes(self.size(), bytes));
        let stores = self.stores(&buffers);
        if let (2, Stores::Streaming, Some(src), None) = (self.size(), stores, buffers.src, scene.kernels.finish) {
            return self.fused(scene, &cut, src, buffers.dst);
        }
        for step in 0..cut.pieces + 2 * LAG {
            if step < cut.pieces {
                self.fill(scene, &cut, step, &buffers);
            }
            if let Some(piece) = step.checked_sub(LAG).filter(|piece| *piece < cut.pieces) {
                self.fold(scene, &cut, piece, &mut buffers, stores)?;
            }
            if let Some(piece) = step.checked_sub(2 * LAG) {
                self.gather(scene, &cut, piece, &mut buffers, stores)?;
            }
        }
        self.pieces = self.pieces.wrapping_add(cut.pieces as u32);
        Ok(())
    }

    /// Copies the others' parts of a piece into the own slot.
    fn fill(&mut self, scene: &Scene<'_>, cut: &Cut, piece: usize, buffers: &Buffers<'_>) {
        let input = &buffers.input()[cut.piece(piece)];
        let own = cut.part(input.len(), self.me);
        let slot = self.regions[self.me].bytes_mut(ring_at(cut.ranks, piece), input.len());
        slot[..own.start].copy_from_slice(&input[..own.start]);
        slot[own.end..].copy_from_slice(&input[own.end..]);
        self.set(scene, FILLED_AT, piece);
    }

    /// Folds the own part of a piece from all slots, and writes it into all of them and into the output.
    fn fold(
        &mut self,
        scene: &Scene<'_>,
        cut: &Cut,
        piece: usize,
        buffers: &mut Buffers<'_>,
        stores: Stores,
    ) -> Result<()> {
        self.wait_for_all(scene, FILLED_AT, piece)?;
        let whole = cut.piece(piece);
        let own = cut.part(whole.len(), self.me);
        for start in own.clone().step_by(SCRATCH_BYTES) {
            let strip = start..(start + SCRATCH_BYTES).min(own.end);
            let at = ring_at(cut.ranks, piece) + strip.start;
            let of_message = whole.start + strip.start..whole.start + strip.end;
            if cut.ranks == 2 {
                self.fold_strip_pair(scene, at, of_message, buffers, stores);
            } else {
                self.fold_strip(scene, at, of_message, buffers, stores);
            }
        }
        self.set(scene, FOLDED_AT, piece);
        Ok(())
    }

    /// Folds a strip of two inputs where the peer's lies.
    fn fold_strip_pair(
        &mut self,
        scene: &Scene<'_>,
        at: usize,
        of_message: Range<usize>,
        buffers: &mut Buffers<'_>,
        stores: Stores,
    ) {
        let theirs = self.regions[1 - self.me].bytes_mut(at, of_message.len());
        (scene.kernels.reduce)(theirs, &buffers.input()[of_message.clone()]);
        if let Some(finish) = scene.kernels.finish {
            finish(theirs, 2);
        }
        copy(&mut buffers.dst[of_message], theirs, stores);
    }

    /// Folds a strip of more inputs in the scratch.
    fn fold_strip(
        &mut self,
        scene: &Scene<'_>,
        at: usize,
        of_message: Range<usize>,
        buffers: &mut Buffers<'_>,
        stores: Stores,
    ) {
        let Self { regions, scratch, me, .. } = self;
        let len = of_message.len();
        let strip = &mut scratch[..len];
        let own = &buffers.input()[of_message.clone()];
        let input = |rank: usize| if rank == *me { own } else { regions[rank].bytes(at, len) };
        fold_in_order(scene.kernels, regions.len(), strip, input);
        for (_, region) in regions.iter_mut().enumerate().filter(|(rank, _)| rank != me) {
            region.bytes_mut(at, len).copy_from_slice(strip);
        }
        copy(&mut buffers.dst[of_message], strip, stores);
    }

    /// Copies the others' parts, folded, from the own slot to the output.
    fn gather(
        &mut self,
        scene: &Scene<'_>,
        cut: &Cut,
        piece: usize,
        buffers: &mut Buffers<'_>,
        stores: Stores,
    ) -> Result<()> {
        let whole = cut.piece(piece);
        self.wait_for_all(scene, FOLDED_AT, piece)?;
        let own = cut.part(whole.len(), self.me);
        let slot = self.regions[self.me].bytes(ring_at(cut.ranks, piece), whole.len());
        let dst = &mut buffers.dst[whole];
        copy(&mut dst[..own.start], &slot[..own.start], stores);
        copy(&mut dst[own.end..], &slot[own.end..], stores);
        Ok(())
    }

    /// Sets one of the own flags for a piece of this call, and wakes who sleeps on it.
    pub(super) fn set(&self, scene: &Scene<'_>, flag_at: usize, piece: usize) {
        self.raise(scene, flag_at, self.number(piece));
    }

    /// Sets one of the own flags to `number` of this call, and wakes who sleeps on it.
    pub(super) fn raise(&self, scene: &Scene<'_>, flag_at: usize, number: u32) {
        self.regions[self.me].word(flag_at).store(scene.flag(number), Ordering::Release);
        self.ring();
    }

    /// Waits until every other rank's flag says that it is through with a piece of this call.
    pub(super) fn wait_for_all(&self, scene: &Scene<'_>, at: usize, piece: usize) -> Result<()> {
        self.wait_for_all_at(scene, at, self.number(piece))
    }

    /// Waits until every other rank's flag is at `number` of this call.
    pub(super) fn wait_for_all_at(&self, scene: &Scene<'_>, at: usize, number: u32) -> Result<()> {
        let flag = scene.flag(number);
        self.wait_for_others(scene, |peer| Awaited { peer, region: peer, at, flag, or_later: false })
    }

    /// What the flags count to at a piece of this call.
    fn number(&self, piece: usize) -> u32 {
        self.pieces.wrapping_add(piece as u32).wrapping_add(1)
    }
}

/// Leaves in `strip` the fold of what at least two ranks have, in their order.
pub(super) fn fold_in_order<'a>(kernels: &Kernels, ranks: usize, strip: &mut [u8], input: impl Fn(usize) -> &'a [u8]) {
    (kernels.combine)(strip, input(0), input(1));
    for rank in 2..ranks {
        (kernels.reduce)(strip, input(rank));
    }
    if let Some(finish) = kernels.finish {
        finish(strip, ranks as u32);
    }
}
