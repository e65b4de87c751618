//! What each operator does to one pair of elements, and an average to one sum. This is where the promises of
//! [`crate::reduce`] are kept; it knows nothing of slices.
//!
//! No branches: everything is arithmetic and selection, so that the loops of `generic` become vector code.

use super::half::{self, Bfloat16, Binary16, Format};
use crate::types::{F8E4M3, F8E5M2};
use std::marker::PhantomData;

/// An element, or a vector of them, as it lies in memory: bytes, at any alignment.
pub(super) trait Cell: Copy {
    /// The whole cells of these bytes.
    fn of(bytes: &[u8]) -> &[Self];
    /// The whole cells of these bytes.
    fn of_mut(bytes: &mut [u8]) -> &mut [Self];
}

impl<const N: usize> Cell for [u8; N] {
    #[inline(always)]
    fn of(bytes: &[u8]) -> &[Self] {
        bytes.as_chunks().0
    }

    #[inline(always)]
    fn of_mut(bytes: &mut [u8]) -> &mut [Self] {
        bytes.as_chunks_mut().0
    }
}

/// How two cells become one.
pub(super) trait Fold {
    /// What is folded.
    type Cell: Cell;
    /// `a ⊕ b`.
    fn fold(a: Self::Cell, b: Self::Cell) -> Self::Cell;
}

/// How a sum becomes an average.
pub(super) trait Average {
    /// What is averaged.
    type Cell: Cell;
    /// The number of ranks, ready to divide by.
    type Divisor: Copy;
    /// Readies the number of ranks, which is at least 1.
    fn divisor(ranks: u32) -> Self::Divisor;
    /// The sum divided by the number of ranks.
    fn average(sum: Self::Cell, ranks: Self::Divisor) -> Self::Cell;
}

/// A type of the table: what its five operators do.
pub(super) trait Value {
    /// One element.
    type Cell: Cell;
    fn sum(a: Self::Cell, b: Self::Cell) -> Self::Cell;
    fn prod(a: Self::Cell, b: Self::Cell) -> Self::Cell;
    fn max(a: Self::Cell, b: Self::Cell) -> Self::Cell;
    fn min(a: Self::Cell, b: Self::Cell) -> Self::Cell;
}

macro_rules! folds {
    ($($name:ident => $method:ident),*) => {$(
        /// The operator of this name over a [`Value`].
        pub(super) struct $name<V>(PhantomData<V>);
        impl<V: Value> Fold for $name<V> {
            type Cell = V::Cell;
            #[inline(always)]
            fn fold(a: V::Cell, b: V::Cell) -> V::Cell {
                V::$method(a, b)
            }
        }
    )*};
}

folds! { Sum => sum, Prod => prod, Max => max, Min => min }

macro_rules! integers {
    ($($int:ty),*) => {$(
        impl Value for $int {
            type Cell = [u8; size_of::<$int>()];
            #[inline(always)]
            fn sum(a: Self::Cell, b: Self::Cell) -> Self::Cell {
                Self::from_ne_bytes(a).wrapping_add(Self::from_ne_bytes(b)).to_ne_bytes()
            }
            #[inline(always)]
            fn prod(a: Self::Cell, b: Self::Cell) -> Self::Cell {
                Self::from_ne_bytes(a).wrapping_mul(Self::from_ne_bytes(b)).to_ne_bytes()
            }
            #[inline(always)]
            fn max(a: Self::Cell, b: Self::Cell) -> Self::Cell {
                Self::from_ne_bytes(a).max(Self::from_ne_bytes(b)).to_ne_bytes()
            }
            #[inline(always)]
            fn min(a: Self::Cell, b: Self::Cell) -> Self::Cell {
                Self::from_ne_bytes(a).min(Self::from_ne_bytes(b)).to_ne_bytes()
            }
        }
    )*};
}

integers! { i8, u8, i32, u32, i64, u64 }

macro_rules! averages_through_f64 {
    ($($int:ty),*) => {$(
        impl Average for $int {
            type Cell = [u8; size_of::<$int>()];
            type Divisor = f64;
            #[inline(always)]
            fn divisor(ranks: u32) -> f64 {
                ranks.into()
            }
            #[inline(always)]
            fn average(sum: Self::Cell, ranks: f64) -> Self::Cell {
                /// Added to a whole number, leaves it in two's complement in the low bits.
                const WHOLE: f64 = 1.5 * (1u64 << 52) as f64;
                let quotient = f64::from(Self::from_ne_bytes(sum)) / ranks;
                ((quotient.trunc() + WHOLE).to_bits() as Self).to_ne_bytes()
            }
        }
    )*};
}

// No vector unit divides integers, but all divide floats. A quotient s/n just below an integer is away from it by at least
// 1/(s + n) of itself, more than the half last place (2⁻⁵³) that rounding to `f64` moves it, as long as s and n have 32 bits:
// the rounded quotient never reaches that integer, and cutting its fraction off is division toward zero.
averages_through_f64! { i8, u8, i32, u32 }

macro_rules! averages_by_division {
    ($($int:ty),*) => {$(
        impl Average for $int {
            type Cell = [u8; size_of::<$int>()];
            type Divisor = $int;
            #[inline(always)]
            fn divisor(ranks: u32) -> $int {
                ranks.into()
            }
            #[inline(always)]
            fn average(sum: Self::Cell, ranks: $int) -> Self::Cell {
                (Self::from_ne_bytes(sum) / ranks).to_ne_bytes()
            }
        }
    )*};
}

averages_by_division! { i64, u64 }

macro_rules! floats {
    ($($float:ty, canonical NaN $nan:literal);*) => {$(
        impl Value for $float {
            type Cell = [u8; size_of::<$float>()];
            #[inline(always)]
            fn sum(a: Self::Cell, b: Self::Cell) -> Self::Cell {
                let sum = Self::from_ne_bytes(a) + Self::from_ne_bytes(b);
                (if sum.is_nan() { $nan } else { sum.to_bits() }).to_ne_bytes()
            }
            #[inline(always)]
            fn prod(a: Self::Cell, b: Self::Cell) -> Self::Cell {
                let product = Self::from_ne_bytes(a) * Self::from_ne_bytes(b);
                (if product.is_nan() { $nan } else { product.to_bits() }).to_ne_bytes()
            }
            #[inline(always)]
            fn max(a: Self::Cell, b: Self::Cell) -> Self::Cell {
                let (a, b) = (Self::from_ne_bytes(a), Self::from_ne_bytes(b));
                let larger = if a > b { a.to_bits() } else { b.to_bits() };
                // Equal values differ at most in the sign of a zero: the one without it is larger.
                let larger = if a == b { a.to_bits() & b.to_bits() } else { larger };
                (if a.is_nan() | b.is_nan() { $nan } else { larger }).to_ne_bytes()
            }
            #[inline(always)]
            fn min(a: Self::Cell, b: Self::Cell) -> Self::Cell {
                let (a, b) = (Self::from_ne_bytes(a), Self::from_ne_bytes(b));
                let smaller = if a < b { a.to_bits() } else { b.to_bits() };
                let smaller = if a == b { a.to_bits() | b.to_bits() } else { smaller };
                (if a.is_nan() | b.is_nan() { $nan } else { smaller }).to_ne_bytes()
            }
        }

        impl Average for $float {
            type Cell = [u8; size_of::<$float>()];
            type Divisor = $float;
            #[inline(always)]
            fn divisor(ranks: u32) -> $float {
                ranks as $float
            }
            #[inline(always)]
            fn average(sum: Self::Cell, ranks: $float) -> Self::Cell {
                let average = Self::from_ne_bytes(sum) / ranks;
                (if average.is_nan() { $nan } else { average.to_bits() }).to_ne_bytes()
            }
        }
    )*};
}

floats! { f32, canonical NaN 0x7fc0_0000; f64, canonical NaN 0x7ff8_0000_0000_0000 }

macro_rules! half_floats {
    ($($format:ty),*) => {$(
        impl Value for $format {
            type Cell = [u8; 2];
            #[inline(always)]
            fn sum(a: [u8; 2], b: [u8; 2]) -> [u8; 2] {
                let (a, b) = (Self::widen(u16::from_ne_bytes(a)), Self::widen(u16::from_ne_bytes(b)));
                Self::narrow(a + b).to_ne_bytes()
            }
            #[inline(always)]
            fn prod(a: [u8; 2], b: [u8; 2]) -> [u8; 2] {
                let (a, b) = (Self::widen(u16::from_ne_bytes(a)), Self::widen(u16::from_ne_bytes(b)));
                Self::narrow(a * b).to_ne_bytes()
            }
            #[inline(always)]
            fn max(a: [u8; 2], b: [u8; 2]) -> [u8; 2] {
                half::max::<Self>(u16::from_ne_bytes(a), u16::from_ne_bytes(b)).to_ne_bytes()
            }
            #[inline(always)]
            fn min(a: [u8; 2], b: [u8; 2]) -> [u8; 2] {
                half::min::<Self>(u16::from_ne_bytes(a), u16::from_ne_bytes(b)).to_ne_bytes()
            }
        }

        impl Average for $format {
            type Cell = [u8; 2];
            type Divisor = f32;
            #[inline(always)]
            fn divisor(ranks: u32) -> f32 {
                ranks as f32
            }
            #[inline(always)]
            fn average(sum: [u8; 2], ranks: f32) -> [u8; 2] {
                Self::narrow(Self::widen(u16::from_ne_bytes(sum)) / ranks).to_ne_bytes()
            }
        }
    )*};
}

half_floats! { Binary16, Bfloat16 }

macro_rules! float8s {
    ($($float:ty),*) => {$(
        impl Value for $float {
            type Cell = [u8; 1];
            #[inline(always)]
            fn sum([a]: [u8; 1], [b]: [u8; 1]) -> [u8; 1] {
                [Self::from_f32(Self::from_bits(a).to_f32() + Self::from_bits(b).to_f32()).to_bits()]
            }
            #[inline(always)]
            fn prod([a]: [u8; 1], [b]: [u8; 1]) -> [u8; 1] {
                [Self::from_f32(Self::from_bits(a).to_f32() * Self::from_bits(b).to_f32()).to_bits()]
            }
            #[inline(always)]
            fn max([a]: [u8; 1], [b]: [u8; 1]) -> [u8; 1] {
                ordered8::<$float>(a, b, key8(a).max(key8(b)))
            }
            #[inline(always)]
            fn min([a]: [u8; 1], [b]: [u8; 1]) -> [u8; 1] {
                ordered8::<$float>(a, b, key8(a).min(key8(b)))
            }
        }

        impl Average for $float {
            type Cell = [u8; 1];
            type Divisor = f32;
            #[inline(always)]
            fn divisor(ranks: u32) -> f32 {
                ranks as f32
            }
            #[inline(always)]
            fn average([sum]: [u8; 1], ranks: f32) -> [u8; 1] {
                [Self::from_f32(Self::from_bits(sum).to_f32() / ranks).to_bits()]
            }
        }

        impl Float8 for $float {
            const NAN: u8 = <$float>::NAN.to_bits();
            #[inline(always)]
            fn is_nan(code: u8) -> bool {
                <$float>::from_bits(code).is_nan()
            }
        }
    )*};
}

float8s! { F8E4M3, F8E5M2 }

/// What is no number among 8-bit floats.
trait Float8 {
    const NAN: u8;
    fn is_nan(code: u8) -> bool;
}

/// An integer that orders as the code's value does, as for 16 bits. Its own inverse.
#[inline(always)]
fn key8(code: u8) -> i8 {
    let code = code as i8;
    code ^ ((code >> 7) & 0x7f)
}

#[inline(always)]
fn ordered8<F: Float8>(a: u8, b: u8, key: i8) -> [u8; 1] {
    [if F::is_nan(a) | F::is_nan(b) { F::NAN } else { key8(key as u8) as u8 }]
}

/// The sum of two bfloat16 in one 32-bit lane: widening and rounding then move nothing from lane to lane.
pub(super) struct PairSum;
/// Their product.
pub(super) struct PairProd;
/// Their average.
pub(super) struct PairAverage;

impl Fold for PairSum {
    type Cell = [u8; 4];
    #[inline(always)]
    fn fold(a: [u8; 4], b: [u8; 4]) -> [u8; 4] {
        pairwise(a, b, |a, b| a + b)
    }
}

impl Fold for PairProd {
    type Cell = [u8; 4];
    #[inline(always)]
    fn fold(a: [u8; 4], b: [u8; 4]) -> [u8; 4] {
        pairwise(a, b, |a, b| a * b)
    }
}

impl Average for PairAverage {
    type Cell = [u8; 4];
    type Divisor = f32;
    #[inline(always)]
    fn divisor(ranks: u32) -> f32 {
        Bfloat16::divisor(ranks)
    }
    #[inline(always)]
    fn average(sum: [u8; 4], ranks: f32) -> [u8; 4] {
        pairwise(sum, sum, |sum, _| sum / ranks)
    }
}

#[inline(always)]
fn pairwise(a: [u8; 4], b: [u8; 4], operator: impl Fn(f32, f32) -> f32) -> [u8; 4] {
    let (a, b) = (u32::from_ne_bytes(a), u32::from_ne_bytes(b));
    let upper = operator(half::upper(a), half::upper(b));
    let lower = operator(half::upper(a << 16), half::upper(b << 16));
    ((half::rounded(upper) & half::UPPER) | (half::rounded(lower) >> 16)).to_ne_bytes()
}
