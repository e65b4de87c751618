//! The receiving half of a TCP link: takes frames off the sockets and puts each piece where it belongs.
//!
//! Bytes move as late as possible, so that they can go straight to the caller. A [`Port`] reads a little ahead into its staging,
//! which is all that a small message needs; the payload of a large one is received right into the caller's buffer, or into the
//! lane's [`Window`] when it is to be lent. What nobody asks for is moved to its window by [`Incoming::pump`], so that one lane
//! can never hold up another. Must not send anything.

use super::frame::{Frame, FrameHeader, HEAD_BYTES, Hello, message_start, nonsense};
use super::port::{Piece, Port};
use super::socket::{CLOSED, Socket};
use super::window::Window;
use crate::transport::{Fault, Head, LANES};

/// [`Incoming::gather`] looks for more where there is less than this, so that a reduction is not run on crumbs.
const LEND_BYTES_MIN: usize = 16 << 10;

/// The receiving half of a link.
#[derive(Debug)]
pub(super) struct Incoming {
    ports: Vec<Port>,
    /// The ports that have not had the peer's hello.
    ungreeted: Vec<usize>,
    lanes: [Lane; LANES],
    slot_bytes: u64,
    hello: Hello,
    /// The newest credit that came, until it is taken.
    credit: Option<[u32; LANES]>,
}

#[derive(Debug)]
struct Lane {
    window: Window,
    message: Option<Message>,
}

/// The message that a lane's receiver is at.
#[derive(Clone, Copy, Debug)]
struct Message {
    head: Head,
    /// Payload that is not consumed.
    left: usize,
}

/// Where a lane's next bytes shall go.
enum Sink<'a> {
    /// To its window; no more than this is wanted now.
    Window(usize),
    /// To the caller; the window must be empty.
    Caller(&'a mut [u8]),
}

impl Incoming {
    /// The receiving half of a link of so many sockets.
    pub(super) fn new(sockets: usize, window_bytes: u64, slot_bytes: usize, hello: Hello) -> Self {
        Self {
            ports: (0..sockets).map(|_| Port::new()).collect(),
            ungreeted: (0..sockets).collect(),
            lanes: std::array::from_fn(|_| Lane { window: Window::new(window_bytes), message: None }),
            slot_bytes: slot_bytes as u64,
            hello,
            credit: None,
        }
    }

    /// The head of the message that `lane`'s receiver is at.
    #[inline]
    pub(super) fn head(&mut self, sockets: &[Socket], lane: usize) -> Result<Option<Head>, Fault> {
        match self.lanes[lane].message {
            Some(message) => Ok(Some(message.head)),
            None => self.next_message(sockets, lane),
        }
    }

    /// Moves payload of that message to `into`; returns how much came.
    pub(super) fn read(&mut self, sockets: &[Socket], lane: usize, into: &mut [u8]) -> Result<usize, Fault> {
        if self.head(sockets, lane)?.is_none() {
            return Ok(0);
        }
        let wanted = into.len().min(self.left(lane));
        let into = &mut into[..wanted];
        let mut done = 0;
        while done < wanted {
            let mut bytes = self.lanes[lane].window.take(&mut into[done..]);
            if bytes == 0 {
                bytes = self.advance(sockets, lane, &mut Sink::Caller(&mut into[done..]))?;
            }
            if bytes == 0 {
                break;
            }
            done += bytes;
        }
        if done == 0 && wanted > 0 {
            self.unless_lost()?;
        }
        self.finish(lane, done);
        Ok(done)
    }

    /// Gathers payload of that message in the lane's window, for [`Incoming::lend`].
    pub(super) fn gather(&mut self, sockets: &[Socket], lane: usize) -> Result<(), Fault> {
        if self.head(sockets, lane)?.is_none() {
            return Ok(());
        }
        let left = self.left(lane);
        loop {
            let available = self.lanes[lane].window.available();
            if available >= left.min(LEND_BYTES_MIN) {
                return Ok(());
            }
            if self.advance(sockets, lane, &mut Sink::Window(left - available))? == 0 {
                return if available > 0 { Ok(()) } else { self.unless_lost() };
            }
        }
    }

    /// What of that message is gathered and not consumed.
    #[inline]
    pub(super) fn lend(&self, lane: usize) -> &[u8] {
        self.lanes[lane].window.lend(self.left(lane))
    }

    /// Gives back the first `bytes` of what was lent.
    pub(super) fn consume(&mut self, lane: usize, bytes: usize) {
        assert!(bytes <= self.left(lane), "{bytes} bytes consumed of a message that has {}", self.left(lane));
        self.lanes[lane].window.consume(bytes);
        self.finish(lane, bytes);
    }

    /// Moves what nobody has come for since the last pump to where it is not in the way. Whether anything moved, or may when a lane's
    /// receiver comes for it.
    pub(super) fn pump(&mut self, sockets: &[Socket]) -> Result<bool, Fault> {
        let mut moved = false;
        for port in 0..self.ports.len() {
            if self.ports[port].rearm() {
                moved |= self.ports[port].has_unseen();
            } else {
                while self.step(sockets, port)? {
                    moved = true;
                }
            }
        }
        Ok(moved)
    }

    /// How far each lane is consumed: the credit that is due to the peer.
    #[inline]
    pub(super) fn consumed(&self) -> [u64; LANES] {
        std::array::from_fn(|lane| self.lanes[lane].window.position())
    }

    /// The credit that has come since the last time, if any: how far the peer has consumed each lane, the low 32 bits of it.
    #[inline]
    pub(super) fn take_credit(&mut self) -> Option<[u32; LANES]> {
        self.credit.take()
    }

    /// Throws away whatever comes.
    pub(super) fn discard(&mut self, sockets: &[Socket]) {
        self.ports.iter_mut().zip(sockets).for_each(|(port, socket)| port.discard(socket));
    }

    /// Whether nothing will come from this socket any more.
    pub(super) fn has_ended(&self, port: usize) -> bool {
        self.ports[port].has_ended()
    }

    fn left(&self, lane: usize) -> usize {
        self.lanes[lane].message.map_or(0, |message| message.left)
    }

    fn finish(&mut self, lane: usize, bytes: usize) {
        if let Some(message) = &mut self.lanes[lane].message {
            message.left -= bytes;
            if message.left == 0 && (bytes > 0 || message.head.bytes == 0) {
                self.lanes[lane].message = None;
            }
        }
    }

    fn next_message(&mut self, sockets: &[Socket], lane: usize) -> Result<Option<Head>, Fault> {
        let position = self.lanes[lane].window.position();
        let padding = (message_start(position) - position) as usize;
        loop {
            let available = self.lanes[lane].window.available();
            if available >= padding + HEAD_BYTES {
                break;
            }
            if self.advance(sockets, lane, &mut Sink::Window(padding + HEAD_BYTES - available))? == 0 {
                return self.unless_lost().map(|()| None);
            }
        }
        let mut bytes = [0; HEAD_BYTES];
        let Lane { window, message } = &mut self.lanes[lane];
        window.consume(padding);
        window.take(&mut bytes);
        let head: Head = zerocopy::transmute!(bytes);
        if head.bytes > self.slot_bytes {
            return Err(nonsense(format!("a message of {} bytes for slots of {}", head.bytes, self.slot_bytes)));
        }
        *message = Some(Message { head, left: head.bytes as usize });
        Ok(Some(head))
    }

    /// Brings the next bytes of `lane` to where they shall go; returns how many came.
    fn advance(&mut self, sockets: &[Socket], lane: usize, sink: &mut Sink<'_>) -> Result<usize, Fault> {
        for port in 0..self.ports.len() {
            loop {
                match self.ports[port].piece() {
                    Some(piece) if piece.lane == lane && piece.start == self.lanes[lane].window.edge() => {
                        self.ports[port].attend();
                        let bytes = self.deliver(&sockets[port], port, piece, sink);
                        if bytes > 0 {
                            return Ok(bytes);
                        }
                        break;
                    }
                    Some(_) if self.ports[port].wait_longer() => {
                        if !self.step(sockets, port)? {
                            break;
                        }
                    }
                    Some(_) => break,
                    None => {
                        self.ports[port].attend();
                        if !self.step(sockets, port)? {
                            break;
                        }
                    }
                }
            }
        }
        Ok(0)
    }

    /// Takes a port one step further: its frame's bytes to their window, or its next header, or more into its staging. Whether
    /// there was anything.
    fn step(&mut self, sockets: &[Socket], port: usize) -> Result<bool, Fault> {
        if let Some(piece) = self.ports[port].piece() {
            return Ok(self.deliver(&sockets[port], port, piece, &mut Sink::Window(usize::MAX)) > 0);
        }
        Ok(self.take_header(port)? || self.ports[port].read_ahead(&sockets[port]))
    }

    /// Moves bytes of the arriving frame to where they shall go.
    fn deliver(&mut self, socket: &Socket, port: usize, piece: Piece, sink: &mut Sink<'_>) -> usize {
        let port = &mut self.ports[port];
        let window = &mut self.lanes[piece.lane].window;
        let rest = (piece.end - piece.start) as usize;
        match sink {
            Sink::Window(most) => {
                let most = rest.min(*most);
                let staged = port.staged(most);
                let mut bytes = staged.len();
                if bytes > 0 {
                    window.store(piece.start, staged);
                    port.took(bytes);
                } else {
                    bytes = port.receive(socket, window.place(piece.start, most));
                    if bytes > 0 {
                        window.arrived(piece.start, bytes);
                    }
                }
                bytes
            }
            Sink::Caller(into) => {
                let most = rest.min(into.len());
                let staged = port.staged(most);
                let mut bytes = staged.len();
                if bytes > 0 {
                    into[..bytes].copy_from_slice(staged);
                    port.took(bytes);
                } else {
                    bytes = port.receive(socket, &mut into[..most]);
                }
                window.pass_by(bytes);
                bytes
            }
        }
    }

    /// Takes the next header off a port's staging and judges it. Whether there was one.
    fn take_header(&mut self, port: usize) -> Result<bool, Fault> {
        let Some(bytes) = self.ports[port].take_header() else { return Ok(false) };
        if !self.ungreeted.is_empty() && self.ungreeted.contains(&port) {
            self.hello.check(&bytes)?;
            self.ungreeted.retain(|&other| other != port);
            return Ok(true);
        }
        let (frame, consumed) = FrameHeader::parse(&bytes)?;
        match &mut self.credit {
            Some(credit) => (0..LANES).for_each(|lane| credit[lane] = later(credit[lane], consumed[lane])),
            None => self.credit = Some(consumed),
        }
        if let Frame::Data { lane, offset, length } = frame {
            self.begin(port, lane, offset, length)?;
        }
        Ok(true)
    }

    fn begin(&mut self, port: usize, lane: usize, offset: u64, length: u32) -> Result<(), Fault> {
        let window = &self.lanes[lane].window;
        let end = offset.checked_add(length.into());
        // What other sockets are bringing has not all arrived, but is spoken for.
        let free = |piece: Piece| {
            let mut others = self.ports.iter().filter_map(Port::piece).filter(|other| other.lane == lane);
            others.all(|other| other.end <= piece.start || piece.end <= other.start)
        };
        match end.map(|end| Piece { lane, start: offset, end }) {
            Some(piece) if window.expects(&(piece.start..piece.end)) && free(piece) => self.ports[port].begin(piece),
            _ => {
                let (position, edge) = (window.position(), window.edge());
                return Err(nonsense(format!(
                    "{length} bytes at {offset} of lane {lane}, which is consumed to {position} and has come to {edge}"
                )));
            }
        }
        Ok(())
    }

    /// Tells a link whose end is reached from one where nothing is here *yet*.
    fn unless_lost(&self) -> Result<(), Fault> {
        let mut all_ended = true;
        for port in &self.ports {
            match port.ended() {
                Some(how) => how?,
                None => all_ended = false,
            }
        }
        if all_ended { Err(Fault::Lost(CLOSED.to_owned())) } else { Ok(()) }
    }
}

/// The later of two positions, of which the low 32 bits are known.
fn later(one: u32, other: u32) -> u32 {
    if (other.wrapping_sub(one) as i32) > 0 { other } else { one }
}
