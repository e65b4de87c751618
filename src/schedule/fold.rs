//! Any number of ranks for a schedule that is written for powers of two: the ranks that are too many hand in and wait.
//!
//! ```text
//!   n = 6 = 4 + 2:   1 ──▶ 0, 3 ──▶ 2     then 0, 2, 4, 5 run the schedule     then 0 ──▶ 1, 2 ──▶ 3
//! ```
//!
//! It knows the ranks' numbers and the schedule that it extends, nothing of which one that is.

use super::{Chunks, Schedule, Step};

/// A schedule for a power of two of ranks, extended to any number.
///
/// With n = p + e ranks, p the largest power of two, the first 2·e ranks are pairs of neighbours: the odd one sends its
/// whole input to the even one and at the end gets the result from it. It costs two messages of the whole slice more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded<S> {
    inner: S,
    extras: u32,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Hands its input to this rank and gets the result from it.
    Extra { proxy: u32 },
    /// Takes part for this rank too.
    Proxy { extra: u32 },
    /// Takes part for itself.
    Single,
}

impl<S: Schedule> Folded<S> {
    /// Rank `rank` of `size`; `inner` makes the schedule of one of a power of two of ranks.
    pub fn new(rank: u32, size: u32, inner: impl FnOnce(u32, u32) -> S) -> Self {
        let core = 1 << size.ilog2();
        let extras = size - core;
        let role = match rank {
            _ if rank >= 2 * extras => Role::Single,
            _ if rank.is_multiple_of(2) => Role::Proxy { extra: rank + 1 },
            _ => Role::Extra { proxy: rank - 1 },
        };
        let inner_rank = if rank < 2 * extras { rank / 2 } else { rank - extras };
        Self { inner: inner(inner_rank, core), extras, role }
    }

    /// The step of the inner schedule, its peers by their real numbers.
    #[inline]
    fn inner_step(&self, pc: u32) -> Step {
        let extras = self.extras;
        self.inner.step(pc).renamed(|peer| if peer < extras { 2 * peer } else { peer + extras }, |chunks| chunks)
    }
}

impl<S: Schedule> Schedule for Folded<S> {
    #[inline]
    fn parts(&self) -> u32 {
        self.inner.parts()
    }

    #[inline]
    fn len(&self) -> u32 {
        match self.role {
            Role::Extra { .. } => 2,
            Role::Proxy { .. } => self.inner.len() + 2,
            Role::Single => self.inner.len(),
        }
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let chunks = Chunks::run(0, self.inner.parts());
        match (self.role, pc) {
            (Role::Single, _) => self.inner_step(pc),
            (Role::Extra { proxy }, 0) => Step::Send { to: proxy, chunks },
            (Role::Extra { proxy }, _) => Step::Recv { from: proxy, chunks },
            // Two ranks or more take part when there are extras, so this is never the last contribution.
            (Role::Proxy { extra }, 0) => Step::RecvReduce { from: extra, chunks, complete: false },
            (Role::Proxy { extra }, _) if pc > self.inner.len() => Step::Send { to: extra, chunks },
            (Role::Proxy { .. }, _) => self.inner_step(pc - 1),
        }
    }

    fn keeps_own(&self) -> bool {
        !matches!(self.role, Role::Extra { .. }) && self.inner.keeps_own()
    }

    fn widest(&self) -> u32 {
        if self.extras > 0 { self.inner.parts() } else { self.inner.widest() }
    }

    fn credits(&self) -> u32 {
        self.inner.credits()
    }

    fn reduces(&self) -> bool {
        self.inner.reduces()
    }
}
