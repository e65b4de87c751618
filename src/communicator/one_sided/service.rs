//! The thread that takes what other ranks put: it reads every stream as it comes, and sleeps while none does.

use super::board::{Board, Signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, recv};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What comes before the bytes of a put, or alone as a signal; sent as it is (little endian hosts only).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Head {
    pub(super) offset: u64,
    /// How many bytes follow.
    pub(super) bytes: u64,
    /// Which window they go to; [`Head::NO_WINDOW`] if none follow.
    pub(super) window: u32,
    index: u32,
    context: u32,
    /// How often the signal is given.
    pub(super) signals: u32,
}

impl Head {
    pub(super) const NO_WINDOW: u32 = u32::MAX;

    pub(super) fn of(window: u32, offset: u64, bytes: usize, signal: Signal) -> Self {
        Self { offset, bytes: bytes as u64, window, index: signal.index, context: signal.context, signals: 1 }
    }

    pub(super) fn signal(&self) -> Signal {
        Signal { index: self.index, context: self.context }
    }

    /// Whether a rank of this version could have said it.
    fn makes_sense(&self) -> bool {
        let numbers = self.index < Signal::NUMBERS && self.context < Signal::NUMBERS;
        numbers && (self.window != Self::NO_WINDOW || self.bytes == 0) && self.signals == 1
    }
}

/// What one call of the system takes at most: it is copied once more while it is in the cache.
const PIECE_BYTES: usize = 64 * 1024;

/// The running thread. It ends when this is dropped, with the streams.
pub(super) struct Service {
    streams: Vec<TcpStream>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Takes what comes over the streams, each of which is to a rank, and notes it on the board.
    pub(super) fn start(streams: Vec<(u32, TcpStream)>, board: Arc<Board>) -> std::io::Result<Self> {
        let closing = streams.iter().map(|(_, stream)| stream.try_clone()).collect::<std::io::Result<_>>()?;
        let sources = streams.into_iter().map(|(rank, stream)| Source::new(rank, stream)).collect();
        let thread = std::thread::Builder::new().name("serried-put".into()).spawn(move || serve(sources, &board))?;
        Ok(Self { streams: closing, thread: Some(thread) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A stream that has ended already is as good.
        self.streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        // A panic there has been reported by the thread.
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}

fn serve(mut sources: Vec<Source>, board: &Board) {
    let mut piece = vec![0; PIECE_BYTES];
    while !sources.is_empty() {
        let mut waiting: Vec<PollFd<'_>> =
            sources.iter().map(|source| PollFd::new(&source.stream, PollFlags::IN)).collect();
        // An interrupted wait finds nothing below.
        let _ = poll(&mut waiting, None);
        let ready: Vec<bool> = waiting.iter().map(|one| !one.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        sources.retain_mut(|source| {
            let ended = ready.next().is_some_and(|ready| ready).then(|| source.take(&mut piece, board).err()).flatten();
            match ended {
                None => true,
                Some(why) => {
                    // Its sender is to notice, too.
                    let _ = source.stream.shutdown(Shutdown::Both);
                    board.lose(source.rank, why);
                    false
                }
            }
        });
    }
}

/// One stream, and how far its present frame has been read.
struct Source {
    rank: u32,
    stream: TcpStream,
    head: [u8; size_of::<Head>()],
    /// Bytes of the head that have come.
    have: usize,
    /// The frame whose bytes are still to come, and where the next goes.
    frame: Option<Head>,
}

impl Source {
    fn new(rank: u32, stream: TcpStream) -> Self {
        Self { rank, stream, head: [0; size_of::<Head>()], have: 0, frame: None }
    }

    /// Takes what has come, a piece at most; why there will be no more, if so.
    fn take(&mut self, piece: &mut [u8], board: &Board) -> Result<(), String> {
        let Some(frame) = &mut self.frame else {
            self.have += receive(&self.stream, &mut self.head[self.have..])?;
            if self.have < self.head.len() {
                return Ok(());
            }
            self.have = 0;
            let head = Head::read_from_bytes(&self.head).map_err(|_| "a head of another size")?;
            if !head.makes_sense() {
                return Err("it sent what is no put".into());
            }
            if head.bytes == 0 {
                return board.take(self.rank, &head, |target| target.write(head.offset, &[]));
            }
            self.frame = Some(head);
            return Ok(());
        };
        let most = piece.len().min(usize::try_from(frame.bytes).unwrap_or(usize::MAX));
        let came = receive(&self.stream, &mut piece[..most])?;
        if came == 0 {
            return Ok(());
        }
        let is_last = came as u64 == frame.bytes;
        let part = Head { signals: u32::from(is_last), ..*frame };
        board.take(self.rank, &part, |target| target.write(part.offset, &piece[..came]))?;
        (frame.offset, frame.bytes) = (frame.offset + came as u64, frame.bytes - came as u64);
        if is_last {
            self.frame = None;
        }
        Ok(())
    }
}

/// Bytes that are there; 0 if none are yet, an error at the end.
fn receive(stream: &TcpStream, into: &mut [u8]) -> Result<usize, String> {
    use rustix::io::Errno;
    match recv(stream, into, RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Err("its stream has ended".into()),
        Ok((_, bytes)) => Ok(bytes),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.to_string()),
    }
}
