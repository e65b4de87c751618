//! Larger schedules out of smaller ones: one after the other ([`Then`]), and some of the ranks on part of the slice
//! ([`Within`]).
//!
//! A composed schedule is a schedule like any other: pure, copied by value, proven by [`super::proof`].

use super::{Place, Scatter, Schedule, Step};

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

/// Some of all ranks, evenly spaced: member `i` is rank `base + i · stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// The rank of member 0.
    pub base: u32,
    /// The distance between the ranks of neighbouring members.
    pub stride: u32,
}

/// A schedule for the members of a group, on part of a slice.
///
/// Every rank must be a member of one such group, and all groups run the same schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within<S> {
    group: Group,
    place: Place,
    inner: S,
}

impl<S: Schedule> Within<S> {
    /// `inner`, which is written for ranks 0, 1, … of `group` and for a slice of its own, at `place` of the slice.
    ///
    /// # Panics
    ///
    /// If `inner` does not fit into `place`.
    pub fn new(group: Group, place: Place, inner: S) -> Self {
        let end = u64::from(place.offset) + u64::from(place.grain) * u64::from(inner.parts());
        assert!(place.grain > 0 && end <= u64::from(place.parts), "a schedule's chunks must lie inside the slice");
        Self { group, place, inner }
    }
}

impl<S: Schedule> Schedule for Within<S> {
    #[inline]
    fn parts(&self) -> u32 {
        self.place.parts
    }

    #[inline]
    fn len(&self) -> u32 {
        self.inner.len()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let Group { base, stride } = self.group;
        let parts = self.inner.parts();
        self.inner.step(pc).renamed(|member| base + member * stride, |chunks| chunks.placed(self.place, parts))
    }

    fn keeps_own(&self) -> bool {
        self.inner.keeps_own()
    }

    fn widest(&self) -> u32 {
        if self.inner.is_empty() { 1 } else { self.inner.widest() * self.place.grain }
    }

    fn credits(&self) -> u32 {
        self.inner.credits()
    }

    fn reduces(&self) -> bool {
        self.inner.reduces()
    }
}

impl<S: Scatter> Within<S> {
    /// The place of this rank's shard, for a schedule that cuts it into `parts` chunks.
    ///
    /// # Panics
    ///
    /// If the shard is not that many chunks.
    pub fn shard(&self, parts: u32) -> Place {
        assert_eq!(self.place.grain % parts, 0, "a shard of {} chunks cannot be cut into {parts}", self.place.grain);
        let offset = self.place.offset + self.inner.shard() * self.place.grain;
        Place { offset, grain: self.place.grain / parts, parts: self.place.parts }
    }
}
