//! Sharing out: neighbouring parts given to owners, so that no owner has two more than another. Arithmetic only.

use std::ops::Range;

/// `parts` parts among `among` owners. Each owner has a run of neighbours, the first ones one more if it does not come out even. Of more owners than
/// parts the first have one each, the others none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) parts: u32,
    pub(super) among: u32,
}

impl Shares {
    /// The parts of an owner.
    #[inline]
    pub(super) const fn of(self, owner: u32) -> Range<u32> {
        let (share, extra) = (self.parts / self.among, self.parts % self.among);
        let start = owner * share + if owner < extra { owner } else { extra };
        start..start + share + (owner < extra) as u32
    }

    /// The owner of a part.
    #[inline]
    pub(super) const fn owner(self, part: u32) -> u32 {
        let (share, extra) = (self.parts / self.among, self.parts % self.among);
        // The first ones' parts, one more each.
        let larger = extra * (share + 1);
        if part < larger { part / (share + 1) } else { extra + (part - larger) / share }
    }

    /// How many owners have any.
    #[inline]
    pub(super) const fn owners(self) -> u32 {
        if self.parts < self.among { self.parts } else { self.among }
    }

    /// The most that one has.
    pub(super) const fn most(self) -> u32 {
        self.parts.div_ceil(self.among)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_one_owner_and_nobody_two_more_than_another() {
        for (parts, among) in (1..30).flat_map(|parts| (1..30).map(move |among| (parts, among))) {
            let shares = Shares { parts, among };
            let mut end = 0;
            for owner in 0..among {
                let run = shares.of(owner);
                assert_eq!(run.start, end);
                assert!(run.len() as u32 >= parts / among && run.len() as u32 <= shares.most());
                assert_eq!(run.is_empty(), owner >= shares.owners());
                assert!(run.clone().all(|part| shares.owner(part) == owner), "{parts} among {among}");
                end = run.end;
            }
            assert_eq!(end, parts);
        }
    }
}
