//! Every collective but the allreduce. What fits one slot goes in a *turn*, as *direct* does it: each rank shows what it has, and takes what it wants of what others
//! show. What does not is carried in pieces (see [`super::carry`]).
//!
//! A byte is written once by its giver and read once by each taker, and by nobody else; that is the floor without memory that both map.
//!
//! # Why nothing is overwritten that somebody still reads
//!
//! Where everybody takes from everybody, everybody waits for everybody, and the slots' safety rests on that, as in `direct`. Where there is a root, a taker may want
//! nothing of most ranks, and a root nothing of anybody. Those turns have slots of their own, [`LEADS`](super::layout::LEADS) to a rank. A rank remembers the
//! turns whose tags it has not all seen, and sees those of turn t before it shows anything in turn t + LEADS − 1: all have finished turn t − 1 then, and
//! nobody reads the slot of that turn, which is the one to be written. So a root may be some turns ahead of those that it gives to, which are then
//! never waited for, and wait for nobody else.

use super::direct::{Shown, Slot};
use super::layout::EXCHANGE_BYTES;
use super::shape::{Shape, Wants, cut};
use super::{Room, Scene};
use crate::engine::{Extent, Part, Watch};
use crate::reduce::Kernels;
use crate::transport::shm::line::LINE_PAYLOAD_BYTES;
use crate::{Call, Result};
use std::ops::Range;

/// One rank's buffers in one call.
pub(super) struct Task<'a> {
    pub(super) shape: Shape<'a>,
    src: Option<&'a [u8]>,
    pub(super) dst: &'a mut [u8],
}

impl Task<'_> {
    /// Bytes of the own input, until the same bytes of the output are written.
    #[inline]
    pub(super) fn input(&self, at: Range<usize>) -> &[u8] {
        &self.src.unwrap_or(self.dst)[at]
    }

    /// The slice of the own block, which nobody sends.
    #[inline]
    pub(super) fn keep_own(&mut self, slice: usize, width: usize) {
        let me = self.shape.part.rank as usize;
        let Some(src) = self.src.filter(|_| !self.shape.reduces()) else { return };
        if self.shape.gives(me)
            && (self.shape.wants() == Wants::Everybody || self.shape.part.rank == self.shape.part.root)
        {
            let (given, taken) = (cut(&self.shape.given(me), slice, width), cut(&self.shape.taken(me), slice, width));
            self.dst[taken].copy_from_slice(&src[given]);
        }
    }

    /// Leaves the reduction of the own input and the only other rank's: of two, either order gives the same bits.
    #[inline]
    pub(super) fn fold_pair(&mut self, kernels: &Kernels, slice: usize, width: usize, theirs: &[u8]) {
        let me = self.shape.part.rank as usize;
        let (given, taken) = (cut(&self.shape.given(me), slice, width), cut(&self.shape.taken(me), slice, width));
        let result = &mut self.dst[taken];
        match self.src {
            Some(src) => (kernels.combine)(result, &src[given], theirs),
            None => (kernels.reduce)(result, theirs),
        }
        if let Some(finish) = kernels.finish {
            finish(result, 2);
        }
    }
}

impl Room {
    /// Runs `call`, any collective but the allreduce (and an all-to-all of uneven blocks, whose sizes not all know), as `part`; `extent` says what is moved, in elements of `element`
    /// bytes. Buffers are what [`Layout`](crate::engine::Layout) makes of them; `None` is in place, and a rank that gives nothing gives no bytes. After an error `dst` holds
    /// anything, and every later call ends with the same error.
    ///
    /// # Errors
    /// [`Error::Mismatch`](crate::Error::Mismatch) if a rank of the room makes another call, and whatever `watch` says.
    #[allow(clippy::too_many_arguments)]
    pub fn collective(
        &mut self,
        call: &Call,
        part: Part,
        extent: Extent<'_>,
        kernels: &Kernels,
        element: usize,
        src: Option<&[u8]>,
        dst: &mut [u8],
        watch: &dyn Watch,
    ) -> Result<()> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let shape = Shape::new(part, extent, element);
        let mut task = Task { shape, src, dst };
        let scene = Scene { call, fingerprint: call.fingerprint(), kernels, watch };
        let shown = if shape.shows_each() { shape.longest * self.size() } else { shape.longest };
        let done = match () {
            () if self.is_read(&shape) => self.read_across(&scene, &mut task),
            () if shown <= EXCHANGE_BYTES => self.turn(&scene, &mut task),
            () => self.carry(&scene, &mut task),
        };
        if let Err(error) = done {
            return Err(self.break_with(call, error));
        }
        Ok(())
    }

    /// One turn for all that there is.
    fn turn(&mut self, scene: &Scene<'_>, task: &mut Task<'_>) -> Result<()> {
        let shape = task.shape;
        if shape.part.kind.has_root() {
            return self.led_turn(scene, task);
        }
        let tag = self.begin_turn(scene)?;
        self.show_blocks(task, self.slot(self.me), tag);
        self.ring();
        match () {
            () if shape.reduces() && self.size() == 2 => self.take_and_reduce_pair(scene, task, tag)?,
            () if shape.reduces() => self.take_and_reduce(scene, task, tag, |room, seat| room.slot(seat))?,
            () => self.take_from_all(scene, task, tag, |room, seat| room.slot(seat))?,
        }
        self.saw_everybody();
        Ok(())
    }

    /// One turn of a call that has a root: who wants nothing of others goes on without seeing them.
    fn led_turn(&mut self, scene: &Scene<'_>, task: &mut Task<'_>) -> Result<()> {
        self.settle_for_lead(scene.watch)?;
        self.turn = self.turn.wrapping_add(1);
        let (shape, turn, tag) = (task.shape, self.turn, scene.flag(self.turn));
        self.leave_turn(scene.call);
        self.show_blocks(task, Slot::lead(self.me, turn), tag);
        self.ring();
        let slot = |_: &Self, seat| Slot::lead(seat, turn);
        match shape.wants() {
            Wants::Nobody => task.keep_own(0, shape.longest),
            Wants::One(seat) => self.take(scene, task, seat, tag, slot)?,
            Wants::Everybody if shape.reduces() => self.take_and_reduce(scene, task, tag, slot)?,
            Wants::Everybody => self.take_from_all(scene, task, tag, slot)?,
        }
        Ok(())
    }

    /// Sees the end of what came before, and gives the tag of the next turn in which everybody takes from everybody.
    #[inline]
    pub(super) fn begin_turn(&mut self, scene: &Scene<'_>) -> Result<u64> {
        self.settle_turns(scene.watch)?;
        self.turn = self.turn.wrapping_add(1);
        Ok(scene.flag(self.turn))
    }

    /// Waits until every other rank has come to this turn.
    pub(super) fn wait_for_tags(&self, scene: &Scene<'_>, tag: u64) -> Result<()> {
        let awaited = |peer| self.slot(peer).awaited(peer, tag);
        if self.size() > 2 {
            self.wait_beside(scene, awaited)?;
        }
        (0..self.size()).filter(|peer| *peer != self.me).try_for_each(|peer| self.wait(scene, awaited(peer)))
    }

    /// Shows what this rank gives: one block, or one for each rank at equal distances.
    #[inline]
    fn show_blocks(&mut self, task: &Task<'_>, slot: Slot, tag: u64) {
        let shape = task.shape;
        if !shape.gives(self.me) {
            return self.show(slot, &[], tag);
        }
        if !shape.shows_each() {
            return self.show(slot, task.input(shape.given(self.me)), tag);
        }
        let bytes = shape.longest * self.size();
        if bytes <= LINE_PAYLOAD_BYTES {
            let mut line = [0; LINE_PAYLOAD_BYTES];
            for seat in 0..self.size() {
                let given = task.input(shape.given(seat));
                line[seat * shape.longest..][..given.len()].copy_from_slice(given);
            }
            return self.show(slot, &line[..bytes], tag);
        }
        // To whom it gives nothing but what it keeps, it need not show it; but a fold takes its own input from here.
        let keeps = self.size() == 2 || !shape.reduces();
        let me = self.me;
        for seat in (0..self.size()).filter(|seat| !keeps || *seat != me) {
            self.fill_slot(slot, seat * shape.longest, task.input(shape.given(seat)));
        }
        self.announce(slot, tag);
    }

    /// Where in what `seat` shows this rank's part lies.
    #[inline]
    fn place_of(&self, task: &Task<'_>, seat: usize) -> Range<usize> {
        let start = if task.shape.shows_each() { self.me * task.shape.longest } else { 0 };
        start..start + task.shape.taken(seat).len()
    }

    /// Bytes that `seat` shows, where it matters whether they fit a line.
    #[inline]
    fn shown_bytes(&self, task: &Task<'_>, seat: usize) -> usize {
        if task.shape.shows_each() { task.shape.longest * self.size() } else { task.shape.shown_by(seat) }
    }

    /// Takes what `seat` shows for this rank.
    #[inline]
    fn take(
        &self,
        scene: &Scene<'_>,
        task: &mut Task<'_>,
        seat: usize,
        tag: u64,
        slot: impl Fn(&Self, usize) -> Slot,
    ) -> Result<()> {
        let at = self.place_of(task, seat);
        let shown = Shown { slot: slot(self, seat), bytes: self.shown_bytes(task, seat), tag };
        self.look(scene, seat, shown, |all| task.dst[task.shape.taken(seat)].copy_from_slice(&all[at]))
    }

    /// Takes what each of the others shows for this rank, those after it first, so that not all read the same.
    #[inline]
    fn take_from_all(
        &self,
        scene: &Scene<'_>,
        task: &mut Task<'_>,
        tag: u64,
        slot: impl Fn(&Self, usize) -> Slot + Copy,
    ) -> Result<()> {
        task.keep_own(0, task.shape.longest);
        if self.size() > 2 {
            self.wait_beside(scene, |seat| slot(self, seat).awaited(seat, tag))?;
        }
        let mut others = (self.me + 1..self.size()).chain(0..self.me);
        others.try_for_each(|seat| self.take(scene, task, seat, tag, slot))
    }

    /// Folds what the only other rank shows into the own input. The own slot may be the other's again.
    fn take_and_reduce_pair(&self, scene: &Scene<'_>, task: &mut Task<'_>, tag: u64) -> Result<()> {
        let (seat, longest) = (1 - self.me, task.shape.longest);
        let at = self.place_of(task, seat);
        let shown = Shown { slot: self.slot(seat), bytes: self.shown_bytes(task, seat), tag };
        self.look(scene, seat, shown, |all| task.fold_pair(scene.kernels, 0, longest, &all[at]))
    }

    /// Folds what everybody shows, in the order of ranks. The own input is read from the own slot, for in place the output no longer has it when its turn comes.
    fn take_and_reduce(
        &self,
        scene: &Scene<'_>,
        task: &mut Task<'_>,
        tag: u64,
        slot: impl Fn(&Self, usize) -> Slot,
    ) -> Result<()> {
        self.wait_beside(scene, |seat| slot(self, seat).awaited(seat, tag))?;
        for seat in 0..self.size() {
            let at = self.place_of(task, seat);
            let shown = Shown { slot: slot(self, seat), bytes: self.shown_bytes(task, seat), tag };
            self.look(scene, seat, shown, |all| {
                let result = &mut task.dst[task.shape.taken(seat)];
                match seat {
                    0 => result.copy_from_slice(&all[at]),
                    _ => (scene.kernels.reduce)(result, &all[at]),
                }
                if let Some(finish) = scene.kernels.finish.filter(|_| seat + 1 == self.size()) {
                    finish(result, self.size() as u32);
                }
            })?;
        }
        Ok(())
    }
}
