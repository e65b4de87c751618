//! The link without a device: random traffic over a pretended card that watches the rules, and hostile notices. What real cards do with it
//! is tested where there are some.

pub(super) mod pretended;

use super::layout::{Layout, Notice};
use super::link::NicLink;
use super::nic::{Nic, Source, Write};
use crate::transport::{Fault, Head, LANES, Transport};
use crate::types::{Call, DataType, Op};
use pretended::{Pretended, Wire, pair};
use std::cell::RefCell;
use std::rc::Rc;

const LAYOUT: Layout = Layout { slot_bytes: 1000, piece_bytes: 256, credits: 2 };
const INLINE_BYTES: usize = 128;
const MESSAGES: u32 = 60;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((self.0 >> 33) as usize) % limit
    }
}

/// Slots large enough that whole payloads are worth lending.
const LARGE: Layout = Layout { slot_bytes: 40_000, piece_bytes: 16_384, credits: 2 };

fn links(queue_pairs: usize, seed: u64) -> (Rc<RefCell<Wire>>, [NicLink<Pretended>; 2]) {
    let (wire, ends) = pair(LAYOUT, queue_pairs, INLINE_BYTES, seed);
    (wire, ends.map(|end| NicLink::new(end, LAYOUT)))
}

fn length(layout: Layout, message: u32, lane: usize) -> usize {
    let Layout { slot_bytes: slot, piece_bytes: piece, .. } = layout;
    let lengths = [0, 1, 8, 64, 65, piece - 1, piece, piece + 1, 2 * piece, slot - 1, slot];
    lengths[(message as usize * 7 + lane * 3) % lengths.len()]
}

fn byte(message: u32, lane: usize, from: usize, at: usize) -> u8 {
    (message as usize * 31 + lane * 7 + from * 131 + at * 3 + (at >> 8)) as u8
}

fn head(layout: Layout, message: u32, lane: usize) -> Head {
    let bytes = length(layout, message, lane) as u64;
    Head { call: Call::all_reduce(1, bytes, DataType::U8, Op::Max, 0), slice: message, step: lane as u32, bytes }
}

/// One direction of one lane.
struct Stream {
    layout: Layout,
    sent: u32,
    open: bool,
    written: usize,
    received: u32,
    taken: usize,
}

impl Stream {
    fn new(layout: Layout) -> Self {
        Self { layout, sent: 0, open: false, written: 0, received: 0, taken: 0 }
    }

    fn send(
        &mut self,
        link: &mut NicLink<Pretended>,
        (lane, from): (usize, usize),
        wire: &RefCell<Wire>,
        random: &mut Random,
    ) {
        if self.sent == MESSAGES {
            return;
        }
        let bytes = length(self.layout, self.sent, lane);
        if !self.open {
            self.open = link.open(lane, &head(self.layout, self.sent, lane)).expect("nothing is wrong");
            return self.advance(bytes);
        }
        let payload: Vec<u8> = (self.written..bytes).map(|at| byte(self.sent, lane, from, at)).collect();
        let offered = if random.below(2) == 0 { payload.len() } else { 1 + random.below(payload.len()) };
        let accepted = link.write(lane, &payload[..offered]).expect("nothing is wrong");
        assert!(accepted <= offered);
        // Accepted bytes may be overwritten at once.
        assert!(accepted == 0 || wire.borrow().is_read(from, &payload), "accepted, and still being read");
        self.written += accepted;
        self.advance(bytes);
    }

    fn advance(&mut self, bytes: usize) {
        if self.open && self.written == bytes {
            (self.sent, self.open, self.written) = (self.sent + 1, false, 0);
        }
    }

    fn receive(&mut self, link: &mut NicLink<Pretended>, lane: usize, from: usize, random: &mut Random) {
        let Some(come) = link.head(lane).expect("nothing is wrong") else { return };
        assert_eq!(come, head(self.layout, self.received, lane));
        let lent = link.peek(lane).expect("nothing is wrong");
        let right = |(at, lent): (usize, &u8)| *lent == byte(self.received, lane, from, self.taken + at);
        assert!(lent.iter().enumerate().all(right), "other bytes than were sent");
        let bytes = random.below(lent.len() + 1);
        if bytes == 0 && come.bytes > 0 {
            return;
        }
        link.consume(lane, bytes);
        self.taken += bytes;
        if self.taken as u64 == come.bytes {
            (self.received, self.taken) = (self.received + 1, 0);
        }
    }
}

#[test]
fn messages_arrive_whole_and_in_order_however_queue_pairs_overtake_each_other() {
    for (seed, queue_pairs) in (0..60).zip([1, 2, 3, 4].into_iter().cycle()) {
        let (wire, ends) = pair(LAYOUT, queue_pairs, INLINE_BYTES, seed);
        exchange(LAYOUT, &wire, ends, seed);
    }
}

#[test]
fn lent_memory_is_accepted_only_when_the_card_has_read_it() {
    for (seed, queue_pairs) in (0..20).zip([1, 2, 3].into_iter().cycle()) {
        let (wire, ends) = pair(LARGE, queue_pairs, INLINE_BYTES, seed);
        exchange(LARGE, &wire, ends.map(Pretended::lends), seed);
    }
}

/// Sends messages both ways on all lanes, in random order, until all have arrived and both ends have left.
fn exchange(layout: Layout, wire: &RefCell<Wire>, ends: [Pretended; 2], seed: u64) {
    let mut random = Random(seed);
    let mut ends = ends.map(|end| NicLink::new(end, layout));
    let mut streams: [[Stream; LANES]; 2] = [0, 1].map(|_| std::array::from_fn(|_| Stream::new(layout)));
    let mut rounds = 0;
    while streams.iter().flatten().any(|stream| stream.received < MESSAGES) {
        rounds += 1;
        assert!(rounds < 100_000, "nothing moves: seed {seed}");
        for (from, lanes) in streams.iter_mut().enumerate() {
            for (lane, stream) in lanes.iter_mut().enumerate() {
                if random.below(2) == 0 {
                    stream.send(&mut ends[from], (lane, from), wire, &mut random);
                }
                if random.below(2) == 0 {
                    stream.receive(&mut ends[1 - from], lane, from, &mut random);
                }
            }
        }
        for end in &mut ends {
            end.pump().expect("nothing is wrong");
        }
    }
    ends.iter_mut().for_each(NicLink::leave);
    // Both are asked each time: asking is what moves them.
    let all_left = (0..10_000).any(|_| ends.iter_mut().filter_map(|end| (!end.has_left()).then_some(())).count() == 0);
    assert!(all_left, "seed {seed}");
}

#[test]
fn what_was_sent_before_a_goodbye_can_be_read_and_then_the_link_is_lost() {
    let (_, [mut one, mut other]) = links(2, 5);
    assert!(one.open(0, &head(LAYOUT, 10, 0)).expect("nothing is wrong"));
    let bytes = length(LAYOUT, 10, 0);
    assert_eq!(one.write(0, &vec![7; bytes]).expect("nothing is wrong"), bytes);
    one.leave();
    let mut taken = vec![0; bytes];
    let mut come = 0;
    while come < bytes {
        other.pump().expect("leaving is not reported by a pump");
        if other.head(0).expect("it has been sent").is_some() {
            come += other.read(0, &mut taken[come..]).expect("it has been sent");
        }
    }
    assert_eq!(taken, vec![7; bytes]);
    let lost = loop {
        match other.head(0) {
            Ok(None) => {}
            Ok(Some(head)) => panic!("nobody sent {head:?}"),
            Err(fault) => break fault,
        }
    };
    assert!(matches!(&lost, Fault::Lost(why) if why == "the peer has left"), "{lost}");
    other.write(0, &[1]).expect_err("nobody is there");
    assert!(other.has_left());
}

#[test]
fn lent_memory_that_was_read_is_accepted_although_the_peer_has_left_since() {
    let (_, ends) = pair(LARGE, 2, INLINE_BYTES, 4);
    let [mut one, mut other] = ends.map(|end| NicLink::new(end.lends(), LARGE));
    let payload = vec![5; LARGE.slot_bytes];
    assert!(one.open(0, &Head { bytes: payload.len() as u64, ..head(LARGE, 1, 0) }).expect("there is credit"));
    assert_eq!(one.write(0, &payload).expect("it is lent"), 0);
    let (mut taken, mut into) = (0, payload.clone());
    while taken < payload.len() {
        other.pump().expect("nothing is wrong");
        if other.head(0).expect("nothing is wrong").is_some() {
            taken += other.read(0, &mut into[taken..]).expect("it comes");
        }
    }
    other.leave();
    // Everything is taken in before the caller comes again.
    for _ in 0..1000 {
        one.pump().expect("leaving is not reported by a pump");
    }
    one.open(1, &head(LARGE, 1, 1)).expect_err("the peer has left");
    assert_eq!(one.write(0, &payload).expect("all of it was read"), payload.len());
}

#[test]
fn a_lane_stops_at_its_credit() {
    let (wire, [mut one, mut other]) = links(1, 9);
    wire.borrow_mut().cut(1);
    for message in [1, 2] {
        assert!(one.open(0, &Head { bytes: 8, ..head(LAYOUT, message, 0) }).expect("there is credit"));
        assert_eq!(one.write(0, &[3; 8]).expect("it is open"), 8);
    }
    for _ in 0..50 {
        other.pump().expect("nothing is wrong");
        one.pump().expect("nothing is wrong");
        assert!(!one.open(0, &head(LAYOUT, 3, 0)).expect("no credit, and no fault"));
    }
}

#[test]
fn what_one_lane_takes_in_for_another_is_told_by_the_next_pump() {
    let (_, [mut one, mut other]) = links(1, 3);
    let message = Head { bytes: 8, ..head(LAYOUT, 1, 0) };
    for _ in 0..LAYOUT.credits {
        assert!(one.open(0, &message).expect("there is credit"));
        assert_eq!(one.write(0, &[3; 8]).expect("it is open"), 8);
    }
    let mut taken = 0;
    while taken < LAYOUT.credits {
        other.pump().expect("nothing is wrong");
        if other.head(0).expect("nothing is wrong").is_some() {
            taken += usize::from(other.read(0, &mut [0; 8]).expect("it has come") == 8);
        }
    }
    other.pump().expect("credit is due, and given");
    // The other lane looks in vain, and takes in the credit on the way.
    while !one.open(0, &message).expect("nothing is wrong") {
        assert_eq!(one.head(1).expect("nothing is wrong"), None);
    }
    assert!(one.pump().expect("nothing is wrong"), "the credit was taken in, and nobody was told");
}

#[test]
fn hostile_notices_are_nonsense() {
    let piece = |lane, slot, piece| vec![Notice::Piece { lane, slot, piece }];
    let cases = [
        piece(0, 2, 0),
        piece(3, 0, 4),
        [piece(1, 0, 0), piece(1, 0, 0)].concat(),
        // The header says nothing was sent, yet there are two pieces.
        [piece(1, 0, 1), piece(1, 0, 0)].concat(),
        vec![Notice::Credit { lane: 2, released: 1 }],
        vec![Notice::Credit { lane: 0, released: 1 << 22 }],
        vec![Notice::Trial, Notice::Trial],
    ];
    for notices in cases {
        let (_, [mut hostile, end]) = pair(LAYOUT, 1, INLINE_BYTES, 1);
        let mut link = NicLink::new(end, LAYOUT);
        for notice in &notices {
            let immediate = notice.to_bits();
            hostile
                .post(0, &[Write { from: Source::Nothing, to: 0, immediate: Some(immediate), completes: 0 }])
                .expect("it goes");
        }
        let fault = (0..1000).find_map(|_| link.pump().and_then(|_| link.head(1)).err());
        assert!(matches!(fault, Some(Fault::Nonsense(_))), "{notices:?}: {fault:?}");
    }
}

#[test]
fn a_second_goodbye_is_nonsense() {
    let (_, [mut hostile, end]) = pair(LAYOUT, 1, INLINE_BYTES, 1);
    let mut link = NicLink::new(end, LAYOUT);
    let goodbye = Write { from: Source::Nothing, to: 0, immediate: Some(Notice::Goodbye.to_bits()), completes: 0 };
    hostile.post(0, &[goodbye.clone(), goodbye]).expect("they go");
    let fault = (0..1000).find_map(|_| link.pump().err());
    assert!(matches!(fault, Some(Fault::Nonsense(_))), "{fault:?}");
}

#[test]
fn a_header_of_more_than_a_slot_is_nonsense() {
    let (_, [mut hostile, end]) = pair(LAYOUT, 1, INLINE_BYTES, 1);
    let mut link = NicLink::new(end, LAYOUT);
    hostile.bytes_mut(0..64).fill(0xff);
    let immediate = Notice::Piece { lane: 0, slot: 0, piece: 0 }.to_bits();
    hostile
        .post(0, &[Write { from: Source::Inline(0..64), to: 0, immediate: Some(immediate), completes: 0 }])
        .expect("it goes");
    let fault = (0..1000).find_map(|_| link.pump().and_then(|_| link.head(0)).err());
    assert!(matches!(fault, Some(Fault::Nonsense(_))), "{fault:?}");
}
