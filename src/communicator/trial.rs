//! Calls that are made to see what they take, before the user's.

use super::executor::Executor;
use super::request::Request;
use super::watch::CallWatch;
use crate::bootstrap::Control;
use crate::engine::room::{DIRECT, READS, Room};
use crate::engine::{Extent, Part};
use crate::error::Result;
use crate::reduce::{Reduction, kernels};
use crate::tune::Choice;
use crate::types::{Call, CollectiveKind, DataType, Op, Reads};

impl Executor {
    /// An allreduce of bytes by this choice, in place if nothing is given: to see what it takes.
    pub(super) fn try_all_reduce(
        &mut self,
        control: &Control,
        choice: &Choice,
        given: Option<&[u8]>,
        taken: &mut [u8],
    ) -> Result<()> {
        self.sequence += 1;
        let (kind, data_type, count) = (CollectiveKind::AllReduce, DataType::F32, taken.len() / size_of::<f32>());
        let call = Call::new(kind, self.sequence, 0, count as u64, data_type, Op::Sum as u8, choice.algorithm as u8);
        let done = match &mut self.room {
            Some(room) => {
                let watch = CallWatch::new(control, self.timeout, &[], self.sequence).silent();
                room.all_reduce(&call, kernels(data_type, Op::Sum), given, taken, &watch)
            }
            None => {
                let sum = Reduction::of(data_type, Op::Sum);
                self.over_links(control, call, choice, Request::all_reduce(sum, given, taken))
            }
        };
        done.map_err(|error| self.fail(control, error))
    }

    /// Whether ranks can read each other's memory.
    pub(super) fn can_read(&self) -> bool {
        self.room.as_ref().is_some_and(Room::can_read)
    }

    /// From now on, in a room where that can be, what was found to be better read is.
    pub(super) fn read_as_measured(&mut self) {
        let measured = self.tables().candidates().and_then(|candidates| candidates.network.reads.clone());
        if let Some((room, reads)) = self.room.as_mut().filter(|room| room.can_read()).zip(measured) {
            room.set_reads(reads);
        }
    }

    /// An all-to-all of what is given, or where nothing is a broadcast by rank 0, in a room in which it is read or not.
    pub(super) fn try_to_move(
        &mut self,
        control: &Control,
        is_read: bool,
        given: Option<&[u8]>,
        taken: &mut [u8],
    ) -> Result<()> {
        self.sequence += 1;
        let blocks = Extent::Blocks { ranks: self.size, elements: taken.len() / self.size as usize };
        let (kind, extent) = match given {
            Some(_) => (CollectiveKind::AllToAll, blocks),
            None => (CollectiveKind::Broadcast, Extent::Message(taken.len())),
        };
        let part = Part { kind, root: 0, rank: self.rank, in_place: given.is_none() };
        let call = Call::new(kind, self.sequence, 0, taken.len() as u64, DataType::U8, Op::Sum as u8, DIRECT);
        let watch = CallWatch::new(control, self.timeout, &[], self.sequence).silent();
        let room = self.room.as_mut().expect("ranks that share memory");
        let all = 0..usize::MAX;
        room.set_reads(if is_read { Reads { blocks: all.clone(), broadcast: all } } else { Reads::default() });
        let done = room.collective(&call, part, extent, kernels(DataType::U8, Op::Sum), 1, given, taken, &watch);
        room.set_reads(READS);
        done.map_err(|error| self.fail(control, error))
    }
}
