//! Inputs whose exact reduction is known whatever the order of reduction, and the check of a result against it.
//!
//! Every input is a function of rank, index and repetition, so no rank needs another's data to know the answer, and a
//! stale, shifted or missing contribution shows. Values are chosen so that no partial result is ever rounded:
//! integers wrap, which is exact; float sums are of small whole numbers; float products are of powers of two;
//! min and max take anything finite. Only a float average is rounded, once: it may be off by 2 ulp.

use half::{bf16, f16};
use serried::{Element, Op};
use zerocopy::IntoBytes;

/// Units in the last place by which a float average may differ, as in nccl-tests.
const AVERAGE_ULPS: u64 = 2;

/// The pattern that outputs hold before a checked call. As a float it is neither whole nor a power of two.
const POISON: u8 = 0xb7;

/// The inputs of one checked call on all its ranks, and with them its result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    /// The operator.
    pub(crate) op: Op,
    /// How many ranks take part.
    pub(crate) ranks: u32,
    /// Which call it is: each has other data.
    pub(crate) repetition: u64,
}

impl Recipe {
    /// Fills `data` with the input of `rank`.
    pub(crate) fn fill<T: Sample>(&self, rank: u32, data: &mut [T]) {
        for (index, value) in data.iter_mut().enumerate() {
            *value = T::input(self, self.draw(rank, index as u64), self.turn(rank, index as u64));
        }
    }

    /// How many elements of `result` are wrong.
    pub(crate) fn wrong<T: Sample>(&self, result: &[T]) -> u64 {
        let wrong = |&(index, value): &(usize, &T)| !T::accept(self.op, *value, T::expected(self, index as u64));
        result.iter().enumerate().filter(wrong).count() as u64
    }

    /// How many elements of `rank`'s own input are no longer what they were.
    pub(crate) fn spoilt<T: Sample>(&self, rank: u32, input: &[T]) -> u64 {
        let kept = |(index, value): (usize, &T)| {
            let first = T::input(self, self.draw(rank, index as u64), self.turn(rank, index as u64));
            first.as_bytes() == value.as_bytes()
        };
        input.iter().enumerate().filter(|&element| !kept(element)).count() as u64
    }

    /// The 64 random bits of one rank's element: two multiplications, each folded.
    #[inline]
    fn draw(&self, rank: u32, index: u64) -> u64 {
        let seed = index.wrapping_add(self.repetition.wrapping_mul(0xd1b5_4a32_d192_ed03));
        let mixed = (seed ^ (u64::from(rank) << 40)).wrapping_add(u64::from(rank)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ (mixed >> 29)
    }

    /// A rank's place in an order of the ranks that changes with the index: it says whose turn it is to hold a value when
    /// the budget is not enough for all.
    #[inline]
    fn turn(&self, rank: u32, index: u64) -> u64 {
        u64::from(rank) + index + self.repetition
    }

    /// An input of min or max as its place in the type's order, stretched over 64 bits: from the middle half, except that
    /// one rank, another at each index, has the extreme. So every rank decides the result somewhere, and is missed there.
    #[inline]
    fn standing(&self, draw: u64, turn: u64) -> u64 {
        match (turn.is_multiple_of(u64::from(self.ranks)), self.op) {
            (true, Op::Min) => draw >> 2,
            (true, _) => !(draw >> 2),
            (false, _) => (1 << 62) + (draw >> 1),
        }
    }

    /// A whole number of at most `budget` over the ranks in absolute value, summed over all ranks: every rank has an equal
    /// part of the budget; where there are more ranks than that, an equal part of the ranks has 1 each.
    #[inline]
    fn share(&self, budget: u64, draw: u64, turn: u64) -> i64 {
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

/// An element type with inputs for which each operator's result is known.
pub(crate) trait Sample: Element {
    /// The input made of these random bits.
    fn input(recipe: &Recipe, draw: u64, turn: u64) -> Self;

    /// The reduction of all ranks' inputs at `index`.
    fn expected(recipe: &Recipe, index: u64) -> Self;

    /// Whether `found` will do where `expected` should be.
    fn accept(op: Op, found: Self, expected: Self) -> bool;
}

macro_rules! integer_samples {
    ($($type:ty),*) => {$(
        impl Sample for $type {
            #[inline]
            fn input(recipe: &Recipe, draw: u64, turn: u64) -> Self {
                match recipe.op {
                    Op::Sum | Op::Avg => draw as $type,
                    // Odd numbers have inverses modulo a power of two: a product of them never fades to zero.
                    Op::Prod => draw as $type | 1,
                    // The order begins at MIN, whether the type has a sign or not.
                    Op::Min | Op::Max => (recipe.standing(draw, turn) >> (64 - Self::BITS)) as $type ^ Self::MIN,
                }
            }

            #[inline]
            fn expected(recipe: &Recipe, index: u64) -> Self {
                let inputs = (0..recipe.ranks)
                    .map(|rank| Self::input(recipe, recipe.draw(rank, index), recipe.turn(rank, index)));
                match recipe.op {
                    Op::Sum => inputs.fold(0, Self::wrapping_add),
                    Op::Prod => inputs.fold(1, Self::wrapping_mul),
                    Op::Min => inputs.fold(Self::MAX, Self::min),
                    Op::Max => inputs.fold(Self::MIN, Self::max),
                    Op::Avg => (i128::from(inputs.fold(0, Self::wrapping_add)) / i128::from(recipe.ranks)) as $type,
                }
            }

            #[inline]
            fn accept(_op: Op, found: Self, expected: Self) -> bool {
                found == expected
            }
        }
    )*};
}

integer_samples!(i8, u8, i32, u32, i64, u64);

/// A float type: its bits, and how large numbers are exact in it.
macro_rules! float_samples {
    ($($type:ty, bits $bits:ty, whole $whole:expr, power $power:expr, from $from:expr, into $into:expr;)*) => {$(
        impl Sample for $type {
            #[inline]
            fn input(recipe: &Recipe, draw: u64, turn: u64) -> Self {
                match recipe.op {
                    Op::Sum | Op::Avg => $from(recipe.share($whole, draw, turn) as f64),
                    Op::Prod => {
                        let power = recipe.share($power, draw, turn);
                        // The sign comes from low bits, the power from high ones.
                        $from(if draw & 1 == 0 { power_of_two(power) } else { -power_of_two(power) })
                    }
                    Op::Min | Op::Max => {
                        // The order of floats is that of their bits above zero, and the reverse below.
                        let place = (recipe.standing(draw, turn) >> (64 - <$bits>::BITS)) as $bits;
                        let top = 1 << (<$bits>::BITS - 1);
                        let any = <$type>::from_bits(if place & top == 0 { !place } else { place ^ top });
                        // An exponent lowered by one makes an infinity or NaN finite.
                        let lowest_of_exponent = <$type>::INFINITY.to_bits() & <$type>::INFINITY.to_bits().wrapping_neg();
                        if any.is_finite() { any } else { <$type>::from_bits(any.to_bits() & !lowest_of_exponent) }
                    }
                }
            }

            #[inline]
            fn expected(recipe: &Recipe, index: u64) -> Self {
                let inputs = (0..recipe.ranks)
                    .map(|rank| Self::input(recipe, recipe.draw(rank, index), recipe.turn(rank, index)));
                match recipe.op {
                    Op::Sum => $from(inputs.map($into).sum::<f64>() + 0.0),
                    Op::Prod => $from(inputs.map($into).product()),
                    Op::Min => inputs.min_by(Self::total_cmp).unwrap_or_default(),
                    Op::Max => inputs.max_by(Self::total_cmp).unwrap_or_default(),
                    Op::Avg => $from((inputs.map($into).sum::<f64>() + 0.0) / f64::from(recipe.ranks)),
                }
            }

            #[inline]
            fn accept(op: Op, found: Self, expected: Self) -> bool {
                let (found_bits, expected_bits) = (found.to_bits(), expected.to_bits());
                if op != Op::Avg || found_bits == expected_bits {
                    return found_bits == expected_bits;
                }
                let place = |bits: $bits| {
                    let magnitude = i128::from(bits & (<$bits>::MAX >> 1));
                    if bits >> (<$bits>::BITS - 1) == 0 { magnitude } else { -magnitude }
                };
                // Comparing places would call an infinity or NaN a neighbour of the largest number.
                found.is_finite() && place(found_bits).abs_diff(place(expected_bits)) <= u128::from(AVERAGE_ULPS)
            }
        }
    )*};
}

// `whole`: up to here every whole number is exact. `power`: 2 to plus or minus this is a normal number.
float_samples! {
    f16, bits u16, whole 1 << 11, power 14, from f16::from_f64, into f16::to_f64;
    bf16, bits u16, whole 1 << 8, power 126, from bf16::from_f64, into bf16::to_f64;
    f32, bits u32, whole 1 << 24, power 126, from |value: f64| value as f32, into f64::from;
    f64, bits u64, whole 1 << 53, power 1022, from |value: f64| value, into |value: f64| value;
}

/// 2 to a power between −1022 and 1023, exactly.
#[inline]
fn power_of_two(power: i64) -> f64 {
    f64::from_bits(((1023 + power) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serried::DataType;

    /// One type's own arithmetic, as a kernel would do it: rounded to the type after every step.
    trait Arithmetic: Sample {
        fn combine(op: Op, a: Self, b: Self) -> Self;
        fn finish(op: Op, value: Self, ranks: u32) -> Self;
        fn neighbour(self) -> Self;
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
            }
        )*};
        (float $($type:ty, $from:expr, $steps:expr);*) => {$(
            impl Arithmetic for $type {
                fn combine(op: Op, a: Self, b: Self) -> Self {
                    match op {
                        Op::Sum | Op::Avg => a + b,
                        Op::Prod => a * b,
                        Op::Min => if a.total_cmp(&b).is_le() { a } else { b },
                        Op::Max => if a.total_cmp(&b).is_ge() { a } else { b },
                    }
                }
                fn finish(op: Op, value: Self, ranks: u32) -> Self {
                    if op == Op::Avg { value / $from(ranks as f32) } else { value }
                }
                fn neighbour(self) -> Self {
                    Self::from_bits(self.to_bits() ^ $steps)
                }
            }
        )*};
    }

    arithmetic!(int i8, u8, i32, u32, i64, u64);
    // One bit for the exact operators is less than an average's tolerance: a bit worth 4 ulp is more.
    arithmetic!(float f16, f16::from_f32, 4; bf16, bf16::from_f32, 4; f32, f32::from, 4; f64, f64::from, 4);

    /// More than ranks: each rank's turn comes.
    const COUNT: usize = 401;
    const RANKS: [u32; 8] = [1, 2, 3, 5, 8, 64, 100, 300];

    fn inputs<T: Sample>(recipe: &Recipe) -> Vec<Vec<T>> {
        (0..recipe.ranks)
            .map(|rank| {
                let mut data = vec![T::new_zeroed(); COUNT];
                recipe.fill(rank, &mut data);
                data
            })
            .collect()
    }

    fn reduce<T: Arithmetic>(recipe: &Recipe, inputs: &[Vec<T>], order: impl Iterator<Item = usize>) -> Vec<T> {
        let order: Vec<usize> = order.collect();
        (0..COUNT)
            .map(|index| {
                let all = order.iter().map(|&rank| inputs[rank][index]);
                T::finish(recipe.op, all.reduce(|a, b| T::combine(recipe.op, a, b)).expect("ranks >= 1"), recipe.ranks)
            })
            .collect()
    }

    fn orders_do_not_matter<T: Arithmetic>() {
        for (op, ranks) in Op::ALL.into_iter().flat_map(|op| RANKS.map(|ranks| (op, ranks))) {
            let recipe = Recipe { op, ranks, repetition: 3 };
            let inputs = inputs::<T>(&recipe);
            let n = ranks as usize;
            for result in [
                reduce(&recipe, &inputs, 0..n),
                reduce(&recipe, &inputs, (0..n).rev()),
                reduce(&recipe, &inputs, (0..n).map(|k| (k + n / 2) % n)),
                reduce(&recipe, &inputs, (0..n).step_by(2).chain((1..n).step_by(2))),
            ] {
                assert_eq!(recipe.wrong(&result), 0, "{} {op} of {ranks}", T::TYPE);
            }
        }
    }

    fn errors_are_found<T: Arithmetic>() {
        for (op, ranks) in Op::ALL.into_iter().flat_map(|op| RANKS.map(|ranks| (op, ranks))) {
            if op == Op::Avg && T::TYPE.size() == 1 && ranks > 255 {
                // A byte divided by so many ranks is 0, always.
                continue;
            }
            let recipe = Recipe { op, ranks, repetition: 8 };
            let (inputs, n) = (inputs::<T>(&recipe), ranks as usize);
            let name = format!("{} {op} of {ranks}", T::TYPE);
            let right = reduce(&recipe, &inputs, 0..n);
            for at in [0, 1, COUNT / 2, COUNT - 1] {
                let mut planted = right.clone();
                planted[at] = planted[at].neighbour();
                assert_eq!(recipe.wrong(&planted), 1, "{name}: one element at {at}");
            }
            let mut stale = vec![T::new_zeroed(); COUNT];
            poison(&mut stale);
            assert!(recipe.wrong(&stale) as usize > COUNT * 9 / 10, "{name}: nothing written");
            let shifted = [&right[1..], &right[..1]].concat();
            let other = Recipe { repetition: 9, ..recipe };
            assert!(other.wrong(&right) > 0, "{name}: the result of the call before");
            assert!(recipe.wrong(&shifted) > 0, "{name}: shifted by one element");
            if ranks > 1 {
                let last = n - 1;
                assert!(recipe.wrong(&reduce(&recipe, &inputs, 0..last)) > 0, "{name}: the last rank missing");
                // Twice the same smallest value is no error: only min and max forgive it.
                let twice = (0..last).chain([0]);
                assert!(recipe.wrong(&reduce(&recipe, &inputs, twice)) > 0, "{name}: rank 0 in the last one's place");
                assert!(recipe.wrong(&inputs[0]) > 0, "{name}: rank 0's input left as it was");
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
            }
        )*};
    }

    for_every_type! {
        the_exact_result_does_not_depend_on_the_order: orders_do_not_matter;
        planted_errors_of_every_kind_are_found: errors_are_found;
        inputs_differ_by_rank_index_and_repetition: inputs_differ;
    }

    fn inputs_differ<T: Sample>() {
        for op in Op::ALL {
            let recipe = Recipe { op, ranks: 2, repetition: 1 };
            let (mut a, mut b, mut c) = ([T::new_zeroed(); COUNT], [T::new_zeroed(); COUNT], [T::new_zeroed(); COUNT]);
            recipe.fill(0, &mut a);
            recipe.fill(1, &mut b);
            Recipe { repetition: 2, ..recipe }.fill(0, &mut c);
            let differ = |a: &[T], b: &[T]| a.iter().zip(b).filter(|(a, b)| a.as_bytes() != b.as_bytes()).count();
            for (what, count) in
                [("rank", differ(&a, &b)), ("repetition", differ(&a, &c)), ("index", differ(&a[1..], &a))]
            {
                assert!(count > COUNT * 9 / 10, "{} {op}: {count} of {COUNT} differ by {what}", T::TYPE);
            }
        }
    }

    #[test]
    fn an_average_may_be_two_units_off_and_no_more() {
        let expected = 1.5_f32;
        let off = |steps: u32| f32::from_bits(expected.to_bits() + steps);
        assert!(f32::accept(Op::Avg, off(2), expected) && f32::accept(Op::Avg, expected, off(2)));
        assert!(!f32::accept(Op::Avg, off(3), expected));
        assert!(!f32::accept(Op::Sum, off(1), expected), "other operators are exact");
        assert!(f32::accept(Op::Avg, -f32::from_bits(1), f32::from_bits(1)), "one unit to each side of zero");
        assert!(!f32::accept(Op::Avg, f32::INFINITY, f32::MAX) && !f32::accept(Op::Avg, f32::NAN, f32::MAX));
        assert!(!f32::accept(Op::Avg, -1.0, 1.0));
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
