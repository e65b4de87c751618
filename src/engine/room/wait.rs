//! Waiting for a rank of the room, and waking those who wait.
//!
//! A wait goes through stages. It *spins* for as long as a rank on another core may take to answer. It *yields* the CPU when the
//! rank waited for is on the same one (at once; both say in their regions where they are), and when spinning has not
//! helped. It *sleeps* when yielding has not helped for milliseconds. What costs time (clock, the peers' descriptors, the watch) is
//! only looked at in the later stages.
//!
//! # Waking without a fence
//!
//! A sleeper says so in the bell of the rank it waits for, which that rank looks at after each of its flags. The rank's look may
//! overtake its own flag on the way to memory, and so miss the sleeper. Two things cover that: the sleeper lingers between
//! saying so and its last look at the flag, for much longer than a store takes to reach memory; and a sleep ends by itself
//! soon enough. The common path then costs one read of an own line.

use super::descriptor::{self, State};
use super::layout::{BELL_AT, CPU_AT, LEADS};
use super::{Room, Scene};
use crate::transport::shm::{Region, region};
use crate::{Error, Result};
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// Looks at a flag before anything else is done: a rank that is a little late on another core.
const FIRST_LOOKS: u32 = 48;
/// Looks before the CPU is given away to whoever wants it (some microseconds).
const LOOKS_MAX: u32 = 192;
/// Yields between two looks at the clock, which costs a fraction of a switch of context.
const YIELDS_A_CLOCK: u32 = 4;
/// After so long, ranks show and compare their calls; the time is many times that of a switch of context, and short to a user.
const COMPARE_AFTER: Duration = Duration::from_micros(200);
/// After so long, a rank sleeps: waking it (some 30 µs) is then little beside what it has waited already.
const SLEEP_AFTER: Duration = Duration::from_millis(2);
/// One sleep at first; it doubles up to the longest.
const SLEEP_FIRST: Duration = Duration::from_millis(2);
/// The longest sleep, and so the longest time that the watch is not asked.
const SLEEP_LONGEST: Duration = Duration::from_millis(50);
/// Looks between saying that one sleeps and doing so: microseconds, where a store takes a fraction of one.
const LINGER_LOOKS: u32 = 100;
/// The lowest bit of a bell says that somebody sleeps; the others count how often it rang.
const SLEEPER: u32 = 1;

/// What a rank knows about where it and the others run.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    /// The CPU that the own region names, plus one.
    cpu: Cell<u64>,
    /// The last long wait was for a rank on the own CPU: then the next may be as well.
    crowded: Cell<bool>,
}

/// What is waited for: `peer` setting the flag in word `at` of `region` to `flag` or, in the same call, beyond.
#[derive(Clone, Copy)]
pub(super) struct Awaited {
    pub(super) peer: usize,
    pub(super) region: usize,
    pub(super) at: usize,
    pub(super) flag: u64,
    /// The tag of the next turn in the same slot will do, in any call.
    pub(super) or_later: bool,
}

impl Awaited {
    #[inline]
    fn is(&self, seen: u64) -> bool {
        reached(seen, self.flag) || (self.or_later && is_later(seen, self.flag))
    }
}

impl Room {
    /// Waits; afterwards everything can be read that the peer wrote before it set the flag.
    #[inline]
    pub(super) fn wait(&self, scene: &Scene<'_>, awaited: Awaited) -> Result<()> {
        let word = self.regions[awaited.region].word(awaited.at);
        let looks = if self.size() == 2 && !self.waiter.crowded.get() { FIRST_LOOKS } else { 1 };
        for _ in 0..looks {
            if awaited.is(word.load(Ordering::Acquire)) {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        self.wait_on(scene, awaited)
    }

    /// Waits for those of the other ranks that run on this rank's CPU, before it spins for any other: they cannot come while it
    /// does.
    pub(super) fn wait_beside(&self, scene: &Scene<'_>, awaited: impl Fn(usize) -> Awaited) -> Result<()> {
        let others = (0..self.size()).filter(|peer| *peer != self.me).map(awaited);
        for awaited in others.filter(|awaited| !self.arrived(*awaited)) {
            if self.beside(awaited.peer) {
                self.wait(scene, awaited)?;
            }
        }
        Ok(())
    }

    /// Waits for all other ranks.
    #[inline]
    pub(super) fn wait_for_others(&self, scene: &Scene<'_>, awaited: impl Fn(usize) -> Awaited + Copy) -> Result<()> {
        if self.size() > 2 {
            self.wait_beside(scene, awaited)?;
        }
        (0..self.size()).filter(|peer| *peer != self.me).try_for_each(|peer| self.wait(scene, awaited(peer)))
    }

    /// Whether there is nobody to wait for.
    #[inline]
    pub(super) fn have_all_arrived(&self, awaited: impl Fn(usize) -> Awaited) -> bool {
        (0..self.size()).all(|peer| peer == self.me || self.arrived(awaited(peer)))
    }

    #[inline]
    fn arrived(&self, awaited: Awaited) -> bool {
        awaited.is(self.regions[awaited.region].word(awaited.at).load(Ordering::Acquire))
    }

    #[cold]
    fn wait_on(&self, scene: &Scene<'_>, awaited: Awaited) -> Result<()> {
        let mut looks = 0;
        while !self.beside(awaited.peer) {
            for _ in 0..FIRST_LOOKS {
                std::hint::spin_loop();
                if self.arrived(awaited) {
                    return Ok(());
                }
            }
            looks += FIRST_LOOKS;
            if looks >= LOOKS_MAX {
                break;
            }
        }
        let start = Instant::now();
        while start.elapsed() < COMPARE_AFTER {
            for _ in 0..YIELDS_A_CLOCK {
                yield_now();
                if self.arrived(awaited) {
                    return Ok(());
                }
            }
            self.beside(awaited.peer);
        }
        self.wait_long(scene, awaited, start)
    }

    #[cold]
    fn wait_long(&self, scene: &Scene<'_>, awaited: Awaited, start: Instant) -> Result<()> {
        descriptor::publish(&self.regions[self.me], scene.call, State::Waited);
        let mut sleep = SLEEP_FIRST;
        loop {
            scene.watch.check(scene.call, self.ranks[awaited.peer])?;
            self.compare(scene, awaited)?;
            let round = Instant::now();
            while round.elapsed() < COMPARE_AFTER {
                yield_now();
                if self.arrived(awaited) {
                    return Ok(());
                }
            }
            if start.elapsed() > SLEEP_AFTER {
                self.sleep(awaited, sleep);
                sleep = (2 * sleep).min(SLEEP_LONGEST);
            }
            if self.arrived(awaited) {
                return Ok(());
            }
        }
    }

    /// Looks for a rank that shows another call.
    ///
    /// One that shows an earlier call has yet to come. One that shows a later call may be right: it has what it needed of this one, and need not wait for
    /// the rank that is waited for here. But if it is that rank, all that can be waited for was set before, so it is seen now.
    fn compare(&self, scene: &Scene<'_>, awaited: Awaited) -> Result<()> {
        for (peer, region) in self.regions.iter().enumerate().filter(|(peer, _)| *peer != self.me) {
            let Some((theirs, state)) = descriptor::read(region) else { continue };
            let excused = match theirs.sequence.cmp(&scene.call.sequence) {
                std::cmp::Ordering::Less => state == State::Waited,
                std::cmp::Ordering::Equal => theirs == *scene.call,
                std::cmp::Ordering::Greater => state == State::Waited && peer != awaited.peer,
            };
            if !excused && !self.arrived(awaited) {
                let (rank, peer) = (self.ranks[self.me], self.ranks[peer]);
                return Err(Error::Mismatch { rank, ours: *scene.call, peer, theirs });
            }
        }
        Ok(())
    }

    /// Sleeps until the peer sets a flag, or for `limit`.
    fn sleep(&self, awaited: Awaited, limit: Duration) {
        let bell = self.regions[awaited.peer].word32(BELL_AT);
        let seen = bell.fetch_or(SLEEPER, Ordering::SeqCst) | SLEEPER;
        for _ in 0..LINGER_LOOKS {
            if self.arrived(awaited) {
                return;
            }
            std::hint::spin_loop();
        }
        region::sleep(bell, seen, limit);
    }

    /// Says where this rank runs, and whether `peer` was last seen on the same CPU.
    fn beside(&self, peer: usize) -> bool {
        let cpu = rustix::thread::sched_getcpu() as u64 + 1;
        if self.waiter.cpu.replace(cpu) != cpu {
            self.regions[self.me].word(CPU_AT).store(cpu, Ordering::Relaxed);
        }
        let beside = self.regions[peer].word(CPU_AT).load(Ordering::Relaxed) == cpu;
        self.waiter.crowded.set(beside);
        beside
    }

    /// To be called after every flag that this rank has set.
    #[inline]
    pub(super) fn ring(&self) {
        if self.regions[self.me].word32(BELL_AT).load(Ordering::Relaxed) & SLEEPER != 0 {
            wake_sleepers(&self.regions[self.me]);
        }
    }
}

/// Whether the flag that is `seen` is the one waited for or beyond: the same call (upper half), and at least the same number (lower half,
/// which may wrap). Another call's flag is never reached: comparing the calls, once the wait has lasted, tells why.
#[inline]
fn reached(seen: u64, flag: u64) -> bool {
    let ahead = (seen as u32).wrapping_sub(flag as u32).cast_signed();
    seen == flag || (seen >> 32 == flag >> 32 && ahead >= 0)
}

/// Whether the flag that is `seen` is of the next turn that uses the same slot of [`LEADS`]. Nothing later can be there while this rank has not gone on; what has
/// lain there for long is no news.
#[inline]
fn is_later(seen: u64, flag: u64) -> bool {
    seen != 0 && (seen as u32).wrapping_sub(flag as u32) == LEADS as u32
}

/// Wakes everybody who sleeps until the rank of this region moves on.
#[cold]
pub(super) fn wake_sleepers(mine: &Region) {
    let bell = mine.word32(BELL_AT);
    if bell.load(Ordering::SeqCst) & SLEEPER != 0 {
        // Adding the bit that is set clears it and counts one more ring.
        bell.fetch_add(SLEEPER, Ordering::SeqCst);
        region::wake(bell);
    }
}
