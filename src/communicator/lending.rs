//! What of a call's buffers links may send from where it lies: memory that stays where it is, told to the device once.

use crate::memory::{self, Identity, Steady};
use crate::transport::verbs::Rail;
use crate::transport::verbs::sys::{Failure, PinnedRange};
use std::ptr::NonNull;
use std::sync::Arc;

/// Keeps what a rail has been told of this process' buffers in step with what there is.
#[derive(Debug)]
pub(super) struct Lending {
    rail: Arc<Rail>,
    /// When the rail was last told what no longer is.
    generation: u64,
    /// What the running call lends; kept, so that nothing is allocated.
    lent: Vec<Arc<PinnedRange>>,
    /// A link uses the rail: before, nothing needs to be told.
    used: bool,
    /// Buffers that the device does not take: asking again before another is given back costs a system call and brings the same answer.
    refused: Vec<Identity>,
}

impl Lending {
    pub(super) fn new(rail: Arc<Rail>) -> Self {
        Self { rail, generation: memory::generation(), lent: Vec::new(), used: false, refused: Vec::new() }
    }

    /// What can be lent of a call with these buffers. A buffer that the device refuses is copied from instead, as any other is.
    pub(super) fn of_call(&mut self, buffers: &[Option<&[u8]>]) -> &[Arc<PinnedRange>] {
        let generation = memory::generation();
        if generation != self.generation {
            self.generation = generation;
            self.rail.unpin(memory::is_listed);
            // What is unlocked may leave room for what was refused.
            self.refused.clear();
        }
        self.lent.clear();
        if !self.used {
            return &self.lent;
        }
        for buffer in buffers.iter().copied().flatten().filter_map(memory::steady) {
            if self.refused.contains(&buffer.identity) {
                continue;
            }
            match self.pin(&buffer) {
                Ok(range) => self.lent.push(range),
                Err(failure) => {
                    tracing::warn!(%failure, bytes = buffer.bytes, "this buffer is copied before it is sent");
                    self.refused.push(buffer.identity);
                }
            }
        }
        &self.lent
    }

    /// A link uses the rail from now on.
    pub(super) fn begin(&mut self) {
        self.used = true;
    }

    /// Tells the rail of a buffer now.
    pub(super) fn register(&self, buffer: &Steady) -> Result<(), Failure> {
        self.pin(buffer).map(drop)
    }

    fn pin(&self, buffer: &Steady) -> Result<Arc<PinnedRange>, Failure> {
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(buffer.start)).unwrap_or(NonNull::dangling());
        self.rail.pin(buffer.identity, start, buffer.bytes)
    }
}
