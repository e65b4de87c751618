//! The machine that runs all programs at once: ranks with memory, links with slots, and the rule of when a step can be
//! done.

use super::expression::{Expression, Expressions};
use super::goal::Wanted;
use super::{Flaw, Goal, Waiting};
use crate::schedule::{Chunks, Schedule, Step};
use std::collections::HashMap;

/// All ranks, running.
pub(super) struct Machine<'a, S> {
    goal: Goal,
    programs: &'a [S],
    parts: u32,
    credits: u32,
    expressions: &'a mut Expressions,
    ranks: Vec<Rank>,
    links: Vec<Link>,
    link_numbers: LinkNumbers,
    /// The accumulators, rank by rank; `None` where nothing is written.
    memory: Vec<Option<Expression>>,
    runnable: Vec<u32>,
    /// All messages; those that have been received are used again.
    messages: Vec<Message>,
    spare: Vec<usize>,
}

struct Rank {
    step: u32,
    state: State,
    /// The longest chain of messages that ended here.
    depth: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// On this link.
    WaitingForMessage(usize),
    /// On this link.
    WaitingForSlot(usize),
    Ended,
}

/// One direction of a pair of ranks. There may be a million, so their messages are kept elsewhere and named by number.
struct Link {
    from: u32,
    to: u32,
    /// The message in the first filled slot; each names the one after it.
    first: Option<usize>,
    last: Option<usize>,
    filled: u32,
}

struct Message {
    step: u32,
    chunks: Chunks,
    depth: u32,
    /// What its chunks held when it was sent.
    content: Vec<Expression>,
    next: Option<usize>,
}

/// The numbers of the links by their ends, given as they are first used.
enum LinkNumbers {
    /// By `from · ranks + to`; `u32::MAX` where there is none yet.
    Dense(Vec<u32>),
    Sparse(HashMap<(u32, u32), u32>),
}

/// Up to so many ranks a table of all pairs is kept: 16 MiB.
const DENSE_RANKS: usize = 2048;

impl<'a, S: Schedule> Machine<'a, S> {
    pub(super) fn new(
        goal: Goal,
        programs: &'a [S],
        parts: u32,
        credits: u32,
        expressions: &'a mut Expressions,
    ) -> Self {
        let size = programs.len();
        let cells = size * parts as usize;
        let rank = || Rank { step: 0, state: State::Running, depth: 0 };
        Self {
            goal,
            programs,
            parts,
            credits,
            expressions,
            ranks: std::iter::repeat_with(rank).take(size).collect(),
            links: Vec::new(),
            link_numbers: LinkNumbers::new(size),
            memory: vec![None; cells],
            runnable: (0..size as u32).rev().collect(),
            messages: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Runs all programs to their end; returns the longest chain of messages.
    pub(super) fn run(&mut self) -> Result<u32, Flaw> {
        while let Some(rank) = self.runnable.pop() {
            self.run_rank(rank)?;
        }
        for (rank, state) in (0..).zip(&self.ranks) {
            let waiting = match state.state {
                State::Ended => continue,
                State::WaitingForMessage(link) => Waiting::Message { from: self.links[link].from },
                State::WaitingForSlot(link) => Waiting::Slot { to: self.links[link].to },
                State::Running => unreachable!("a running rank runs until it waits or has ended"),
            };
            return Err(Flaw::Deadlock { rank, step: state.step, waiting });
        }
        for link in &self.links {
            if let Some(message) = link.first {
                let sent_step = self.messages[message].step;
                return Err(Flaw::LeftOver { rank: link.to, from: link.from, sent_step });
            }
        }
        Ok(self.ranks.iter().map(|rank| rank.depth).max().unwrap_or(0))
    }

    /// What the ranks ended with, chunk by chunk: of a reduction the one expression, otherwise nothing.
    pub(super) fn results(&mut self) -> Result<Vec<Option<Expression>>, Flaw> {
        let ranks = self.programs.len() as u32;
        // The rank that a chunk's reduction was first seen at, and its expression.
        let mut reductions: Vec<Option<(u32, Expression)>> = vec![None; self.parts as usize];
        for rank in 0..ranks {
            for chunk in 0..self.parts {
                match self.goal.wants(rank, chunk, ranks, self.parts) {
                    Wanted::Nothing => {}
                    Wanted::InputOf(giver) => {
                        let given = self.expressions.leaf(giver, chunk);
                        if self.result(rank, chunk)? != given {
                            return Err(Flaw::WrongInput { rank, chunk, giver });
                        }
                    }
                    Wanted::Reduction => {
                        let reduced = self.memory[self.cell(rank, chunk)];
                        let result = if ranks == 1 {
                            self.result(rank, chunk)
                        } else {
                            reduced.ok_or(Flaw::Unwritten { rank, chunk })
                        }?;
                        let (other, first) = *reductions[chunk as usize].get_or_insert((rank, result));
                        // An expression that is right for one rank need not be examined again. A rank alone has its input.
                        let examined = rank != other && result == first || ranks == 1;
                        if !examined && !self.expressions.is_result(result, chunk) {
                            return Err(Flaw::Wrong { rank, chunk });
                        }
                        if result != first {
                            return Err(Flaw::Disagreement { rank, other, chunk });
                        }
                    }
                }
            }
        }
        Ok(reductions.into_iter().map(|first| first.map(|(_, expression)| expression)).collect())
    }

    /// What a rank ends with: what it was sent, or, where that is nothing, its own input.
    fn result(&self, rank: u32, chunk: u32) -> Result<Expression, Flaw> {
        let held = self.memory[self.cell(rank, chunk)].or_else(|| self.own(rank, chunk));
        held.ok_or(Flaw::Unwritten { rank, chunk })
    }

    /// Runs one rank until it must wait or has ended.
    fn run_rank(&mut self, rank: u32) -> Result<(), Flaw> {
        let program = &self.programs[rank as usize];
        while self.ranks[rank as usize].step < program.len() {
            let step = self.ranks[rank as usize].step;
            let action = program.step(step);
            if let Some(waiting) = self.obstacle(rank, action) {
                self.ranks[rank as usize].state = waiting;
                return Ok(());
            }
            match action {
                Step::Send { to, chunks } => self.send(rank, step, to, chunks)?,
                Step::Recv { from, chunks } => self.receive(rank, step, from, chunks, None)?,
                Step::RecvReduce { from, chunks, complete } => {
                    self.receive(rank, step, from, chunks, Some(complete))?
                }
                Step::ReduceOwn { chunks, complete } => self.reduce_own(rank, step, chunks, complete)?,
            }
            self.ranks[rank as usize].step = step + 1;
        }
        self.ranks[rank as usize].state = State::Ended;
        Ok(())
    }

    /// What the rank must wait for before it can do the step. Only this rank fills the slots that it sends into and
    /// takes the messages that it receives, so a step that can be done stays so, whatever the others do.
    fn obstacle(&mut self, rank: u32, action: Step) -> Option<State> {
        match action {
            Step::Send { to, .. } => {
                let link = self.link(rank, to);
                (self.links[link].filled >= self.credits).then_some(State::WaitingForSlot(link))
            }
            Step::Recv { from, .. } | Step::RecvReduce { from, .. } => {
                let link = self.link(from, rank);
                self.links[link].first.is_none().then_some(State::WaitingForMessage(link))
            }
            Step::ReduceOwn { .. } => None,
        }
    }

    /// Fills the slot that [`Self::obstacle`] has found free.
    fn send(&mut self, rank: u32, step: u32, to: u32, chunks: Chunks) -> Result<(), Flaw> {
        let link = self.link(rank, to);
        let depth = self.ranks[rank as usize].depth + 1;
        let message = self.spare.pop().unwrap_or(self.messages.len());
        if message == self.messages.len() {
            self.messages.push(Message { step, chunks, depth, content: Vec::new(), next: None });
        } else {
            let content = std::mem::take(&mut self.messages[message].content);
            self.messages[message] = Message { step, chunks, depth, content, next: None };
        }
        for chunk in chunks.indices(self.parts) {
            let value = self.held(rank, step, chunk)?;
            self.messages[message].content.push(value);
        }
        match self.links[link].last.replace(message) {
            Some(last) => self.messages[last].next = Some(message),
            None => self.links[link].first = Some(message),
        }
        self.links[link].filled += 1;
        self.wake(to, State::WaitingForMessage(link));
        Ok(())
    }

    /// What a rank has of a chunk: what it was sent, or its own input.
    fn held(&self, rank: u32, step: u32, chunk: u32) -> Result<Expression, Flaw> {
        match self.memory[self.cell(rank, chunk)] {
            Some(value) => Ok(value),
            None => self.own(rank, chunk).ok_or(Flaw::NoInput { rank, step, chunk }),
        }
    }

    fn own(&self, rank: u32, chunk: u32) -> Option<Expression> {
        let has_own = self.goal.has_own(rank, chunk, self.programs.len() as u32, self.parts);
        has_own.then(|| self.expressions.leaf(rank, chunk))
    }

    /// Empties the first filled slot; the message's place among the messages is free from now on.
    fn take(&mut self, link: usize) -> usize {
        let message = self.links[link].first.expect("a step is done only when its message is there");
        let next = self.messages[message].next;
        let state = &mut self.links[link];
        (state.first, state.filled) = (next, state.filled - 1);
        if next.is_none() {
            state.last = None;
        }
        let from = state.from;
        self.wake(from, State::WaitingForSlot(link));
        self.spare.push(message);
        message
    }

    fn wake(&mut self, rank: u32, from: State) {
        let state = &mut self.ranks[rank as usize].state;
        if *state == from {
            *state = State::Running;
            self.runnable.push(rank);
        }
    }

    /// Takes the message that [`Self::obstacle`] has found; `reduce` is `None` for a plain receive, else whether it
    /// completes.
    fn receive(&mut self, rank: u32, step: u32, from: u32, chunks: Chunks, reduce: Option<bool>) -> Result<(), Flaw> {
        let link = self.link(from, rank);
        let message = self.take(link);
        let Message { step: sent_step, chunks: sent, depth, .. } = self.messages[message];
        if sent.count != chunks.count {
            let (expected, sent) = (chunks.count, sent.count);
            return Err(Flaw::Width { rank, step, from, expected, sent_step, sent });
        }
        // Sets that are written differently may still name the same chunks.
        if sent != chunks {
            let mut pairs = chunks.indices(self.parts).zip(sent.indices(self.parts));
            if let Some((chunk, sent_chunk)) = pairs.find(|(chunk, sent_chunk)| chunk != sent_chunk) {
                return Err(Flaw::Crossed { rank, step, chunk, from, sent_step, sent_chunk });
            }
        }
        let mut content = std::mem::take(&mut self.messages[message].content);
        for (chunk, value) in chunks.indices(self.parts).zip(content.drain(..)) {
            let cell = self.cell(rank, chunk);
            self.memory[cell] = Some(match reduce {
                None => value,
                Some(complete) => {
                    let into = self.held(rank, step, chunk)?;
                    self.reduced(rank, step, chunk, into, value, complete)?
                }
            });
        }
        self.messages[message].content = content;
        let state = &mut self.ranks[rank as usize];
        state.depth = state.depth.max(depth);
        Ok(())
    }

    fn reduce_own(&mut self, rank: u32, step: u32, chunks: Chunks, complete: bool) -> Result<(), Flaw> {
        for chunk in chunks.indices(self.parts) {
            let cell = self.cell(rank, chunk);
            let into = self.memory[cell].ok_or(Flaw::NothingToReduceInto { rank, step, chunk })?;
            let own = self.own(rank, chunk).ok_or(Flaw::NoInput { rank, step, chunk })?;
            self.memory[cell] = Some(self.reduced(rank, step, chunk, into, own, complete)?);
        }
        Ok(())
    }

    /// The reduction of two values, finished if it is complete; and that it is called complete just if it is.
    fn reduced(
        &mut self,
        rank: u32,
        step: u32,
        chunk: u32,
        into: Expression,
        value: Expression,
        complete: bool,
    ) -> Result<Expression, Flaw> {
        let reduced =
            self.expressions.reduction(into, value).ok_or(Flaw::ReducedAfterComplete { rank, step, chunk })?;
        match (complete, self.expressions.is_whole(reduced, chunk)) {
            (true, true) => Ok(self.expressions.finished(reduced)),
            (false, false) => Ok(reduced),
            (true, false) => Err(Flaw::NotComplete { rank, step, chunk }),
            (false, true) => Err(Flaw::Unmarked { rank, step, chunk }),
        }
    }

    fn cell(&self, rank: u32, chunk: u32) -> usize {
        rank as usize * self.parts as usize + chunk as usize
    }

    fn link(&mut self, from: u32, to: u32) -> usize {
        let new = self.links.len() as u32;
        let number = self.link_numbers.entry(from, to, self.programs.len());
        if *number == u32::MAX {
            *number = new;
            self.links.push(Link { from, to, first: None, last: None, filled: 0 });
            return new as usize;
        }
        *number as usize
    }
}

impl LinkNumbers {
    fn new(size: usize) -> Self {
        if size <= DENSE_RANKS { Self::Dense(vec![u32::MAX; size * size]) } else { Self::Sparse(HashMap::new()) }
    }

    fn entry(&mut self, from: u32, to: u32, size: usize) -> &mut u32 {
        match self {
            Self::Dense(numbers) => &mut numbers[from as usize * size + to as usize],
            Self::Sparse(numbers) => numbers.entry((from, to)).or_insert(u32::MAX),
        }
    }
}
