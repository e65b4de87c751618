//! Times of single calls, kept in constant memory however many there are: counts by magnitude, fine enough for percentiles.
//!
//! Pure; histograms of several ranks are added up element by element.

/// Steps within one doubling: the relative width of a bucket is at most 1/32.
const STEPS: u64 = 32;
/// Doublings above the first [`STEPS`] nanoseconds: the last bucket ends at 2^42 ns, more than an hour.
const DOUBLINGS: u64 = 37;

/// How often calls took how long.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    least_ns: u64,
    most_ns: u64,
    sum_ns: u64,
}

/// What is told of a histogram, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The fastest call.
    pub(crate) min_us: f64,
    /// The mean.
    pub(crate) avg_us: f64,
    /// Half of the calls were at most this slow.
    pub(crate) p50_us: f64,
    /// 99 of 100 calls were at most this slow.
    pub(crate) p99_us: f64,
    /// The slowest call.
    pub(crate) max_us: f64,
}

impl Histogram {
    /// An empty one; it allocates all that it will ever need.
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; (STEPS * (DOUBLINGS + 1)) as usize], least_ns: u64::MAX, most_ns: 0, sum_ns: 0 }
    }

    /// Counts one call.
    #[inline]
    pub(crate) fn add(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.least_ns = self.least_ns.min(ns);
        self.most_ns = self.most_ns.max(ns);
        self.sum_ns += ns;
    }

    /// The parts that are added up over ranks: the counts, then the sum of all times.
    pub(crate) fn sums(&self) -> Vec<u64> {
        self.counts.iter().copied().chain([self.sum_ns]).collect()
    }

    /// The fastest and the slowest call in nanoseconds.
    pub(crate) fn extremes_ns(&self) -> (u64, u64) {
        (self.least_ns, self.most_ns)
    }

    /// The histogram of all ranks, from their added [`Self::sums`] and the extremes of their extremes.
    pub(crate) fn from_ranks(mut sums: Vec<u64>, least_ns: u64, most_ns: u64) -> Self {
        let sum_ns = sums.pop().unwrap_or(0);
        Self { counts: sums, least_ns, most_ns, sum_ns }
    }

    /// What there is to tell; `None` without calls.
    pub(crate) fn spread(&self) -> Option<Spread> {
        let calls: u64 = self.counts.iter().sum();
        if calls == 0 {
            return None;
        }
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |hundredths: u64| {
            let wanted = (calls * hundredths).div_ceil(100);
            let mut seen = 0;
            let reached = self.counts.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            // A bucket's end may lie outside of what was seen.
            us(last_of(reached.unwrap_or(0)).clamp(self.least_ns, self.most_ns))
        };
        let avg_us = self.sum_ns as f64 / calls as f64 / 1e3;
        Some(Spread { min_us: us(self.least_ns), avg_us, p50_us: at(50), p99_us: at(99), max_us: us(self.most_ns) })
    }
}

/// The bucket of a time: its five bits below the highest one, and where the highest one is.
#[inline]
fn bucket(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let doubling = u64::from(ns.ilog2() - STEPS.ilog2());
    let step = (ns >> doubling) - STEPS;
    (STEPS * (doubling.min(DOUBLINGS - 1) + 1) + if doubling < DOUBLINGS { step } else { STEPS - 1 }) as usize
}

/// The largest time of a bucket.
fn last_of(bucket: usize) -> u64 {
    let (doubling, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    if doubling == 0 { step } else { ((STEPS + step + 1) << (doubling - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_narrow() {
        let mut before = 0;
        for ns in (0..5000).chain((13..41).map(|bit| 1 << bit)).chain([u64::MAX]) {
            let bucket = bucket(ns);
            if ns < 1 << 41 {
                assert!(last_of(bucket) >= ns && last_of(bucket) - ns <= ns / 32, "{ns} in {bucket}");
            }
            if ns < 5000 {
                assert!(bucket == before || bucket == before + 1);
                before = bucket;
            }
        }
    }

    #[test]
    fn spread_of_two_ranks_is_that_of_all_their_calls() {
        let (mut a, mut b) = (Histogram::new(), Histogram::new());
        (1..=50).for_each(|k| a.add(k * 1000));
        (51..=100).for_each(|k| b.add(k * 1000));
        let sums = a.sums().iter().zip(b.sums()).map(|(a, b)| a + b).collect();
        let all = Histogram::from_ranks(sums, a.extremes_ns().0, b.extremes_ns().1).spread().expect("100 calls");
        assert_eq!((all.min_us, all.avg_us, all.max_us), (1.0, 50.5, 100.0));
        assert!((50.0..=51.6).contains(&all.p50_us) && (99.0..=100.0).contains(&all.p99_us), "{all:?}");
        assert_eq!(Histogram::new().spread(), None);
    }
}
