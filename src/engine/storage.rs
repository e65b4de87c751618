//! Where a slice's chunks are while its schedule runs: in the caller's buffers, or in memory that the engine keeps.

use super::Job;
use crate::schedule::Schedule;
use std::ops::Range;

/// What a lane remembers of its slice besides the cursor; kept between jobs so that a call allocates nothing.
#[derive(Debug, Default)]
pub(super) struct LaneMemory {
    /// Which accumulator chunks hold something received.
    pub(super) written: Vec<bool>,
    /// The slice's own input, where the call is in place and the schedule reads it after writing over it.
    kept: Vec<u8>,
    /// Accumulators that are no part of this rank's result.
    scratch: Vec<u8>,
}

/// Where an accumulator chunk is.
enum Place {
    Output(Range<usize>),
    Scratch(Range<usize>),
}

impl<S: Schedule> Job<'_, S> {
    pub(super) fn begin_slice(&self, memory: &mut LaneMemory, slice: u32) {
        let parts = self.schedule.parts();
        memory.written.clear();
        memory.written.resize(parts as usize, false);
        // What an earlier slice or call kept is not this one's input.
        memory.kept.clear();
        if self.input.is_none() && self.schedule.keeps_own() {
            memory.kept.resize(self.layout.scratch_bytes(), 0);
            for index in 0..parts {
                if let Some(own) = self.layout.own(slice, index, parts) {
                    memory.kept[self.layout.scratch(slice, index, parts)].copy_from_slice(&self.output[own]);
                }
            }
        }
    }

    /// What no step has written of this rank's result is its own input.
    pub(super) fn end_slice(&mut self, memory: &LaneMemory, slice: u32) {
        let Some(input) = self.input else { return };
        let parts = self.schedule.parts();
        for index in (0..parts).filter(|index| !memory.written[*index as usize]) {
            if let Some(result) = self.layout.result(slice, index, parts)
                && let Some(own) = self.layout.own(slice, index, parts)
            {
                self.output[result].copy_from_slice(&input[own]);
            }
        }
    }

    /// What a send of chunk `index` moves.
    pub(super) fn payload<'b>(&'b self, memory: &'b LaneMemory, slice: u32, index: u32) -> &'b [u8] {
        if !memory.written[index as usize] {
            return self.own(memory, slice, index);
        }
        match self.place(slice, index) {
            Place::Output(place) => &self.output[place],
            // Nothing was received there, so there may be no such place.
            Place::Scratch(place) if place.is_empty() => &[],
            Place::Scratch(place) => &memory.scratch[place],
        }
    }

    /// The accumulator of chunk `index`, to be received into.
    pub(super) fn accumulator<'b>(&'b mut self, memory: &'b mut LaneMemory, slice: u32, index: u32) -> &'b mut [u8] {
        match self.place(slice, index) {
            Place::Output(place) => &mut self.output[place],
            Place::Scratch(place) => memory.scratch_at(place),
        }
    }

    /// Folds incoming elements into chunk `index` of the slice, from byte `offset` of the chunk on.
    pub(super) fn fold(
        &mut self,
        memory: &mut LaneMemory,
        (slice, index): (u32, u32),
        offset: usize,
        incoming: &[u8],
        complete: bool,
    ) {
        let end = offset + incoming.len();
        let (layout, parts) = (self.layout, self.schedule.parts());
        let within = |place: Range<usize>| place.start + offset..place.start + end;
        let own = || within(layout.own(slice, index, parts).expect("a proven schedule reduces what is there"));
        let written = memory.written[index as usize];
        let accumulator = match (self.place(slice, index), self.input) {
            (Place::Output(place), Some(input)) if !written => {
                let accumulator = &mut self.output[within(place)];
                (self.kernels.combine)(accumulator, &input[own()], incoming);
                accumulator
            }
            // In place the accumulator still holds the own input, if nothing was written to this chunk yet.
            (Place::Output(place), _) => {
                let place = within(place);
                debug_assert!(written || place == own());
                let accumulator = &mut self.output[place];
                (self.kernels.reduce)(accumulator, incoming);
                accumulator
            }
            (Place::Scratch(place), input) => {
                let accumulator = memory.scratch_at(within(place));
                if written {
                    (self.kernels.reduce)(accumulator, incoming);
                } else {
                    (self.kernels.combine)(accumulator, &input.unwrap_or(self.output)[own()], incoming);
                }
                accumulator
            }
        };
        if complete && let Some(finish) = self.kernels.finish {
            finish(accumulator, self.ranks);
        }
    }

    /// Folds the own input into chunk `index`, which holds something.
    pub(super) fn fold_own(&mut self, memory: &mut LaneMemory, slice: u32, index: u32, complete: bool) {
        // Borrowed apart: the own input is in neither of what is written.
        let kept = std::mem::take(&mut memory.kept);
        let parts = self.schedule.parts();
        match self.input {
            Some(input) => {
                let own = self.layout.own(slice, index, parts).expect("a proven schedule reduces what is there");
                self.fold(memory, (slice, index), 0, &input[own], complete);
            }
            None => self.fold(memory, (slice, index), 0, &kept[self.layout.scratch(slice, index, parts)], complete),
        }
        memory.kept = kept;
    }

    /// This rank's own input of chunk `index`: the input buffer, or in an in-place call the copy that was kept or the output itself.
    fn own<'b>(&'b self, memory: &'b LaneMemory, slice: u32, index: u32) -> &'b [u8] {
        let parts = self.schedule.parts();
        if !memory.kept.is_empty() {
            return &memory.kept[self.layout.scratch(slice, index, parts)];
        }
        let place = self.layout.own(slice, index, parts).expect("a proven schedule sends what is there");
        &self.input.unwrap_or(self.output)[place]
    }

    fn place(&self, slice: u32, index: u32) -> Place {
        let parts = self.schedule.parts();
        match self.layout.result(slice, index, parts) {
            Some(place) => Place::Output(place),
            None => Place::Scratch(self.layout.scratch(slice, index, parts)),
        }
    }
}

impl LaneMemory {
    /// Scratch grows to what is touched and stays.
    fn scratch_at(&mut self, place: Range<usize>) -> &mut [u8] {
        if self.scratch.len() < place.end {
            self.scratch.resize(place.end, 0);
        }
        &mut self.scratch[place]
    }
}
