//! One edge of the control tree: a connection with a task that reads and a task that writes.
//!
//! The edge ends with its connection, and with its peer's process, should that be on this host: children that a process has
//! forked may hold its connections open after its death.

use super::endpoint::Endpoint;
use super::liveness::Attention;
use super::message::Message;
use super::wire::{self, FRAME_MAX};
use crate::topology::HostId;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// How long a closed edge may take to bring its last words out; a stopped peer does not read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the words of a process that has ended may take from this host to this host; those it had no time to finish never come.
const FROM_THE_DEAD: Duration = Duration::from_millis(50);

/// What an edge's reader tells the member.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) peer: u32,
    /// Which of the edges that there have been to this peer.
    pub(super) generation: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// A message came.
    Message(Message),
    /// The connection ended.
    Ended,
    /// The peer sent what no serried of this version sends.
    Nonsense(String),
}

/// A frame on its way out; its receiver hears of it by the sender's end once it is written (or cannot be).
struct Outgoing {
    frame: Arc<[u8]>,
    _written: Option<mpsc::Sender<()>>,
}

/// An edge to one peer. Dropping it says what is still to be said, then closes the connection.
pub(super) struct Edge {
    pub(super) generation: u64,
    /// Where the peer listens, once it has said so.
    pub(super) endpoint: Option<Endpoint>,
    /// What this member pays it.
    pub(super) attention: Attention,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    reader: AbortHandle,
}

impl Edge {
    /// Starts an edge on a connection whose handshake is done.
    pub(super) fn start(stream: TcpStream, peer: u32, generation: u64, events: mpsc::Sender<Event>) -> Self {
        let (from, to) = stream.into_split();
        let (attention, heard) = Attention::new();
        let (outgoing, queue) = mpsc::unbounded_channel();
        tokio::spawn(write(to, queue));
        let reader = tokio::spawn(async move {
            read(from, &heard, |what| events.send(Event { peer, generation, what })).await;
        });
        Self { generation, endpoint: None, attention, outgoing, reader: reader.abort_handle() }
    }

    /// Sends a message.
    pub(super) fn say(&self, message: &Message) {
        self.send(message.frame().into(), None);
    }

    /// Sends a frame; `written` is dropped when it is on its way.
    pub(super) fn send(&self, frame: Arc<[u8]>, written: Option<mpsc::Sender<()>>) {
        // The writer is gone if the connection broke; the reader tells of that.
        let _ = self.outgoing.send(Outgoing { frame, _written: written });
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read<F>(mut stream: OwnedReadHalf, heard: &AtomicBool, tell: impl Fn(What) -> F)
where
    F: Future<Output = Result<(), mpsc::error::SendError<Event>>>,
{
    let mut process = None;
    loop {
        let frame = wire::read_frame(&mut stream, FRAME_MAX, || heard.store(true, Ordering::Relaxed));
        let frame = while_alive(process.as_ref(), frame).await;
        let (what, last) = match frame {
            Ok(Some(body)) => match Message::parse(&body) {
                Ok(message) => {
                    process = process.or_else(|| watch(&message));
                    (What::Message(message), false)
                }
                Err(nonsense) => (What::Nonsense(nonsense.to_string()), true),
            },
            Err(e) if e.kind() == io::ErrorKind::InvalidData => (What::Nonsense(e.to_string()), true),
            Ok(None) | Err(_) => (What::Ended, true),
        };
        if tell(what).await.is_err() || last {
            return;
        }
    }
}

/// Watches over the process that a peer says it is, if it can be seen from here.
fn watch(message: &Message) -> Option<AsyncFd<OwnedFd>> {
    let Message::State { endpoint, process: Some(process), .. } = message else { return None };
    let watched = (endpoint.host() == HostId::here()).then(|| process.watch()).flatten()?;
    // Deprecated for descriptors that may change or close while they are registered; an `OwnedFd` does neither, and what replaces it is unsafe.
    #[expect(deprecated, reason = "sound for an OwnedFd, without unsafe code")]
    let registered = AsyncFd::with_interest(watched, Interest::READABLE);
    registered.ok()
}

/// What is read from a peer, or its connection's end if its process has ended: after all that it said, since it may have said goodbye.
async fn while_alive(
    process: Option<&AsyncFd<OwnedFd>>,
    frame: impl Future<Output = io::Result<Option<Vec<u8>>>>,
) -> io::Result<Option<Vec<u8>>> {
    let Some(process) = process else { return frame.await };
    let mut frame = std::pin::pin!(frame);
    let ended = tokio::select! {
        biased;
        frame = &mut frame => return frame,
        ended = process.readable() => ended.is_ok(),
    };
    if ended { timeout(FROM_THE_DEAD, frame).await.unwrap_or(Ok(None)) } else { frame.await }
}

async fn write(mut stream: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Outgoing>) {
    while let Some(outgoing) = queue.recv().await {
        // Once the edge is dropped nobody watches over the peer's silence any more.
        let write = stream.write_all(&outgoing.frame);
        let result = if queue.is_closed() {
            timeout(LAST_WORDS, write).await.unwrap_or_else(|e| Err(e.into()))
        } else {
            write.await
        };
        if result.is_err() {
            return;
        }
    }
    // Closing says the same, should this fail.
    let _ = stream.shutdown().await;
}
