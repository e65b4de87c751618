//! Inputs that are multiplied before they are reduced.

use super::request::{Counts, Request};
use crate::error::{Error, Result};
use crate::types::CollectiveKind;
use std::ops::Range;

impl<'a> Request<'a> {
    /// The same call on inputs that have been multiplied already: in the output where that is all overwritten, otherwise in `memory`, which is kept from call to call.
    pub(super) fn scaled(self, memory: &'a mut Vec<u8>, rank: u32, size: u32) -> Result<Self> {
        let reduction = self.reduction;
        match (self.kind, self.input) {
            (CollectiveKind::AllReduce, None) => {
                reduction.scale(self.output);
                return Ok(self);
            }
            (CollectiveKind::AllReduce, Some(input)) => {
                reduction.scale_into(input, self.output);
                return Ok(Self { input: None, ..self });
            }
            _ => {}
        }
        let bytes = self.input.map_or(self.output.len(), <[u8]>::len);
        memory.try_reserve(bytes.saturating_sub(memory.len())).map_err(|error| Error::System {
            what: format!("rank {rank}: {bytes} bytes for the multiples of a {}'s input", self.kind.name()),
            reason: error.to_string(),
        })?;
        memory.resize(bytes.max(memory.len()), 0);
        let scaled = &mut memory[..bytes];
        reduction.scale_into(self.input.unwrap_or(self.output), scaled);
        // Out of place a rank gives only its block of a result to be written; in place it has given the place for all.
        let own = match self.kind {
            CollectiveKind::ReduceScatter if self.input.is_none() => self.own_block(rank as usize, size as usize),
            _ => 0..self.output.len(),
        };
        Ok(Self { input: Some(scaled), output: &mut self.output[own], ..self })
    }

    /// Where this rank's block lies among all, in bytes.
    fn own_block(&self, rank: usize, size: usize) -> Range<usize> {
        let Counts::Shared(counts) = self.counts else {
            let block = self.output.len() / size;
            return rank * block..(rank + 1) * block;
        };
        let element = self.data_type().size();
        let begin = counts[..rank].iter().sum::<usize>() * element;
        begin..begin + counts[rank] * element
    }
}
