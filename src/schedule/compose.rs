//! Larger schedules out of smaller ones: one after the other ([`Then`]), and some of the ranks among themselves, with a message ([`Within`]) or with their
//! blocks ([`WithinBlocks`]).
//!
//! A composed schedule is a schedule like any other: pure, copied by value, proven by [`super::proof`].

use super::{Chunks, Place, Schedule, Step};

/// One schedule, and when a rank has ended it, another on the same slice.
///
/// What the first one reduces is `complete` only if the second reduces nothing more: a reduce-scatter inside a host
/// completes its chunks when an all-gather follows, and does not when an allreduce between hosts follows. Each schedule
/// says whether it [reduces](Schedule::reduces), so this needs no care where a schedule is composed.
///
/// The second works on what the first left in the accumulator, therefore it must not [keep its own
/// input](Schedule::keeps_own) where the first has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Then<A, B> {
    first: A,
    second: B,
    /// The length of the first, kept so that a step costs one comparison.
    seam: u32,
    contributions: Contributions,
}

/// Whether the first of two schedules is the last to contribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contributions {
    EndWithFirst,
    GoOn,
}

impl<A: Schedule, B: Schedule> Then<A, B> {
    /// `first`, then `second`.
    ///
    /// # Panics
    ///
    /// If they cut a slice differently; [`Within`] places a schedule in a slice that is cut more finely.
    pub fn new(first: A, second: B) -> Self {
        assert_eq!(first.parts(), second.parts(), "two schedules in a row must cut a slice into as many chunks");
        let seam = first.len();
        let contributions = if second.reduces() { Contributions::GoOn } else { Contributions::EndWithFirst };
        Self { first, second, seam, contributions }
    }
}

impl<A: Schedule, B: Schedule> Schedule for Then<A, B> {
    #[inline]
    fn parts(&self) -> u32 {
        self.first.parts()
    }

    #[inline]
    fn len(&self) -> u32 {
        self.seam + self.second.len()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        if pc >= self.seam {
            return self.second.step(pc - self.seam);
        }
        let step = self.first.step(pc);
        match self.contributions {
            Contributions::EndWithFirst => step,
            Contributions::GoOn => step.partial(),
        }
    }

    fn keeps_own(&self) -> bool {
        self.first.keeps_own() || self.second.keeps_own()
    }

    fn widest(&self) -> u32 {
        self.first.widest().max(self.second.widest())
    }

    fn credits(&self) -> u32 {
        self.first.credits().max(self.second.credits())
    }

    fn reduces(&self) -> bool {
        self.first.reduces() || self.second.reduces()
    }
}

/// A schedule for the members of a group, of which each chunk is so many chunks of the slice.
///
/// Every rank must be a member of one such group, and all groups run the same schedule. Groups may differ in size, so one may have something to do where
/// another, of a single rank, has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within<'g, S> {
    members: &'g [u32],
    grain: u32,
    widest: u32,
    inner: S,
}

impl<'g, S: Schedule> Within<'g, S> {
    /// `inner`, which is written for ranks 0, 1, … that stand for `members`; each of its chunks is `grain` chunks of the slice. In the group that moves most in
    /// a step these are `widest`.
    pub fn new(members: &'g [u32], grain: u32, widest: u32, inner: S) -> Self {
        Self { members, grain, widest, inner }
    }
}

impl<S: Schedule> Schedule for Within<'_, S> {
    #[inline]
    fn parts(&self) -> u32 {
        self.inner.parts() * self.grain
    }

    #[inline]
    fn len(&self) -> u32 {
        self.inner.len()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let parts = self.inner.parts();
        let whole = Place { offset: 0, grain: self.grain, parts: parts * self.grain };
        self.inner.step(pc).renamed(|member| self.members[member as usize], |chunks| chunks.placed(whole, parts))
    }

    fn keeps_own(&self) -> bool {
        self.inner.keeps_own()
    }

    fn widest(&self) -> u32 {
        self.widest
    }

    fn credits(&self) -> u32 {
        self.inner.credits()
    }

    fn reduces(&self) -> bool {
        self.inner.reduces()
    }
}

/// A schedule for the members of a group, of which each chunk is the block of a member. It moves one in a step, since blocks of members need not be neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WithinBlocks<'g, S> {
    members: &'g [u32],
    blocks: u32,
    inner: S,
}

impl<'g, S: Schedule> WithinBlocks<'g, S> {
    /// `inner`, which is written for ranks 0, 1, … that stand for `members`, and for their blocks; of all ranks the slice has so many.
    pub fn new(members: &'g [u32], blocks: u32, inner: S) -> Self {
        Self { members, blocks, inner }
    }
}

impl<S: Schedule> Schedule for WithinBlocks<'_, S> {
    fn parts(&self) -> u32 {
        self.blocks
    }

    #[inline]
    fn len(&self) -> u32 {
        self.inner.len()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let rank = |member: u32| self.members[member as usize];
        self.inner.step(pc).renamed(rank, |block| {
            debug_assert_eq!(block.count, 1, "blocks of several members are not neighbours");
            Chunks::one(rank(block.first))
        })
    }

    fn keeps_own(&self) -> bool {
        self.inner.keeps_own()
    }

    fn widest(&self) -> u32 {
        1
    }

    fn credits(&self) -> u32 {
        self.inner.credits()
    }

    fn reduces(&self) -> bool {
        self.inner.reduces()
    }
}
