//! A set of ranks as ranges: small while its members are neighbours, as all ranks but a few are.

use super::wire::{Decoder, Encoder, Nonsense};

/// Ranges that travel; of a set with more, the rest is left out. Half of so many ranks can be missing, each by itself, and be told.
const RANGES_MAX: usize = 512;

/// The set: its ranges, first and last rank of each, in order and with gaps between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RankSet(Vec<(u32, u32)>);

impl RankSet {
    pub(super) fn of(rank: u32) -> Self {
        Self(vec![(rank, rank)])
    }

    /// Takes in all of `other`. Whether that brought anything new.
    pub(super) fn merge(&mut self, other: &Self) -> bool {
        let before = self.count();
        let mut all: Vec<_> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        self.0.clear();
        for (first, last) in all {
            match self.0.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => self.0.push((first, last)),
            }
        }
        self.count() != before
    }

    pub(super) fn contains(&self, rank: u32) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&rank))
    }

    /// The highest member.
    pub(super) fn last(&self) -> Option<u32> {
        self.0.last().map(|(_, last)| *last)
    }

    /// The lowest member.
    pub(super) fn first(&self) -> Option<u32> {
        self.0.first().map(|(first, _)| *first)
    }

    /// The lowest of the ranks 0 to `size` − 1 that is not a member.
    pub(super) fn first_absent(&self, size: u32) -> Option<u32> {
        let after = match self.0.first() {
            Some((0, last)) => last.saturating_add(1),
            _ => 0,
        };
        (after < size).then_some(after)
    }

    pub(super) fn encode(&self, encoder: Encoder) -> Encoder {
        let ranges = &self.0[..self.0.len().min(RANGES_MAX)];
        ranges.iter().fold(encoder.u32(ranges.len() as u32), |encoder, (first, last)| encoder.u32(*first).u32(*last))
    }

    pub(super) fn decode(fields: &mut Decoder<'_>) -> Result<Self, Nonsense> {
        let count = fields.u32()? as usize;
        if count == 0 || count > RANGES_MAX {
            return Err(Nonsense("no ranges of ranks, or more than travel"));
        }
        let mut set = Self::default();
        for _ in 0..count {
            let (first, last) = (fields.u32()?, fields.u32()?);
            if last < first {
                return Err(Nonsense("a range of ranks that ends before it begins"));
            }
            set.0.push((first, last));
        }
        // Whatever order they came in.
        let mut ordered = Self::default();
        ordered.merge(&set);
        Ok(ordered)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_the_set_of_what_was_merged(ranks in proptest::collection::vec(0u32..40, 0..60)) {
            let (mut set, mut model) = (RankSet::default(), BTreeSet::new());
            for rank in ranks {
                prop_assert_eq!(set.merge(&RankSet::of(rank)), model.insert(rank));
                prop_assert_eq!((set.first(), set.last()), (model.first().copied(), model.last().copied()));
                prop_assert!((0..40).all(|rank| set.contains(rank) == model.contains(&rank)));
                prop_assert_eq!(set.first_absent(40), (0..40).find(|rank| !model.contains(rank)));
            }
            let mut twice = set.clone();
            prop_assert!(!twice.merge(&set));
            let body = set.encode(Encoder::fields()).into_fields();
            let back = RankSet::decode(&mut Decoder::new(&body));
            prop_assert_eq!(back.ok(), (!model.is_empty()).then_some(set), "nobody says nothing");
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(mut set) = RankSet::decode(&mut Decoder::new(&bytes)) {
                set.merge(&RankSet::of(u32::MAX));
                set.first_absent(u32::MAX);
            }
        }
    }

    #[test]
    fn the_ends_of_all_ranks_are_no_trouble() {
        let mut set = RankSet(vec![(0, u32::MAX)]);
        assert!(!set.merge(&RankSet::of(u32::MAX)));
        assert_eq!((set.first_absent(u32::MAX), RankSet::default().first_absent(0)), (None, None));
    }
}
