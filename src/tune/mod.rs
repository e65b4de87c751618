//! Which algorithm runs at which size: until links are measured, a small table of crossovers found by measurement.
//!
//! A [`Table`] is made once per communicator; a call looks its choice up by the bit length of its size, one index and nothing else.

use crate::schedule::{Algorithm, AllReduce, Schedule};
use crate::transport::LANES;

/// How one call is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The schedule.
    pub algorithm: Algorithm,
    /// The most bytes of the message that one slice has.
    pub slice_bytes: usize,
    /// Slices in flight.
    pub lanes: usize,
}

/// How the ranks of a communicator reach each other, as far as the choice depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All ranks are on one host and read each other's memory.
    Room,
    /// Over links, of which the slowest kind has this slot size.
    Links {
        /// The smallest slot among all links of the communicator.
        slot_bytes: usize,
    },
}

/// The choice for every size.
#[derive(Clone, Debug)]
pub struct Table([Choice; Table::BUCKETS]);

impl Table {
    /// One bucket for 0 and one for each bit length of a 64-bit size.
    const BUCKETS: usize = 65;

    /// The table for allreduce among `ranks` ranks; `fixed` overrides the algorithm at every size.
    pub fn all_reduce(ranks: u32, reach: Reach, fixed: Option<Algorithm>) -> Self {
        Self(std::array::from_fn(|bucket| {
            // The smallest size of the bucket stands for it.
            let bytes = if bucket == 0 { 0 } else { 1 << (bucket - 1) };
            let algorithm = fixed.unwrap_or_else(|| crossover(ranks, reach, bytes));
            match reach {
                Reach::Room => Choice { algorithm, slice_bytes: usize::MAX, lanes: 1 },
                Reach::Links { slot_bytes } => sliced(algorithm, ranks, slot_bytes, bytes),
            }
        }))
    }

    /// The choice for a message of `bytes`.
    #[inline]
    pub fn choice(&self, bytes: usize) -> &Choice {
        &self.0[(usize::BITS - bytes.leading_zeros()) as usize]
    }
}

/// The algorithm for messages of about `bytes`. Sizes are where the curves crossed on 2 cores of an EPYC, ranks sharing them.
fn crossover(ranks: u32, reach: Reach, bytes: usize) -> Algorithm {
    const KIB: usize = 1024;
    match (reach, ranks) {
        // Direct moves n − 1 times the message to every rank but waits once where two-shot waits twice. So much read in all costs what
        // the second wait does: two ranks are level at 16 to 32 KiB, four (on two cores) at 8 to 16 KiB.
        (Reach::Room, _) if bytes.saturating_mul(ranks as usize) <= 32 * KIB => Algorithm::Direct,
        (Reach::Room, _) => Algorithm::TwoShot,
        (Reach::Links { .. }, 2) if bytes <= 16 * KIB => Algorithm::Direct,
        (Reach::Links { .. }, 2) => Algorithm::Ring,
        (Reach::Links { .. }, 3..) if bytes <= 8 * KIB => Algorithm::Doubling,
        (Reach::Links { .. }, 3..) if bytes <= 256 * KIB => Algorithm::Nhr,
        (Reach::Links { .. }, _) => Algorithm::Ring,
    }
}

/// Slices as large as slots allow, but at least as many as are in flight for messages that are worth cutting.
fn sliced(algorithm: Algorithm, ranks: u32, slot_bytes: usize, bytes: usize) -> Choice {
    /// Below this a second slice costs more in messages than it hides in latency (TCP over loopback, two ranks: a third at 128 KiB, a sixth at
    /// 512 KiB).
    const LEAST_SLICE: usize = 512 * 1024;
    /// One slice is on its way while the other is reduced. Four took 1.5 times as long at 8 MiB and above: their slots outgrow the cache.
    const IN_FLIGHT: usize = 2;
    const { assert!(IN_FLIGHT <= LANES) };
    let schedule = AllReduce::new(algorithm, 0, ranks);
    let (parts, widest) = (schedule.parts().max(1) as usize, schedule.widest().max(1) as usize);
    // A step moves `widest` chunks in one message, which must fit a slot whatever the element size.
    let largest = slot_bytes / widest / 8 * 8 * parts;
    let wanted = (bytes / IN_FLIGHT).next_multiple_of(8).max(LEAST_SLICE);
    Choice { algorithm, slice_bytes: largest.min(wanted), lanes: IN_FLIGHT }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Layout;

    #[test]
    fn every_message_of_every_choice_fits_its_slot() {
        for ranks in 2..40 {
            for slot_bytes in [4096, 65536, 262144] {
                for algorithm in Algorithm::ALL {
                    let table = Table::all_reduce(ranks, Reach::Links { slot_bytes }, Some(algorithm));
                    for bytes in [0usize, 8, 1000, 4096, 65536, 1 << 20, 1 << 24] {
                        let choice = table.choice(bytes);
                        assert_eq!(choice.algorithm, algorithm);
                        for element in [1, 2, 4, 8] {
                            let layout = Layout::message(bytes / element, element, choice.slice_bytes);
                            for rank in 0..ranks {
                                let schedule = AllReduce::new(algorithm, rank, ranks);
                                for step in 0..schedule.len() {
                                    let (crate::schedule::Step::Send { chunks, .. }
                                    | crate::schedule::Step::Recv { chunks, .. }
                                    | crate::schedule::Step::RecvReduce { chunks, .. }
                                    | crate::schedule::Step::ReduceOwn { chunks, .. }) = schedule.step(step);
                                    assert!(layout.sent(0, chunks, schedule.parts()) <= slot_bytes as u64);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_size_finds_the_bucket_of_its_bit_length() {
        let table = Table::all_reduce(2, Reach::Room, None);
        assert_eq!(table.choice(0).algorithm, Algorithm::Direct);
        assert_eq!(table.choice(8).algorithm, Algorithm::Direct);
        assert_eq!(table.choice(usize::MAX).algorithm, Algorithm::TwoShot);
        assert_eq!(Table::all_reduce(2, Reach::Room, Some(Algorithm::TwoShot)).choice(8).algorithm, Algorithm::TwoShot);
    }
}
