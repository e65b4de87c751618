//! Every collective but the allreduce: in exchanges, as *direct* is. Each rank shows what it has of a slice, and takes what it wants of what others show.
//!
//! A byte is written once by its giver and read once by each taker, and nobody else; that is the floor without memory that both map. What does not fit one slot
//! goes in slices, and while takers read one, its giver fills the other.
//!
//! # Why nothing is overwritten that somebody still reads
//!
//! In an allreduce everybody waits for everybody, and the slots' safety rests on that (see `direct`). Here a taker may want nothing of a rank, and a root nothing of
//! anybody. So a rank that has not seen all tags of a turn remembers that, and sees them before it shows anything in the next: the root may be one turn ahead of
//! those that it gives to, and no more.

use super::direct::Shown;
use super::layout::EXCHANGE_BYTES;
use super::{Room, Scene};
use crate::engine::{Extent, Layout, Part, Watch};
use crate::reduce::{Kernels, kernels};
use crate::schedule::Chunks;
use crate::transport::shm::line::LINE_PAYLOAD_BYTES;
use crate::types::{CollectiveKind, DataType, Op};
use crate::{Call, Result};
use std::ops::Range;

/// A turn of which not all tags were seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unseen {
    call: Call,
    tag: u64,
}

/// One rank's part in one call.
struct Task<'a> {
    part: Part,
    layout: Layout<'a>,
    ranks: u32,
    kernels: &'a Kernels,
    src: Option<&'a [u8]>,
    dst: &'a mut [u8],
}

/// Whom a rank wants something of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Everybody,
    /// Only this seat.
    One(usize),
    Nobody,
}

impl Task<'_> {
    /// Into how many chunks a slice is cut.
    fn parts(&self) -> u32 {
        if self.part.kind.is_of_blocks() { self.ranks } else { 1 }
    }

    fn wants(&self) -> Wants {
        let at_root = self.part.rank == self.part.root;
        match self.part.kind {
            CollectiveKind::Broadcast | CollectiveKind::Scatter if at_root => Wants::Nobody,
            CollectiveKind::Broadcast | CollectiveKind::Scatter => Wants::One(self.part.root as usize),
            CollectiveKind::Reduce | CollectiveKind::Gather if !at_root => Wants::Nobody,
            _ => Wants::Everybody,
        }
    }

    /// Whether ranks show a block for each rank, each at its place, rather than one.
    fn shows_all(&self) -> bool {
        matches!(self.part.kind, CollectiveKind::ReduceScatter | CollectiveKind::Scatter | CollectiveKind::AllToAll)
    }

    /// The chunk that this rank takes from `seat`, as it names it, and where in what is shown it lies.
    fn taken(&self, slice: u32, seat: u32) -> (u32, Range<usize>) {
        let parts = self.parts();
        let chunk = match self.part.kind {
            CollectiveKind::AllGather | CollectiveKind::Barrier | CollectiveKind::Gather => seat,
            CollectiveKind::ReduceScatter | CollectiveKind::Scatter => self.part.rank,
            // By distance, which is the same seen from either end.
            CollectiveKind::AllToAll => (self.part.rank + self.ranks - seat) % self.ranks,
            _ => 0,
        };
        let start = if self.shows_all() { chunk as usize * self.layout.slice_width(slice) } else { 0 };
        (chunk, start..start + self.layout.received(slice, Chunks::one(chunk), parts) as usize)
    }

    /// Bytes that `seat` shows.
    fn shown_bytes(&self, slice: u32, seat: u32) -> usize {
        let gives = match self.part.kind {
            CollectiveKind::Broadcast | CollectiveKind::Scatter => seat == self.part.root,
            _ => true,
        };
        match (gives, self.shows_all()) {
            (false, _) => 0,
            (true, true) => self.layout.slice_width(slice) * self.ranks as usize,
            (true, false) => self.taken_of(slice, seat),
        }
    }

    /// Bytes of the one block, or message, that `seat` shows.
    fn taken_of(&self, slice: u32, seat: u32) -> usize {
        let chunk = if self.part.kind.is_of_blocks() { seat } else { 0 };
        self.layout.received(slice, Chunks::one(chunk), self.parts()) as usize
    }

    /// The own input of a chunk, if this rank has one.
    fn own(&self, slice: u32, chunk: u32) -> Option<&[u8]> {
        let place = self.layout.own(slice, chunk, self.parts())?;
        Some(&self.src.unwrap_or(self.dst)[place])
    }

    /// The pieces that this rank shows, each with its place in what is shown.
    fn pieces(&self, slice: u32) -> impl Iterator<Item = (usize, &[u8])> {
        let width = if self.shows_all() { self.layout.slice_width(slice) } else { 0 };
        (0..self.parts()).filter_map(move |chunk| Some((chunk as usize * width, self.own(slice, chunk)?)))
    }

    /// Where a chunk that is taken belongs.
    fn result(&mut self, slice: u32, chunk: u32) -> Option<&mut [u8]> {
        let place = self.layout.result(slice, chunk, self.parts())?;
        Some(&mut self.dst[place])
    }

    /// Leaves the reduction of the own chunk and the other rank's.
    fn fold(&mut self, slice: u32, chunk: u32, theirs: &[u8]) {
        let parts = self.parts();
        let places = (self.layout.own(slice, chunk, parts), self.layout.result(slice, chunk, parts));
        let (Some(own), Some(result)) = places else { return };
        let result = &mut self.dst[result];
        match self.src {
            Some(src) => (self.kernels.combine)(result, &src[own], theirs),
            None => (self.kernels.reduce)(result, theirs),
        }
        if let Some(finish) = self.kernels.finish {
            finish(result, 2);
        }
    }

    /// The own block, which nobody sends.
    fn keep_own(&mut self, slice: u32) {
        let Some(src) = self.src else { return };
        let (chunk, _) = self.taken(slice, self.part.rank);
        let parts = self.parts();
        if let (Some(own), Some(result)) =
            (self.layout.own(slice, chunk, parts), self.layout.result(slice, chunk, parts))
        {
            self.dst[result].copy_from_slice(&src[own]);
        }
    }
}

impl Room {
    /// Runs `call`, any collective but the allreduce (and an all-to-all of uneven blocks, whose sizes not all know), as `part`; `extent` says what is moved, in elements of `element`
    /// bytes. Buffers are what the [`Layout`] of that makes of them; `None` is in place, and a rank that gives nothing gives no bytes. After an error `dst` holds
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
        let ranks = self.size() as u32;
        let all =
            matches!(part.kind, CollectiveKind::ReduceScatter | CollectiveKind::Scatter | CollectiveKind::AllToAll);
        let slice_bytes = if all { EXCHANGE_BYTES / ranks as usize / 64 * 64 } else { EXCHANGE_BYTES };
        let layout = Layout::new(part, extent, extent, element, slice_bytes);
        let mut task = Task { part, layout, ranks, kernels, src, dst };
        let scene = Scene { call, fingerprint: call.fingerprint(), kernels, watch };
        for slice in 0..layout.slices() {
            if let Err(error) = self.turn(&scene, &mut task, slice) {
                return Err(self.break_with(call, error));
            }
        }
        Ok(())
    }

    /// One exchange.
    fn turn(&mut self, scene: &Scene<'_>, task: &mut Task<'_>, slice: u32) -> Result<()> {
        self.settle(scene.watch)?;
        self.turn = self.turn.wrapping_add(1);
        let tag = scene.flag(self.turn);
        let bytes = task.shown_bytes(slice, task.part.rank);
        self.show_pieces(task, slice, bytes, tag);
        self.ring();
        let wants = task.wants();
        if wants != Wants::Everybody && self.size() > 1 {
            self.unseen = Some(Unseen { call: *scene.call, tag });
        }
        match wants {
            Wants::Nobody => task.keep_own(slice),
            Wants::One(seat) => self.take(scene, task, slice, seat, tag)?,
            Wants::Everybody if task.part.kind.reduces() && self.size() == 2 => {
                self.take_and_reduce_pair(scene, task, slice, tag)?;
            }
            Wants::Everybody if task.part.kind.reduces() => self.take_and_reduce(scene, task, slice, tag)?,
            Wants::Everybody => {
                task.keep_own(slice);
                self.wait_beside(scene, |peer| self.shown(peer, tag))?;
                let others = (1..self.size()).map(|ahead| (self.me + ahead) % self.size());
                for seat in others {
                    self.take(scene, task, slice, seat, tag)?;
                }
            }
        }
        Ok(())
    }

    /// Sees the tags of the last turn that were not seen then.
    #[inline]
    pub(super) fn settle(&mut self, watch: &dyn Watch) -> Result<()> {
        match self.unseen.take() {
            None => Ok(()),
            Some(unseen) => self.see(unseen, watch),
        }
    }

    fn see(&self, unseen: Unseen, watch: &dyn Watch) -> Result<()> {
        let Unseen { call, tag } = unseen;
        let scene =
            Scene { call: &call, fingerprint: call.fingerprint(), kernels: kernels(DataType::U8, Op::Max), watch };
        self.wait_beside(&scene, |peer| self.shown(peer, tag))?;
        (0..self.size()).filter(|peer| *peer != self.me).try_for_each(|peer| self.wait(&scene, self.shown(peer, tag)))
    }

    fn show_pieces(&mut self, task: &Task<'_>, slice: u32, bytes: usize, tag: u64) {
        let slot = self.slot(self.me);
        if bytes <= LINE_PAYLOAD_BYTES {
            let mut line = [0; LINE_PAYLOAD_BYTES];
            for (at, piece) in task.pieces(slice) {
                line[at..at + piece.len()].copy_from_slice(piece);
            }
            return self.show(slot, &line[..bytes], tag);
        }
        for (at, piece) in task.pieces(slice) {
            self.fill_slot(slot, at, piece);
        }
        self.announce(slot, tag);
    }

    /// Takes what `seat` shows for this rank.
    fn take(&self, scene: &Scene<'_>, task: &mut Task<'_>, slice: u32, seat: usize, tag: u64) -> Result<()> {
        let (chunk, place) = task.taken(slice, seat as u32);
        let shown = Shown { bytes: task.shown_bytes(slice, seat as u32), tag };
        self.look(scene, seat, shown, |all| {
            if let Some(result) = task.result(slice, chunk) {
                result.copy_from_slice(&all[place]);
            }
        })
    }

    /// Folds what the only other rank shows into the own input: of two, either order gives the same bits. The own slot may be the other's again.
    fn take_and_reduce_pair(&self, scene: &Scene<'_>, task: &mut Task<'_>, slice: u32, tag: u64) -> Result<()> {
        let seat = 1 - self.me;
        let (chunk, place) = task.taken(slice, seat as u32);
        let shown = Shown { bytes: task.shown_bytes(slice, seat as u32), tag };
        self.look(scene, seat, shown, |all| task.fold(slice, chunk, &all[place]))
    }

    /// Folds what everybody shows, in the order of ranks. The own input is read from the own slot, for in place the output no longer has it when its turn comes.
    fn take_and_reduce(&self, scene: &Scene<'_>, task: &mut Task<'_>, slice: u32, tag: u64) -> Result<()> {
        self.wait_beside(scene, |peer| self.shown(peer, tag))?;
        let (kernels, ranks) = (task.kernels, task.ranks);
        for seat in 0..self.size() {
            let (chunk, place) = task.taken(slice, seat as u32);
            let shown = Shown { bytes: task.shown_bytes(slice, seat as u32), tag };
            self.look(scene, seat, shown, |all| {
                if let Some(result) = task.result(slice, chunk) {
                    match seat {
                        0 => result.copy_from_slice(&all[place]),
                        _ => (kernels.reduce)(result, &all[place]),
                    }
                    if let Some(finish) = kernels.finish.filter(|_| seat + 1 == ranks as usize) {
                        finish(result, ranks);
                    }
                }
            })?;
        }
        Ok(())
    }
}
