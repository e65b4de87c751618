//! Both ends of a link in one process: against a model in random order, in two threads, and against peers that lie.

use super::*;
use crate::engine::copy;
use crate::types::{Call, DataType, Op};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Slots so small that rings turn often.
const SMALL: Layout = Layout { slot_bytes: 100, credits: 2 };

/// How often tests of interleavings are repeated, each time from another seed.
const REPETITIONS: u64 = 50;

/// A small generator of reproducible numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    /// A length where things go wrong, or any other.
    fn length(&mut self, slot_bytes: usize) -> usize {
        match self.below(8) {
            0 => 0,
            1 => 1,
            2 => 7,
            3 => slot_bytes - 1,
            4 => slot_bytes,
            _ => self.below(slot_bytes + 1),
        }
    }
}

/// A link and mappings of both its regions, through which a test can lie to either end.
fn pair(layout: Layout) -> [ShmLink; 2] {
    let region = || Region::create(layout.word_bytes(), layout.payload_bytes()).expect("there is room");
    let (a, b) = (region(), region());
    let open = |region: &Region| Region::open(&region.card()).expect("the own process can be reached");
    let (to_a, to_b) = (open(&a), open(&b));
    [(a, to_b), (b, to_a)]
        .map(|(inbox, outbox)| ShmLink::with_layout(layout, inbox, outbox, copy).expect("the sizes agree"))
}

fn head(lane: usize, number: u64, bytes: usize) -> Head {
    let call = Call::all_reduce(number, bytes as u64, DataType::U8, Op::Sum, 0);
    Head { call, slice: lane as u32, step: number as u32, bytes: bytes as u64 }
}

/// Payload that differs between lanes, messages and places.
fn payload(lane: usize, number: u64, bytes: usize) -> Vec<u8> {
    let name = (number << 3 | lane as u64) << 20;
    (0..bytes as u64).map(|at| ((name + at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

#[test]
fn nothing_overlaps() {
    for layout in [Layout::STANDARD, SMALL, Layout { slot_bytes: 4096, credits: 3 }] {
        let mut words = Vec::new();
        let mut slots = Vec::new();
        for lane in 0..LANES {
            words.push(layout.released(lane));
            for slot in 0..layout.credits {
                words.push(layout.notice(lane, slot));
                assert_eq!(layout.head(lane, slot, 0), layout.notice(lane, slot) + 8);
                assert!(
                    layout.head(lane, slot, HEAD_WORDS - 1) + 8 <= layout.notice(lane, slot) + 64,
                    "in the notice's line"
                );
                slots.push(layout.payload(lane, slot));
            }
        }
        words.sort_unstable();
        slots.sort_unstable();
        assert!(words.windows(2).all(|pair| pair[1] - pair[0] >= SPACING));
        assert!(slots.windows(2).all(|pair| pair[1] - pair[0] >= layout.slot_bytes));
        assert_eq!(words.last().map(|at| at + SPACING), Some(layout.word_bytes()));
        assert_eq!(slots.last().map(|at| at + layout.slot_bytes), Some(layout.payload_bytes()));
    }
}

#[test]
fn messages_take_the_slots_of_their_lane_in_turn() {
    assert_eq!([0, 1, 2, 3].map(|number| SMALL.place(number)), [(0, 1), (1, 1), (0, 2), (1, 2)]);
    let last = (1u64 << 33) - 1;
    assert_eq!(
        [last - 2, last - 1, last, last + 1].map(|number| SMALL.place(number).1),
        [u32::MAX, 0, 0, 1],
        "rounds wrap"
    );
}

#[test]
fn a_link_stays_small() {
    let bytes = 2 * (Layout::STANDARD.word_bytes() + Layout::STANDARD.payload_bytes());
    assert!(bytes <= (1 << 20) + (16 << 10), "{bytes}");
}

#[test]
fn every_size_on_every_lane() {
    let [mut a, mut b] = pair(Layout::STANDARD);
    let slot_bytes = a.capabilities().slot_bytes;
    let mut number = 0;
    for bytes in [0, 1, 7, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, slot_bytes - 1, slot_bytes] {
        for lane in 0..LANES {
            number += 1;
            let (head, sent) = (head(lane, number, bytes), payload(lane, number, bytes));
            assert!(b.head(lane).expect("nothing is wrong").is_none());
            assert!(a.open(lane, &head).expect("nothing is wrong"));
            assert_eq!(a.write(lane, &sent).expect("nothing is wrong"), bytes);
            assert_eq!(b.head(lane).expect("nothing is wrong"), Some(head));
            assert_eq!(b.peek(lane).expect("nothing is wrong"), sent);
            let mut got = vec![0; bytes + 5];
            assert_eq!(b.read(lane, &mut got).expect("nothing is wrong"), bytes);
            assert_eq!(got[..bytes], sent);
            if bytes == 0 {
                assert_eq!(
                    b.head(lane).expect("nothing is wrong"),
                    Some(head),
                    "an empty message waits to be consumed"
                );
                b.consume(lane, 0);
            }
        }
    }
}

#[test]
fn the_front_of_a_message_comes_before_its_end() {
    let [mut a, mut b] = pair(Layout::STANDARD);
    assert!(a.open(0, &head(0, 1, 1000)).expect("nothing is wrong"));
    assert!(b.head(0).expect("nothing is wrong").is_none(), "the notice goes with the first payload");
    assert!(a.pump().expect("nothing is wrong"), "or by itself");
    assert!(!a.pump().expect("nothing is wrong"));
    assert_eq!(b.head(0).expect("nothing is wrong"), Some(head(0, 1, 1000)));
    assert!(b.peek(0).expect("nothing is wrong").is_empty());
    assert_eq!(a.write(0, &[1; 600]).expect("nothing is wrong"), 600);
    assert_eq!(b.peek(0).expect("nothing is wrong"), [1; 600]);
    b.consume(0, 500);
    assert_eq!(b.peek(0).expect("nothing is wrong"), [1; 100]);
    assert_eq!(a.write(0, &[2; 600]).expect("nothing is wrong"), 400, "no more than the message has");
    assert_eq!(b.peek(0).expect("nothing is wrong").len(), 500);
    b.consume(0, 500);
    assert!(b.head(0).expect("nothing is wrong").is_none());
}

#[test]
fn a_lane_without_credit_holds_up_no_other() {
    let [mut a, mut b] = pair(SMALL);
    for number in 0..2 {
        assert!(a.open(3, &head(3, number, 0)).expect("nothing is wrong"));
    }
    assert!(!a.open(3, &head(3, 2, 0)).expect("nothing is wrong"));
    assert!(a.open(2, &head(2, 0, 0)).expect("nothing is wrong"));
    assert!(b.head(3).expect("nothing is wrong").is_some());
    b.consume(3, 0);
    assert!(a.open(3, &head(3, 2, 0)).expect("nothing is wrong"));
}

/// What one direction of a lane should hold: messages sent and not yet taken, and how much of each was written and taken.
#[derive(Default)]
struct Model {
    messages: VecDeque<(Head, Vec<u8>)>,
    sent: u64,
    /// Bytes written of the last message.
    written: usize,
    /// Bytes taken of the first.
    taken: usize,
}

impl Model {
    fn is_open(&self) -> bool {
        self.messages.back().is_some_and(|(_, sent)| self.written < sent.len())
    }

    /// The first message and how many of its bytes can have come.
    fn first(&self) -> Option<(&Head, &[u8])> {
        let (head, sent) = self.messages.front()?;
        Some((head, &sent[..if self.messages.len() == 1 { self.written } else { sent.len() }]))
    }

    fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        if self.taken == self.messages[0].1.len() {
            self.messages.pop_front();
            self.taken = 0;
        }
    }

    /// Does something to one end's lane as its sender.
    fn send(&mut self, link: &mut ShmLink, lane: usize, random: &mut Random) {
        if self.is_open() {
            let (_, sent) = self.messages.back().expect("a message is open");
            let left = sent.len() - self.written;
            let piece = if random.below(2) == 0 { left } else { random.below(left + 1) };
            let accepted = link.write(lane, &sent[self.written..][..piece]).expect("nothing is wrong");
            assert_eq!(accepted, piece, "an open message owns its slot");
            self.written += piece;
        } else {
            let bytes = random.length(link.capabilities().slot_bytes);
            let head = head(lane, self.sent, bytes);
            let opened = link.open(lane, &head).expect("nothing is wrong");
            assert_eq!(opened, self.messages.len() < link.capabilities().credits as usize);
            if opened {
                self.messages.push_back((head, payload(lane, self.sent, bytes)));
                self.sent += 1;
                self.written = 0;
                if random.below(2) == 0 {
                    link.pump().expect("nothing is wrong");
                }
            }
        }
    }

    /// Does something to the other end's lane as its receiver.
    fn receive(&mut self, link: &mut ShmLink, lane: usize, random: &mut Random) {
        let Some(got) = link.head(lane).expect("nothing is wrong") else {
            assert!(self.first().is_none_or(|(head, come)| come.is_empty() && head.bytes > 0), "it should have come");
            return;
        };
        let (head, come) = self.first().expect("only what was sent comes");
        assert_eq!(got, *head);
        let come = &come[self.taken..];
        if random.below(2) == 0 {
            assert_eq!(link.peek(lane).expect("nothing is wrong"), come);
            let bytes = if random.below(2) == 0 { come.len() } else { random.below(come.len() + 1) };
            link.consume(lane, bytes);
            self.take(bytes);
        } else if head.bytes > 0 {
            let mut into = vec![0; random.below(come.len() + 10)];
            let bytes = link.read(lane, &mut into).expect("nothing is wrong");
            assert_eq!(bytes, come.len().min(into.len()));
            assert_eq!(into[..bytes], come[..bytes]);
            self.take(bytes);
        }
    }
}

#[test]
fn random_interleavings_do_as_the_model_says() {
    for seed in 0..REPETITIONS {
        let mut random = Random(seed);
        let layout = if seed % 10 == 0 { Layout::STANDARD } else { SMALL };
        let mut links = pair(layout);
        let mut models: [[Model; LANES]; 2] = Default::default();
        for _ in 0..2000 {
            let (from, lane) = (random.below(2), random.below(LANES));
            let model = &mut models[from][lane];
            if random.below(2) == 0 {
                model.send(&mut links[from], lane, &mut random);
            } else {
                model.receive(&mut links[1 - from], lane, &mut random);
            }
        }
        assert!(models.iter().flatten().all(|model| model.sent > 20), "seed {seed} tried little");
    }
}

/// One end's whole work in the two-thread test: sends and receives `messages` on every lane, as it comes.
fn exchange(mut link: ShmLink, seed: u64, messages: u64) {
    let mut random = Random(seed);
    let slot_bytes = link.capabilities().slot_bytes;
    // Both ends know every message's length.
    let length = |lane: usize, number: u64| Random(number << 3 | lane as u64).length(slot_bytes);
    let mut sent: [(u64, Vec<u8>, usize); LANES] = Default::default();
    let mut received = [(0u64, 0usize); LANES];
    let deadline = Instant::now() + Duration::from_secs(60);
    while sent.iter().any(|lane| lane.0 < messages || lane.2 < lane.1.len())
        || received.iter().any(|lane| lane.0 < messages)
    {
        assert!(Instant::now() < deadline, "stuck after receiving {received:?}");
        let lane = random.below(LANES);
        let (number, bytes, at) = &mut sent[lane];
        if *at < bytes.len() {
            let piece = random.below(bytes.len() - *at + 1);
            *at += link.write(lane, &bytes[*at..*at + piece]).expect("nothing is wrong");
        } else if *number < messages
            && link.open(lane, &head(lane, *number, length(lane, *number))).expect("nothing is wrong")
        {
            *bytes = payload(lane, *number, length(lane, *number));
            *at = 0;
            link.fills = if random.below(2) == 0 { Fills::far() } else { Fills::default() };
            *number += 1;
        }
        let lane = random.below(LANES);
        let (number, at) = &mut received[lane];
        let Some(got) = link.head(lane).expect("nothing is wrong") else {
            std::thread::yield_now();
            continue;
        };
        let expected = payload(lane, *number, length(lane, *number));
        assert_eq!(got, head(lane, *number, expected.len()));
        let come = link.peek(lane).expect("nothing is wrong");
        assert_eq!(*come, expected[*at..][..come.len()]);
        let bytes = random.below(come.len() + 1);
        link.consume(lane, bytes);
        *at += bytes;
        if *at == expected.len() {
            *number += 1;
            *at = 0;
        }
    }
}

#[test]
fn two_threads_exchange_over_all_lanes() {
    for seed in 0..REPETITIONS {
        let layout = if seed % 10 == 0 { Layout::STANDARD } else { SMALL };
        let [a, b] = pair(layout);
        let messages = if layout == SMALL { 100 } else { 10 };
        std::thread::scope(|scope| {
            scope.spawn(|| exchange(a, 2 * seed, messages));
            scope.spawn(|| exchange(b, 2 * seed + 1, messages));
        });
    }
}

#[test]
fn a_far_peer_is_sent_to_past_the_caches() {
    let [mut near, mut far] = pair(Layout::STANDARD);
    far.fills = Fills::far();
    for (link, streamed) in [(&mut near, 0), (&mut far, 1)] {
        assert!(link.open(0, &head(0, 0, PIECE_BYTES)).expect("nothing is wrong"));
        link.write(0, &payload(0, 0, PIECE_BYTES)).expect("nothing is wrong");
        assert_eq!(link.fills.streamed, streamed);
    }
}

#[test]
fn regions_of_another_size_are_refused() {
    let region = Region::create(SMALL.word_bytes(), SMALL.payload_bytes()).expect("there is room");
    let error =
        ShmLink::new(ShmLink::inbox().expect("there is room"), region, copy).expect_err("the outbox is too small");
    assert!(error.to_string().contains("over shared memory"), "{error}");
}

#[test]
fn a_receiver_is_told_of_nonsense() {
    let (notice, bytes) =
        (|round, progress| Notice { round, progress }.to_word(), Layout::head(SMALL, 1, 0, HEAD_WORDS - 1));
    let at = SMALL.notice(1, 0);
    // What the peer writes where, after a message of 50 bytes has begun to come and 20 of it are there.
    for (lies, why) in [
        (&[(at, notice(1, 51))][..], "more than the message has"),
        (&[(at, notice(1, u32::MAX))], "far more"),
        (&[(at, notice(1, 19))], "less than before"),
        (&[(at, notice(2, 20))], "a message of the next round"),
        (&[(at, notice(0, 20))], "one of the round before"),
        (&[(at, u64::MAX)], "anything"),
        (&[(bytes, 1 << 40), (at, notice(1, 60))], "a larger head, once the head was seen"),
    ] {
        let [mut a, mut b] = pair(SMALL);
        assert!(a.open(1, &head(1, 0, 50)).expect("nothing is wrong"));
        a.write(1, &[7; 20]).expect("nothing is wrong");
        assert!(b.head(1).expect("nothing is wrong").is_some());
        for &(at, word) in lies {
            a.outbox.word(at).store(word, Ordering::Release);
        }
        assert!(matches!(b.peek(1), Err(Fault::Nonsense(_))), "{why}");
        assert!(matches!(b.head(1), Err(Fault::Nonsense(_))), "{why}");
        assert!(matches!(b.read(1, &mut [0; 10]), Err(Fault::Nonsense(_))), "{why}");
    }
    // And before any message has come.
    for (lies, why) in [
        (&[(at, notice(2, 0))][..], "a round too far"),
        (&[(at, notice(u32::MAX, 0))], "a round too early"),
        (&[(bytes, 101), (at, notice(1, 0))], "a message larger than a slot"),
        (&[(bytes, u64::MAX), (at, notice(1, 0))], "a message larger than anything"),
        (&[(bytes, 10), (at, notice(1, 11))], "more than the message has"),
    ] {
        let [a, mut b] = pair(SMALL);
        for &(at, word) in lies {
            a.outbox.word(at).store(word, Ordering::Release);
        }
        assert!(matches!(b.head(1), Err(Fault::Nonsense(_))), "{why}");
        assert!(b.head(0).expect("the other lanes are well").is_none());
    }
}

#[test]
fn a_sender_is_told_of_nonsense() {
    for released in [3, u64::MAX, 1 << 32] {
        let [mut a, b] = pair(SMALL);
        for number in 0..2 {
            assert!(a.open(0, &head(0, number, 0)).expect("nothing is wrong"));
        }
        b.inbox.word(SMALL.released(0)).store(released, Ordering::Release);
        assert!(matches!(a.open(0, &head(0, 2, 0)), Err(Fault::Nonsense(_))), "{released}");
    }
    let [mut a, b] = pair(SMALL);
    for (number, released) in [(0, 0), (1, 0), (2, 2), (3, 2)] {
        b.inbox.word(SMALL.released(0)).store(released, Ordering::Release);
        assert!(a.open(0, &head(0, number, 0)).expect("nothing is wrong"));
    }
    b.inbox.word(SMALL.released(0)).store(1, Ordering::Release);
    assert!(matches!(a.open(0, &head(0, 4, 0)), Err(Fault::Nonsense(_))), "credit does not shrink");
}

#[test]
fn random_words_never_panic() {
    let mut faults = 0;
    for seed in 0..REPETITIONS {
        let mut random = Random(seed);
        let [mut a, mut b] = pair(SMALL);
        for number in 0..500 {
            let lane = random.below(LANES);
            let at = random.below(SMALL.word_bytes() / 8) * 8;
            let value = [random.below(4) as u64, (random.below(4) as u64) << 32 | random.below(110) as u64, u64::MAX];
            let liar = if random.below(2) == 0 { &a.outbox } else { &b.inbox };
            if random.below(4) == 0 {
                liar.word(at).store(value[random.below(3)], Ordering::Release);
            }
            let whole = a.sending[lane].written == a.sending[lane].bytes;
            let opened = if whole { a.open(lane, &head(lane, number, random.length(100))) } else { Ok(true) };
            let written = a.write(lane, &[1; 100]);
            let seen = b.head(lane);
            let come = b.peek(lane).map(<[u8]>::len);
            if let Ok(come) = come {
                assert!(come <= 100);
                b.consume(lane, random.below(come + 1));
            }
            faults += u32::from(opened.is_err() || written.is_err() || seen.is_err() || come.is_err());
        }
    }
    assert!(faults > 1000, "only {faults} faults: the lies were not found out");
}
