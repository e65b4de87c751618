//! What a call is expected to take: the steps of its schedule at a price each, and the bytes of its message at another.
//!
//! The prices are those of the crossovers' machine, idle ranks at hand: an answer where nothing was measured.

use super::{Choice, Reach};
use crate::schedule::{Program, Schedule, Step};
use crate::types::{CollectiveKind, Grouping};
use std::time::Duration;

/// What one kind of link costs.
struct Price {
    step_ns: f64,
    byte_ns: f64,
}

/// One line from core to core takes 0.09 µs and a step a few of them; memory is copied at about 8 GB/s.
const ROOM: Price = Price { step_ns: 300.0, byte_ns: 0.12 };
/// A message through the shared memory of a link, with the engine's work around it.
const NEIGHBOUR: Price = Price { step_ns: 1_000.0, byte_ns: 0.25 };
/// A message of TCP over loopback takes 10 µs to a rank that is awake; 3 GB/s.
const LINK: Price = Price { step_ns: 10_000.0, byte_ns: 0.33 };

impl Price {
    fn total(&self, steps: f64, bytes: f64) -> Duration {
        Duration::from_secs_f64((steps * self.step_ns + bytes * self.byte_ns) * 1e-9)
    }
}

/// A collective of `bytes`, which are its message's or its largest block's.
pub(super) fn collective(
    kind: CollectiveKind,
    grouping: &Grouping,
    reach: Reach,
    choice: &Choice,
    bytes: usize,
) -> Duration {
    if grouping.size() < 2 {
        return Duration::ZERO;
    }
    // Of rank 0, whichever is the root: no rank of these schedules has more to do than it, but for small differences.
    let program = Program::new(kind, 0, choice.algorithm, 0, grouping).expect("it serves the collective");
    let parts = f64::from(program.parts().max(1));
    // Sending and receiving go on at once: the larger of both counts.
    let (mut steps, mut sent, mut received) = (0u32, 0u64, 0u64);
    for step in (0..program.len()).map(|pc| program.step(pc)) {
        let chunks = u64::from(step.chunks().count);
        match step {
            Step::Send { .. } => sent += chunks,
            Step::Recv { .. } | Step::RecvReduce { .. } => {
                received += chunks;
                steps += 1;
            }
            Step::ReduceOwn { .. } => {}
        }
    }
    let whole = if kind.is_of_blocks() { bytes as f64 * f64::from(grouping.size()) } else { bytes as f64 };
    let price = if let Reach::Room { .. } = reach { ROOM } else { LINK };
    price.total(f64::from(steps.max(1)), whole * sent.max(received) as f64 / parts)
}

/// A message of `bytes` from one rank to another.
pub(super) fn message(reach: Reach, bytes: usize) -> Duration {
    let price = if let Reach::Room { .. } = reach { NEIGHBOUR } else { LINK };
    price.total(1.0, bytes as f64)
}

#[cfg(test)]
mod tests {
    use super::super::{Allowed, Tables};
    use super::*;

    #[test]
    fn more_costs_more() {
        let slot_bytes = 65_536;
        for reach in [Reach::Room { slot_bytes }, Reach::Links { slot_bytes }] {
            let estimate = |ranks: u32, kind, bytes| {
                let grouping = Grouping::new(&vec![0; ranks as usize]);
                Tables::new(grouping.into(), reach, &Allowed::default()).estimate(kind, bytes)
            };
            for kind in CollectiveKind::ALL.into_iter().filter(|kind| *kind != CollectiveKind::Send) {
                assert_eq!(estimate(1, kind, 8), Duration::ZERO);
                let (small, large) = (estimate(4, kind, 8), estimate(4, kind, 1 << 24));
                assert!(small > Duration::ZERO && (large > small || kind == CollectiveKind::Barrier), "{kind:?}");
            }
            assert!(message(reach, 1 << 20) > message(reach, 1));
        }
    }
}
