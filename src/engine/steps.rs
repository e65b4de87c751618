//! The steps of a schedule, each moved as far as its link allows.

use super::job::Cursor;
use super::{Engine, Job, Stop, broken};
use crate::Call;
use crate::schedule::{Chunks, Schedule, Step};
use crate::transport::{Fault, Head, Transport};

impl<T: Transport> Engine<T> {
    /// Tries the lane's current step; whether anything moved.
    pub(super) fn advance<S: Schedule>(&mut self, job: &mut Job<'_, S>, lane: usize) -> Result<bool, Stop> {
        let mut cursor = job.cursors[lane];
        if cursor.slice >= job.layout.slices() {
            return Ok(false);
        }
        if !cursor.begun {
            job.begin_slice(&mut self.memory[job.space][lane], cursor.slice);
            cursor.begun = true;
        }
        let moved = if cursor.step == job.schedule.len() {
            job.end_slice(&self.memory[job.space][lane], cursor.slice);
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
                    for index in chunks.indices(job.schedule.parts()) {
                        job.fold_own(&mut self.memory[job.space][lane], cursor.slice, index, complete);
                    }
                    cursor.next_step();
                    true
                }
            }
        };
        job.cursors[lane] = cursor;
        Ok(moved)
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
        let mut moved = false;
        if !cursor.open {
            let bytes = job.layout.sent(cursor.slice, chunks, job.schedule.parts());
            if Self::is_left_out(cursor, bytes) {
                cursor.next_step();
                return Ok(true);
            }
            let call = job.call_of(job.layout.given(chunks, job.schedule.parts()));
            let head = Head { call, slice: cursor.slice, step: cursor.step, bytes };
            if !link.open(lane, &head).map_err(|fault| broken(to, link, fault))? {
                return Ok(false);
            }
            cursor.open = true;
            moved = true;
        }
        while cursor.chunk < chunks.count {
            let index = chunks.index(cursor.chunk, job.schedule.parts());
            let rest = &job.payload(&self.memory[job.space][lane], cursor.slice, index)[cursor.offset..];
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

    /// Whether both ends leave a message out: after a slice's first one, which shows that the ranks agree, empty ones say nothing. Blocks of uneven sizes end
    /// in different slices.
    fn is_left_out(cursor: &Cursor, bytes: u64) -> bool {
        bytes == 0 && cursor.slice > 0
    }

    /// Whether the expected message has begun to arrive. Its head is checked once.
    fn met(
        link: &mut T,
        lane: usize,
        cursor: &mut Cursor,
        from: u32,
        (call, bytes): (Call, u64),
    ) -> Result<bool, Stop> {
        if cursor.open {
            return Ok(true);
        }
        let Some(head) = link.head(lane).map_err(|fault| broken(from, link, fault))? else {
            return Ok(false);
        };
        if head.call != call {
            return Err(Stop::Mismatch { peer: from, theirs: head.call });
        }
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
        let parts = job.schedule.parts();
        let bytes = job.layout.received(cursor.slice, chunks, parts);
        if Self::is_left_out(cursor, bytes) {
            let written = &mut self.memory[job.space][lane].written;
            chunks.indices(parts).for_each(|index| written[index as usize] = true);
            cursor.next_step();
            return Ok(true);
        }
        let call = job.call_of(job.layout.due(chunks, parts));
        if !Self::met(link, lane, cursor, from, (call, bytes))? {
            return Ok(false);
        }
        let memory = &mut self.memory[job.space][lane];
        let mut moved = false;
        while cursor.chunk < chunks.count {
            let index = chunks.index(cursor.chunk, parts);
            let rest = &mut job.accumulator(memory, cursor.slice, index)[cursor.offset..];
            if !rest.is_empty() {
                let came = link.read(lane, rest).map_err(|fault| broken(from, link, fault))?;
                cursor.offset += came;
                moved |= came > 0;
                if came < rest.len() {
                    return Ok(moved);
                }
            }
            memory.written[index as usize] = true;
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
        let parts = job.schedule.parts();
        let bytes = job.layout.received(cursor.slice, chunks, parts);
        if Self::is_left_out(cursor, bytes) {
            let written = &mut self.memory[job.space][lane].written;
            chunks.indices(parts).for_each(|index| written[index as usize] = true);
            cursor.next_step();
            return Ok(true);
        }
        if !Self::met(link, lane, cursor, from, (job.call, bytes))? {
            return Ok(false);
        }
        let element = job.layout.element();
        let transport = link.capabilities().name;
        let memory = &mut self.memory[job.space][lane];
        let mut moved = false;
        while cursor.chunk < chunks.count {
            let index = chunks.index(cursor.chunk, parts);
            let place = (cursor.slice, index);
            let length = job.layout.received(cursor.slice, Chunks::one(index), parts) as usize;
            while cursor.offset < length {
                let lent = link.peek(lane).map_err(|fault| Stop::Fault { peer: from, transport, fault })?;
                let whole = lent.len().min(length - cursor.offset) / element * element;
                let reduced = if whole > 0 && cursor.torn_bytes == 0 {
                    job.fold(memory, place, cursor.offset, &lent[..whole], complete);
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
                    job.fold(memory, place, cursor.offset, &cursor.torn[..element], complete);
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
}
