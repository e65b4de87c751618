//! The one schedule type that is any of the allreduce algorithms.

use super::direct::Direct;
use super::doubling::{self, AnyDoubling};
use super::halving::{self, Halving};
use super::nhr::{self, Nhr};
use super::ring::{self, Ring};
use super::tree::Tree;
use super::two_shot::{self, TwoShot};
use super::{Schedule, Step};
use crate::types::Algorithm;

/// The allreduce of one rank, by any algorithm for which all ranks are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllReduce {
    /// See [`super::direct`].
    Direct(Direct),
    /// See [`super::two_shot`].
    TwoShot(TwoShot),
    /// See [`super::ring`].
    Ring(Ring),
    /// See [`super::tree`].
    Tree(Tree),
    /// See [`super::doubling`].
    Doubling(AnyDoubling),
    /// See [`super::halving`].
    Halving(Halving),
    /// See [`super::nhr`].
    Nhr(Nhr),
}

impl AllReduce {
    /// The algorithms, in the order of their numbers.
    pub const ALGORITHMS: [Algorithm; 7] = [
        Algorithm::Direct,
        Algorithm::TwoShot,
        Algorithm::Ring,
        Algorithm::Tree,
        Algorithm::Doubling,
        Algorithm::Halving,
        Algorithm::Nhr,
    ];

    /// The program of rank `rank` of `size`.
    ///
    /// # Panics
    ///
    /// If `rank` is not below `size`, or if the algorithm is none of [`ALGORITHMS`](Self::ALGORITHMS).
    pub fn new(algorithm: Algorithm, rank: u32, size: u32) -> Self {
        assert!(rank < size, "there is no rank {rank} of {size}");
        match algorithm {
            Algorithm::Direct => Self::Direct(Direct::new(rank, size)),
            Algorithm::TwoShot => Self::TwoShot(two_shot::all_reduce(rank, size)),
            Algorithm::Ring => Self::Ring(ring::all_reduce(rank, size)),
            Algorithm::Tree => Self::Tree(Tree::new(rank, size)),
            Algorithm::Doubling => Self::Doubling(doubling::all_reduce(rank, size)),
            Algorithm::Halving => Self::Halving(halving::all_reduce(rank, size)),
            Algorithm::Nhr => Self::Nhr(nhr::all_reduce(rank, size)),
            _ => panic!("{algorithm} is no allreduce of ranks that are all alike"),
        }
    }

    /// Which algorithm it is.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Direct(_) => Algorithm::Direct,
            Self::TwoShot(_) => Algorithm::TwoShot,
            Self::Ring(_) => Algorithm::Ring,
            Self::Tree(_) => Algorithm::Tree,
            Self::Doubling(_) => Algorithm::Doubling,
            Self::Halving(_) => Algorithm::Halving,
            Self::Nhr(_) => Algorithm::Nhr,
        }
    }
}

/// The same expression on whichever schedule it is.
macro_rules! each {
    ($self:ident, $schedule:ident => $value:expr) => {
        match $self {
            Self::Direct($schedule) => $value,
            Self::TwoShot($schedule) => $value,
            Self::Ring($schedule) => $value,
            Self::Tree($schedule) => $value,
            Self::Doubling($schedule) => $value,
            Self::Halving($schedule) => $value,
            Self::Nhr($schedule) => $value,
        }
    };
}

impl Schedule for AllReduce {
    #[inline]
    fn parts(&self) -> u32 {
        each!(self, schedule => schedule.parts())
    }

    #[inline]
    fn len(&self) -> u32 {
        each!(self, schedule => schedule.len())
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        each!(self, schedule => schedule.step(pc))
    }

    fn keeps_own(&self) -> bool {
        each!(self, schedule => schedule.keeps_own())
    }

    fn widest(&self) -> u32 {
        each!(self, schedule => schedule.widest())
    }

    fn credits(&self) -> u32 {
        each!(self, schedule => schedule.credits())
    }

    fn reduces(&self) -> bool {
        each!(self, schedule => schedule.reduces())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back() {
        for (number, &algorithm) in AllReduce::ALGORITHMS.iter().enumerate() {
            assert_eq!(algorithm as usize, number);
            assert_eq!(Algorithm::from_number(number as u8), Some(algorithm));
            assert_eq!(Algorithm::parse(algorithm.name()), Some(algorithm));
            assert_eq!(Algorithm::parse(&algorithm.to_string().to_uppercase()), Some(algorithm));
            assert_eq!(AllReduce::new(algorithm, 2, 5).algorithm(), algorithm);
        }
        assert_eq!(Algorithm::from_number(Algorithm::ALL.len() as u8), None);
        assert_eq!(Algorithm::parse("rings"), None);
        assert_eq!(Algorithm::parse(""), None);
    }

    #[test]
    fn one_rank_alone_has_nothing_to_do() {
        for algorithm in AllReduce::ALGORITHMS {
            let schedule = AllReduce::new(algorithm, 0, 1);
            assert!(schedule.is_empty() && !schedule.keeps_own() && !schedule.reduces(), "{algorithm}");
            assert!(schedule.widest() >= 1 && schedule.parts() >= 1, "{algorithm}");
        }
    }

    #[test]
    fn a_program_is_a_few_words() {
        assert!(size_of::<AllReduce>() <= 64, "{} bytes", size_of::<AllReduce>());
    }
}
