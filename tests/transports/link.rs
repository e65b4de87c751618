//! What a link promises, whatever it is made of: each lane a stream of whole messages in order, credit a lane, lending in place.

use crate::Random;
use crate::worlds::World;
use serried::transport::{Capabilities, Head, LANES, Transport};
use serried::{Call, DataType, Op};

/// Runs of each random body.
pub(crate) const SEEDS: u64 = 8;

/// Messages of a lane and direction in one run.
const MESSAGES: usize = 40;

/// How often a sender without credit tries in vain before it is believed to be stopped.
const VAIN_TRIES: usize = 100;

/// The unit in which an engine takes what it is lent: the largest element.
const ELEMENT_BYTES: usize = 8;

pub(crate) fn messages_arrive_whole_and_in_order<W: World>(world: &mut W, seed: u64) {
    let mut random = Random(seed);
    let mut pair = Pair::join(world);
    let slot_bytes = pair.ends[0].capabilities().slot_bytes;
    let mut traffic = Vec::new();
    for from in 0..2 {
        for lane in 0..LANES {
            let lengths = (0..MESSAGES).map(|_| length(&mut random, slot_bytes)).collect();
            traffic.push(Traffic::new(from, lane, lengths));
        }
    }
    let taking = |random: &mut Random| [Taking::Reading, Taking::Lent][random.below(2)];
    pair.run(world, &mut traffic, &mut random, taking);
    pair.expect_silence();
}

pub(crate) fn what_is_lent_can_be_taken_in_whole_elements<W: World>(world: &mut W, seed: u64) {
    let mut random = Random(seed);
    let mut pair = Pair::join(world);
    let Capabilities { slot_bytes, name, .. } = pair.ends[0].capabilities();
    let mut traffic: Vec<Traffic> = (0..LANES)
        .map(|lane| Traffic::new(0, lane, (0..MESSAGES).map(|_| length(&mut random, slot_bytes)).collect()))
        .collect();
    // The simulator lends the pieces that came, torn wherever they are torn: more than any engine has to bear elsewhere.
    let taking = if name == "sim" { Taking::ElementsAndTorn } else { Taking::Elements };
    pair.run(world, &mut traffic, &mut random, |_| taking);
}

pub(crate) fn a_lane_stops_at_its_credit_and_holds_up_no_other<W: World>(world: &mut W) {
    let mut random = Random(0);
    let mut pair = Pair::join(world);
    let Capabilities { slot_bytes, credits, .. } = pair.ends[0].capabilities();
    let credits = credits as usize;
    let mut full = Traffic::new(0, 0, vec![slot_bytes; credits + 2]);
    pair.until(world, |ends| {
        let moved = full.send(&mut ends[0], &mut random);
        // The receiver looks, but takes nothing.
        ends[1].head(0).expect("nothing is wrong");
        ends[1].peek(0).expect("nothing is wrong");
        (moved, full.accepted() >= credits * slot_bytes)
    });
    pair.try_in_vain(&mut full, &mut random, credits * slot_bytes);
    let mut others: Vec<Traffic> =
        (1..LANES).map(|lane| Traffic::new(0, lane, vec![slot_bytes; 2 * credits + 1])).collect();
    pair.run(world, &mut others, &mut random, |_| Taking::Reading);
    // One message taken is one more that may be sent.
    for taken in 1..=2 {
        let accepted = (credits + taken) * slot_bytes;
        pair.until(world, |ends| {
            let mut moved = false;
            if full.received < taken {
                moved |= full.receive(&mut ends[1], Taking::Reading, &mut random);
            }
            moved |= full.send(&mut ends[0], &mut random);
            (moved, full.received == taken && full.accepted() >= accepted)
        });
        pair.try_in_vain(&mut full, &mut random, accepted);
    }
}

/// A length where things go wrong, or any other.
fn length(random: &mut Random, slot_bytes: usize) -> usize {
    match random.below(8) {
        0 => 0,
        1 => 1,
        2 => 7,
        3 => slot_bytes - 1,
        4 => slot_bytes,
        5 => random.below(64),
        _ => random.below(slot_bytes + 1),
    }
}

/// How a receiver takes payload.
#[derive(Clone, Copy)]
enum Taking {
    /// By `read`, in portions of any size.
    Reading,
    /// By `peek` and `consume`, in portions of any size.
    Lent,
    /// By `peek` and `consume`, never a part of an element but the message's end.
    Elements,
    /// The same, and by `read` an element that is lent in part.
    ElementsAndTorn,
}

/// Both ends of one link.
struct Pair<L> {
    ends: [L; 2],
}

impl<L: Transport> Pair<L> {
    fn join(world: &mut impl World<Link = L>) -> Self {
        let mut links = world.join(2);
        let mut end = |rank: usize| links[rank][1 - rank].take().expect("every rank has a link to the other");
        Self { ends: [end(0), end(1)] }
    }

    /// Sends and receives all traffic, in random order.
    fn run<W: World<Link = L>>(
        &mut self,
        world: &mut W,
        traffic: &mut [Traffic],
        random: &mut Random,
        taking: impl Fn(&mut Random) -> Taking,
    ) {
        // After a pass that moved nothing comes one that leaves nothing out; after that the world has to help.
        let mut still = false;
        while !traffic.iter().all(Traffic::is_over) {
            let mut moved = false;
            let offset = random.below(traffic.len());
            for index in 0..traffic.len() {
                let one = &mut traffic[(index + offset) % traffic.len()];
                if still || random.below(2) == 0 {
                    moved |= one.send(&mut self.ends[one.from], random);
                }
                if still || random.below(2) == 0 {
                    moved |= one.receive(&mut self.ends[1 - one.from], taking(random), random);
                }
            }
            moved |= self.pump();
            assert!(moved || !still || world.pass(self.ends.iter_mut()), "nothing is under way: {traffic:?}");
            still = !moved;
        }
    }

    /// Does `act` until it says that it is over; it also says whether it moved anything.
    fn until<W: World<Link = L>>(&mut self, world: &mut W, mut act: impl FnMut(&mut [L; 2]) -> (bool, bool)) {
        loop {
            let (mut moved, over) = act(&mut self.ends);
            moved |= self.pump();
            if over {
                return;
            }
            assert!(moved || world.pass(self.ends.iter_mut()), "nothing is under way");
        }
    }

    /// Shows that a sender stays where it is, however often it tries.
    fn try_in_vain(&mut self, full: &mut Traffic, random: &mut Random, accepted: usize) {
        for _ in 0..VAIN_TRIES {
            full.send(&mut self.ends[full.from], random);
            self.pump();
            assert_eq!(full.accepted(), accepted, "{:?}", self.ends[full.from].capabilities());
        }
    }

    fn pump(&mut self) -> bool {
        self.ends.iter_mut().fold(false, |moved, end| end.pump().expect("nothing is wrong") | moved)
    }

    /// Nothing comes that nobody sent.
    fn expect_silence(&mut self) {
        for end in &mut self.ends {
            for lane in 0..LANES {
                assert_eq!(end.head(lane).expect("nothing is wrong"), None, "on lane {lane}");
                assert!(end.peek(lane).expect("nothing is wrong").is_empty(), "on lane {lane}");
            }
        }
    }
}

/// The messages of one lane in one direction, and how far both sides have come.
#[derive(Debug)]
struct Traffic {
    from: usize,
    lane: usize,
    lengths: Vec<usize>,
    /// The message that the sender is at, whether it is open, and how much of it was accepted.
    sent: usize,
    open: bool,
    written: usize,
    /// The message that the receiver is at, and how much of it was taken.
    received: usize,
    taken: usize,
}

impl Traffic {
    fn new(from: usize, lane: usize, lengths: Vec<usize>) -> Self {
        Self { from, lane, lengths, sent: 0, open: false, written: 0, received: 0, taken: 0 }
    }

    fn is_over(&self) -> bool {
        self.received == self.lengths.len()
    }

    /// Payload bytes that were accepted altogether.
    fn accepted(&self) -> usize {
        self.lengths[..self.sent].iter().sum::<usize>() + self.written
    }

    /// A head of which every field follows from the message.
    fn head(&self, number: usize) -> Head {
        let (from, lane, bytes) = (self.from, self.lane, self.lengths[number]);
        let call = Call::all_reduce(number as u64 + 1, (bytes * 3 + lane) as u64, DataType::U8, Op::Max, from as u8);
        Head { call, slice: (lane * 1000 + number) as u32, step: (number * 7 + from) as u32, bytes: bytes as u64 }
    }

    /// Payload that differs between directions, lanes, messages and places.
    fn payload(&self, number: usize, at: usize, bytes: usize) -> Vec<u8> {
        let name = ((number << 3 | self.lane << 1 | self.from) as u64) << 20;
        (at as u64..(at + bytes) as u64)
            .map(|at| ((name + at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
            .collect()
    }

    /// Opens or writes; whether anything moved.
    fn send<L: Transport>(&mut self, link: &mut L, random: &mut Random) -> bool {
        let Some(&bytes) = self.lengths.get(self.sent) else { return false };
        if !self.open {
            self.open = link.open(self.lane, &self.head(self.sent)).expect("nothing is wrong");
            let opened = self.open;
            self.end_sent(bytes);
            return opened;
        }
        let left = bytes - self.written;
        let offered = if random.below(3) == 0 { 1 + random.below(left) } else { left };
        let payload = self.payload(self.sent, self.written, offered);
        let accepted = link.write(self.lane, &payload).expect("nothing is wrong");
        assert!(accepted <= offered);
        self.written += accepted;
        self.end_sent(bytes);
        accepted > 0
    }

    fn end_sent(&mut self, bytes: usize) {
        if self.open && self.written == bytes {
            (self.sent, self.open, self.written) = (self.sent + 1, false, 0);
        }
    }

    /// Takes some of what has come; whether that was anything.
    fn receive<L: Transport>(&mut self, link: &mut L, taking: Taking, random: &mut Random) -> bool {
        let Some(head) = link.head(self.lane).expect("nothing is wrong") else { return false };
        assert!(!self.is_over(), "a message that nobody sent: {head:?}");
        assert_eq!(head, self.head(self.received), "the heads come in order and as they were sent");
        let bytes = self.lengths[self.received];
        if bytes == 0 {
            assert!(link.peek(self.lane).expect("nothing is wrong").is_empty());
            link.consume(self.lane, 0);
            self.received += 1;
            return true;
        }
        let came = match taking {
            Taking::Reading => self.read(link, 1 + random.below(2 * bytes)),
            Taking::Lent => self.consume(link, |lent| if lent == 0 { 0 } else { 1 + random.below(lent) }),
            Taking::Elements => self.consume_elements(link),
            Taking::ElementsAndTorn => match self.consume_elements(link) {
                0 => self.read(link, ELEMENT_BYTES),
                came => came,
            },
        };
        self.taken += came;
        if self.taken == bytes {
            (self.received, self.taken) = (self.received + 1, 0);
        }
        came > 0
    }

    fn read<L: Transport>(&mut self, link: &mut L, portion: usize) -> usize {
        let mut into = vec![0; portion];
        let came = link.read(self.lane, &mut into).expect("nothing is wrong");
        self.check(&into[..came]);
        came
    }

    /// Consumes as much as `portion` says of so many bytes lent.
    fn consume<L: Transport>(&mut self, link: &mut L, portion: impl FnOnce(usize) -> usize) -> usize {
        let lent = link.peek(self.lane).expect("nothing is wrong");
        self.check(lent);
        let portion = portion(lent.len());
        link.consume(self.lane, portion);
        portion
    }

    fn consume_elements<L: Transport>(&mut self, link: &mut L) -> usize {
        let left = self.lengths[self.received] - self.taken;
        self.consume(link, |lent| if lent == left { lent } else { lent / ELEMENT_BYTES * ELEMENT_BYTES })
    }

    fn check(&self, bytes: &[u8]) {
        assert!(self.taken + bytes.len() <= self.lengths[self.received], "more than the message has");
        assert!(bytes == self.payload(self.received, self.taken, bytes.len()), "other bytes than were sent: {self:?}");
    }
}
