//! How slots are filled: through the caches, unless that shows that who reads them is far.
//!
//! Stores to lines that another core has read wait until it has given them up. Between two cores of one cache that takes 3 to 6 ns a line, between two that share only
//! memory 17 to 24, and then it is what a carried message waits for. Stores past the caches take 3 ns in either case, and their reader 8 to 11, for it reads
//! memory: near, that is half as fast as through the caches, far twice as fast (Zen 3, slots of 8 KiB to 128 KiB).
//!
//! So a rank times some of its own fills, and goes by that. Where the threads of a job are on its host, and whether the system moves them meanwhile, it need
//! not be told; a rank decides for itself, for nobody sees by which stores a slot was filled.

use std::time::{Duration, Instant};

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    /// Through the caches: they will be read again from there.
    Cached,
    /// Past them.
    Streaming,
}

/// What copies the second to the first, which is as long, by such stores. After it returns, whoever sees a later store of this thread sees the bytes.
pub type Copy = fn(&mut [u8], &[u8], Stores);

/// A cache line.
const LINE_BYTES: usize = 64;

/// Cached stores that take longer a line wait for a far core, or for an input that comes from memory; past the caches either takes less, or as long.
const FAR: Duration = Duration::from_nanos(12);
/// Smaller fills go through the caches, and are not timed: their reader would wait for memory's latency rather than for its pace.
const BYTES_MIN: usize = 8 << 10;
/// Of cached fills one in so many is timed.
const TIMED: u32 = 4;
/// So many timed fills must be slow in turn: one may be when its thread was interrupted.
const SLOW: u32 = 2;
/// After so many fills past the caches, one goes through them: who read them may have come near.
const AGAIN: u32 = 64;

/// What a rank has seen of its fills.
#[derive(Debug, Default)]
pub struct Fills {
    /// How many cached ones in turn were timed and found slow.
    slow: u32,
    /// How many there were since one was timed.
    untimed: u32,
}

/// One fill, from its beginning.
#[derive(Debug)]
pub struct Fill {
    /// How to write.
    pub stores: Stores,
    began: Option<Instant>,
}

impl Fills {
    /// Begins to fill slots with so many bytes.
    #[inline]
    pub fn begin(&mut self, bytes: usize) -> Fill {
        if bytes < BYTES_MIN {
            return Fill { stores: Stores::Cached, began: None };
        }
        let far = self.slow >= SLOW;
        self.untimed += 1;
        if self.untimed < if far { AGAIN } else { TIMED } {
            return Fill { stores: if far { Stores::Streaming } else { Stores::Cached }, began: None };
        }
        self.untimed = 0;
        Fill { stores: Stores::Cached, began: Some(Instant::now()) }
    }

    /// Ends a fill of so many bytes.
    #[inline]
    pub fn end(&mut self, fill: &Fill, bytes: usize) {
        if let Some(began) = fill.began {
            self.note(began.elapsed(), bytes);
        }
    }

    /// What a rank has seen whose reader is far, as far as one try tells.
    #[cfg(test)]
    pub(crate) fn far() -> Self {
        Self { slow: SLOW, untimed: 0 }
    }

    fn note(&mut self, took: Duration, bytes: usize) {
        let is_slow = took > FAR * (bytes / LINE_BYTES) as u32;
        self.slow = if is_slow { (self.slow + 1).min(SLOW) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 32 << 10;

    /// Makes so many fills whose stores, if cached, take so long a line; gives how many went past the caches.
    fn fill(fills: &mut Fills, count: u32, cached: Duration) -> u32 {
        let streamed = |_: &u32| {
            let fill = fills.begin(BYTES);
            if fill.began.is_some() {
                fills.note(cached * (BYTES / LINE_BYTES) as u32, BYTES);
            }
            fill.stores == Stores::Streaming
        };
        (0..count).filter(streamed).count() as u32
    }

    #[test]
    fn fills_go_past_the_caches_while_a_reader_is_far() {
        let (near, far) = (Duration::from_nanos(5), Duration::from_nanos(20));
        let mut fills = Fills::default();
        assert_eq!(fill(&mut fills, 1000, near), 0);
        assert_eq!(fill(&mut fills, SLOW * TIMED, far), 0, "it is found so late");
        assert_eq!(fill(&mut fills, 10 * AGAIN, far), 10 * (AGAIN - 1), "one in so many tries");
        assert_eq!(fill(&mut fills, AGAIN, near), AGAIN - 1, "and finds");
        assert_eq!(fill(&mut fills, 1000, near), 0);
    }

    #[test]
    fn one_interruption_changes_nothing() {
        let mut fills = Fills::default();
        for _ in 0..10 {
            assert_eq!(fill(&mut fills, TIMED, Duration::from_micros(10)), 0);
            assert_eq!(fill(&mut fills, TIMED, Duration::from_nanos(5)), 0);
        }
    }

    #[test]
    fn small_fills_stay_cached() {
        let mut fills = Fills::default();
        fill(&mut fills, 2 * TIMED * SLOW, Duration::from_nanos(20));
        assert!(fills.begin(BYTES).stores == Stores::Streaming);
        let small = fills.begin(BYTES_MIN - 1);
        assert!(small.stores == Stores::Cached && small.began.is_none());
    }
}
