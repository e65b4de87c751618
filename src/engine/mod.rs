//! The engine: runs schedules over transports.
//!
//! It is sans-IO: it owns no socket, clock or thread. [`Engine::poll`] moves a [`Job`] as far as its links allow and returns at once,
//! so the same code runs under a caller's thread, a progress thread and the simulator's virtual time. How to wait between polls is
//! [`wait`]'s business.
//!
//! A job's message is cut into *slices*; each slice runs the whole schedule by itself on one *lane*, and lanes run side by
//! side. Everything here works on bytes; types live in the reduce kernels that a job carries.

mod batch;
mod job;
mod layout;
pub mod room;
pub mod simulate;
mod steps;
mod storage;
pub mod wait;
mod watch;

pub use batch::Batch;
pub use job::Job;
pub use layout::{Extent, Layout, Part};
pub(crate) use watch::VERDICT_GRACE;
pub use watch::Watch;

use crate::reduce::{copy_cached, copy_streaming};
use crate::schedule::Schedule;
use crate::transport::shm::Stores;
use crate::transport::{Fault, LANES, Transport};
use crate::types::Call;
use storage::LaneMemory;

/// The links of one rank, and the memory that running jobs needs. Jobs that run side by side have spaces of their own and share no lane.
#[derive(Debug)]
pub struct Engine<T> {
    links: Vec<Option<T>>,
    /// By space and lane.
    memory: Vec<[LaneMemory; LANES]>,
}

/// Why a job cannot go on.
#[derive(Debug)]
pub enum Stop {
    /// The link to this peer is broken.
    Fault {
        /// The rank at the other end.
        peer: u32,
        /// The transport's name.
        transport: &'static str,
        /// What the transport said.
        fault: Fault,
    },
    /// This peer runs another call.
    Mismatch {
        /// The rank that disagrees.
        peer: u32,
        /// Its call.
        theirs: Call,
    },
}

/// What a poll has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The job is done; its buffers are the caller's again.
    Done,
    /// Something moved; poll again.
    Moved,
    /// Nothing can move before something arrives or leaves.
    Blocked,
}

/// What an engine can be driven through: one job, or several side by side.
pub trait Work<T> {
    /// Moves it as far as the links allow.
    fn poll(&mut self, engine: &mut Engine<T>) -> Result<Progress, Stop>;

    /// The call that waits, if one does.
    fn call(&self) -> Option<Call>;

    /// The peer that it waits for, if it waits for one.
    fn waits_for(&self) -> Option<u32>;
}

impl<T: Transport, S: Schedule> Work<T> for Job<'_, S> {
    fn poll(&mut self, engine: &mut Engine<T>) -> Result<Progress, Stop> {
        engine.poll(self)
    }

    fn call(&self) -> Option<Call> {
        Some(Job::call(self))
    }

    fn waits_for(&self) -> Option<u32> {
        Job::waits_for(self)
    }
}

impl<T: Transport> Engine<T> {
    /// An engine for a rank among `links.len()`; `links[p]` leads to rank `p`. A job may only use links that are there.
    pub fn new(links: Vec<Option<T>>) -> Self {
        Self { links, memory: Vec::new() }
    }

    /// The link to `peer`, if there is one.
    pub fn link(&self, peer: u32) -> Option<&T> {
        self.links[peer as usize].as_ref()
    }

    /// All links, by peer.
    pub fn links(&self) -> impl Iterator<Item = &T> {
        self.links.iter().flatten()
    }

    /// All links, by peer, to be moved.
    pub fn links_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.links.iter_mut().flatten()
    }

    /// Drops the links that `doomed` picks.
    pub fn disconnect(&mut self, doomed: impl Fn(&T) -> bool) {
        self.links.iter_mut().for_each(|link| drop(link.take_if(|link| doomed(link))));
    }

    /// Adds the link to `peer`.
    pub fn connect(&mut self, peer: u32, link: T) {
        self.links[peer as usize] = Some(link);
    }

    /// Moves `job` as far as its links allow.
    pub fn poll<S: Schedule>(&mut self, job: &mut Job<'_, S>) -> Result<Progress, Stop> {
        let mut moved = false;
        while self.memory.len() <= job.space {
            self.memory.push(Default::default());
        }
        for lane in 0..job.lanes {
            while self.advance(job, lane)? {
                moved = true;
            }
        }
        if job.is_done() {
            // What was owed to the peers (credits, bytes held back) leaves with the call.
            self.pump()?;
            return Ok(Progress::Done);
        }
        Ok(if moved || self.pump()? { Progress::Moved } else { Progress::Blocked })
    }

    fn pump(&mut self) -> Result<bool, Stop> {
        let mut moved = false;
        for (peer, link) in self.links.iter_mut().enumerate() {
            if let Some(link) = link {
                moved |= link.pump().map_err(|fault| broken(peer as u32, link, fault))?;
            }
        }
        Ok(moved)
    }

    /// Prepares for sleeping on the links' descriptors after a poll that ended in [`Progress::Blocked`]. `false`: something has come
    /// meanwhile, so poll again instead.
    pub fn arm(&mut self) -> Result<bool, Stop> {
        let mut safe = true;
        for (peer, link) in self.links.iter_mut().enumerate() {
            if let Some(link) = link {
                safe &= link.arm().map_err(|fault| broken(peer as u32, link, fault))?;
            }
        }
        Ok(safe)
    }
}

fn broken<T: Transport>(peer: u32, link: &T, fault: Fault) -> Stop {
    Stop::Fault { peer, transport: link.capabilities().name, fault }
}

/// Copies `src` over `out`, which is as long, by the given stores: into slots, and into outputs that outgrow the caches. It is a [`CopyBy`](crate::transport::shm::CopyBy).
///
/// # Panics
///
/// If the lengths differ.
#[inline]
pub fn copy(out: &mut [u8], src: &[u8], stores: Stores) {
    match stores {
        Stores::Cached => copy_cached(out, src),
        Stores::Streaming => copy_streaming(out, src),
    }
}
