//! What other tuners would take, to compare with. Pure.

use super::story::Way;
use serried::schedule::{Algorithm, Grouping};

/// Always the ring; where there is none, what is straight.
pub(super) fn ring(ways: &[Way]) -> Option<usize> {
    usual(ways, Algorithm::Ring).or_else(|| usual(ways, Algorithm::Direct))
}

/// Ring or tree, whichever constants say: microseconds to begin, for a step in a host and between hosts, and gigabytes a second, all of GPUs on a fast network.
pub(super) fn constants(ways: &[Way], grouping: &Grouping, bytes: u64) -> Option<usize> {
    const BEGIN: f64 = 8.4;
    const IN_HOST: [f64; 2] = [3.4, 4.0];
    const BETWEEN: f64 = 14.0;
    const GB_S: f64 = 12.0;
    const TREE_SHARE: f64 = 0.92;
    let (ranks, hosts) = (f64::from(grouping.size()), f64::from(grouping.hosts()));
    let moved = bytes as f64 / 1e3 / GB_S;
    let steps = 2.0 * (ranks - 1.0);
    // As many of the ring's steps are between hosts as there are hosts.
    let between = if hosts > 1.0 { 2.0 * (hosts - 1.0) } else { 0.0 };
    let ring_us = BEGIN + (steps - between) * IN_HOST[0] + between * BETWEEN + moved * steps / ranks;
    let depth = 2.0 * (ranks / hosts - 1.0) * IN_HOST[1] + 2.0 * hosts.log2() * BETWEEN;
    let tree_us = BEGIN + depth + moved * 2.0 / TREE_SHARE;
    let tree = usual(ways, Algorithm::Tree).filter(|_| tree_us < ring_us);
    tree.or_else(|| ring(ways))
}

/// The way by this algorithm that has the largest slices.
fn usual(ways: &[Way], algorithm: Algorithm) -> Option<usize> {
    let by_it = ways.iter().enumerate().filter(|(_, way)| way.choice.algorithm == algorithm);
    by_it.max_by_key(|(_, way)| way.choice.slice_bytes).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serried::tune::Choice;

    #[test]
    fn constants_take_the_tree_for_what_is_small_among_many_and_the_ring_for_what_is_large() {
        let way = |algorithm, slice_bytes| {
            let choice = Choice { algorithm, slice_bytes, lanes: 2 };
            Way { choice, price: None, measured: None }
        };
        let ways = [way(Algorithm::Ring, 100), way(Algorithm::Tree, 200), way(Algorithm::Ring, 400)];
        let hosts = Grouping::new(&(0..16).collect::<Vec<u32>>());
        assert_eq!(constants(&ways, &hosts, 1024), Some(1));
        assert_eq!(constants(&ways, &hosts, 1 << 28), Some(2));
        assert_eq!(ring(&ways), Some(2));
        assert_eq!(ring(&[way(Algorithm::Direct, 8)]), Some(0));
    }
}
