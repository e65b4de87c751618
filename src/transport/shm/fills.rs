//! How slots are filled: through the caches, unless that shows that who reads them is far.
//!
//! Stores to lines that another core has read wait until it has given them up. On a Zen 3 that takes 3 to 6 ns a line between two cores of one cache, 17 to 24 between two
//! that share only memory, and then it is what a carried message waits for. Stores past the caches take 3 ns in either case, and their reader 8 to 11, for it reads
//! memory: near, a message takes one and a half to twice as long as through the caches, far half as long (slots of 8 KiB to 128 KiB).
//!
//! So a rank times some of its own fills, and goes by that. Where the threads of a job are on its host, and whether the system moves them meanwhile, it need
//! not be told; a rank decides for itself, for nobody sees by which stores a slot was filled. Of readers near and far the farthest counts.
//!
//! It serves slots that their owner alone fills. Where two ranks swap them, each writes lines that it has just read itself, and its fills do not show where the other is.

use std::time::{Duration, Instant};

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    /// Through the caches: they will be read again from there.
    Cached,
    /// Past them.
    Streaming,
}

/// What copies the second to the first, which is as long, by such stores. Whoever sees what this thread releases later sees the bytes.
pub type CopyBy = fn(&mut [u8], &[u8], Stores);

/// A cache line.
const LINE_BYTES: usize = 64;

/// Cached stores that take longer a line wait for a far core: between the 6 and 17 ns above, and more than the reader takes of a line in memory, which it then waits for instead. Or for
/// an input that comes from memory: from 8 MiB on, where they do so, both ways take as long.
const FAR: Duration = Duration::from_nanos(12);
/// Whoever reads less goes on through the caches: past them it would wait for memory's latency rather than for its pace.
const BYTES_MIN: usize = 8 << 10;
/// Of cached fills one in so many is timed: a clock is read in 20 to 35 ns, 8 KiB are written in 600.
const TIMED: u32 = 4;
/// So many timed fills must be slow in a row: one may be when its thread was interrupted.
const SLOW: u32 = 2;
/// After so many fills past the caches, one goes through them: who reads them may have come near. Far, it takes some six times as long as the others.
const AGAIN: u32 = 64;

/// What a rank has seen of its fills.
#[derive(Debug, Default)]
pub(crate) struct Fills {
    /// How many cached ones in a row were timed and found slow.
    slow: u32,
    /// How many there were since one was timed.
    untimed: u32,
    /// How many there were past the caches.
    #[cfg(test)]
    pub(crate) streamed: u32,
}

impl Fills {
    /// Lets `write` fill slots with so many bytes, of which one reader takes `read`, by the stores that it is told.
    #[inline]
    pub(crate) fn fill(&mut self, bytes: usize, read: usize, write: impl FnOnce(Stores)) {
        if read < BYTES_MIN {
            return write(Stores::Cached);
        }
        let far = self.slow >= SLOW;
        self.untimed += 1;
        if self.untimed >= if far { AGAIN } else { TIMED } {
            self.untimed = 0;
            let began = Instant::now();
            write(Stores::Cached);
            let is_slow = began.elapsed() > FAR * (bytes / LINE_BYTES) as u32;
            self.slow = if is_slow { (self.slow + 1).min(SLOW) } else { 0 };
        } else if far {
            #[cfg(test)]
            (self.streamed += 1);
            write(Stores::Streaming);
        } else {
            write(Stores::Cached);
        }
    }

    /// As after slow fills: the next ones go past the caches.
    #[cfg(test)]
    pub(crate) fn far() -> Self {
        Self { slow: SLOW, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 32 << 10;

    /// Makes so many fills whose stores, if cached, take so many times what a far core's do at least; gives how many went past the caches.
    fn fill(fills: &mut Fills, count: u32, times: u32) -> u32 {
        let mut streamed = 0;
        for _ in 0..count {
            fills.fill(BYTES, BYTES, |stores| {
                let began = Instant::now();
                while stores == Stores::Cached && began.elapsed() < times * FAR * (BYTES / LINE_BYTES) as u32 {
                    std::hint::spin_loop();
                }
                streamed += u32::from(stores == Stores::Streaming);
            });
        }
        streamed
    }

    #[test]
    fn fills_go_past_the_caches_while_a_reader_is_far() {
        let mut fills = Fills::default();
        assert_eq!(fill(&mut fills, SLOW * TIMED, 2), 0, "it is found so late");
        assert_eq!(fill(&mut fills, 10 * AGAIN, 2), 10 * (AGAIN - 1), "one in so many tries");
        assert_eq!(fills.streamed, 10 * (AGAIN - 1));
        // A try that is interrupted is one of a far core as well.
        let finds = (0..100).any(|_| fill(&mut fills, AGAIN, 0) == AGAIN - 1 && fill(&mut fills, 1, 0) == 0);
        assert!(finds, "the core is near");
    }

    #[test]
    fn one_interruption_changes_nothing() {
        let mut fills = Fills { slow: SLOW - 1, ..Fills::default() };
        assert_eq!(fill(&mut fills, TIMED - 1, 2), 0, "these are not timed");
        let forgets = (0..100).any(|_| {
            fills.slow = SLOW - 1;
            fill(&mut fills, TIMED, 0) == 0 && fills.slow == 0
        });
        assert!(forgets, "a fast one makes up for a slow one");
    }

    #[test]
    fn what_a_reader_takes_little_of_stays_cached() {
        let mut fills = Fills::far();
        let mut stores = Vec::new();
        for read in [BYTES_MIN, BYTES_MIN - 1, 0] {
            fills.fill(BYTES, read, |by| stores.push(by));
        }
        assert_eq!(stores, [Stores::Streaming, Stores::Cached, Stores::Cached]);
    }
}
