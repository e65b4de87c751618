//! The simulated transport: in memory, in virtual time, on one thread.
//!
//! A [`Network`] joins any number of ranks. Every head and every piece of payload takes a random time from a seeded source; a lane keeps
//! its order, lanes overtake each other. Writes are accepted in random amounts and arrive as random pieces, so no receiver may
//! count on whole messages or whole elements. Messages can be lost (with the rest of their lane, as on an ordered stream), and ranks
//! can be cut off. Nothing happens by itself: whoever drives the ranks calls [`Network::advance`] when none of them can move.

use super::{Capabilities, Fault, Head, Interest, LANES, Transport};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

/// What a simulated network is like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything random follows from it.
    pub seed: u64,
    /// How long something travels, in virtual nanoseconds.
    pub delay_ns: Range<u64>,
    /// Of a million messages, how many are lost.
    pub lost_per_million: u32,
    /// The largest payload of a message.
    pub slot_bytes: usize,
    /// Messages that a lane takes ahead of its receiver.
    pub credits: u32,
    /// Whether writes are accepted in random pieces, or whole.
    pub pieces: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { seed: 0, delay_ns: 500..20_000, lost_per_million: 0, slot_bytes: 4096, credits: 1, pieces: true }
    }
}

/// A network of simulated ranks.
#[derive(Clone, Debug)]
pub struct Network(Rc<RefCell<World>>);

/// One rank's end of a simulated link.
#[derive(Debug)]
pub struct SimLink {
    world: Rc<RefCell<World>>,
    settings: Rc<Settings>,
    out: Endpoint,
    back: Endpoint,
    unwritten: [u64; LANES],
    arrived: [Arrived; LANES],
}

/// A direction of a link: index of its first lane among all lanes.
#[derive(Clone, Copy, Debug)]
struct Endpoint(usize);

#[derive(Debug, Default)]
struct Arrived {
    head: Option<Head>,
    /// Bytes of the message not yet read or consumed.
    rest: u64,
    piece: Vec<u8>,
    at: usize,
}

#[derive(Debug)]
struct World {
    ranks: usize,
    now_ns: u64,
    random: u64,
    lanes: Vec<Lane>,
    events: BinaryHeap<Reverse<u64>>,
    cut: Vec<bool>,
}

#[derive(Debug, Default)]
struct Lane {
    travelling: VecDeque<(u64, Parcel)>,
    last_ns: u64,
    ahead: u32,
    returning: VecDeque<u64>,
    lost: bool,
}

#[derive(Debug)]
enum Parcel {
    Head(Head),
    Piece(Vec<u8>),
}

impl Network {
    /// A network of `ranks` ranks, and each rank's links by peer.
    pub fn new(ranks: u32, settings: Settings) -> (Self, Vec<Vec<Option<SimLink>>>) {
        let ranks = ranks as usize;
        let world = Rc::new(RefCell::new(World {
            ranks,
            now_ns: 0,
            random: settings.seed ^ 0x9e37_79b9_7f4a_7c15,
            lanes: std::iter::repeat_with(Lane::default).take(ranks * ranks * LANES).collect(),
            events: BinaryHeap::new(),
            cut: vec![false; ranks],
        }));
        let settings = Rc::new(settings);
        let link = |me: usize, peer: usize| {
            (me != peer).then(|| SimLink {
                world: world.clone(),
                settings: settings.clone(),
                out: Endpoint((me * ranks + peer) * LANES),
                back: Endpoint((peer * ranks + me) * LANES),
                unwritten: [0; LANES],
                arrived: Default::default(),
            })
        };
        let links = (0..ranks).map(|me| (0..ranks).map(|peer| link(me, peer)).collect()).collect();
        (Self(world), links)
    }

    /// The virtual time.
    pub fn now_ns(&self) -> u64 {
        self.0.borrow().now_ns
    }

    /// Moves the time to the next arrival. `false`: nothing is travelling, so if no rank can move now, none ever will.
    pub fn advance(&self) -> bool {
        let mut world = self.0.borrow_mut();
        while let Some(Reverse(at)) = world.events.pop() {
            if at > world.now_ns {
                world.now_ns = at;
                return true;
            }
        }
        false
    }

    /// From now on nothing to or from this rank arrives.
    pub fn cut(&self, rank: u32) {
        self.0.borrow_mut().cut[rank as usize] = true;
    }
}

impl World {
    /// SplitMix64: small, seedable, good enough to shuffle.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, range: &Range<u64>) -> u64 {
        range.start + self.random() % (range.end - range.start).max(1)
    }

    fn is_cut(&self, lane: usize) -> bool {
        let pair = lane / LANES;
        self.cut[pair / self.ranks] || self.cut[pair % self.ranks]
    }

    fn post(&mut self, lane: usize, parcel: Parcel, delay_ns: &Range<u64>) {
        if self.lanes[lane].lost || self.is_cut(lane) {
            return;
        }
        let at = (self.now_ns + self.between(delay_ns)).max(self.lanes[lane].last_ns);
        self.lanes[lane].last_ns = at;
        self.lanes[lane].travelling.push_back((at, parcel));
        self.events.push(Reverse(at));
    }

    fn take(&mut self, lane: usize) -> Option<Parcel> {
        let now = self.now_ns;
        let queue = &mut self.lanes[lane].travelling;
        let due = queue.front().is_some_and(|(at, _)| *at <= now);
        if due { queue.pop_front().map(|(_, parcel)| parcel) } else { None }
    }

    fn return_credit(&mut self, lane: usize, delay_ns: &Range<u64>) {
        if !self.is_cut(lane) {
            let at = self.now_ns + self.between(delay_ns);
            self.lanes[lane].returning.push_back(at);
            self.events.push(Reverse(at));
        }
    }
}

impl SimLink {
    fn fetch_piece(&mut self, lane: usize) {
        let arrived = &mut self.arrived[lane];
        while arrived.at == arrived.piece.len() && arrived.rest > 0 {
            match self.world.borrow_mut().take(self.back.0 + lane) {
                Some(Parcel::Piece(piece)) => (arrived.piece, arrived.at) = (piece, 0),
                Some(Parcel::Head(_)) => unreachable!("a lane's next head follows its message's last piece"),
                None => return,
            }
        }
    }

    fn pass(&mut self, lane: usize, bytes: usize) {
        let arrived = &mut self.arrived[lane];
        arrived.at += bytes;
        arrived.rest -= bytes as u64;
        if arrived.rest == 0 {
            arrived.head = None;
            self.world.borrow_mut().return_credit(self.back.0 + lane, &self.settings.delay_ns);
        }
    }
}

impl Transport for SimLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "sim", slot_bytes: self.settings.slot_bytes, credits: self.settings.credits }
    }

    fn open(&mut self, lane: usize, head: &Head) -> Result<bool, Fault> {
        assert_eq!(self.unwritten[lane], 0, "the lane's previous message is not written whole");
        assert!(head.bytes <= self.settings.slot_bytes as u64, "a message of {} bytes exceeds its slot", head.bytes);
        let mut world = self.world.borrow_mut();
        let now = world.now_ns;
        let index = self.out.0 + lane;
        while world.lanes[index].returning.front().is_some_and(|at| *at <= now) {
            world.lanes[index].returning.pop_front();
            world.lanes[index].ahead -= 1;
        }
        if world.lanes[index].ahead == self.settings.credits {
            return Ok(false);
        }
        world.lanes[index].ahead += 1;
        if world.random() % 1_000_000 < u64::from(self.settings.lost_per_million) {
            world.lanes[index].lost = true;
        }
        world.post(index, Parcel::Head(*head), &self.settings.delay_ns);
        self.unwritten[lane] = head.bytes;
        Ok(true)
    }

    fn write(&mut self, lane: usize, payload: &[u8]) -> Result<usize, Fault> {
        let mut world = self.world.borrow_mut();
        let offered = payload.len().min(self.unwritten[lane] as usize);
        let accepted = match self.settings.pieces && offered > 1 {
            true => 1 + (world.random() % offered as u64) as usize,
            false => offered,
        };
        world.post(self.out.0 + lane, Parcel::Piece(payload[..accepted].to_vec()), &self.settings.delay_ns);
        self.unwritten[lane] -= accepted as u64;
        Ok(accepted)
    }

    fn head(&mut self, lane: usize) -> Result<Option<Head>, Fault> {
        let arrived = &mut self.arrived[lane];
        if arrived.head.is_none()
            && let Some(Parcel::Head(head)) = self.world.borrow_mut().take(self.back.0 + lane)
        {
            arrived.head = Some(head);
            arrived.rest = head.bytes;
        }
        Ok(arrived.head)
    }

    fn read(&mut self, lane: usize, into: &mut [u8]) -> Result<usize, Fault> {
        self.fetch_piece(lane);
        let arrived = &self.arrived[lane];
        let bytes = into.len().min(arrived.piece.len() - arrived.at);
        into[..bytes].copy_from_slice(&arrived.piece[arrived.at..arrived.at + bytes]);
        if bytes > 0 {
            self.pass(lane, bytes);
        }
        Ok(bytes)
    }

    fn peek(&mut self, lane: usize) -> Result<&[u8], Fault> {
        self.fetch_piece(lane);
        let arrived = &self.arrived[lane];
        Ok(&arrived.piece[arrived.at..])
    }

    fn consume(&mut self, lane: usize, bytes: usize) {
        self.pass(lane, bytes);
    }

    fn pump(&mut self) -> Result<bool, Fault> {
        Ok(false)
    }

    fn arm(&mut self) -> Result<bool, Fault> {
        Ok(true)
    }

    fn descriptors(&self, _each: &mut dyn FnMut(BorrowedFd<'_>, Interest)) {}
}
