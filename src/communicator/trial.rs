//! Calls that are made to see what they take, before the user's.

use super::executor::Executor;
use super::request::Request;
use super::watch::CallWatch;
use crate::bootstrap::Control;
use crate::engine::room::{DIRECT, READ_BYTES};
use crate::engine::{Extent, Part};
use crate::error::Result;
use crate::reduce::{Reduction, kernels};
use crate::tune::Choice;
use crate::types::{Call, CollectiveKind, DataType, Op};

impl Executor {
    /// An allreduce of bytes by this choice: to see what it takes.
    pub(super) fn try_all_reduce(&mut self, control: &Control, choice: &Choice, bytes: &mut [u8]) -> Result<()> {
        self.sequence += 1;
        let (kind, data_type, count) = (CollectiveKind::AllReduce, DataType::F32, bytes.len() / size_of::<f32>());
        let call = Call::new(kind, self.sequence, 0, count as u64, data_type, Op::Sum as u8, choice.algorithm as u8);
        let done = match &mut self.room {
            Some(room) => {
                let watch = CallWatch::new(control, self.timeout, &[], self.sequence).silent();
                room.all_reduce(&call, kernels(data_type, Op::Sum), None, bytes, &watch)
            }
            None => {
                let sum = Reduction::of(data_type, Op::Sum);
                self.over_links(control, call, choice, Request::all_reduce(sum, None, bytes))
            }
        };
        done.map_err(|error| self.fail(control, error))
    }

    /// Whether blocks can be read from where they lie.
    pub(super) fn can_read(&self) -> bool {
        self.room.as_ref().is_some_and(|room| !room.reads().is_empty())
    }

    /// From now on, blocks are read that were found to be better read, in a room where they can be.
    pub(super) fn read_as_measured(&mut self) {
        let measured = self.tables().candidates().and_then(|candidates| candidates.network.reads.clone());
        let measured = measured.filter(|_| self.can_read());
        if let Some((room, bytes)) = self.room.as_mut().zip(measured) {
            room.read_blocks_of(bytes);
        }
    }

    /// An all-to-all of blocks in a room, which are read or not.
    pub(super) fn try_all_to_all(
        &mut self,
        control: &Control,
        reads: bool,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<()> {
        self.sequence += 1;
        let kind = CollectiveKind::AllToAll;
        let elements = input.len() / self.size as usize;
        let call = Call::new(kind, self.sequence, 0, elements as u64, DataType::U8, Op::Sum as u8, DIRECT);
        let part = Part { kind, root: 0, rank: self.rank, in_place: false };
        let extent = Extent::Blocks { ranks: self.size, elements };
        let watch = CallWatch::new(control, self.timeout, &[], self.sequence).silent();
        let room = self.room.as_mut().expect("ranks that share memory");
        room.read_blocks_of(if reads { READ_BYTES } else { 0..0 });
        let done = room.collective(&call, part, extent, kernels(DataType::U8, Op::Sum), 1, Some(input), output, &watch);
        room.read_blocks_of(READ_BYTES);
        done.map_err(|error| self.fail(control, error))
    }
}
