//! Blocks on rails: how the blocks of hosts of different sizes are cut so that each rail has a piece of every host; and the ring in which the
//! ranks of one host hand all pieces on.
//!
//! ```text
//!   host 0: ranks 0 1 2    host 1: ranks 3 4        4 rails, each block cut in 2
//!
//!   rail    0    1    2    3
//!   host 0  0a   0b   1    2       rank 0 owns rails 0 and 1, rank 1 rail 2, rank 2 rail 3
//!   host 1  3a   3b   4a   4b      rank 3 owns rails 0 and 1, rank 4 rails 2 and 3
//! ```
//!
//! A rank's rails carry its own block between them, so nobody hands anything over before the hosts exchange.

use super::shares::Shares;
use super::{Chunks, Exchange, Schedule, Step};
use crate::types::Grouping;

/// Every rank's block, cut into pieces: one for each rail and host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks<'g> {
    grouping: &'g Grouping,
    rails: u32,
    /// Into how many chunks a block is cut.
    grain: u32,
    widest: u32,
}

impl<'g> Blocks<'g> {
    /// As few rails as give every rank one, and every rank of the smallest host as many as any other of its host.
    pub(super) fn new(grouping: &'g Grouping) -> Self {
        let (smallest, largest) = (grouping.smallest(), grouping.largest());
        // A rank of the smallest host has this many rails, nobody has more, and each is to carry a chunk of every block.
        let grain = largest.div_ceil(smallest);
        let rails = grain * smallest;
        Self { grouping, rails, grain, widest: grain.div_ceil(rails / largest) }
    }

    /// Into how many chunks the blocks of a slice are cut.
    #[inline]
    pub(super) fn parts(&self) -> u32 {
        self.grouping.size() * self.grain
    }

    /// The most chunks of a piece.
    pub(super) fn widest(&self) -> u32 {
        self.widest
    }

    /// Which members of a host own which rails.
    #[inline]
    pub(super) fn shares(&self, host: u32) -> Shares {
        Shares { parts: self.rails, among: self.grouping.members(host).len() as u32 }
    }

    /// The rank of a host on a rail.
    #[inline]
    pub(super) fn owner(&self, rail: u32, host: u32) -> u32 {
        self.grouping.members(host)[self.shares(host).owner(rail) as usize]
    }

    /// What a rail carries of a host: a part of the block of the rank that owns the rail there.
    #[inline]
    pub(super) fn piece(&self, rail: u32, host: u32) -> Chunks {
        let shares = self.shares(host);
        let member = shares.owner(rail);
        let rails = shares.of(member);
        let cut = Shares { parts: self.grain, among: rails.end - rails.start }.of(rail - rails.start);
        let block = self.grouping.members(host)[member as usize];
        Chunks::run(block * self.grain + cut.start, cut.end - cut.start)
    }
}

/// A ring of the ranks of one host, through which all pieces of all rails go.
///
/// The pieces are a circle, rail by rail, of which each rank owns an arc: the rails that it has. A rank sends the circle backwards, beginning at the end
/// of its own arc and ending before the next rank's; it receives what lies before its own arc in the same order. Arcs differ in length, so
/// one of the two may go on after the other has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ring<'g> {
    blocks: Blocks<'g>,
    next: u32,
    previous: u32,
    /// Where the own arc begins.
    start: u32,
    arc: u32,
    sends: u32,
    receives: u32,
}

/// One of the ring's messages: what it moves, and whether to the next rank or from the one before.
enum Message {
    ToNext { chunks: Chunks, is_own: bool },
    FromPrevious { chunks: Chunks },
}

impl<'g> Ring<'g> {
    fn new(blocks: Blocks<'g>, rank: u32) -> Self {
        let grouping = blocks.grouping;
        let (host, place) = (grouping.host_of(rank), grouping.place_of(rank));
        let members = grouping.members(host);
        let size = members.len() as u32;
        let (next, previous) = ((place + 1) % size, (place + size - 1) % size);
        let pieces = |member| {
            let rails = blocks.shares(host).of(member);
            rails.start * grouping.hosts()..rails.end * grouping.hosts()
        };
        let (own, all) = (pieces(place), blocks.rails * grouping.hosts());
        let arc = own.end - own.start;
        Self {
            blocks,
            next: members[next as usize],
            previous: members[previous as usize],
            start: own.start,
            arc,
            sends: all - pieces(next).len() as u32,
            receives: all - arc,
        }
    }

    #[inline]
    fn len(&self) -> u32 {
        self.sends + self.receives
    }

    /// Message number `pc`.
    #[inline]
    fn message(&self, pc: u32) -> Message {
        match Exchange::at(pc, self.sends, self.receives) {
            Exchange::Send(k) => {
                Message::ToNext { chunks: self.behind(self.start + self.arc, k), is_own: k < self.arc }
            }
            Exchange::Receive(k) => Message::FromPrevious { chunks: self.behind(self.start, k) },
        }
    }

    /// The piece `k` places before the one before `end`.
    #[inline]
    fn behind(&self, end: u32, k: u32) -> Chunks {
        let hosts = self.blocks.grouping.hosts();
        let all = self.blocks.rails * hosts;
        let at = if end > k { end - 1 - k } else { end + all - 1 - k };
        self.blocks.piece(at / hosts, at % hosts)
    }

    fn widest(&self) -> u32 {
        self.blocks.widest
    }
}

/// Everybody ends with what the others of its host own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllGather<'g>(Ring<'g>);

/// Everybody ends with what it owns, reduced over its host: the all-gather backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReduceScatter<'g>(Ring<'g>);

impl<'g> AllGather<'g> {
    pub(super) fn new(blocks: Blocks<'g>, rank: u32) -> Self {
        Self(Ring::new(blocks, rank))
    }
}

impl<'g> ReduceScatter<'g> {
    pub(super) fn new(blocks: Blocks<'g>, rank: u32) -> Self {
        Self(Ring::new(blocks, rank))
    }
}

impl Schedule for AllGather<'_> {
    fn parts(&self) -> u32 {
        self.0.blocks.parts()
    }

    #[inline]
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        match self.0.message(pc) {
            Message::ToNext { chunks, .. } => Step::Send { to: self.0.next, chunks },
            Message::FromPrevious { chunks } => Step::Recv { from: self.0.previous, chunks },
        }
    }

    fn widest(&self) -> u32 {
        self.0.widest()
    }

    fn reduces(&self) -> bool {
        false
    }
}

impl Schedule for ReduceScatter<'_> {
    fn parts(&self) -> u32 {
        self.0.blocks.parts()
    }

    #[inline]
    fn len(&self) -> u32 {
        self.0.len()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        match self.0.message(self.0.len() - 1 - pc) {
            // The way of an own piece ends here.
            Message::ToNext { chunks, is_own } => Step::RecvReduce { from: self.0.next, chunks, complete: is_own },
            Message::FromPrevious { chunks } => Step::Send { to: self.0.previous, chunks },
        }
    }

    fn widest(&self) -> u32 {
        self.0.widest()
    }

    fn reduces(&self) -> bool {
        self.0.len() > 0
    }
}
