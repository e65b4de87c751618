//! One cache line that carries a small payload together with the tag that says what it is: one transfer between cores
//! brings both.
//!
//! The tag is the last word and is stored last, so who has seen it has the payload. The payload's last word travels in the same
//! 16-byte store as the tag where the machine has one: a poller that takes the line away between two stores costs a whole
//! transfer more. Nothing here relies on a 64-byte store being atomic; none is promised to be.

#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most payload that a line carries.
pub const LINE_PAYLOAD_BYTES: usize = 56;
/// Words of payload in a line; the tag is the one after them.
const PAYLOAD_WORDS: usize = LINE_PAYLOAD_BYTES / 8;
/// A payload of no more bytes than this can use the last word alone, beside the tag.
pub const SHORT_BYTES: usize = 8;

/// A line of a region's words.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    words: NonNull<AtomicU64>,
    region: PhantomData<&'a AtomicU64>,
}

impl Line<'_> {
    /// # Safety
    /// 64 bytes from `start` on must stay mapped for the lifetime that the caller gives it, be aligned to 64, and be touched
    /// by nothing but atomic operations.
    pub(super) unsafe fn at(start: NonNull<u8>) -> Self {
        Self { words: start.cast(), region: PhantomData }
    }

    /// Stores `payload`, of at most [`SHORT_BYTES`], and `tag`, together where the machine can.
    #[inline]
    pub fn publish_short(self, payload: &[u8], tag: u64) {
        self.store_last(word_of(payload), tag);
    }

    /// Stores `payload`, of at most [`LINE_PAYLOAD_BYTES`], and then `tag`.
    #[inline]
    pub fn publish_long(self, payload: &[u8], tag: u64) {
        assert!(payload.len() <= LINE_PAYLOAD_BYTES, "a payload larger than a line");
        let (whole, rest) = payload.as_chunks::<8>();
        if whole.len() == PAYLOAD_WORDS {
            let (last, first) = (whole[PAYLOAD_WORDS - 1], &whole[..PAYLOAD_WORDS - 1]);
            self.store_words(first);
            return self.store_last(u64::from_ne_bytes(last), tag);
        }
        self.store_words(whole);
        let rest = word_of(rest);
        if whole.len() < PAYLOAD_WORDS - 1 {
            self.word(whole.len()).store(rest, Ordering::Relaxed);
        }
        self.store_last(rest, tag);
    }

    /// The tag; what was published with it can be read after it has been seen.
    #[inline]
    pub fn tag(self) -> u64 {
        self.word(PAYLOAD_WORDS).load(Ordering::Acquire)
    }

    /// What [`Self::publish_short`] stored, from its first byte on. What follows it in the array is anything.
    #[inline]
    pub fn short_payload(self) -> [u8; SHORT_BYTES] {
        self.word(PAYLOAD_WORDS - 1).load(Ordering::Relaxed).to_ne_bytes()
    }

    /// What [`Self::publish_long`] stored, likewise. Whole, because to stop where it ends takes longer.
    #[inline]
    pub fn long_payload(self) -> [u8; LINE_PAYLOAD_BYTES] {
        let words: [u64; PAYLOAD_WORDS] = std::array::from_fn(|index| self.word(index).load(Ordering::Relaxed));
        zerocopy::transmute!(words)
    }

    #[inline]
    fn store_words(&self, words: &[[u8; 8]]) {
        for (index, word) in words.iter().enumerate() {
            self.word(index).store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
    }

    #[inline]
    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index <= PAYLOAD_WORDS);
        // SAFETY: one of the line's eight words (`at`'s contract).
        unsafe { self.words.add(index).as_ref() }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn store_last(self, word: u64, tag: u64) {
        use std::arch::x86_64::_mm_set_epi64x;
        // SAFETY: SSE2 is part of x86_64. The store is written in assembly since the language has no 16-byte atomic: it is
        // aligned, inside of the line, and x86 keeps it behind every earlier store, which makes it a release.
        unsafe {
            let pair = _mm_set_epi64x(tag.cast_signed(), word.cast_signed());
            let to = self.words.add(PAYLOAD_WORDS - 1).as_ptr();
            std::arch::asm!("movaps xmmword ptr [{to}], {pair}", to = in(reg) to, pair = in(xmm_reg) pair,
                options(nostack, preserves_flags));
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline]
    fn store_last(self, word: u64, tag: u64) {
        self.word(PAYLOAD_WORDS - 1).store(word, Ordering::Relaxed);
        self.word(PAYLOAD_WORDS).store(tag, Ordering::Release);
    }
}

/// At most eight bytes as a word, in memory order.
#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    assert!(bytes.len() <= SHORT_BYTES, "a payload larger than a word");
    // The usual lengths as plain loads; the others byte by byte, which is shorter than to call for a copy.
    if let Ok(eight) = bytes.try_into() {
        return u64::from_ne_bytes(eight);
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return u64::from_ne_bytes(zerocopy::transmute!([four, [0; 4]]));
    }
    let mut word = [0; SHORT_BYTES];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_ne_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::super::Region;
    use super::*;

    #[test]
    fn every_length_comes_back_with_its_tag() {
        let region = Region::create(128, 0).expect("there is room for a page");
        let source: Vec<u8> = (1..=LINE_PAYLOAD_BYTES as u8).collect();
        for at in [0, 64] {
            let line = region.line(at);
            for len in 0..=LINE_PAYLOAD_BYTES {
                let tag = 0x1234_5678_9abc_def0 + len as u64;
                line.publish_long(&source[..len], tag);
                assert_eq!(line.tag(), tag);
                assert_eq!(line.long_payload()[..len], source[..len]);
                if len <= SHORT_BYTES {
                    line.publish_short(&source[..len], !tag);
                    assert_eq!(line.tag(), !tag);
                    assert_eq!(line.short_payload()[..len], source[..len]);
                }
            }
        }
    }

    #[test]
    fn a_reader_never_sees_a_tag_before_its_payload() {
        const TURNS: u64 = 100_000;
        let mine = Region::create(64, 0).expect("there is room for a page");
        let card = mine.card();
        let reader = std::thread::spawn(move || {
            let theirs = Region::open(&card).expect("the own process can be reached");
            let mut seen = 0;
            while seen < TURNS {
                let tag = theirs.line(0).tag();
                let payload = theirs.line(0).long_payload();
                for word in payload.as_chunks::<8>().0 {
                    assert!(tag <= u64::from_ne_bytes(*word), "a payload older than its tag {tag}");
                }
                seen = tag;
            }
        });
        for turn in 1..=TURNS {
            let word = turn.to_ne_bytes();
            let payload: Vec<u8> = word.iter().copied().cycle().take(LINE_PAYLOAD_BYTES).collect();
            mine.line(0).publish_long(&payload, turn);
        }
        reader.join().expect("the reader saw no old payload");
    }
}
