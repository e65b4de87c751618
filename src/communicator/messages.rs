//! Messages between pairs of ranks.

use super::executor::Executor;
use crate::bootstrap::Control;
use crate::engine::{Batch, Extent, Job, Layout, Part};
use crate::error::{Error, Operation, Result};
use crate::reduce::kernels;
use crate::schedule;
use crate::tune::MESSAGE_SLICES_IN_FLIGHT;
use crate::types::{Call, CollectiveKind, DataType, Op};
use std::collections::VecDeque;

/// One end of a message from one rank to another, in whole elements of a type in native byte order, at any alignment.
#[derive(Debug)]
pub struct Message<'a> {
    data_type: DataType,
    end: End<'a>,
}

#[derive(Debug)]
enum End<'a> {
    Send { to: u32, data: &'a [u8] },
    Receive { from: u32, data: &'a mut [u8] },
}

/// How many messages a rank has exchanged with each peer: what tells one from the next.
#[derive(Debug)]
pub(super) struct Counters {
    sent: Vec<u64>,
    received: Vec<u64>,
}

impl<'a> Message<'a> {
    /// Sends `data` to rank `to`.
    pub fn send(data_type: DataType, data: &'a [u8], to: u32) -> Self {
        Self { data_type, end: End::Send { to, data } }
    }

    /// Receives `data` from rank `from`.
    pub fn recv(data_type: DataType, data: &'a mut [u8], from: u32) -> Self {
        Self { data_type, end: End::Receive { from, data } }
    }

    fn peer(&self) -> u32 {
        match self.end {
            End::Send { to, .. } => to,
            End::Receive { from, .. } => from,
        }
    }

    fn data(&self) -> &[u8] {
        match &self.end {
            End::Send { data, .. } => data,
            End::Receive { data, .. } => data,
        }
    }

    fn check(&self, rank: u32, size: u32) -> Result<()> {
        let what = if let End::Send { .. } = self.end { "send" } else { "recv" };
        let bad = |why: String| Err(Error::InvalidArgument { what: format!("rank {rank}: {what}: {why}") });
        if self.peer() >= size {
            return bad(format!("there is no rank {}; ranks are 0 to {}", self.peer(), size - 1));
        }
        let (bytes, element) = (self.data().len(), self.data_type.size());
        if !bytes.is_multiple_of(element) {
            return bad(format!("{bytes} bytes are not whole elements of {} ({element} bytes)", self.data_type));
        }
        Ok(())
    }
}

impl Counters {
    pub(super) fn new(size: u32) -> Self {
        Self { sent: vec![0; size as usize], received: vec![0; size as usize] }
    }

    /// The call of the next message that `end` is of.
    fn next(&mut self, rank: u32, message: &Message<'_>) -> Call {
        let (counts, sender) = match message.end {
            End::Send { .. } => (&mut self.sent, rank),
            End::Receive { from, .. } => (&mut self.received, from),
        };
        let sequence = &mut counts[message.peer() as usize];
        *sequence += 1;
        let count = message.data().len() / message.data_type.size();
        Call::new(CollectiveKind::Send, *sequence, sender, count as u64, message.data_type, Op::Sum as u8, 0)
    }
}

impl Executor {
    /// All `messages`, under way at once. A failure breaks the communicator here and, by the control plane, everywhere.
    pub(super) fn messages(&mut self, control: &Control, messages: Vec<Message<'_>>) -> Result<()> {
        messages.iter().try_for_each(|message| message.check(self.rank, self.size))?;
        let (own, others): (Vec<_>, Vec<_>) = messages.into_iter().partition(|message| message.peer() == self.rank);
        hand_over(self.rank, own)?;
        if others.is_empty() {
            return Ok(());
        }
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.exchange(control, others).map_err(|error| self.fail(control, error))
    }

    fn exchange(&mut self, control: &Control, messages: Vec<Message<'_>>) -> Result<()> {
        let calls: Vec<Call> = messages.iter().map(|message| self.counters.next(self.rank, message)).collect();
        if let Some(failure) = control.verdict() {
            return Err(failure.error(self.rank, Operation::Call(calls[0])));
        }
        let mut peers: Vec<u32> = messages.iter().map(Message::peer).collect();
        peers.sort_unstable();
        peers.dedup();
        peers.retain(|peer| !self.is_linked(*peer));
        let buffers: Vec<_> = messages.iter().map(|message| Some(message.data())).collect();
        self.lend(&buffers);
        let mut batch = Batch::default();
        for (call, message) in calls.iter().zip(messages) {
            let (element, rank) = (message.data_type.size(), self.rank);
            let part = Part { kind: CollectiveKind::Send, root: call.root, rank, in_place: false };
            let extent = Extent::Message(call.count as usize);
            let layout = Layout::new(part, extent, extent, element, self.slot_bytes / 8 * 8);
            let (end, buffers) = match message.end {
                End::Send { to, data } => (schedule::Message::Send(to), (Some(data), &mut [][..])),
                End::Receive { from, data } => (schedule::Message::Receive(from), (None, data)),
            };
            let unused = kernels(message.data_type, Op::Sum);
            batch.push(end, Job::new(*call, end, unused, self.size, layout, MESSAGE_SLICES_IN_FLIGHT, buffers));
        }
        if peers.is_empty() {
            self.drive(control, calls[0], &mut batch)
        } else {
            self.drive_arriving(control, calls[0], batch, &peers)
        }
    }
}

/// What a rank sends to itself, it receives in order.
fn hand_over(rank: u32, messages: Vec<Message<'_>>) -> Result<()> {
    let bad = |why: &str| Err(Error::InvalidArgument { what: format!("rank {rank}: a message to itself: {why}") });
    let (mut sent, mut received) = (VecDeque::new(), VecDeque::new());
    for Message { data_type, end } in messages {
        match end {
            End::Send { data, .. } => sent.push_back((data_type, data)),
            End::Receive { data, .. } => received.push_back((data_type, data)),
        }
    }
    if sent.len() != received.len() {
        return bad("a rank sends to itself as often as it receives, in one group");
    }
    if sent.iter().zip(&received).any(|(sent, received)| (sent.0, sent.1.len()) != (received.0, received.1.len())) {
        return bad("what is received is not what is sent");
    }
    sent.into_iter().zip(received).for_each(|((_, from), (_, into))| into.copy_from_slice(from));
    Ok(())
}
