//! One end of a pair of ranks that measures their link: small messages, bursts of them, and streams of large ones.

use super::numbers::{least, median, nanoseconds, undisturbed};
use crate::bootstrap::Control;
use crate::communicator::executor::Executor;
use crate::communicator::messages::Message;
use crate::error::Result;
use crate::types::DataType;
use std::time::{Duration, Instant};

/// Messages there and back, of which the fastest counts. One comes before: who is later would find the other's there already.
const PINGS: usize = 24;
/// Messages each way at once; as many come before.
const EXCHANGES: usize = 16;
/// Small messages one after the other.
const BURST: usize = 24;
/// Bytes of a large message.
const PIECE_BYTES: usize = 128 << 10;
/// The most of them in a row.
const PIECES_MOST: usize = 8;
/// About how long they take.
const STREAM: Duration = Duration::from_millis(1);
/// So many tries, of which one counts.
const TRIES: usize = 3;
/// Where no more pieces than so many take that long, a link is slow: a stream lasts longer then, if there is time. A shaper may let some bytes pass before it holds back, half a
/// piece by default, and threads that wait for a core may add half a millisecond, however long the stream is.
const PIECES_SLOW: usize = 3;
const STREAM_SLOW: Duration = Duration::from_millis(5);
/// So many tries of that.
const TRIES_SLOW: usize = 2;

/// What one pair found in a round; zeros where there was nobody to measure with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Found {
    pub(super) latency_ns: f64,
    pub(super) busy_ns: f64,
    /// One way.
    pub(super) byte_ns: f64,
    /// Both ways at once.
    pub(super) both_byte_ns: f64,
    /// What a lane has.
    pub(super) slots: f64,
}

impl Found {
    pub(super) fn of([latency_ns, busy_ns, byte_ns, both_byte_ns, slots]: [f64; 5]) -> Self {
        Self { latency_ns, busy_ns, byte_ns, both_byte_ns, slots }
    }
}

/// What messages are made of, from round to round. Memory that was never touched would be measured as well.
pub(super) struct Memory {
    /// One piece.
    given: Vec<u8>,
    /// As many as have been asked for.
    taken: Vec<u8>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { given: vec![1; PIECE_BYTES], taken: vec![2; PIECE_BYTES] }
    }

    fn touch(&mut self, pieces: usize) {
        let bytes = self.taken.len().max(pieces * PIECE_BYTES);
        self.taken.resize(bytes, 2);
    }
}

/// One end of a pair that measures.
pub(super) struct Pair<'a> {
    executor: &'a mut Executor,
    control: &'a Control,
    rank: u32,
    peer: u32,
    memory: &'a mut Memory,
}

impl<'a> Pair<'a> {
    pub(super) fn of(executor: &'a mut Executor, control: &'a Control, peer: u32, memory: &'a mut Memory) -> Self {
        Self { executor, control, rank: control.rank(), peer, memory }
    }

    /// What a link does one way and both ways at once, in streams of about so long. Both ends come to the same numbers but for their clocks.
    pub(super) fn measure(&mut self, time: Duration) -> Result<Found> {
        let latency_ns = self.latency_ns(PINGS)?;
        let burst = least(some(TRIES, || self.there_and_back(1, BURST))?);
        let busy_ns = ((burst - 2.0 * latency_ns) / (BURST - 1) as f64).max(0.0);
        let streams = self.streams(time)?;
        let one_way = least(some(streams.tries, || self.there_and_back(PIECE_BYTES, streams.pieces))?);
        let both_ways = least(self.both_ways_tries(streams)?);
        let [byte_ns, both_byte_ns] = [one_way, both_ways].map(|ns| streams.byte_ns(ns, latency_ns));
        let slots = f64::from(self.executor.slots_to(self.peer));
        Ok(Found { latency_ns, busy_ns, byte_ns, both_byte_ns, slots })
    }

    /// How far a link is, and what it does at most both ways at once: where the wire is the limit, that is what it does one way.
    pub(super) fn meet(&mut self, time: Duration) -> Result<Found> {
        let latency_ns = self.latency_ns(PINGS)?;
        let streams = self.streams(time)?;
        let byte_ns = streams.byte_ns(least(self.both_ways_tries(streams)?), latency_ns);
        Ok(Found { latency_ns, byte_ns, both_byte_ns: byte_ns, ..Found::default() })
    }

    fn latency_ns(&mut self, pings: usize) -> Result<f64> {
        self.there_and_back(1, 1)?;
        Ok(least(some(pings, || self.there_and_back(1, 1))?) / 2.0)
    }

    /// What streams a link is to carry that others share, and about what a message takes.
    pub(super) fn approach(&mut self, time: Duration) -> Result<(f64, Streams)> {
        Ok((self.latency_ns(TRIES)?, self.streams(time)?))
    }

    /// What it takes then, both ways at once: the fastest try may be the one that ran alone.
    pub(super) fn share(&mut self, latency_ns: f64, streams: Streams) -> Result<Found> {
        let both_byte_ns = streams.byte_ns(median(self.both_ways_tries(streams)?), latency_ns);
        Ok(Found { latency_ns, both_byte_ns, ..Found::default() })
    }

    /// What tries take while as many bytes go the other way.
    fn both_ways_tries(&mut self, streams: Streams) -> Result<Vec<f64>> {
        // A shaper has saved up some bytes since the last stream: they are let pass before the first.
        // Until both have all: or one begins the next while the other still takes this one, and neither counts those bytes.
        let mut stream = |pieces| self.both_ways(PIECE_BYTES, pieces).and_then(|()| self.both_ways(1, 1));
        stream(1)?;
        some(streams.tries, || stream(streams.pieces))
    }

    /// What a small message each way at once takes; nothing else.
    pub(super) fn exchange(&mut self) -> Result<Found> {
        some(EXCHANGES, || self.both_ways(1, 1))?;
        let latency_ns = undisturbed(some(EXCHANGES, || self.both_ways(1, 1))?);
        Ok(Found { latency_ns, ..Found::default() })
    }

    fn is_first(&self) -> bool {
        self.rank < self.peer
    }

    /// `count` messages from the lower rank to the higher, and one of a byte back.
    pub(super) fn there_and_back(&mut self, bytes: usize, count: usize) -> Result<()> {
        let mut answer = [0];
        let Self { executor, control, peer, .. } = self;
        let mut exchange = |messages| executor.messages(control, messages);
        if self.rank < *peer {
            let data = &self.memory.given[..bytes];
            exchange((0..count).map(|_| Message::send(DataType::U8, data, *peer)).collect())?;
            return exchange(vec![Message::recv(DataType::U8, &mut answer, *peer)]);
        }
        let taken = self.memory.taken[..bytes * count].chunks_mut(bytes);
        exchange(taken.map(|data| Message::recv(DataType::U8, data, *peer)).collect())?;
        exchange(vec![Message::send(DataType::U8, &answer, *peer)])
    }

    /// `count` messages each way at once.
    fn both_ways(&mut self, bytes: usize, count: usize) -> Result<()> {
        let Self { executor, control, peer, memory: Memory { given, taken }, .. } = self;
        let sent = (0..count).map(|_| Message::send(DataType::U8, &given[..bytes], *peer));
        let received = taken[..bytes * count].chunks_mut(bytes).map(|data| Message::recv(DataType::U8, data, *peer));
        let both = sent.zip(received).flat_map(|(send, receive)| [send, receive]);
        executor.messages(control, both.collect())
    }

    /// What streams of about so long both make: those that the lower rank would, after a piece. Others come before that, for TCP begins cautiously each way and a
    /// shaper has saved up some bytes, and before the streams, which both begin together then.
    fn streams(&mut self, time: Duration) -> Result<Streams> {
        self.both_ways(PIECE_BYTES, 1)?;
        let began = Instant::now();
        self.there_and_back(PIECE_BYTES, 1)?;
        let Streams { pieces, tries } = Streams::of(nanoseconds(began), time);
        let mut agreed = [pieces as u8, tries as u8];
        let peer = self.peer;
        let message = match self.is_first() {
            true => Message::send(DataType::U8, &agreed, peer),
            false => Message::recv(DataType::U8, &mut agreed, peer),
        };
        self.executor.messages(self.control, vec![message])?;
        let streams = Streams::told(agreed);
        self.memory.touch(streams.pieces);
        self.there_and_back(PIECE_BYTES, 1)?;
        Ok(streams)
    }
}

/// Large messages in a row, several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streams {
    pieces: usize,
    tries: usize,
}

impl Streams {
    /// For a link on which one piece takes so long, and about so much time.
    fn of(piece_ns: f64, time: Duration) -> Self {
        let within = |time: Duration| (time.as_nanos() as f64 / piece_ns) as usize;
        match within(STREAM) {
            ..=PIECES_SLOW => {
                let longest = STREAM_SLOW.min(time / TRIES_SLOW as u32);
                Self { pieces: within(longest).clamp(1, PIECES_MOST), tries: TRIES_SLOW }
            }
            pieces => Self { pieces: pieces.min(PIECES_MOST), tries: TRIES },
        }
    }

    /// What the lower rank told, within what any can be.
    fn told(told: [u8; 2]) -> Self {
        let [pieces, tries] = told.map(usize::from);
        Self { pieces: pieces.clamp(1, PIECES_MOST), tries: tries.clamp(1, TRIES) }
    }

    /// What a byte takes, of what a stream does.
    fn byte_ns(self, ns: f64, latency_ns: f64) -> f64 {
        // Large messages take most of it, whatever disturbed the small ones.
        (ns - 2.0 * latency_ns).max(ns / 2.0) / (self.pieces * PIECE_BYTES) as f64
    }
}

/// What some tries take.
fn some(tries: usize, mut what: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let one = |_| {
        let began = Instant::now();
        what().map(|()| nanoseconds(began))
    };
    (0..tries).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_last_on_slow_links_and_are_short_on_fast_ones() {
        for (piece_ns, pieces, tries) in [
            (40e3, 8, 3),
            (100e3, 8, 3),
            (240e3, 4, 3),
            (300e3, 8, 2),
            (1e6, 5, 2),
            (1.1e6, 4, 2),
            (11e6, 1, 2),
            (0.0, 8, 3),
        ] {
            let streams = Streams::of(piece_ns, Duration::from_millis(20));
            assert_eq!(streams, Streams { pieces, tries }, "{piece_ns}");
        }
        assert_eq!(Streams::of(1.1e6, Duration::from_millis(5)), Streams { pieces: 2, tries: 2 }, "no more time");
        assert_eq!(Streams::told([0, 255]), Streams { pieces: 1, tries: TRIES });
        assert_eq!(Streams::told([255, 0]), Streams { pieces: PIECES_MOST, tries: 1 });
        let streams = Streams { pieces: 4, tries: 2 };
        assert_eq!(streams.byte_ns(1e3 + 4.0 * PIECE_BYTES as f64, 0.5e3), 1.0);
        assert_eq!(streams.byte_ns(1e6, 1e6), 0.5e6 / (4 * PIECE_BYTES) as f64, "the pings were disturbed");
    }
}
