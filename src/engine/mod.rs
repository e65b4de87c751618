//! The engine: runs schedules over transports.
//!
//! It is sans-IO: it owns no socket, clock or thread. [`Engine::poll`] moves a [`Job`] as far as its links allow and returns at once,
//! so the same code runs under a caller's thread, a progress thread and the simulator's virtual time. How to wait between polls is
//! [`wait`]'s business.
//!
//! A job's message is cut into *slices*; each slice runs the whole schedule by itself on one *lane*, and lanes run side by
//! side. Everything here works on bytes; types live in the reduce kernels that a job carries.

mod cut;
mod job;
pub mod room;
pub mod simulate;
pub mod wait;
mod watch;

pub use cut::Cut;
pub use job::Job;
pub use watch::Watch;

use crate::schedule::{Chunks, Schedule, Step};
use crate::transport::{Fault, Head, LANES, Transport};
use crate::types::Call;
use job::Cursor;

/// The links of one rank, and the memory that running jobs needs. One job at a time.
#[derive(Debug)]
pub struct Engine<T> {
    links: Vec<Option<T>>,
    lanes: [LaneMemory; LANES],
}

/// What a lane remembers of its slice besides the cursor; kept between jobs so that a call allocates nothing.
#[derive(Debug, Default)]
struct LaneMemory {
    /// Which chunks of the accumulator hold something received.
    written: Vec<bool>,
    /// The slice's own input, where the call is in place and the schedule reads it after writing over it.
    own: Vec<u8>,
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

impl<T: Transport> Engine<T> {
    /// An engine for a rank among `links.len()`; `links[p]` leads to rank `p`. A job may only use links that are there.
    pub fn new(links: Vec<Option<T>>) -> Self {
        Self { links, lanes: Default::default() }
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

    /// Tries the lane's current step; whether anything moved.
    fn advance<S: Schedule>(&mut self, job: &mut Job<'_, S>, lane: usize) -> Result<bool, Stop> {
        let mut cursor = job.cursors[lane];
        if cursor.slice >= job.cut.slices() {
            return Ok(false);
        }
        if !cursor.begun {
            self.begin_slice(job, lane, cursor.slice);
            cursor.begun = true;
        }
        let moved = if cursor.step == job.schedule.len() {
            cursor = Cursor { slice: cursor.slice + job.lanes as u32, ..Cursor::default() };
            true
        } else {
            match job.schedule.step(cursor.step) {
                Step::Send { to, chunks } => self.send(job, lane, &mut cursor, to, chunks)?,
                Step::Recv { from, chunks } => self.recv(job, lane, &mut cursor, from, chunks)?,
                Step::RecvReduce { from, chunks, complete } => {
                    self.recv_reduce(job, lane, &mut cursor, from, chunks, complete)?
                }
                Step::ReduceOwn { chunks, complete } => {
                    self.reduce_own(job, lane, cursor.slice, chunks, complete);
                    cursor.next_step();
                    true
                }
            }
        };
        job.cursors[lane] = cursor;
        Ok(moved)
    }

    fn begin_slice<S: Schedule>(&mut self, job: &mut Job<'_, S>, lane: usize, slice: u32) {
        if let Some(input) = job.input
            && job.schedule.is_empty()
        {
            // One rank alone: its input is the result.
            let place = job.cut.slice(slice);
            job.output[place.clone()].copy_from_slice(&input[place]);
        }
        let memory = &mut self.lanes[lane];
        memory.written.clear();
        memory.written.resize(job.schedule.parts() as usize, false);
        // What an earlier slice or call kept is not this one's input.
        memory.own.clear();
        if job.input.is_none() && job.schedule.keeps_own() {
            memory.own.extend_from_slice(&job.output[job.cut.slice(slice)]);
        }
    }

    fn send<S: Schedule>(
        &mut self,
        job: &Job<'_, S>,
        lane: usize,
        cursor: &mut Cursor,
        to: u32,
        chunks: Chunks,
    ) -> Result<bool, Stop> {
        let link = self.links[to as usize].as_mut().expect("jobs use links that are there");
        let parts = job.schedule.parts();
        let mut moved = false;
        if !cursor.open {
            let bytes = job.cut.message(cursor.slice, chunks, parts);
            let head = Head { call: job.call, slice: cursor.slice, step: cursor.step, bytes };
            if !link.open(lane, &head).map_err(|fault| broken(to, link, fault))? {
                return Ok(false);
            }
            cursor.open = true;
            moved = true;
        }
        while cursor.chunk < chunks.count {
            let index = chunks.index(cursor.chunk, parts);
            let place = job.cut.chunk(cursor.slice, index, parts);
            let memory = &self.lanes[lane];
            let payload = if memory.written[index as usize] {
                &job.output[place]
            } else {
                own(job.input, job.output, &memory.own, &job.cut, cursor.slice, place)
            };
            let rest = &payload[cursor.offset..];
            if !rest.is_empty() {
                let accepted = link.write(lane, rest).map_err(|fault| broken(to, link, fault))?;
                cursor.offset += accepted;
                moved |= accepted > 0;
                if accepted < rest.len() {
                    return Ok(moved);
                }
            }
            cursor.next_chunk();
        }
        cursor.next_step();
        Ok(true)
    }

    /// Whether the expected message has begun to arrive. Its head is checked once.
    fn met<S: Schedule>(
        link: &mut T,
        job: &Job<'_, S>,
        lane: usize,
        cursor: &mut Cursor,
        from: u32,
        chunks: Chunks,
    ) -> Result<bool, Stop> {
        if cursor.open {
            return Ok(true);
        }
        let Some(head) = link.head(lane).map_err(|fault| broken(from, link, fault))? else {
            return Ok(false);
        };
        if head.call != job.call {
            return Err(Stop::Mismatch { peer: from, theirs: head.call });
        }
        let bytes = job.cut.message(cursor.slice, chunks, job.schedule.parts());
        if head.slice != cursor.slice || head.bytes != bytes {
            let what = format!(
                "slice {} of {} bytes (its step {}) where slice {} of {bytes} bytes was due",
                head.slice, head.bytes, head.step, cursor.slice
            );
            return Err(broken(from, link, Fault::Nonsense(what)));
        }
        if bytes == 0 {
            link.consume(lane, 0);
        }
        cursor.open = true;
        Ok(true)
    }

    fn recv<S: Schedule>(
        &mut self,
        job: &mut Job<'_, S>,
        lane: usize,
        cursor: &mut Cursor,
        from: u32,
        chunks: Chunks,
    ) -> Result<bool, Stop> {
        let link = self.links[from as usize].as_mut().expect("jobs use links that are there");
        if !Self::met(link, job, lane, cursor, from, chunks)? {
            return Ok(false);
        }
        let parts = job.schedule.parts();
        let mut moved = false;
        while cursor.chunk < chunks.count {
            let index = chunks.index(cursor.chunk, parts);
            let place = job.cut.chunk(cursor.slice, index, parts);
            let rest = &mut job.output[place][cursor.offset..];
            if !rest.is_empty() {
                let came = link.read(lane, rest).map_err(|fault| broken(from, link, fault))?;
                cursor.offset += came;
                moved |= came > 0;
                if came < rest.len() {
                    return Ok(moved);
                }
            }
            self.lanes[lane].written[index as usize] = true;
            cursor.next_chunk();
        }
        cursor.next_step();
        Ok(true)
    }

    fn recv_reduce<S: Schedule>(
        &mut self,
        job: &mut Job<'_, S>,
        lane: usize,
        cursor: &mut Cursor,
        from: u32,
        chunks: Chunks,
        complete: bool,
    ) -> Result<bool, Stop> {
        let link = self.links[from as usize].as_mut().expect("jobs use links that are there");
        if !Self::met(link, job, lane, cursor, from, chunks)? {
            return Ok(false);
        }
        let parts = job.schedule.parts();
        let element = job.cut.element();
        let transport = link.capabilities().name;
        let mut moved = false;
        while cursor.chunk < chunks.count {
            let index = chunks.index(cursor.chunk, parts);
            let place = job.cut.chunk(cursor.slice, index, parts);
            let memory = &mut self.lanes[lane];
            while cursor.offset < place.len() {
                let at = place.start + cursor.offset;
                let lent = link.peek(lane).map_err(|fault| Stop::Fault { peer: from, transport, fault })?;
                let whole = lent.len().min(place.len() - cursor.offset) / element * element;
                let reduced = if whole > 0 && cursor.torn_bytes == 0 {
                    job.fold(at, &lent[..whole], memory, cursor.slice, index, complete);
                    link.consume(lane, whole);
                    whole
                } else {
                    // Nothing yet, or one element torn over the edge of what the transport can lend: gather it by copies.
                    let torn = &mut cursor.torn[cursor.torn_bytes..element];
                    let came = link.read(lane, torn).map_err(|fault| broken(from, link, fault))?;
                    cursor.torn_bytes += came;
                    moved |= came > 0;
                    if cursor.torn_bytes < element {
                        return Ok(moved);
                    }
                    cursor.torn_bytes = 0;
                    job.fold(at, &cursor.torn[..element], memory, cursor.slice, index, complete);
                    element
                };
                cursor.offset += reduced;
                moved = true;
            }
            memory.written[index as usize] = true;
            cursor.next_chunk();
        }
        cursor.next_step();
        Ok(true)
    }

    fn reduce_own<S: Schedule>(
        &mut self,
        job: &mut Job<'_, S>,
        lane: usize,
        slice: u32,
        chunks: Chunks,
        complete: bool,
    ) {
        let parts = job.schedule.parts();
        for index in chunks.indices(parts) {
            let place = job.cut.chunk(slice, index, parts);
            let start = job.cut.slice(slice).start;
            let own = match job.input {
                Some(input) => &input[place.clone()],
                None => &self.lanes[lane].own[place.start - start..place.end - start],
            };
            let accumulator = &mut job.output[place];
            (job.kernels.reduce)(accumulator, own);
            if complete && let Some(finish) = job.kernels.finish {
                finish(accumulator, job.ranks);
            }
        }
    }
}

/// A rank's own input of the bytes at `place`: the input buffer, or in an in-place call the copy that was kept or the output itself.
fn own<'a>(
    input: Option<&'a [u8]>,
    output: &'a [u8],
    kept: &'a [u8],
    cut: &Cut,
    slice: u32,
    place: std::ops::Range<usize>,
) -> &'a [u8] {
    match input {
        Some(input) => &input[place],
        None if kept.is_empty() => &output[place],
        None => {
            let start = cut.slice(slice).start;
            &kept[place.start - start..place.end - start]
        }
    }
}

fn broken<T: Transport>(peer: u32, link: &T, fault: Fault) -> Stop {
    Stop::Fault { peer, transport: link.capabilities().name, fault }
}
