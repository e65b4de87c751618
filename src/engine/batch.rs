//! A batch of messages between pairs of ranks, all on their way at once: in whatever order each rank lists them, none waits for another but
//! those before it to or from the same peer.

use super::{Engine, Job, Progress, Stop, Work};
use crate::Call;
use crate::schedule::Message;
use crate::transport::Transport;
use std::collections::VecDeque;

/// The messages that one rank sends and receives. Those to and from a peer that has no link wait for it.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// By peer and direction, in order.
    queues: Vec<(Message, VecDeque<Job<'a, Message>>)>,
}

impl<'a> Batch<'a> {
    /// Adds a message behind those to or from the same peer.
    pub fn push(&mut self, end: Message, job: Job<'a, Message>) {
        let known = self.queues.iter().position(|(theirs, _)| *theirs == end);
        let space = known.unwrap_or(self.queues.len());
        if known.is_none() {
            self.queues.push((end, VecDeque::new()));
        }
        // Of each queue one job runs at a time, in memory of its own.
        self.queues[space].1.push_back(job.in_space(space));
    }

    fn first(&self) -> Option<&Job<'a, Message>> {
        self.queues.iter().find_map(|(_, queue)| queue.front())
    }
}

impl<T: Transport> Work<T> for Batch<'_> {
    fn poll(&mut self, engine: &mut Engine<T>) -> Result<Progress, Stop> {
        let (mut moved, mut all_done) = (false, true);
        for (end, queue) in &mut self.queues {
            // Its link is still being made.
            if engine.link(end.peer()).is_none() {
                all_done &= queue.is_empty();
                continue;
            }
            while let Some(job) = queue.front_mut() {
                match engine.poll(job)? {
                    Progress::Done => {
                        moved = true;
                        queue.pop_front();
                    }
                    progress => {
                        moved |= progress == Progress::Moved;
                        all_done = false;
                        break;
                    }
                }
            }
        }
        Ok(match (all_done, moved) {
            (true, _) => Progress::Done,
            (false, true) => Progress::Moved,
            (false, false) => Progress::Blocked,
        })
    }

    fn call(&self) -> Option<Call> {
        self.first().map(Job::call)
    }

    fn waits_for(&self) -> Option<u32> {
        self.first().and_then(Job::waits_for)
    }
}
