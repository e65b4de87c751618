//! The shape of the control plane: a k-ary tree of ranks with rank 0 on top. Pure arithmetic.

/// Children of a rank. Eight keep a thousand ranks within four hops and a rank's work small.
pub(super) const FANOUT: u32 = 8;

/// The rank above this one; the top has none.
pub(super) fn parent(rank: u32) -> Option<u32> {
    (rank > 0).then(|| (rank - 1) / FANOUT)
}

/// The ranks below this one.
pub(super) fn children(rank: u32, size: u32) -> std::ops::Range<u32> {
    let first = u64::from(rank) * u64::from(FANOUT) + 1;
    let end = first + u64::from(FANOUT);
    let cut = |at: u64| u32::try_from(at.min(u64::from(size))).expect("cut to a u32");
    cut(first)..cut(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_has_one_parent_that_knows_it() {
        for size in [1, 2, 9, 10, 73, 1000] {
            let mut seen = vec![0; size as usize];
            for rank in 0..size {
                for child in children(rank, size) {
                    assert_eq!(parent(child), Some(rank));
                    seen[child as usize] += 1;
                }
            }
            assert!(seen[0] == 0 && seen[1..].iter().all(|count| *count == 1));
        }
        assert!(children(u32::MAX - 1, u32::MAX).is_empty());
    }
}
