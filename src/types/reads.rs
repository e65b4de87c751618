//! Which calls among ranks that share a host are read from where their bytes lie.

use std::ops::Range;

/// What a rank reads from where it lies in another's memory, by bytes: one copy, by the one that takes. The rest is carried through shared memory: two copies, each by one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Blocks that one rank is to take, in calls where all ranks give: an all-to-all, and an all-gather of two ranks.
    pub blocks: Range<usize>,
    /// What a root broadcasts.
    pub broadcast: Range<usize>,
}
