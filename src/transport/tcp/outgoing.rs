//! The sending half of a TCP link: cuts what callers offer into frames, within each lane's window. Must not receive anything.
//!
//! Payload is never copied: the kernel takes it from the caller's slice. Where it takes only a part of a frame, the frame is
//! *begun*: its socket belongs to its lane until the lane's caller has offered the rest again. That cannot deadlock: the frame lies
//! within the window, so the peer has room for it whatever else it does, and nothing that the peer must do first needs this socket.

use super::frame::{Frame, FrameHeader, HEAD_BYTES, Hello, message_start, nonsense};
use super::headers::Headers;
use super::socket::Socket;
use crate::transport::{Fault, Head, LANES};
use zerocopy::IntoBytes;

/// The most of a message that goes to one socket at once, where there are several: small enough that a slow one delays a message by
/// little, large enough for the kernel to work well.
const STRIPE_BYTES_MAX: usize = 128 << 10;

/// Pieces smaller than this stay on their lane's own socket while that is free: striping gains them nothing.
const STRIPED_BYTES_MIN: usize = 32 << 10;

/// How often a full socket is passed over before it is tried again without a pump in between.
const PASSED_OVER: u8 = LANES as u8;

/// The sending half of a link.
#[derive(Debug)]
pub(super) struct Outgoing {
    ports: Vec<Port>,
    lanes: [Lane; LANES],
    window_bytes: u64,
    slot_bytes: u64,
    /// The credit that the peer was last sent.
    told: [u64; LANES],
    /// Credit is due, but no socket could take it.
    credit_refused: bool,
    /// The socket that is next to take a stripe.
    next: usize,
    /// The connection broke, as sending found out. What arrived before may still be read.
    lost: Option<Fault>,
}

#[derive(Debug, Default)]
struct Lane {
    /// How much of the lane's stream is in frames.
    sent: u64,
    /// How much of it the peer has consumed.
    consumed: u64,
    message: Option<Message>,
    begun: Option<Begun>,
    /// The kernel or another lane's frame was in the way of what was last offered.
    refused: bool,
}

/// An open message, until the kernel has all of it.
#[derive(Debug)]
struct Message {
    /// The head, while it has not gone into a frame.
    head: Option<Head>,
    /// Payload that the kernel has not taken.
    left: usize,
}

/// A frame that a socket has not taken whole.
#[derive(Clone, Copy, Debug)]
struct Begun {
    port: usize,
    /// Payload that is still to come; headers may be too, and lie with the port.
    left: usize,
}

/// The sending side of one socket.
#[derive(Debug, Default)]
struct Port {
    /// Headers that the kernel has not taken: they go before anything else.
    headers: Headers,
    /// The lane whose frame is begun.
    begun_by: Option<usize>,
    /// Attempts that this socket is still passed over, because it was full.
    full: u8,
}

impl Outgoing {
    /// The sending half of a link of so many sockets. The first thing that each socket sends is the hello.
    pub(super) fn new(sockets: usize, window_bytes: u64, slot_bytes: usize, hello: &Hello) -> Self {
        let greeting = || Port { headers: Headers::new(&[hello.as_bytes()]), ..Port::default() };
        Self {
            ports: (0..sockets).map(|_| greeting()).collect(),
            lanes: std::array::from_fn(|_| Lane::default()),
            window_bytes,
            slot_bytes: slot_bytes as u64,
            told: [0; LANES],
            credit_refused: false,
            next: 0,
            lost: None,
        }
    }

    /// Begins a message, if the window has room for its head. The head goes out with the first payload, or at once where there is none.
    pub(super) fn open(
        &mut self,
        sockets: &[Socket],
        lane: usize,
        head: &Head,
        credit: &Credit,
    ) -> Result<bool, Fault> {
        self.unless_lost()?;
        match &self.lanes[lane].message {
            // An empty message is refused until it is out, so its caller comes again.
            Some(message) => assert!(message.left == 0 && head.bytes == 0, "a message was opened within another"),
            None => {
                assert!(
                    head.bytes <= self.slot_bytes,
                    "a message of {} bytes for slots of {}",
                    head.bytes,
                    self.slot_bytes
                );
                let sent = self.lanes[lane].sent;
                if self.room(lane) < message_start(sent) - sent + HEAD_BYTES as u64 {
                    return Ok(false);
                }
                self.lanes[lane].message = Some(Message { head: Some(*head), left: head.bytes as usize });
            }
        }
        if head.bytes > 0 {
            return Ok(true);
        }
        self.offer(sockets, lane, &[], credit)?;
        Ok(self.lanes[lane].message.is_none())
    }

    /// Sends payload of the open message, as far as window and kernel allow; returns how much the kernel took.
    pub(super) fn write(
        &mut self,
        sockets: &[Socket],
        lane: usize,
        payload: &[u8],
        credit: &Credit,
    ) -> Result<usize, Fault> {
        self.unless_lost()?;
        let left = self.lanes[lane].message.as_ref().map_or(0, |message| message.left);
        assert!(payload.len() <= left, "{} bytes written to a message that has {left} left", payload.len());
        let mut done = 0;
        while done < payload.len() {
            let bytes = self.offer(sockets, lane, &payload[done..], credit)?;
            done += bytes;
            if bytes == 0 || self.lanes[lane].begun.is_some() {
                break;
            }
        }
        Ok(done)
    }

    /// Notes how far the peer says it has consumed each lane.
    pub(super) fn learn(&mut self, consumed: &[u32; LANES]) -> Result<(), Fault> {
        for (number, (lane, &theirs)) in self.lanes.iter_mut().zip(consumed).enumerate() {
            let news = theirs.wrapping_sub(lane.consumed as u32) as i32;
            // Older credit than is known comes when sockets overtake each other.
            let news = u64::try_from(news).unwrap_or(0);
            if news > lane.sent - lane.consumed {
                let ahead = lane.sent - lane.consumed;
                return Err(nonsense(format!(
                    "credit for {news} bytes of lane {number}, of which {ahead} are on the way"
                )));
            }
            lane.consumed += news;
        }
        Ok(())
    }

    /// Sends what waits to be sent without a caller: credit, if so much is due that the peer might wait for it. Whether anything moved.
    pub(super) fn pump(&mut self, sockets: &[Socket], credit: &Credit) -> bool {
        if self.lost.is_some() {
            return false;
        }
        let mut moved = false;
        for (port, socket) in self.ports.iter_mut().zip(sockets) {
            port.full = 0;
            if port.begun_by.is_none() && !port.headers.is_empty() {
                match port.send(socket, &Headers::default(), &[]) {
                    Ok(bytes) => moved |= bytes > 0,
                    Err(fault) => self.lost = Some(fault),
                }
            }
        }
        // A slot that was consumed is a slot that may be filled again, as the credits declare: half a window of two is a few bytes more.
        let enough = self.slot_bytes.min(self.window_bytes / 2);
        let due = |lane: usize| credit[lane] - self.told[lane] >= enough;
        self.credit_refused = (0..LANES).any(due) && !self.send_credit(sockets, credit);
        moved
    }

    /// Sends nothing ever again.
    pub(super) fn end(&mut self, why: Fault) {
        self.lost = Some(why);
    }

    /// Whether something waits for this socket to become writable.
    pub(super) fn wants(&self, port: usize) -> bool {
        let port = &self.ports[port];
        let refused = self.credit_refused || self.lanes.iter().any(|lane| lane.refused);
        self.lost.is_none() && (refused || port.begun_by.is_some() || !port.headers.is_empty())
    }

    fn unless_lost(&self) -> Result<(), Fault> {
        self.lost.clone().map_or(Ok(()), Err)
    }

    fn room(&self, lane: usize) -> u64 {
        self.window_bytes - (self.lanes[lane].sent - self.lanes[lane].consumed)
    }

    /// Offers payload to one socket; returns how much it took.
    fn offer(&mut self, sockets: &[Socket], lane: usize, payload: &[u8], credit: &Credit) -> Result<usize, Fault> {
        let result = match self.lanes[lane].begun {
            Some(begun) => self.continue_frame(sockets, lane, begun, payload),
            None => self.begin_frame(sockets, lane, payload, credit),
        };
        let bytes = result.inspect_err(|fault| self.lost = Some(fault.clone()))?;
        let Lane { message, begun, .. } = &mut self.lanes[lane];
        if let Some(open) = message {
            open.left -= bytes;
            if open.left == 0 && open.head.is_none() && begun.is_none() {
                *message = None;
            }
        }
        Ok(bytes)
    }

    fn begin_frame(
        &mut self,
        sockets: &[Socket],
        lane: usize,
        payload: &[u8],
        credit: &Credit,
    ) -> Result<usize, Fault> {
        let sent = self.lanes[lane].sent;
        let head = self.lanes[lane].message.as_ref().and_then(|message| message.head);
        let padding = if head.is_some() { (message_start(sent) - sent) as usize } else { 0 };
        let head_bytes = head.as_ref().map_or(&[][..], IntoBytes::as_bytes);

        let wanted = payload.len().min(if sockets.len() > 1 { STRIPE_BYTES_MAX } else { usize::MAX });
        let room = self.room(lane) as usize - padding - head_bytes.len();
        let bytes = wanted.min(room);
        // No crumbs: rather wait for credit. It comes: of a window that is full to three quarters, the peer will consume half
        // without needing more, and tell.
        if bytes < wanted.min(self.window_bytes as usize / 4) {
            self.lanes[lane].refused = false;
            return Ok(0);
        }
        let Some(number) = self.choose(lane, bytes) else {
            self.lanes[lane].refused = true;
            return Ok(0);
        };

        let length = padding + head_bytes.len() + bytes;
        let header = FrameHeader::new(Frame::Data { lane, offset: sent, length: length as u32 }, credit);
        let headers = Headers::new(&[header.as_bytes(), &[0; 8][..padding], head_bytes]);
        let port = &mut self.ports[number];
        let before = port.headers.len();
        let taken = port.send(&sockets[number], &headers, &payload[..bytes])?;
        let lane_number = lane;
        let lane = &mut self.lanes[lane];
        lane.refused = taken <= before;
        if lane.refused {
            return Ok(0);
        }
        lane.sent += length as u64;
        if let Some(message) = &mut lane.message {
            message.head = None;
        }
        self.told = *credit;
        let accepted = (taken - before).saturating_sub(headers.len());
        if taken < before + headers.len() + bytes {
            lane.begun = Some(Begun { port: number, left: bytes - accepted });
            port.begun_by = Some(lane_number);
        }
        Ok(accepted)
    }

    fn continue_frame(
        &mut self,
        sockets: &[Socket],
        lane: usize,
        begun: Begun,
        payload: &[u8],
    ) -> Result<usize, Fault> {
        let port = &mut self.ports[begun.port];
        let payload = &payload[..payload.len().min(begun.left)];
        let before = port.headers.len();
        let mut accepted = 0;
        if port.is_ready() && before + payload.len() > 0 {
            accepted = port.send(&sockets[begun.port], &Headers::default(), payload)?.saturating_sub(before);
        }
        let left = begun.left - accepted;
        let ended = left == 0 && port.headers.is_empty();
        if ended {
            port.begun_by = None;
        }
        self.lanes[lane].begun = (!ended).then_some(Begun { left, ..begun });
        Ok(accepted)
    }

    /// The socket to take the next frame of a lane: small ones stay together while they can, large ones go round.
    fn choose(&mut self, lane: usize, bytes: usize) -> Option<usize> {
        let count = self.ports.len();
        let first = if bytes < STRIPED_BYTES_MIN { lane } else { self.next };
        let chosen = (0..count).map(|k| (first + k) % count).find(|&port| self.ports[port].is_free())?;
        if bytes >= STRIPED_BYTES_MIN {
            self.next = (chosen + 1) % count;
        }
        Some(chosen)
    }

    /// Sends a frame for its credit alone. Whether a socket was free for it.
    fn send_credit(&mut self, sockets: &[Socket], credit: &Credit) -> bool {
        let Some(number) = self.ports.iter_mut().position(|port| port.headers.is_empty() && port.is_free()) else {
            return false;
        };
        let port = &mut self.ports[number];
        port.headers = Headers::new(&[FrameHeader::new(Frame::Credit, credit).as_bytes()]);
        self.told = *credit;
        if let Err(fault) = port.send(&sockets[number], &Headers::default(), &[]) {
            self.lost = Some(fault);
        }
        true
    }
}

/// How far this end has consumed each lane that it receives.
pub(super) type Credit = [u64; LANES];

impl Port {
    /// Sends the headers that wait, then `headers`, then `payload`, as far as the kernel takes them; returns how many bytes it took.
    /// What is left of `headers` waits here only if the kernel took a part of what they begin.
    fn send(&mut self, socket: &Socket, headers: &Headers, payload: &[u8]) -> Result<usize, Fault> {
        let before = self.headers.len();
        let taken = socket.send([self.headers.as_bytes(), headers.as_bytes(), payload])?;
        if taken < before + headers.len() + payload.len() {
            self.full = PASSED_OVER;
        }
        self.headers.take(taken.min(before));
        if taken > before {
            self.headers = *headers;
            self.headers.take((taken - before).min(headers.len()));
        }
        Ok(taken)
    }

    /// Whether a new frame may begin here now.
    fn is_free(&mut self) -> bool {
        self.begun_by.is_none() && self.is_ready()
    }

    fn is_ready(&mut self) -> bool {
        if self.full > 0 {
            self.full -= 1;
            return false;
        }
        true
    }
}
