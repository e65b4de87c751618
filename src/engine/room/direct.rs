//! *Direct*: everybody shows its input, everybody folds all of them in the order of ranks. Messages larger than a slot go
//! in several exchanges.
//!
//! A slot is a line that carries a tag and, up to 56 bytes, the payload; and room for a larger payload, which the tag then
//! announces. (Two lines with a tag each lose to one tag already at 64 bytes.) The tag is the call's fingerprint and the
//! exchange's number, the *turn*.
//!
//! # Why nothing is overwritten that somebody still reads
//!
//! *Two ranks* own one slot each and swap them every turn: a rank writes into the slot that it has just read, so the lines it
//! writes were last read by itself, and the cores move each line once instead of three times. In turn t rank r writes slot
//! (r + t) mod 2 and reads the other, where the peer wrote. In turn t + 1 it writes there: it has read it, and its writer
//! never reads it. What it wrote in turn t the peer may still be reading; nobody writes there before the peer itself does, in
//! turn t + 1, which it begins after reading.
//!
//! *More ranks* have two slots each, used in turn. A rank that writes its slot of turn t has finished turn t − 1, so it has
//! seen everybody's tag of turn t − 1, which everybody sets after having read everything of turn t − 2, when that slot
//! was last used.
//!
//! Collectives without a root that fit a slot use the same slots in the same way. Turns that have a root have slots of their own, but count as turns, and leave tags
//! unseen: [`Room::begin_turn`] sees them before anything is shown here, so that whoever is in turn t has seen that all have finished turn t − 2, and of two ranks that
//! the peer has finished reading what it was last shown. Calls that take other ways change nothing.

use super::layout::{AHEAD_BYTES, EXCHANGE_BYTES, LEADS, PARITIES, exchange_at, line_at};
use super::wait::Awaited;
use super::{Buffers, Room, Scene};
use crate::Result;
use crate::engine::copy;
use crate::reduce::copy_cached;
use crate::transport::shm::line::{LINE_PAYLOAD_BYTES, SHORT_BYTES};
use crate::transport::shm::{Ahead, Stores};
use std::ops::Range;

/// Where in a line its tag is.
const TAG_AT: usize = LINE_PAYLOAD_BYTES;

/// A slot: in which region, and which of the region's.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    region: usize,
    index: usize,
}

impl Slot {
    /// Where `rank` writes in a turn that has a root.
    #[inline]
    pub(super) fn lead(rank: usize, turn: u32) -> Self {
        Self { region: rank, index: PARITIES + turn as usize % LEADS }
    }

    /// What says that `rank`, whose slot it is, has shown something with this tag.
    #[inline]
    pub(super) fn awaited(self, rank: usize, tag: u64) -> Awaited {
        Awaited { peer: rank, region: self.region, at: line_at(self.index) + TAG_AT, flag: tag, or_later: false }
    }
}

/// What a rank shows in a turn.
#[derive(Clone, Copy)]
pub(super) struct Shown {
    pub(super) slot: Slot,
    pub(super) bytes: usize,
    pub(super) tag: u64,
}

impl Room {
    #[inline]
    pub(super) fn direct(&mut self, scene: &Scene<'_>, mut buffers: Buffers<'_>) -> Result<()> {
        if buffers.dst.len() <= EXCHANGE_BYTES {
            return self.exchange(scene, &mut buffers);
        }
        let sources = buffers.src.map(|src| src.chunks(EXCHANGE_BYTES));
        let mut sources = sources.into_iter().flatten();
        for dst in buffers.dst.chunks_mut(EXCHANGE_BYTES) {
            self.exchange(scene, &mut Buffers { src: sources.next(), dst })?;
        }
        Ok(())
    }

    /// One exchange of at most [`EXCHANGE_BYTES`].
    #[inline]
    fn exchange(&mut self, scene: &Scene<'_>, buffers: &mut Buffers<'_>) -> Result<()> {
        let tag = self.begin_turn(scene)?;
        self.show(self.slot(self.me), buffers.input(), tag);
        self.ring();
        if self.size() == 2 {
            self.fold_pair(scene, buffers, tag)?
        } else {
            self.fold_all(scene, buffers, tag)?
        }
        self.saw_everybody();
        Ok(())
    }

    /// Where `rank` writes in this turn.
    #[inline]
    pub(super) fn slot(&self, rank: usize) -> Slot {
        let parity = self.turn as usize % 2;
        if self.size() == 2 {
            Slot { region: (rank + parity) % 2, index: 0 }
        } else {
            Slot { region: rank, index: parity }
        }
    }

    #[inline]
    pub(super) fn show(&mut self, slot: Slot, input: &[u8], tag: u64) {
        let line = self.regions[slot.region].line(line_at(slot.index));
        let bytes = input.len();
        if bytes <= SHORT_BYTES {
            line.publish_short(input, tag);
        } else if bytes <= LINE_PAYLOAD_BYTES {
            line.publish_long(input, tag);
        } else {
            self.fill_slot(slot, bytes, bytes, |slot, stores| copy(&mut slot[..bytes], input, stores));
            self.announce(slot, tag);
        }
    }

    /// Asks for the part `at` of a small slot before its turn.
    #[inline]
    pub(super) fn ask_for(&self, slot: Slot, bytes: usize, at: Range<usize>, ahead: Ahead) {
        if at.len() > AHEAD_BYTES {
            return;
        }
        let region = &self.regions[slot.region];
        region.ask_for_line(line_at(slot.index), ahead);
        if bytes > LINE_PAYLOAD_BYTES {
            region.ask_for_bytes(exchange_at(slot.index) + at.start, at.len(), ahead);
        }
    }

    /// Lets `write` put so many bytes into the slot, of which one reader takes `read`.
    pub(super) fn fill_slot(&mut self, slot: Slot, bytes: usize, read: usize, write: impl FnOnce(&mut [u8], Stores)) {
        // Two ranks swap slots.
        let read = if self.size() == 2 && slot.index < PARITIES { 0 } else { read };
        let Self { regions, fills, .. } = self;
        let place = regions[slot.region].bytes_mut(exchange_at(slot.index), EXCHANGE_BYTES);
        fills.fill(bytes, read, |stores| write(place, stores));
    }

    /// Says that the slot is filled.
    pub(super) fn announce(&self, slot: Slot, tag: u64) {
        self.regions[slot.region].line(line_at(slot.index)).publish_short(&[], tag);
    }

    /// What says that `rank` has shown its input.
    #[inline]
    fn shown(&self, rank: usize, tag: u64) -> Awaited {
        self.slot(rank).awaited(rank, tag)
    }

    /// Waits for what `rank` shows and hands it to `with`.
    #[inline]
    pub(super) fn look(&self, scene: &Scene<'_>, rank: usize, shown: Shown, with: impl FnOnce(&[u8])) -> Result<()> {
        let Shown { slot, bytes: len, tag } = shown;
        let region = &self.regions[slot.region];
        let at = line_at(slot.index);
        self.wait(scene, slot.awaited(rank, tag))?;
        if len <= SHORT_BYTES {
            with(&region.line(at).short_payload()[..len]);
        } else if len <= LINE_PAYLOAD_BYTES {
            with(&region.line(at).long_payload()[..len]);
        } else {
            with(region.bytes(exchange_at(slot.index), len));
        }
        Ok(())
    }

    #[inline]
    fn fold_pair(&self, scene: &Scene<'_>, buffers: &mut Buffers<'_>, tag: u64) -> Result<()> {
        // Of two inputs either order gives the same bits.
        let Buffers { src, dst } = buffers;
        self.look(
            scene,
            1 - self.me,
            Shown { slot: self.slot(1 - self.me), bytes: dst.len(), tag },
            |theirs| match src {
                Some(src) => (scene.kernels.combine)(dst, src, theirs),
                None => (scene.kernels.reduce)(dst, theirs),
            },
        )?;
        if let Some(finish) = scene.kernels.finish {
            finish(dst, 2);
        }
        Ok(())
    }

    fn fold_all(&self, scene: &Scene<'_>, buffers: &mut Buffers<'_>, tag: u64) -> Result<()> {
        self.wait_beside(scene, |peer| self.shown(peer, tag))?;
        // The own input is read from the own slot like any other: in place, `dst` no longer has it when its turn comes.
        let dst = &mut *buffers.dst;
        let len = dst.len();
        self.look(scene, 0, Shown { slot: self.slot(0), bytes: len, tag }, |first| copy_cached(dst, first))?;
        for rank in 1..self.size() {
            self.look(scene, rank, Shown { slot: self.slot(rank), bytes: len, tag }, |input| {
                (scene.kernels.reduce)(dst, input)
            })?;
        }
        if let Some(finish) = scene.kernels.finish {
            finish(dst, self.size() as u32);
        }
        Ok(())
    }
}
