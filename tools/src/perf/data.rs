//! Inputs whose exact reduction is known whatever the order of reduction, and the check of a result against it.
//!
//! Every input is a function of rank, index and repetition, so no rank needs another's data to know the answer, and a
//! stale, shifted or missing contribution shows. Values are chosen so that no partial result is ever rounded:
//! integers wrap, which is exact; float sums are of small whole numbers; float products are of powers of two;
//! min and max take anything finite. Only a float average is rounded, once: it may be off by 2 ulp. Data that are only moved are any bits.

use crate::perf::collective::{Content, Piece};
use crate::perf::samples::Sample;
use serried::Op;
use zerocopy::IntoBytes;

/// The pattern that outputs hold before a checked call. As a float it is neither whole nor a power of two.
const POISON: u8 = 0xb7;

/// What happens to elements on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduction {
    /// They are moved.
    None,
    /// They are reduced.
    Op(Op),
    /// They are multiplied by each rank's own factor, and added.
    MulSum,
}

impl Reduction {
    /// Everything that reduces.
    pub(crate) const ALL: [Self; 6] =
        [Self::Op(Op::Sum), Self::Op(Op::Prod), Self::Op(Op::Max), Self::Op(Op::Min), Self::Op(Op::Avg), Self::MulSum];

    /// The name that nccl-tests prints for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Op(op) => op.name(),
            Self::MulSum => "mulsum",
        }
    }
}

/// What rank `rank` multiplies its input by, when ranks do.
pub(crate) fn factor(rank: u32) -> u32 {
    1 + rank % 2
}

/// The inputs of one checked call on all its ranks, and with them its result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    /// What is done with them.
    pub(crate) reduction: Reduction,
    /// How many ranks take part.
    pub(crate) ranks: u32,
    /// Which call it is: each has other data.
    pub(crate) repetition: u64,
}

impl Recipe {
    /// The input of `rank` at `index`.
    #[inline]
    pub(crate) fn input<T: Sample>(&self, rank: u32, index: u64) -> T {
        T::input(self, self.draw(rank, index), self.turn(rank, index))
    }

    /// Makes the pieces of a buffer what they are to be.
    pub(crate) fn fill<T: Sample>(&self, data: &mut [T], pieces: &[Piece]) {
        for (range, content) in pieces {
            let data = &mut data[range.clone()];
            match *content {
                Content::Nothing => poison(data),
                Content::Input { of, from } => {
                    data.iter_mut().zip(from..).for_each(|(value, index)| *value = self.input(of, index));
                }
                Content::Reduced { from } => {
                    data.iter_mut().zip(from..).for_each(|(value, index)| *value = T::expected(self, index));
                }
            }
        }
    }

    /// How many elements of the pieces of a buffer are not what they are to be.
    pub(crate) fn wrong<T: Sample>(&self, data: &[T], pieces: &[Piece]) -> u64 {
        let count = |(range, content): &Piece| {
            let data = &data[range.clone()];
            let wrong = match *content {
                Content::Nothing => data.iter().filter(|value| written(std::slice::from_ref(*value)) > 0).count(),
                Content::Input { of, from } => {
                    let kept = |(value, index): &(&T, u64)| value.as_bytes() != self.input::<T>(of, *index).as_bytes();
                    data.iter().zip(from..).filter(kept).count()
                }
                Content::Reduced { from } => {
                    let right =
                        |(value, index): &(&T, u64)| T::accept(self.reduction, **value, T::expected(self, *index));
                    data.iter().zip(from..).filter(|element| !right(element)).count()
                }
            };
            wrong as u64
        };
        pieces.iter().map(count).sum()
    }

    /// The 64 random bits of one rank's element: two multiplications, each folded.
    #[inline]
    pub(super) fn draw(&self, rank: u32, index: u64) -> u64 {
        let seed = index.wrapping_add(self.repetition.wrapping_mul(0xd1b5_4a32_d192_ed03));
        let mixed = (seed ^ (u64::from(rank) << 40)).wrapping_add(u64::from(rank)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ (mixed >> 29)
    }

    /// A rank's place in an order of the ranks that changes with the index: it says whose turn it is to hold a value when
    /// the budget is not enough for all.
    #[inline]
    pub(super) fn turn(&self, rank: u32, index: u64) -> u64 {
        u64::from(rank) + index + self.repetition
    }

    /// An input of min or max as its place in the type's order, stretched over 64 bits: from the middle half, except that
    /// one rank, another at each index, has the extreme. So every rank decides the result somewhere, and is missed there.
    #[inline]
    pub(super) fn standing(&self, draw: u64, turn: u64) -> u64 {
        match (turn.is_multiple_of(u64::from(self.ranks)), self.reduction) {
            (true, Reduction::Op(Op::Min)) => draw >> 2,
            (true, _) => !(draw >> 2),
            (false, _) => (1 << 62) + (draw >> 1),
        }
    }

    /// A whole number of at most `budget` over the ranks in absolute value, summed over all ranks: every rank has an equal
    /// part of the budget; where there are more ranks than that, an equal part of the ranks has 1 each.
    #[inline]
    pub(super) fn share(&self, budget: u64, draw: u64, turn: u64) -> i64 {
        let ranks = u64::from(self.ranks);
        let groups = ranks.div_ceil(budget);
        if groups > 1 && !turn.is_multiple_of(groups) {
            return 0;
        }
        let most = if groups > 1 { 1 } else { budget / ranks };
        // The top bits times the width, shifted down: a modulus without a division.
        let width = 2 * most + 1;
        ((u128::from(draw) * u128::from(width)) >> 64) as i64 - most as i64
    }
}

/// Fills an output with a pattern that no correct result is made of, so that what a call leaves unwritten is found.
pub(crate) fn poison<T: Sample>(data: &mut [T]) {
    data.as_mut_bytes().fill(POISON);
}

/// How many bytes of a poisoned place were written to.
pub(crate) fn written<T: Sample>(data: &[T]) -> u64 {
    data.as_bytes().iter().filter(|&&byte| byte != POISON).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};
    use serried::{DataType, F8E4M3, F8E5M2};

    /// One type's own arithmetic, as a kernel would do it: rounded to the type after every step.
    trait Arithmetic: Sample {
        fn combine(op: Op, a: Self, b: Self) -> Self;
        fn finish(op: Op, value: Self, ranks: u32) -> Self;
        fn neighbour(self) -> Self;
        fn times(self, factor: u32) -> Self;
    }

    macro_rules! arithmetic {
        (int $($type:ty),*) => {$(
            impl Arithmetic for $type {
                fn combine(op: Op, a: Self, b: Self) -> Self {
                    match op {
                        Op::Sum | Op::Avg => a.wrapping_add(b),
                        Op::Prod => a.wrapping_mul(b),
                        Op::Min => a.min(b),
                        Op::Max => a.max(b),
                    }
                }
                fn finish(op: Op, value: Self, ranks: u32) -> Self {
                    if op == Op::Avg { (value as i128 / i128::from(ranks)) as $type } else { value }
                }
                fn neighbour(self) -> Self {
                    self ^ 1
                }
                fn times(self, factor: u32) -> Self {
                    self.wrapping_mul(factor as $type)
                }
            }
        )*};
        (float $($type:ty, $from:expr, $into:expr, $steps:expr);*) => {$(
            impl Arithmetic for $type {
                fn combine(op: Op, a: Self, b: Self) -> Self {
                    match op {
                        Op::Sum | Op::Avg => $from($into(a) + $into(b)),
                        Op::Prod => $from($into(a) * $into(b)),
                        Op::Min => if $into(a).total_cmp(&$into(b)).is_le() { a } else { b },
                        Op::Max => if $into(a).total_cmp(&$into(b)).is_ge() { a } else { b },
                    }
                }
                fn finish(op: Op, value: Self, ranks: u32) -> Self {
                    if op == Op::Avg { $from($into(value) / f64::from(ranks)) } else { value }
                }
                fn neighbour(self) -> Self {
                    Self::from_bits(self.to_bits() ^ $steps)
                }
                fn times(self, factor: u32) -> Self {
                    $from($into(self) * f64::from(factor))
                }
            }
        )*};
    }

    arithmetic!(int i8, u8, i32, u32, i64, u64);
    // One bit for the exact operators is less than an average's tolerance: a bit worth 4 ulp is more.
    arithmetic! {
        float f16, f16::from_f64, f16::to_f64, 4;
        bf16, bf16::from_f64, bf16::to_f64, 4;
        f32, |value: f64| value as f32, f64::from, 4;
        f64, |value: f64| value, |value: f64| value, 4;
        F8E4M3, |value: f64| F8E4M3::from_f32(value as f32), |value: F8E4M3| f64::from(value.to_f32()), 1;
        F8E5M2, |value: f64| F8E5M2::from_f32(value as f32), |value: F8E5M2| f64::from(value.to_f32()), 1
    }

    /// More than ranks: each rank's turn comes.
    const COUNT: usize = 401;
    const RANKS: [u32; 8] = [1, 2, 3, 5, 8, 64, 100, 300];

    fn whole<T: Sample>(recipe: &Recipe, content: Content) -> Vec<T> {
        let mut data = vec![T::new_zeroed(); COUNT];
        recipe.fill(&mut data, &[(0..COUNT, content)]);
        data
    }

    fn inputs<T: Sample>(recipe: &Recipe) -> Vec<Vec<T>> {
        (0..recipe.ranks).map(|of| whole(recipe, Content::Input { of, from: 0 })).collect()
    }

    fn reduce<T: Arithmetic>(recipe: &Recipe, inputs: &[Vec<T>], order: impl Iterator<Item = usize>) -> Vec<T> {
        let order: Vec<usize> = order.collect();
        let (op, factors) = match recipe.reduction {
            Reduction::Op(op) => (op, false),
            _ => (Op::Sum, true),
        };
        let given = |rank: usize, index: usize| {
            let input = inputs[rank][index];
            if factors { input.times(factor(rank as u32)) } else { input }
        };
        (0..COUNT)
            .map(|index| {
                let all = order.iter().map(|&rank| given(rank, index));
                T::finish(op, all.reduce(|a, b| T::combine(op, a, b)).expect("ranks >= 1"), recipe.ranks)
            })
            .collect()
    }

    fn wrong<T: Sample>(recipe: &Recipe, result: &[T]) -> u64 {
        recipe.wrong(result, &[(0..COUNT, Content::Reduced { from: 0 })])
    }

    fn orders_do_not_matter<T: Arithmetic>() {
        for (reduction, ranks) in Reduction::ALL.into_iter().flat_map(|reduction| RANKS.map(|ranks| (reduction, ranks)))
        {
            let recipe = Recipe { reduction, ranks, repetition: 3 };
            let inputs = inputs::<T>(&recipe);
            let n = ranks as usize;
            for result in [
                reduce(&recipe, &inputs, 0..n),
                reduce(&recipe, &inputs, (0..n).rev()),
                reduce(&recipe, &inputs, (0..n).map(|k| (k + n / 2) % n)),
                reduce(&recipe, &inputs, (0..n).step_by(2).chain((1..n).step_by(2))),
            ] {
                assert_eq!(wrong(&recipe, &result), 0, "{} {} of {ranks}", T::TYPE, reduction.name());
            }
        }
    }

    fn errors_are_found<T: Arithmetic>() {
        for (reduction, ranks) in Reduction::ALL.into_iter().flat_map(|reduction| RANKS.map(|ranks| (reduction, ranks)))
        {
            if reduction == Reduction::Op(Op::Avg) && matches!(T::TYPE, DataType::I8 | DataType::U8) && ranks > 255 {
                // A byte divided by so many ranks is 0, always.
                continue;
            }
            let recipe = Recipe { reduction, ranks, repetition: 8 };
            let (inputs, n) = (inputs::<T>(&recipe), ranks as usize);
            let name = format!("{} {} of {ranks}", T::TYPE, reduction.name());
            let right = reduce(&recipe, &inputs, 0..n);
            for at in [0, 1, COUNT / 2, COUNT - 1] {
                let mut planted = right.clone();
                planted[at] = planted[at].neighbour();
                assert_eq!(wrong(&recipe, &planted), 1, "{name}: one element at {at}");
            }
            let mut stale = vec![T::new_zeroed(); COUNT];
            poison(&mut stale);
            assert!(wrong(&recipe, &stale) as usize > COUNT * 9 / 10, "{name}: nothing written");
            let shifted = [&right[1..], &right[..1]].concat();
            let other = Recipe { repetition: 9, ..recipe };
            assert!(wrong(&other, &right) > 0, "{name}: the result of the call before");
            assert!(wrong(&recipe, &shifted) > 0, "{name}: shifted by one element");
            if ranks > 1 {
                let last = n - 1;
                assert!(wrong(&recipe, &reduce(&recipe, &inputs, 0..last)) > 0, "{name}: the last rank missing");
                // Twice the same smallest value is no error: only min and max forgive it.
                let twice = (0..last).chain([0]);
                assert!(wrong(&recipe, &reduce(&recipe, &inputs, twice)) > 0, "{name}: rank 0 in the last one's place");
                assert!(wrong(&recipe, &inputs[0]) > 0, "{name}: rank 0's input left as it was");
            }
        }
    }

    macro_rules! for_every_type {
        ($($name:ident: $check:ident;)*) => {$(
            #[test]
            fn $name() {
                $check::<i8>();
                $check::<u8>();
                $check::<i32>();
                $check::<u32>();
                $check::<i64>();
                $check::<u64>();
                $check::<f16>();
                $check::<bf16>();
                $check::<f32>();
                $check::<f64>();
                $check::<F8E4M3>();
                $check::<F8E5M2>();
            }
        )*};
    }

    for_every_type! {
        the_exact_result_does_not_depend_on_the_order: orders_do_not_matter;
        planted_errors_of_every_kind_are_found: errors_are_found;
        inputs_differ_by_rank_index_and_repetition: inputs_differ;
    }

    fn inputs_differ<T: Sample>() {
        for reduction in Reduction::ALL.into_iter().chain([Reduction::None]) {
            let recipe = Recipe { reduction, ranks: 2, repetition: 1 };
            let input = |recipe: &Recipe, of| whole::<T>(recipe, Content::Input { of, from: 0 });
            let (a, b, c) = (input(&recipe, 0), input(&recipe, 1), input(&Recipe { repetition: 2, ..recipe }, 0));
            let differ = |a: &[T], b: &[T]| a.iter().zip(b).filter(|(a, b)| a.as_bytes() != b.as_bytes()).count();
            // Few numbers are exact in a float of 8 bits.
            let enough = if T::TYPE.size() == 1 { COUNT / 2 } else { COUNT * 9 / 10 };
            for (what, count) in
                [("rank", differ(&a, &b)), ("repetition", differ(&a, &c)), ("index", differ(&a[1..], &a))]
            {
                assert!(count > enough, "{} {}: {count} of {COUNT} differ by {what}", T::TYPE, reduction.name());
            }
        }
    }

    #[test]
    fn pieces_are_filled_and_checked_each_by_its_content() {
        let recipe = Recipe { reduction: Reduction::Op(Op::Sum), ranks: 3, repetition: 5 };
        let pieces = [
            (0..2, Content::Nothing),
            (2..5, Content::Input { of: 1, from: 7 }),
            (5..9, Content::Reduced { from: 40 }),
            (9..9, Content::Nothing),
        ];
        let mut data = [0_u32; 9];
        recipe.fill(&mut data, &pieces);
        assert_eq!(recipe.wrong(&data, &pieces), 0);
        assert_eq!((data[2], data[4]), (recipe.input(1, 7), recipe.input(1, 9)));
        let sum = |index| (0..3).map(|rank| recipe.input::<u32>(rank, index)).fold(0, u32::wrapping_add);
        assert_eq!((data[5], data[8]), (sum(40), sum(43)));
        for at in 0..9 {
            let mut planted = data;
            planted[at] ^= 1;
            assert_eq!(recipe.wrong(&planted, &pieces), 1, "at {at}");
        }
    }

    #[test]
    fn an_average_may_be_two_units_off_and_no_more() {
        let expected = 1.5_f32;
        let off = |steps: u32| f32::from_bits(expected.to_bits() + steps);
        assert!(
            f32::accept(Reduction::Op(Op::Avg), off(2), expected)
                && f32::accept(Reduction::Op(Op::Avg), expected, off(2))
        );
        assert!(!f32::accept(Reduction::Op(Op::Avg), off(3), expected));
        assert!(!f32::accept(Reduction::Op(Op::Sum), off(1), expected), "other operators are exact");
        assert!(
            f32::accept(Reduction::Op(Op::Avg), -f32::from_bits(1), f32::from_bits(1)),
            "one unit to each side of zero"
        );
        assert!(
            !f32::accept(Reduction::Op(Op::Avg), f32::INFINITY, f32::MAX)
                && !f32::accept(Reduction::Op(Op::Avg), f32::NAN, f32::MAX)
        );
        assert!(!f32::accept(Reduction::Op(Op::Avg), -1.0, 1.0));
    }

    #[test]
    fn every_byte_written_past_the_end_is_seen() {
        let mut guard = [0_u32; 16];
        poison(&mut guard);
        assert_eq!(written(&guard), 0);
        guard[3] = 0;
        assert_eq!(written(&guard), 4);
        assert_eq!(DataType::U32.size(), 4);
    }
}
