//! Between hosts: a schedule written for hosts, run on several rails at once. A rail is one rank of every host.
//!
//! It knows which rank stands for which host on which rail, nothing of the schedule but how its steps may take turns.

use super::blocks::Blocks;
use super::shares::Shares;
use super::{Chunks, Place, Schedule, Step};
use crate::types::Grouping;

/// What the rails of a schedule between hosts are.
pub trait Rails: Copy {
    /// Into how many chunks the slice is cut, if the schedule between hosts has so many.
    fn parts(&self, inner: u32) -> u32;

    /// The rank of a host on a rail.
    fn rank(&self, rail: u32, host: u32) -> u32;

    /// The chunks of the slice that the schedule's chunks, of `inner`, are on a rail.
    fn chunks(&self, rail: u32, chunks: Chunks, inner: u32) -> Chunks;

    /// The most chunks of the slice that the schedule's `inner` widest chunks are.
    fn widest(&self, inner: u32) -> u32;
}

/// A rail for each shard of a message. Every host owns all shards, however many ranks it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards<'g> {
    pub(super) grouping: &'g Grouping,
    pub(super) shards: u32,
}

/// One rail, of each host's leader, for whole messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader<'g> {
    pub(super) grouping: &'g Grouping,
    /// The root, which leads its host; on other hosts the lowest rank does.
    pub(super) root: u32,
}

impl Shards<'_> {
    /// Which members of a host own which shards.
    #[inline]
    pub(super) fn shares(&self, host: u32) -> Shares {
        Shares { parts: self.shards, among: self.grouping.members(host).len() as u32 }
    }
}

impl Rails for Shards<'_> {
    #[inline]
    fn parts(&self, inner: u32) -> u32 {
        self.shards * inner
    }

    #[inline]
    fn rank(&self, rail: u32, host: u32) -> u32 {
        self.grouping.members(host)[self.shares(host).owner(rail) as usize]
    }

    #[inline]
    fn chunks(&self, rail: u32, chunks: Chunks, inner: u32) -> Chunks {
        chunks.placed(Place { offset: rail * inner, grain: 1, parts: self.shards * inner }, inner)
    }

    fn widest(&self, inner: u32) -> u32 {
        inner
    }
}

impl Rails for Blocks<'_> {
    #[inline]
    fn parts(&self, _: u32) -> u32 {
        Blocks::parts(self)
    }

    #[inline]
    fn rank(&self, rail: u32, host: u32) -> u32 {
        self.owner(rail, host)
    }

    #[inline]
    fn chunks(&self, rail: u32, chunks: Chunks, _: u32) -> Chunks {
        debug_assert_eq!(chunks.count, 1, "pieces of several hosts are not neighbours");
        self.piece(rail, chunks.first)
    }

    fn widest(&self, _: u32) -> u32 {
        Blocks::widest(self)
    }
}

impl Leader<'_> {
    /// The rank that leads a host.
    #[inline]
    pub(super) fn of(&self, host: u32) -> u32 {
        if host == self.grouping.host_of(self.root) { self.root } else { self.grouping.members(host)[0] }
    }
}

impl Rails for Leader<'_> {
    #[inline]
    fn parts(&self, inner: u32) -> u32 {
        inner
    }

    #[inline]
    fn rank(&self, _: u32, host: u32) -> u32 {
        self.of(host)
    }

    #[inline]
    fn chunks(&self, _: u32, chunks: Chunks, _: u32) -> Chunks {
        chunks
    }

    fn widest(&self, inner: u32) -> u32 {
        inner
    }
}

/// How a rank that is on several rails goes from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// After every exchange, which is a send and a receive: so all rails go on at once. For schedules of which every rank's program is as many exchanges.
    Exchange,
    /// After the whole program of the rail. For any schedule.
    Program,
}

/// A schedule written for hosts, one rank of each on each rail.
///
/// Ranks are on different numbers of rails, and two of them may meet on several, by one link with one slot. Nobody waits for ever: turns, by their number
/// and rail, have one order in which every rank takes its own. What is before the earliest turn that somebody has not ended has all been received, so that turn finds
/// every slot free and everybody in it, and it ends as it would on a rail alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between<R, S> {
    rails: R,
    inner: S,
    /// The rails that this rank is on: so many from this one on.
    first: u32,
    count: u32,
    /// The steps of one turn.
    turn: u32,
}

impl<R: Rails, S: Schedule> Between<R, S> {
    /// The rank on `own` of the `rails`; `inner` is its host's program.
    ///
    /// # Panics
    ///
    /// If `inner` keeps its own input: between hosts go sums.
    pub(super) fn new(rails: R, own: std::ops::Range<u32>, turns: Turns, inner: S) -> Self {
        assert!(!inner.keeps_own(), "a schedule between hosts works on sums, not on its own input");
        let turn = match turns {
            Turns::Exchange => 2,
            Turns::Program => inner.len(),
        };
        Self { rails, inner, first: own.start, count: own.end - own.start, turn }
    }
}

impl<R: Rails, S: Schedule> Schedule for Between<R, S> {
    #[inline]
    fn parts(&self) -> u32 {
        self.rails.parts(self.inner.parts())
    }

    #[inline]
    fn len(&self) -> u32 {
        self.count * self.inner.len()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let (turn, within) = (pc / self.turn, pc % self.turn);
        let (round, rail) = (turn / self.count, self.first + turn % self.count);
        let parts = self.inner.parts();
        self.inner
            .step(round * self.turn + within)
            .renamed(|host| self.rails.rank(rail, host), |chunks| self.rails.chunks(rail, chunks, parts))
    }

    fn widest(&self) -> u32 {
        self.rails.widest(self.inner.widest())
    }

    fn credits(&self) -> u32 {
        self.inner.credits()
    }

    fn reduces(&self) -> bool {
        self.inner.reduces()
    }
}
