//! A few bytes of headers on their way into the kernel. Only bytes; what they mean is [`super::frame`]'s.

use super::frame::{FRAME_BYTES, STREAM_BYTES_PER_MESSAGE_MAX};

/// A frame's header and that of the message that begins in it.
const HEADERS_BYTES_MAX: usize = FRAME_BYTES + STREAM_BYTES_PER_MESSAGE_MAX;

/// Bytes that are taken from the front, without allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headers {
    bytes: [u8; HEADERS_BYTES_MAX],
    start: usize,
    end: usize,
}

impl Headers {
    /// The parts, one after the other; together they are one frame's headers.
    #[inline]
    pub(super) fn new(parts: &[&[u8]]) -> Self {
        let mut headers = Self::default();
        for part in parts {
            headers.bytes[headers.end..][..part.len()].copy_from_slice(part);
            headers.end += part.len();
        }
        headers
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops the first `bytes`.
    #[inline]
    pub(super) fn take(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end, "more was taken than there was");
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self { bytes: [0; HEADERS_BYTES_MAX], start: 0, end: 0 }
    }
}
