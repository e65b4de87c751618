//! Every collective but the allreduce, in *turns*, as *direct* does it: each rank shows what it has, and takes what it wants of what others show. Calls without a
//! root that are larger than a slot go other ways (see [`super::carry`] and [`super::read`]); those with one take turn after turn, but for a broadcast that is read.
//!
//! A byte is written once by its giver and read once by each taker, and by nobody else; that is the floor without memory that both map.
//!
//! # Why nothing is overwritten that somebody still reads
//!
//! Where everybody takes from everybody, everybody waits for everybody, and the slots' safety rests on that, as in `direct`. Where there is a root, a taker may want
//! nothing of most ranks, and a root nothing of anybody. Those turns have slots of their own, [`LEADS`](super::layout::LEADS) to a rank. A rank remembers the
//! turns whose tags it has not all seen, and sees those of turn t before it shows anything in turn t + LEADS − 1: all have finished turn t − 1 then, and
//! nobody reads the slot of that turn, which is the one to be written. (Of two ranks, the tag in the other's slot will do for the word in which it says that it came.) So a root may be LEADS − 1 turns ahead of those that it gives to, in a call of many turns or in
//! several calls, and only then waits.

use super::choice;
use super::descriptor::{self, State};
use super::direct::{Shown, Slot};
use super::layout::{AHEAD_TURNS, EXCHANGE_BYTES, LINE_BYTES};
use super::shape::{Shape, Slice, Wants};
use super::{Room, Scene};
use crate::engine::{Extent, Part, Watch, copy};
use crate::reduce::{Kernels, copy_cached, copy_shared, copy_streaming};
use crate::transport::shm::line::LINE_PAYLOAD_BYTES;
use crate::transport::shm::{Ahead, Stores};
use crate::{Call, Result};
use std::ops::Range;

/// One turn as its takers see it: `slot` says where a seat shows.
#[derive(Clone, Copy)]
struct Turn<S> {
    tag: u64,
    slice: Slice,
    slot: S,
}

/// One rank's buffers in one call.
pub(super) struct Task<'a> {
    pub(super) shape: Shape<'a>,
    /// How what is only moved is written.
    pub(super) stores: Stores,
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
    pub(super) fn keep_own(&mut self, slice: Slice) {
        let me = self.shape.part.rank as usize;
        let Some(src) = self.src.filter(|_| !self.shape.reduces()) else { return };
        if self.shape.gives(me)
            && (self.shape.wants() == Wants::Everybody || self.shape.part.rank == self.shape.part.root)
        {
            let (given, taken) = (slice.of(&self.shape.given(me)), slice.of(&self.shape.taken(me)));
            copy(&mut self.dst[taken], &src[given], self.stores);
        }
    }

    /// Leaves the reduction of the own input and the only other rank's: of two, either order gives the same bits.
    #[inline]
    pub(super) fn fold_pair(&mut self, kernels: &Kernels, slice: Slice, theirs: &[u8]) {
        let me = self.shape.part.rank as usize;
        let (given, taken) = (slice.of(&self.shape.given(me)), slice.of(&self.shape.taken(me)));
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
        self.let_go();
        let shape = Shape::new(part, extent, element, self.size());
        let bytes = shape.bytes_each(src.map_or(0, <[u8]>::len) + dst.len());
        let stores = choice::stores(self.size(), bytes, self.cached_bytes, !(part.in_place && shape.reduces()));
        let mut task = Task { shape, stores, src, dst };
        let scene = Scene { call, fingerprint: call.fingerprint(), kernels, watch };
        let blocks = if shape.shows_each() { self.size() } else { 1 };
        let done = match () {
            () if self.is_read(&shape) => self.read_across(&scene, &mut task),
            () if shape.part.kind.has_root() => self.led_turns(&scene, &mut task, blocks),
            () if shape.longest * blocks <= EXCHANGE_BYTES => self.turn(&scene, &mut task),
            () => self.carry(&scene, &mut task, blocks),
        };
        if let Err(error) = done {
            return Err(self.break_with(call, error));
        }
        Ok(())
    }

    /// One turn for all that there is.
    fn turn(&mut self, scene: &Scene<'_>, task: &mut Task<'_>) -> Result<()> {
        let shape = task.shape;
        let slice = Slice { index: 0, width: shape.longest };
        let tag = self.begin_turn(scene)?;
        self.show_slice(task, slice, self.slot(self.me), tag);
        self.ring();
        let turn = Turn { tag, slice, slot: |room: &Self, seat| room.slot(seat) };
        match () {
            () if shape.reduces() => self.take_and_reduce(scene, task, turn)?,
            () => self.take_from_all(scene, task, turn)?,
        }
        self.saw_everybody();
        Ok(())
    }

    /// The turns of a call that has a root: who wants nothing of others goes on without seeing them.
    fn led_turns(&mut self, scene: &Scene<'_>, task: &mut Task<'_>, blocks: usize) -> Result<()> {
        if task.shape.wants() == Wants::Nobody {
            // This rank waits for nobody here; one that is in another call, and waits for it, finds this one.
            descriptor::publish(&self.regions[self.me], scene.call, State::Waited);
        }
        let longest = task.shape.longest;
        if longest * blocks <= EXCHANGE_BYTES {
            return self.led_turn(scene, task, Slice { index: 0, width: longest });
        }
        let width = EXCHANGE_BYTES / blocks / LINE_BYTES * LINE_BYTES;
        (0..longest.div_ceil(width)).try_for_each(|index| self.led_turn(scene, task, Slice { index, width }))
    }

    #[inline]
    fn led_turn(&mut self, scene: &Scene<'_>, task: &mut Task<'_>, slice: Slice) -> Result<()> {
        self.settle_for_lead(scene.watch)?;
        self.turn = self.turn.wrapping_add(1);
        let (turn, tag, shows) = (self.turn, scene.flag(self.turn), task.shape.shows());
        if shows {
            self.show_slice(task, slice, Slot::lead(self.me, turn), tag);
        }
        self.come(scene.call, tag);
        self.ring();
        let later = turn.wrapping_add(AHEAD_TURNS);
        if shows && self.is_free_ahead() {
            let bytes = if task.shape.shows_each() { slice.width * self.size() } else { slice.width };
            self.ask_for(Slot::lead(self.me, later), bytes, 0..bytes, Ahead::Write);
        }
        let turn = Turn { tag, slice, slot: |_: &Self, seat| Slot::lead(seat, turn) };
        match task.shape.wants() {
            Wants::Nobody => {
                task.keep_own(slice);
                return Ok(());
            }
            Wants::One(seat) => {
                let (shown, at) = self.shown_for_me(task, seat, &turn);
                self.ask_for(Slot::lead(seat, later), shown.bytes, at.clone(), Ahead::Read);
                self.take_shown(scene, task, seat, slice, shown, at)?;
            }
            Wants::Everybody if task.shape.reduces() => self.take_and_reduce(scene, task, turn)?,
            Wants::Everybody => self.take_from_all(scene, task, turn)?,
        }
        self.saw_one();
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
        self.wait_for_others(scene, |peer| self.slot(peer).awaited(peer, tag))
    }

    /// Shows what this rank gives: a slice of one block, or of one for each rank at equal distances.
    #[inline]
    fn show_slice(&mut self, task: &Task<'_>, slice: Slice, slot: Slot, tag: u64) {
        let shape = task.shape;
        if !shape.shows_each() {
            return self.show(slot, task.input(slice.of(&shape.given_to_all())), tag);
        }
        let bytes = slice.width * self.size();
        if bytes <= LINE_PAYLOAD_BYTES {
            let mut line = [0; LINE_PAYLOAD_BYTES];
            for seat in 0..self.size() {
                let given = task.input(slice.of(&shape.given(seat)));
                line[seat * slice.width..][..given.len()].copy_from_slice(given);
            }
            return self.show(slot, &line[..bytes], tag);
        }
        // What it keeps, it need not show; but a fold takes its own input from here.
        let me = self.me;
        let shown = (0..self.size()).filter(|seat| shape.reduces() || *seat != me);
        let (shown_bytes, largest) = shape.given_bytes(slice, shown.clone());
        self.fill_slot(slot, shown_bytes, largest, |bytes, stores| {
            for seat in shown {
                let given = task.input(slice.of(&shape.given(seat)));
                copy(&mut bytes[seat * slice.width..][..given.len()], given, stores);
            }
        });
        self.announce(slot, tag);
    }

    /// What `seat` shows for this rank in a turn: where, how much where it matters whether that fits a line; and where in it this rank's part is.
    #[inline]
    fn shown_for_me<S: Fn(&Self, usize) -> Slot>(
        &self,
        task: &Task<'_>,
        seat: usize,
        turn: &Turn<S>,
    ) -> (Shown, Range<usize>) {
        let Turn { tag, slice, slot } = turn;
        let taken = slice.of(&task.shape.taken(seat)).len();
        let (bytes, start) = match task.shape.shows_each() {
            true => (slice.width * self.size(), self.me * slice.width),
            false => (taken, 0),
        };
        (Shown { slot: slot(self, seat), bytes, tag: *tag }, start..start + taken)
    }

    /// Takes what `seat` shows for this rank.
    #[inline]
    fn take<S: Fn(&Self, usize) -> Slot>(
        &self,
        scene: &Scene<'_>,
        task: &mut Task<'_>,
        seat: usize,
        turn: Turn<S>,
    ) -> Result<()> {
        let (shown, at) = self.shown_for_me(task, seat, &turn);
        self.take_shown(scene, task, seat, turn.slice, shown, at)
    }

    #[inline]
    fn take_shown(
        &self,
        scene: &Scene<'_>,
        task: &mut Task<'_>,
        seat: usize,
        slice: Slice,
        shown: Shown,
        at: Range<usize>,
    ) -> Result<()> {
        self.look(scene, seat, shown, |all| {
            let out = &mut task.dst[slice.of(&task.shape.taken(seat))];
            match task.stores {
                Stores::Cached => copy_shared(out, &all[at]),
                Stores::Streaming => copy_streaming(out, &all[at]),
            }
        })
    }

    /// Takes what each of the others shows for this rank, those after it first, so that not all read the same.
    #[inline]
    fn take_from_all<S: Fn(&Self, usize) -> Slot + Copy>(
        &self,
        scene: &Scene<'_>,
        task: &mut Task<'_>,
        turn: Turn<S>,
    ) -> Result<()> {
        task.keep_own(turn.slice);
        if self.size() > 2 {
            self.wait_beside(scene, |seat| (turn.slot)(self, seat).awaited(seat, turn.tag))?;
        }
        let mut others = (self.me + 1..self.size()).chain(0..self.me);
        others.try_for_each(|seat| self.take(scene, task, seat, turn))
    }

    /// Folds what everybody shows, in the order of ranks. The own input is read from the own slot, for in place the output no longer has it when its turn comes; of
    /// two ranks it is not, and the own slot may be the other's again.
    fn take_and_reduce<S: Fn(&Self, usize) -> Slot>(
        &self,
        scene: &Scene<'_>,
        task: &mut Task<'_>,
        turn: Turn<S>,
    ) -> Result<()> {
        if self.size() == 2 {
            let (shown, at) = self.shown_for_me(task, 1 - self.me, &turn);
            return self.look(scene, 1 - self.me, shown, |all| task.fold_pair(scene.kernels, turn.slice, &all[at]));
        }
        self.wait_beside(scene, |seat| (turn.slot)(self, seat).awaited(seat, turn.tag))?;
        for seat in 0..self.size() {
            let (shown, at) = self.shown_for_me(task, seat, &turn);
            self.look(scene, seat, shown, |all| {
                let result = &mut task.dst[turn.slice.of(&task.shape.taken(seat))];
                match seat {
                    0 => copy_cached(result, &all[at]),
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
