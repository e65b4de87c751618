//! `f16` by the CPU's own conversions: sums, products and averages eight elements at a time. Results are to the bit those of
//! [`Binary16`]'s own arithmetic, which takes what is left over at the end.
//!
//! The conversions are those of ARMv8.0: no arithmetic in `f16` is needed, nor wanted, for it would round otherwise. They are written in
//! assembly because the minimum Rust version has no stable intrinsics for them.

use crate::reduce::Kernels;
use crate::reduce::fold::{Average, Fold};
use crate::reduce::generic::{self, Baseline};
use crate::reduce::half::{Binary16, Format};
use std::arch::{aarch64::*, asm};

/// The kernels of `f16`.
pub(super) const fn row() -> [Kernels; 5] {
    generic::row_in_vectors::<Baseline, Binary16, WideSum, WideProd, WideAverage>()
}

/// Eight codes, as they lie in memory.
type Codes = [u8; 16];

/// Their values: the first four, and the others.
type Values = [float32x4_t; 2];

#[inline]
#[target_feature(enable = "neon")]
fn widen(codes: Codes) -> Values {
    let (lower, upper);
    // SAFETY: 16 bytes are a vector of as many. The instructions touch nothing but their operands and the status of exceptions,
    // which is not said to be preserved.
    unsafe {
        let codes = std::mem::transmute::<Codes, uint16x8_t>(codes);
        asm!("fcvtl {to:v}.4s, {from:v}.4h", to = lateout(vreg) lower, from = in(vreg) codes, options(pure, nomem, nostack));
        asm!("fcvtl2 {to:v}.4s, {from:v}.8h", to = lateout(vreg) upper, from = in(vreg) codes, options(pure, nomem, nostack));
    }
    [lower, upper]
}

/// Rounds to nearest, ties to even; NaN becomes the canonical one.
#[inline]
#[target_feature(enable = "neon")]
fn narrow([lower, upper]: Values) -> Codes {
    let codes: uint16x8_t;
    // SAFETY: as above.
    unsafe {
        let half: uint16x8_t;
        asm!("fcvtn {to:v}.4h, {from:v}.4s", to = lateout(vreg) half, from = in(vreg) lower, options(pure, nomem, nostack));
        // Leaves the other half as it is.
        asm!("fcvtn2 {to:v}.8h, {from:v}.4s", to = inout(vreg) half => codes, from = in(vreg) upper, options(pure, nomem, nostack));
    }
    // A NaN is still one after the conversion, so one comparison does for all eight.
    let magnitudes = vandq_u16(codes, vdupq_n_u16(0x7fff));
    let nan = vcgtq_u16(magnitudes, vdupq_n_u16(Binary16::INFINITY));
    let codes = vbslq_u16(nan, vdupq_n_u16(Binary16::NAN), codes);
    // SAFETY: a vector of 16 bytes is as many bytes.
    unsafe { std::mem::transmute::<uint16x8_t, Codes>(codes) }
}

#[inline]
#[target_feature(enable = "neon")]
fn sum(a: Codes, b: Codes) -> Codes {
    let ([a, c], [b, d]) = (widen(a), widen(b));
    narrow([vaddq_f32(a, b), vaddq_f32(c, d)])
}

#[inline]
#[target_feature(enable = "neon")]
fn product(a: Codes, b: Codes) -> Codes {
    let ([a, c], [b, d]) = (widen(a), widen(b));
    narrow([vmulq_f32(a, b), vmulq_f32(c, d)])
}

#[inline]
#[target_feature(enable = "neon")]
fn quotient(a: Codes, b: f32) -> Codes {
    let ([a, c], b) = (widen(a), vdupq_n_f32(b));
    narrow([vdivq_f32(a, b), vdivq_f32(c, b)])
}

/// The sum, product or average of vectors.
struct WideSum;
struct WideProd;
struct WideAverage;

impl Fold for WideSum {
    type Cell = Codes;

    #[inline(always)]
    fn fold(a: Codes, b: Codes) -> Codes {
        // SAFETY: every CPU of the target has NEON.
        unsafe { sum(a, b) }
    }
}

impl Fold for WideProd {
    type Cell = Codes;

    #[inline(always)]
    fn fold(a: Codes, b: Codes) -> Codes {
        // SAFETY: as above.
        unsafe { product(a, b) }
    }
}

impl Average for WideAverage {
    type Cell = Codes;
    type Divisor = f32;

    #[inline(always)]
    fn divisor(ranks: u32) -> f32 {
        Binary16::divisor(ranks)
    }

    #[inline(always)]
    fn average(sum: Codes, ranks: f32) -> Codes {
        // SAFETY: as above.
        unsafe { quotient(sum, ranks) }
    }
}
