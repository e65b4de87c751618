//! What travels on the sockets of a TCP link: one [`Hello`] first, then frames. Only the format; no state, no sockets.
//!
//! A *lane's stream* is the sequence of its messages: each a [`Head`] that begins at a multiple of [`ALIGNMENT`] bytes, and its
//! payload. A frame carries a piece of one lane's stream and says at which offset of the stream the piece begins, so pieces may
//! take any socket. Every frame also carries how far its sender has consumed each lane of the other direction: the credit.

use crate::transport::{Fault, Head, LANES};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where messages begin in a lane's stream: at multiples of this. So no element of a message ever straddles the end of the slot memory.
pub(super) const ALIGNMENT: u64 = 8;

/// Bytes of a message's head in a lane's stream.
pub(super) const HEAD_BYTES: usize = size_of::<Head>();

/// The most that a message takes of a lane's stream beside its payload.
pub(super) const STREAM_BYTES_PER_MESSAGE_MAX: usize = HEAD_BYTES + ALIGNMENT as usize;

/// Bytes of a frame's header, and of a hello.
pub(super) const FRAME_BYTES: usize = size_of::<FrameHeader>();

const MAGIC: [u8; 12] = *b"serried link";
const VERSION: u8 = 1;

/// What begins a frame.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FrameHeader {
    kind: u8,
    lane: u8,
    zero: [u8; 2],
    length: U32,
    offset: U64,
    consumed: [U32; LANES],
}

/// A frame, as far as it can be judged by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// `length` bytes of `lane`'s stream follow, which belong at `offset`.
    Data { lane: usize, offset: u64, length: u32 },
    /// Nothing follows: sent for its credit alone.
    Credit,
}

/// The kinds of frame, as they are numbered on the wire.
const DATA: u8 = 0x51;
const CREDIT: u8 = 0x52;
const HELLO: u8 = 0x53;

impl FrameHeader {
    /// The header of a frame, with the credit that it carries.
    pub(super) fn new(frame: Frame, consumed: &[u64; LANES]) -> Self {
        let (kind, lane, offset, length) = match frame {
            Frame::Data { lane, offset, length } => (DATA, lane as u8, offset, length),
            Frame::Credit => (CREDIT, 0, 0, 0),
        };
        // Credit travels as the low half of the position; a window is far smaller than half of that.
        let consumed = consumed.map(|position| U32::new(position as u32));
        Self { kind, lane, zero: [0; 2], length: U32::new(length), offset: U64::new(offset), consumed }
    }

    /// Judges a header that came from the peer.
    pub(super) fn parse(bytes: &[u8; FRAME_BYTES]) -> Result<(Frame, [u32; LANES]), Fault> {
        let header: Self = zerocopy::transmute!(*bytes);
        let (lane, length, offset) = (usize::from(header.lane), header.length.get(), header.offset.get());
        let frame = match header.kind {
            DATA if lane < LANES && length > 0 => Frame::Data { lane, offset, length },
            CREDIT if lane == 0 && length == 0 && offset == 0 => Frame::Credit,
            DATA | CREDIT => return Err(nonsense(format!("a frame of {length} bytes for lane {lane} at {offset}"))),
            kind => return Err(nonsense(format!("a frame of kind {kind:#04x}"))),
        };
        if header.zero != [0; 2] {
            return Err(nonsense("a frame with a reserved field set".to_owned()));
        }
        Ok((frame, header.consumed.map(U32::get)))
    }
}

/// The first bytes on every socket, either way: who speaks, and with what slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Hello {
    kind: u8,
    version: u8,
    sockets: U16,
    magic: [u8; 12],
    credits: U32,
    lanes: U32,
    slot_bytes: U64,
}

impl Hello {
    /// The hello of a link with these slots.
    pub(super) fn new(sockets: usize, slot_bytes: usize, credits: u32) -> Self {
        Self {
            kind: HELLO,
            version: VERSION,
            sockets: U16::new(sockets as u16),
            magic: MAGIC,
            credits: U32::new(credits),
            lanes: U32::new(LANES as u32),
            slot_bytes: U64::new(slot_bytes as u64),
        }
    }

    /// Judges the hello that came from the peer: it must be the one that this end says.
    pub(super) fn check(&self, bytes: &[u8; FRAME_BYTES]) -> Result<(), Fault> {
        let theirs: Self = zerocopy::transmute!(*bytes);
        if theirs.kind != HELLO || theirs.magic != MAGIC {
            return Err(nonsense("its first bytes are no greeting".to_owned()));
        }
        let differs = |what: &str, ours: u64, theirs: u64| {
            Err(nonsense(format!(
                "the two ends of the link are set up differently: {what} {ours} here, {theirs} there"
            )))
        };
        if theirs.version != VERSION {
            return differs("wire version", VERSION.into(), theirs.version.into());
        }
        if theirs.sockets != self.sockets {
            return differs("sockets", self.sockets.into(), theirs.sockets.into());
        }
        if theirs.lanes != self.lanes {
            return differs("lanes", self.lanes.into(), theirs.lanes.into());
        }
        if theirs.slot_bytes != self.slot_bytes {
            return differs("bytes a slot", self.slot_bytes.into(), theirs.slot_bytes.into());
        }
        if theirs.credits != self.credits {
            return differs("slots a lane", self.credits.into(), theirs.credits.into());
        }
        Ok(())
    }
}

/// The offset at which the next message begins in a lane's stream that has come to `offset`.
pub(super) const fn message_start(offset: u64) -> u64 {
    offset.next_multiple_of(ALIGNMENT)
}

pub(super) fn nonsense(what: String) -> Fault {
    Fault::Nonsense(what)
}

const _: () = assert!(FRAME_BYTES == 32 && size_of::<Hello>() == FRAME_BYTES);
const _: () = assert!(HEAD_BYTES.is_multiple_of(ALIGNMENT as usize));

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(frame: Frame) -> [u8; FRAME_BYTES] {
        zerocopy::transmute!(FrameHeader::new(frame, &[1, 2, 3, (1 << 32) + 4]))
    }

    #[test]
    fn frames_survive_the_wire() {
        for frame in [Frame::Data { lane: 3, offset: u64::MAX - 9, length: 7 }, Frame::Credit] {
            let (parsed, consumed) = FrameHeader::parse(&bytes(frame)).expect("our own frame");
            assert_eq!((parsed, consumed), (frame, [1, 2, 3, 4]));
        }
    }

    #[test]
    fn every_field_is_judged() {
        let good = bytes(Frame::Data { lane: 1, offset: 8, length: 9 });
        for (position, value) in [(0, 0), (0, HELLO), (1, LANES as u8), (2, 1), (3, 1), (4, 0)] {
            let mut bad = good;
            bad[position] = value;
            assert!(matches!(FrameHeader::parse(&bad), Err(Fault::Nonsense(_))), "byte {position} = {value}");
        }
        let mut bad = bytes(Frame::Credit);
        bad[4] = 1;
        assert!(FrameHeader::parse(&bad).is_err());
    }

    #[test]
    fn a_hello_of_another_setup_is_refused_with_both_values() {
        let ours = Hello::new(2, 4096, 2);
        let wire = |hello: Hello| zerocopy::transmute!(hello);
        assert!(ours.check(&wire(ours)).is_ok());
        for (other, words) in [
            (Hello::new(1, 4096, 2), "sockets 2 here, 1 there"),
            (Hello::new(2, 8192, 2), "slot 4096 here, 8192 there"),
            (Hello::new(2, 4096, 3), "lane 2 here, 3 there"),
        ] {
            let fault = ours.check(&wire(other)).expect_err("differs");
            assert!(fault.to_string().ends_with(words), "{fault}");
        }
        assert!(ours.check(b"GET / HTTP/1.1\r\nHost: somewhere.").is_err());
    }
}
