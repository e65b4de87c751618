//! Bytes on the control plane's connections: length-prefixed frames with hard limits, and the fields inside them.
//!
//! Frames exist only on connections that have proved themselves; a stranger's bytes meet fixed-size reads alone (see `auth`). Even so
//! no length that a peer names is believed: memory grows with the bytes that really came.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The largest frame between members. It bounds what one collective exchange may carry.
pub(super) const FRAME_MAX: usize = 256 << 20;

/// The largest frame between a rank and the rendezvous: a list of a million missing ranks.
pub(super) const RENDEZVOUS_FRAME_MAX: usize = 4 << 20;

/// The longest text that travels in a message; longer ones are cut.
pub(super) const TEXT_MAX: usize = 1024;

/// How far a buffer grows ahead of the bytes that came.
const GROWTH: usize = 64 << 10;

/// Bytes that no serried of this version sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nonsense from a peer: {0}")]
pub(super) struct Nonsense(pub(super) &'static str);

impl From<Nonsense> for io::Error {
    fn from(nonsense: Nonsense) -> Self {
        Self::new(io::ErrorKind::InvalidData, nonsense)
    }
}

/// Reads one frame's body, of 1 to `limit` bytes, and calls `heard` whenever some of it came. `None`: the peer closed the
/// connection between two frames.
pub(super) async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
    mut heard: impl FnMut(),
) -> io::Result<Option<Vec<u8>>> {
    let mut prefix = [0; 4];
    if stream.read(&mut prefix[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut prefix[1..]).await?;
    heard();
    let length = u32::from_le_bytes(prefix) as usize;
    if length == 0 || length > limit {
        return Err(Nonsense("a frame of impossible length").into());
    }
    let mut body = Vec::with_capacity(length.min(GROWTH));
    while body.len() < length {
        let most = (length - body.len()).min(GROWTH);
        body.reserve(most);
        if (&mut *stream).take(most as u64).read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        heard();
    }
    Ok(Some(body))
}

/// Builds a frame, length prefix included.
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    /// Begins a frame of this kind.
    pub(super) fn frame(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind])
    }

    /// Begins bare fields, for something that is no frame of its own.
    pub(super) fn fields() -> Self {
        Self(Vec::new())
    }

    pub(super) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// Bytes whose number the reader knows.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes with their number in front.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).expect("fields are far below 4 GiB");
        self.u32(length).raw(bytes)
    }

    /// A text, cut to `TEXT_MAX`.
    pub(super) fn text(self, text: &str) -> Self {
        let most = TEXT_MAX.min(text.len());
        let cut = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        self.bytes(&text.as_bytes()[..cut])
    }

    pub(super) fn ranks(self, ranks: &[u32]) -> Self {
        let count = u32::try_from(ranks.len()).expect("there are fewer ranks than u32::MAX");
        ranks.iter().fold(self.u32(count), |encoder, rank| encoder.u32(*rank))
    }

    /// The frame, ready to be written.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).expect("frames are bounded by FRAME_MAX");
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }

    /// The bare fields.
    pub(super) fn into_fields(self) -> Vec<u8> {
        self.0
    }
}

/// Takes fields off the front of a frame's body.
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    pub(super) fn raw(&mut self, count: usize) -> Result<&'a [u8], Nonsense> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Nonsense("a message cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Nonsense> {
        Ok(self.raw(N)?.try_into().expect("raw gives as many bytes as asked for"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Nonsense> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Nonsense> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Nonsense> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Nonsense> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Nonsense> {
        let length = self.u32()? as usize;
        self.raw(length)
    }

    pub(super) fn text(&mut self) -> Result<String, Nonsense> {
        let bytes = self.bytes()?;
        if bytes.len() > TEXT_MAX {
            return Err(Nonsense("a text beyond its limit"));
        }
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    pub(super) fn ranks(&mut self) -> Result<Vec<u32>, Nonsense> {
        let count = self.u32()? as usize;
        let bytes = self.raw(count.checked_mul(4).ok_or(Nonsense("a list beyond its limit"))?)?;
        Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Nonsense> {
        if self.0.is_empty() { Ok(()) } else { Err(Nonsense("bytes after the end of a message")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        read_frame(&mut bytes, 100_000, || ()).await
    }

    #[tokio::test]
    async fn frames_come_back_as_they_were() {
        let body = vec![7; 99_000];
        let frame = Encoder::frame(9).raw(&body).finish();
        let got = read(&frame).await.expect("a frame").expect("not the end");
        assert_eq!((got[0], &got[1..]), (9, &body[..]));
        assert!(read(b"").await.expect("an end").is_none());
    }

    #[tokio::test]
    async fn lengths_are_not_believed() {
        for length in [0, 100_001, u32::MAX] {
            let error = read(&length.to_le_bytes()).await.expect_err("a refusal");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{length}");
        }
        for cut in [&[5, 0][..], &[5, 0, 0, 0, 1, 2]] {
            assert_eq!(read(cut).await.expect_err("cut short").kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn fields_come_back_as_they_were() {
        let long = "é".repeat(TEXT_MAX);
        let fields =
            Encoder::fields().u8(1).u16(2).u32(3).u64(4).bytes(b"five").ranks(&[6, 7]).text(&long).into_fields();
        let mut decoder = Decoder::new(&fields);
        assert_eq!((decoder.u8(), decoder.u16(), decoder.u32(), decoder.u64()), (Ok(1), Ok(2), Ok(3), Ok(4)));
        assert_eq!((decoder.bytes(), decoder.ranks()), (Ok(&b"five"[..]), Ok(vec![6, 7])));
        assert_eq!(decoder.text(), Ok("é".repeat(TEXT_MAX / 2)));
        assert_eq!((decoder.end(), decoder.u8().is_err()), (Ok(()), true));
        assert!(Decoder::new(&[255, 255, 255, 255, 0]).ranks().is_err());
        assert!(Decoder::new(&[1]).end().is_err());
    }
}
