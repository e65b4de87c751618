//! Element types with inputs for which each reduction's result is known.

use crate::perf::data::{Recipe, Reduction, factor};
use half::{bf16, f16};
use serried::{Element, F8E4M3, F8E5M2, Op, PreMulSum};

/// Units in the last place by which a float average may differ, as in nccl-tests.
const AVERAGE_ULPS: u64 = 2;

/// An element type with inputs for which each operator's result is known.
pub(crate) trait Sample: Element {
    /// The input made of these random bits.
    fn input(recipe: &Recipe, draw: u64, turn: u64) -> Self;

    /// The reduction of all ranks' inputs at `index`.
    fn expected(recipe: &Recipe, index: u64) -> Self;

    /// Whether `found` will do where `expected` should be.
    fn accept(reduction: Reduction, found: Self, expected: Self) -> bool;

    /// What `rank` multiplies its inputs by, where ranks do.
    fn multiple(rank: u32) -> PreMulSum<Self>;
}

macro_rules! integer_samples {
    ($($type:ty),*) => {$(
        impl Sample for $type {
            #[inline]
            fn input(recipe: &Recipe, draw: u64, turn: u64) -> Self {
                match recipe.reduction {
                    Reduction::None | Reduction::MulSum | Reduction::Op(Op::Sum | Op::Avg) => draw as $type,
                    // Odd numbers have inverses modulo a power of two: a product of them never fades to zero.
                    Reduction::Op(Op::Prod) => draw as $type | 1,
                    // The order begins at MIN, whether the type has a sign or not.
                    Reduction::Op(Op::Min | Op::Max) => {
                        (recipe.standing(draw, turn) >> (64 - Self::BITS)) as $type ^ Self::MIN
                    }
                }
            }

            #[inline]
            fn expected(recipe: &Recipe, index: u64) -> Self {
                let inputs = (0..recipe.ranks).map(|rank| recipe.input::<Self>(rank, index));
                match recipe.reduction {
                    Reduction::None => 0,
                    Reduction::Op(Op::Sum) => inputs.fold(0, Self::wrapping_add),
                    Reduction::Op(Op::Prod) => inputs.fold(1, Self::wrapping_mul),
                    Reduction::Op(Op::Min) => inputs.fold(Self::MAX, Self::min),
                    Reduction::Op(Op::Max) => inputs.fold(Self::MIN, Self::max),
                    Reduction::Op(Op::Avg) => {
                        (i128::from(inputs.fold(0, Self::wrapping_add)) / i128::from(recipe.ranks)) as $type
                    }
                    Reduction::MulSum => {
                        inputs.zip(0..).fold(0, |sum, (input, rank)| sum.wrapping_add(input.wrapping_mul(factor(rank) as $type)))
                    }
                }
            }

            #[inline]
            fn accept(_reduction: Reduction, found: Self, expected: Self) -> bool {
                found == expected
            }

            fn multiple(rank: u32) -> PreMulSum<Self> {
                PreMulSum(factor(rank) as $type)
            }
        }
    )*};
}

integer_samples!(i8, u8, i32, u32, i64, u64);

/// A float type: its bits, how large numbers are exact in it, and how far an average may be off.
macro_rules! float_samples {
    ($($type:ty, bits $bits:ty, fraction $fraction:literal, largest $largest:literal, whole $whole:expr, power $power:expr, off $off:expr, from $from:expr, into $into:expr;)*) => {$(
        impl Sample for $type {
            #[inline]
            fn input(recipe: &Recipe, draw: u64, turn: u64) -> Self {
                match recipe.reduction {
                    Reduction::None => <$type>::from_bits(draw as $bits),
                    Reduction::Op(Op::Sum | Op::Avg) => $from(recipe.share($whole, draw, turn) as f64),
                    Reduction::MulSum => $from(recipe.share($whole / 2, draw, turn) as f64),
                    Reduction::Op(Op::Prod) => {
                        let power = recipe.share($power, draw, turn);
                        // The sign comes from low bits, the power from high ones.
                        $from(if draw & 1 == 0 { power_of_two(power) } else { -power_of_two(power) })
                    }
                    Reduction::Op(Op::Min | Op::Max) => {
                        // The order of floats is that of their bits above zero, and the reverse below.
                        let place = (recipe.standing(draw, turn) >> (64 - <$bits>::BITS)) as $bits;
                        let top = 1 << (<$bits>::BITS - 1);
                        let any = if place & top == 0 { !place } else { place ^ top };
                        // An exponent lowered by one makes an infinity or NaN finite.
                        let is_finite = any & (top - 1) <= $largest;
                        <$type>::from_bits(if is_finite { any } else { any & !(1 << $fraction) })
                    }
                }
            }

            #[inline]
            fn expected(recipe: &Recipe, index: u64) -> Self {
                let inputs = (0..recipe.ranks).map(|rank| recipe.input::<Self>(rank, index));
                let sum = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() + 0.0;
                match recipe.reduction {
                    Reduction::None => <$type>::from_bits(0),
                    Reduction::Op(Op::Sum) => $from(sum(&mut inputs.map($into))),
                    Reduction::Op(Op::Prod) => $from(inputs.map($into).product()),
                    Reduction::Op(Op::Min) => inputs.min_by_key(|value| place(value.to_bits().into(), <$bits>::BITS)).expect("ranks"),
                    Reduction::Op(Op::Max) => inputs.max_by_key(|value| place(value.to_bits().into(), <$bits>::BITS)).expect("ranks"),
                    Reduction::Op(Op::Avg) => $from(sum(&mut inputs.map($into)) / f64::from(recipe.ranks)),
                    Reduction::MulSum => {
                        $from(sum(&mut inputs.map($into).zip(0..).map(|(input, rank)| input * f64::from(factor(rank)))))
                    }
                }
            }

            #[inline]
            fn accept(reduction: Reduction, found: Self, expected: Self) -> bool {
                let (found, expected) = (found.to_bits(), expected.to_bits());
                if reduction != Reduction::Op(Op::Avg) || found == expected {
                    return found == expected;
                }
                // Comparing places would call an infinity or NaN a neighbour of the largest number; a zero has a place for each sign.
                let is_finite = found & (<$bits>::MAX >> 1) <= $largest;
                let whole = |bits: $bits| { let place = place(bits.into(), <$bits>::BITS); place + i128::from(place < 0) };
                is_finite && whole(found).abs_diff(whole(expected)) <= $off
            }

            fn multiple(rank: u32) -> PreMulSum<Self> {
                PreMulSum($from(f64::from(factor(rank))))
            }
        }
    )*};
}

// `whole`: up to here every whole number is exact. `power`: 2 to plus or minus this is a normal number. An 8-bit float's average is told from its
// neighbours: they are too far apart for a tolerance.
float_samples! {
    f16, bits u16, fraction 10, largest 0x7bff, whole 1 << 11, power 14, off AVERAGE_ULPS.into(), from f16::from_f64, into f16::to_f64;
    bf16, bits u16, fraction 7, largest 0x7f7f, whole 1 << 8, power 126, off AVERAGE_ULPS.into(), from bf16::from_f64, into bf16::to_f64;
    f32, bits u32, fraction 23, largest 0x7f7f_ffff, whole 1 << 24, power 126, off AVERAGE_ULPS.into(), from |value: f64| value as f32, into f64::from;
    f64, bits u64, fraction 52, largest 0x7fef_ffff_ffff_ffff, whole 1 << 53, power 1022, off AVERAGE_ULPS.into(), from |value: f64| value, into |value: f64| value;
    F8E4M3, bits u8, fraction 3, largest 0x7e, whole 1 << 4, power 6, off 0, from |value: f64| F8E4M3::from_f32(value as f32), into |value: F8E4M3| f64::from(value.to_f32());
    F8E5M2, bits u8, fraction 2, largest 0x7b, whole 1 << 3, power 14, off 0, from |value: f64| F8E5M2::from_f32(value as f32), into |value: F8E5M2| f64::from(value.to_f32());
}

/// Where a code of so many bits stands in the order of its values; −0 just below +0.
fn place(code: u64, bits: u32) -> i128 {
    let magnitude = i128::from(code & ((1 << (bits - 1)) - 1));
    if code >> (bits - 1) == 0 { magnitude } else { -magnitude - 1 }
}

/// 2 to a power between −1022 and 1023, exactly.
#[inline]
fn power_of_two(power: i64) -> f64 {
    f64::from_bits(((1023 + power) as u64) << 52)
}
