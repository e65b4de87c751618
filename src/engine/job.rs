//! A job: one collective call on its way through the engine.

use super::Layout;
use crate::reduce::Kernels;
use crate::schedule::{Schedule, Step};
use crate::transport::LANES;
use crate::types::Call;

/// One call with its buffers, and how far each lane has come.
#[derive(Debug)]
pub struct Job<'a, S> {
    pub(super) call: Call,
    pub(super) schedule: S,
    pub(super) kernels: &'static Kernels,
    pub(super) ranks: u32,
    pub(super) layout: Layout<'a>,
    pub(super) input: Option<&'a [u8]>,
    pub(super) output: &'a mut [u8],
    pub(super) lanes: usize,
    /// Which of the engine's memories it works in.
    pub(super) space: usize,
    pub(super) cursors: [Cursor; LANES],
}

/// Where a lane stands: slice, step, chunk of the step's set, byte of the chunk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    pub(super) slice: u32,
    pub(super) step: u32,
    pub(super) chunk: u32,
    pub(super) offset: usize,
    /// The slice's memory has been set up.
    pub(super) begun: bool,
    /// The step's message has been opened, or its head met.
    pub(super) open: bool,
    pub(super) torn: [u8; 8],
    pub(super) torn_bytes: usize,
}

impl Cursor {
    pub(super) fn next_chunk(&mut self) {
        self.chunk += 1;
        self.offset = 0;
    }

    pub(super) fn next_step(&mut self) {
        self.step += 1;
        self.chunk = 0;
        self.offset = 0;
        self.open = false;
    }
}

impl<'a, S: Schedule> Job<'a, S> {
    /// A job for `call` among `ranks` ranks on an input, `None` in place, and an output, of which `layout` tells what they hold. At most `lanes` slices (up to
    /// [`LANES`]) are in flight.
    pub fn new(
        call: Call,
        schedule: S,
        kernels: &'static Kernels,
        ranks: u32,
        layout: Layout<'a>,
        lanes: usize,
        buffers: (Option<&'a [u8]>, &'a mut [u8]),
    ) -> Self {
        let (input, output) = buffers;
        let cursors = std::array::from_fn(|lane| Cursor { slice: lane as u32, ..Cursor::default() });
        Self { call, schedule, kernels, ranks, layout, input, output, lanes: lanes.clamp(1, LANES), space: 0, cursors }
    }

    /// The same job in a space of its own, beside others that run on the same engine.
    pub(super) fn in_space(self, space: usize) -> Self {
        Self { space, ..self }
    }

    /// The call.
    pub fn call(&self) -> Call {
        self.call
    }

    /// What both ends of a message of which only they know the elements must agree on; for others the call.
    pub(super) fn call_of(&self, elements: Option<usize>) -> Call {
        elements.map_or(self.call, |elements| self.call.with_count(Call::uneven(&[elements])))
    }

    /// Whether every slice is through.
    pub fn is_done(&self) -> bool {
        self.cursors[..self.lanes].iter().all(|cursor| cursor.slice >= self.layout.slices())
    }

    /// The peer that the first unfinished lane waits for.
    pub fn waits_for(&self) -> Option<u32> {
        let cursor = self.cursors[..self.lanes].iter().find(|cursor| cursor.slice < self.layout.slices())?;
        if cursor.step >= self.schedule.len() {
            return None;
        }
        match self.schedule.step(cursor.step) {
            Step::Send { to, .. } => Some(to),
            Step::Recv { from, .. } | Step::RecvReduce { from, .. } => Some(from),
            Step::ReduceOwn { .. } => None,
        }
    }
}
