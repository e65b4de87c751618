//! Calls gathered to start together.

use super::Communicator;
use super::messages::Message;
use super::request::Request;
use super::started::refuse_in_a_waker;
use crate::error::{Error, Result};
use crate::types::{CollectiveKind, Element};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Calls on one or several communicators that are made together, when [`run`](Self::run) says so.
///
/// All messages of a group are under way at once: in whatever order ranks list what they send and receive, none waits for another; only messages
/// from one rank to one peer keep their order. Then each communicator's collectives run in the order in which they were added. On several
/// communicators all of it goes on side by side, so that ranks may list those in any order, too, and one thread may hold several ranks of one.
///
/// ```no_run
/// # fn main() -> serried::Result<()> {
/// # let comm = serried::Communicator::from_env(&serried::Config::from_env()?)?;
/// let (mine, mut theirs) = ([1.0f32; 100], [0.0f32; 100]);
/// let (next, previous) = ((comm.rank() + 1) % comm.size(), (comm.rank() + comm.size() - 1) % comm.size());
/// let mut group = serried::Group::new();
/// group.send(&comm, &mine, next).recv(&comm, &mut theirs, previous);
/// group.run()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
#[must_use = "nothing is sent before the group runs"]
pub struct Group<'a> {
    parts: Vec<Part<'a>>,
}

/// What one communicator has to do.
#[derive(Debug)]
struct Part<'a> {
    communicator: &'a Communicator,
    messages: Vec<Message<'a>>,
    collectives: Vec<Request<'a>>,
}

impl<'a> Group<'a> {
    /// An empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the sending of `data` to rank `to`, which receives as many elements of the same type. A rank may send to itself.
    pub fn send<T: Element>(&mut self, on: &'a Communicator, data: &'a [T], to: u32) -> &mut Self {
        self.message(on, Message::send(T::TYPE, data.as_bytes(), to))
    }

    /// Adds the receiving of `data` from rank `from`.
    pub fn recv<T: Element>(&mut self, on: &'a Communicator, data: &'a mut [T], from: u32) -> &mut Self {
        self.message(on, Message::recv(T::TYPE, data.as_mut_bytes(), from))
    }

    /// Adds a message whose type is known at run time.
    pub fn message(&mut self, on: &'a Communicator, message: Message<'a>) -> &mut Self {
        self.part(on).messages.push(message);
        self
    }

    /// Adds a collective call.
    pub fn call(&mut self, on: &'a Communicator, request: Request<'a>) -> &mut Self {
        self.part(on).collectives.push(request);
        self
    }

    /// Makes all calls, and returns when all have ended.
    ///
    /// # Errors
    /// The first error of the first communicator that has one: as the calls' own. Other communicators' calls have been made nevertheless; collectives that follow on the
    /// same one are refused, which its other ranks hear.
    pub fn run(self) -> Result<()> {
        let mut parts = self.parts;
        let Some(last) = parts.pop() else { return Ok(()) };
        if parts.is_empty() {
            return last.run();
        }
        refuse_in_a_waker()?;
        std::thread::scope(|scope| {
            let start = |part: Part<'a>| {
                let (communicator, kinds) = (part.communicator, part.kinds());
                let thread = std::thread::Builder::new().name("serried-group".into());
                thread.spawn_scoped(scope, move || part.run()).map_err(|error| {
                    refuse(communicator, kinds);
                    let what = format!("rank {}: starting a thread for a group", communicator.rank());
                    Error::System { what, reason: error.to_string() }
                })
            };
            let others: Vec<_> = parts.into_iter().map(start).collect();
            let own = last.run();
            let panicked = || Error::System { what: "running a group".into(), reason: "it panicked".into() };
            let results = others.into_iter().map(|other| other?.join().unwrap_or_else(|_| Err(panicked())));
            // All are awaited, whichever fails.
            let results: Vec<_> = results.chain([own]).collect();
            results.into_iter().collect()
        })
    }

    fn part(&mut self, on: &'a Communicator) -> &mut Part<'a> {
        let known = self.parts.iter().position(|part| Arc::ptr_eq(&part.communicator.shared, &on.shared));
        let index = known.unwrap_or(self.parts.len());
        if known.is_none() {
            self.parts.push(Part { communicator: on, messages: Vec::new(), collectives: Vec::new() });
        }
        &mut self.parts[index]
    }
}

impl Part<'_> {
    fn run(self) -> Result<()> {
        let Self { communicator, messages, collectives } = self;
        let mut rest = collectives.into_iter();
        let sent = if messages.is_empty() { Ok(()) } else { communicator.messages(messages) };
        let ran = sent.and_then(|()| rest.try_for_each(|request| communicator.run(request)));
        ran.inspect_err(|_| refuse(communicator, rest.map(|request| request.kind)))
    }

    fn kinds(&self) -> Vec<CollectiveKind> {
        self.collectives.iter().map(|request| request.kind).collect()
    }
}

/// Counts collectives as made that are not, and lets the other ranks hear it.
fn refuse(communicator: &Communicator, kinds: impl IntoIterator<Item = CollectiveKind>) {
    // Who called it has the reason; one that is broken ends every call.
    kinds.into_iter().for_each(|kind| drop(communicator.refuse(kind)));
}

/// # Messages
///
/// From one rank to another; nobody else takes part. Messages between two ranks arrive in the order in which they were sent, and collectives among
/// them must come in the same order on both. Ranks that send to each other, or in a circle, must do it in a [`Group`]: a sender may have
/// to wait for its receiver.
///
/// [`Error::Mismatch`] says that the two disagree in number or type of elements; the other errors are those of the collectives.
impl Communicator {
    /// Sends `data` to rank `to`, which receives as many elements of the same type.
    pub fn send<T: Element>(&self, data: &[T], to: u32) -> Result<()> {
        self.messages(vec![Message::send(T::TYPE, data.as_bytes(), to)])
    }

    /// Receives `data` from rank `from`.
    pub fn recv<T: Element>(&self, data: &mut [T], from: u32) -> Result<()> {
        self.messages(vec![Message::recv(T::TYPE, data.as_mut_bytes(), from)])
    }

    fn messages(&self, messages: Vec<Message<'_>>) -> Result<()> {
        self.queue.wait_until_idle()?;
        self.shared.executor().messages(&self.shared.control, messages)
    }
}
