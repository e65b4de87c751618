//! The receiving side of one socket: what was read ahead, and the frame that is arriving. Knows nothing of lanes' memory.

use super::frame::FRAME_BYTES;
use super::socket::{Received, Socket};
use crate::transport::{Fault, LANES};
use std::ops::Range;

/// How much a socket is read ahead: a small message with all its headers comes by one system call. What is read ahead is copied once
/// more, so it is not larger.
const STAGING_BYTES: usize = (16 << 10) + 128;

/// How much is read ahead after a large piece: the next frame's headers, so that its payload can go straight to its place too. Reading as
/// far ahead as for small messages made 1 MiB 5 to 10 % slower.
const HEADERS_AHEAD_BYTES: usize = 256;

/// How often a dry socket is passed over before it is asked again without a pump in between. A pass over all lanes costs one
/// system call then, not one a lane.
const PASSED_OVER: u8 = LANES as u8;

/// How often the lanes find another lane's piece in their way before they move it aside themselves.
const PATIENCE: u8 = 4 * LANES as u8;

/// The receiving side of one socket.
#[derive(Debug)]
pub(super) struct Port {
    staging: Box<[u8]>,
    /// What of the staging is read and not yet used.
    staged: Range<usize>,
    piece: Option<Piece>,
    end: Option<End>,
    /// Attempts that this socket is still passed over, because it was dry.
    dry: u8,
    /// Attempts that found another lane's piece in their way.
    waited: u8,
    /// A lane's receiver came for something since the last pump: let it have its bytes first hand.
    attended: bool,
}

/// The part of a lane's stream that the arriving frame carries, as far as it has not been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) lane: usize,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Piece {
    fn bytes(&self) -> usize {
        (self.end - self.start) as usize
    }
}

#[derive(Debug)]
enum End {
    Closed,
    Broken(String),
}

impl Port {
    pub(super) fn new() -> Self {
        let staging = vec![0; STAGING_BYTES].into_boxed_slice();
        Self { staging, staged: 0..0, piece: None, end: None, dry: 0, waited: 0, attended: false }
    }

    /// What the arriving frame still carries; never empty.
    #[inline]
    pub(super) fn piece(&self) -> Option<Piece> {
        self.piece
    }

    /// Begins a frame, whose header was the last thing taken.
    pub(super) fn begin(&mut self, piece: Piece) {
        self.piece = Some(piece);
        self.waited = 0;
    }

    /// Takes the next header, if it is here whole. No frame may be arriving.
    #[inline]
    pub(super) fn take_header(&mut self) -> Option<[u8; FRAME_BYTES]> {
        let header = *self.staging[self.staged.clone()].first_chunk()?;
        self.unstage(FRAME_BYTES);
        Some(header)
    }

    /// What has been read of the arriving frame, at most `most` bytes.
    #[inline]
    pub(super) fn staged(&self, most: usize) -> &[u8] {
        let most = most.min(self.piece.map_or(0, |piece| piece.bytes()));
        &self.staging[self.staged.start..self.staged.end.min(self.staged.start + most)]
    }

    /// Notes that so many bytes of what was staged of the frame have been taken.
    #[inline]
    pub(super) fn took(&mut self, bytes: usize) {
        self.unstage(bytes);
        self.came(bytes);
    }

    /// Receives the frame's next bytes into `place`, which is no longer than what the frame still carries; nothing may be staged.
    pub(super) fn receive(&mut self, socket: &Socket, place: &mut [u8]) -> usize {
        debug_assert!(self.staged.is_empty(), "bytes overtook others");
        let ends = self.piece.is_some_and(|piece| piece.bytes() == place.len());
        let ahead = match (place.len() < STAGING_BYTES, ends) {
            (true, _) => STAGING_BYTES,
            (false, true) => HEADERS_AHEAD_BYTES,
            (false, false) => 0,
        };
        let bytes = self.fetch(socket, place, ahead).min(place.len());
        self.came(bytes);
        bytes
    }

    /// Reads on into the staging, where no frame is arriving. Whether anything came.
    pub(super) fn read_ahead(&mut self, socket: &Socket) -> bool {
        self.fetch(socket, &mut [], STAGING_BYTES) > 0
    }

    /// Throws away whatever comes.
    pub(super) fn discard(&mut self, socket: &Socket) {
        self.dry = 0;
        loop {
            self.unstage(self.staged.len());
            if !self.read_ahead(socket) {
                return;
            }
        }
    }

    /// Notes that a lane's receiver came for bytes.
    #[inline]
    pub(super) fn attend(&mut self) {
        self.attended = true;
    }

    /// Notes that a lane found another's piece in its way. Whether it has waited long enough to move it.
    pub(super) fn wait_longer(&mut self) -> bool {
        self.waited += 1;
        self.waited > PATIENCE && std::mem::take(&mut self.waited) > 0
    }

    /// Begins a pump: the socket may be asked again. Whether lanes' receivers came by themselves since the last.
    pub(super) fn rearm(&mut self) -> bool {
        self.dry = 0;
        std::mem::take(&mut self.attended)
    }

    /// Whether something is here that has not been looked at.
    pub(super) fn has_unseen(&self) -> bool {
        if self.piece.is_some() { !self.staged.is_empty() } else { self.staged.len() >= FRAME_BYTES }
    }

    /// Whether nothing will come from the socket any more.
    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Whether everything that ever came has been taken, and how it ended: an end in the middle of something is a fault by itself.
    pub(super) fn ended(&self) -> Option<Result<(), Fault>> {
        let lost = |reason: &str| Some(Err(Fault::Lost(reason.to_owned())));
        match &self.end {
            Some(_) if self.has_unseen() => None,
            Some(End::Broken(reason)) => lost(reason),
            Some(End::Closed) if self.piece.is_some() || !self.staged.is_empty() => {
                lost("the peer closed the connection in the middle of a message")
            }
            Some(End::Closed) => Some(Ok(())),
            None => None,
        }
    }

    /// Receives into `place` and at most `ahead` bytes more into the staging. Returns how many came altogether.
    fn fetch(&mut self, socket: &Socket, place: &mut [u8], ahead: usize) -> usize {
        if self.end.is_some() {
            return 0;
        }
        if self.dry > 0 {
            self.dry -= 1;
            return 0;
        }
        if self.staged.start > 0 {
            self.staging.copy_within(self.staged.clone(), 0);
            self.staged = 0..self.staged.len();
        }
        let room = &mut self.staging[self.staged.end..];
        let most = room.len().min(ahead);
        let room = &mut room[..most];
        match socket.receive(place, room) {
            Received::Bytes(bytes) => {
                self.staged.end += bytes.saturating_sub(place.len());
                if bytes < place.len() + most {
                    self.dry = PASSED_OVER;
                }
                return bytes;
            }
            Received::Nothing => self.dry = PASSED_OVER,
            Received::Closed => {
                // It wants nothing more either, and waits for this to know that all it sent has come.
                socket.finish_sending();
                self.end = Some(End::Closed);
            }
            Received::Broken(reason) => self.end = Some(End::Broken(reason)),
        }
        0
    }

    fn unstage(&mut self, bytes: usize) {
        self.staged.start += bytes;
        if self.staged.is_empty() {
            self.staged = 0..0;
        }
    }

    fn came(&mut self, bytes: usize) {
        if let Some(piece) = &mut self.piece {
            piece.start += bytes as u64;
            if piece.start == piece.end {
                self.piece = None;
            }
        }
    }
}
