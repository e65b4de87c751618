//! The algorithms by name and number. What they do is in [`crate::schedule`].

/// An algorithm. The number travels in every call's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// Straight from whoever has it to whoever wants it: [`crate::schedule::direct`], [`crate::schedule::flat`].
    Direct = 0,
    /// Each rank reduces one part and hands it to everybody: [`crate::schedule::two_shot`].
    TwoShot = 1,
    /// Round the ring twice: [`crate::schedule::ring`].
    Ring = 2,
    /// Double binary tree: [`crate::schedule::tree`].
    Tree = 3,
    /// Recursive doubling: [`crate::schedule::doubling`].
    Doubling = 4,
    /// Recursive halving and doubling: [`crate::schedule::halving`].
    Halving = 5,
    /// Non-uniform hierarchical ring: [`crate::schedule::nhr`].
    Nhr = 6,
    /// Binomial tree: [`crate::schedule::binomial`].
    Binomial = 7,
    /// Along a chain: [`crate::schedule::chain`].
    Chain = 8,
    /// A scatter and an all-gather, or a reduce-scatter and a gather: [`crate::schedule::scatter_gather`].
    ScatterGather = 9,
    /// Bruck's exchange: [`crate::schedule::bruck`].
    Bruck = 10,
    /// In the hosts, and between them by every rank at once: [`crate::schedule::hierarchy`].
    Hierarchical = 11,
    /// In the hosts, and between them by one rank of each: [`crate::schedule::leaders`].
    Leaders = 12,
}

impl Algorithm {
    /// Every algorithm, in the order of its number.
    pub const ALL: [Self; 13] = [
        Self::Direct,
        Self::TwoShot,
        Self::Ring,
        Self::Tree,
        Self::Doubling,
        Self::Halving,
        Self::Nhr,
        Self::Binomial,
        Self::Chain,
        Self::ScatterGather,
        Self::Bruck,
        Self::Hierarchical,
        Self::Leaders,
    ];

    /// Its name in settings and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::TwoShot => "twoshot",
            Self::Ring => "ring",
            Self::Tree => "tree",
            Self::Doubling => "doubling",
            Self::Halving => "halving",
            Self::Nhr => "nhr",
            Self::Binomial => "binomial",
            Self::Chain => "chain",
            Self::ScatterGather => "scattergather",
            Self::Bruck => "bruck",
            Self::Hierarchical => "hierarchical",
            Self::Leaders => "leaders",
        }
    }

    /// The algorithm of this name, in letters of either case, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The algorithm with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
