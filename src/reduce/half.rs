//! 16-bit floats: widening to `f32`, rounding back, and their order.
//!
//! Plain integer and float arithmetic without branches or tables, so that a loop over it becomes vector code on every
//! architecture. Rounding is to nearest, ties to even; every NaN becomes the canonical one.

/// A 16-bit floating-point format, by its code.
pub(super) trait Format: Copy {
    /// The code of infinity: everything above it, sign aside, is a NaN.
    const INFINITY: u16;
    /// The canonical NaN.
    const NAN: u16;
    /// The value of a code, exactly.
    fn widen(code: u16) -> f32;
    /// The code nearest to a value.
    fn narrow(value: f32) -> u16;
}

/// IEEE 754 binary16.
#[derive(Clone, Copy)]
pub(super) struct Binary16;

/// bfloat16, the upper half of a binary32.
#[derive(Clone, Copy)]
pub(super) struct Bfloat16;

const F32_INFINITY: u32 = 0x7f80_0000;
/// Sign aside.
const F32_MAGNITUDE: u32 = 0x7fff_ffff;

impl Format for Bfloat16 {
    const INFINITY: u16 = 0x7f80;
    const NAN: u16 = 0x7fc0;

    #[inline(always)]
    fn widen(code: u16) -> f32 {
        f32::from_bits(u32::from(code) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> u16 {
        (rounded(value) >> 16) as u16
    }
}

/// The half of a word that is a bfloat16 where the word is an `f32`.
pub(super) const UPPER: u32 = 0xffff_0000;

/// The value of the bfloat16 in the upper half of a word.
#[inline(always)]
pub(super) fn upper(word: u32) -> f32 {
    f32::from_bits(word & UPPER)
}

/// A word with the nearest bfloat16 in its upper half.
#[inline(always)]
pub(super) fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    // Half of the last kept place, less one unless that place is odd: a tie goes to the even code. A carry runs into the
    // exponent, and from the largest finite code into infinity, as it should.
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    if value.is_nan() { u32::from(Bfloat16::NAN) << 16 } else { rounded }
}

impl Format for Binary16 {
    const INFINITY: u16 = 0x7c00;
    const NAN: u16 = 0x7e00;

    #[inline(always)]
    fn widen(code: u16) -> f32 {
        /// What the exponent's bias grows by, 127 − 15, in its place in an `f32`.
        const REBIAS: u32 = 112 << 23;
        /// 2⁻¹⁴, the smallest normal binary16.
        const SMALLEST_NORMAL: u32 = 113 << 23;
        let sign = u32::from(code & 0x8000) << 16;
        let magnitude = u32::from(code & 0x7fff) << 13;
        let exponent = magnitude & (0x7c00 << 13);
        // A subnormal m·2⁻²⁴ is the fraction of 2⁻¹⁴ + m·2⁻²⁴: build that, and subtract the 2⁻¹⁴.
        let subnormal = f32::from_bits(magnitude + SMALLEST_NORMAL) - f32::from_bits(SMALLEST_NORMAL);
        let bits = if exponent == 0 {
            subnormal.to_bits()
        } else if exponent == 0x7c00 << 13 {
            magnitude + 2 * REBIAS
        } else {
            magnitude + REBIAS
        };
        f32::from_bits(sign | bits)
    }

    #[inline(always)]
    fn narrow(value: f32) -> u16 {
        /// 2¹⁶: from here on everything is infinite (from 65,520 on by rounding).
        const OVERFLOW: u32 = 143 << 23;
        /// 2⁻¹⁴, the smallest normal binary16.
        const SMALLEST_NORMAL: u32 = 113 << 23;
        const REBIAS: u32 = 112 << 23;
        let bits = value.to_bits();
        let sign = (bits >> 16) & 0x8000;
        let magnitude = bits & F32_MAGNITUDE;
        let normal = magnitude.wrapping_sub(REBIAS).wrapping_add(0x0fff + ((magnitude >> 13) & 1)) >> 13;
        // The last place of a float in [½, 1) is 2⁻²⁴, that of a subnormal binary16: adding ½ rounds to it.
        let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
        let finite = if magnitude < SMALLEST_NORMAL { subnormal } else { normal };
        let code = if magnitude < OVERFLOW { finite } else { u32::from(Self::INFINITY) };
        if magnitude > F32_INFINITY { Self::NAN } else { (sign | code) as u16 }
    }
}

/// The larger of two codes: NaN if either is one, −0 below +0.
#[inline(always)]
pub(super) fn max<F: Format>(a: u16, b: u16) -> u16 {
    canonical_or::<F>(a, b, key(key(a).max(key(b)) as u16) as u16)
}

/// The smaller of two codes: NaN if either is one, −0 below +0.
#[inline(always)]
pub(super) fn min<F: Format>(a: u16, b: u16) -> u16 {
    canonical_or::<F>(a, b, key(key(a).min(key(b)) as u16) as u16)
}

/// An integer that orders as the code's value does: a negative value's magnitude is flipped. Its own inverse.
#[inline(always)]
fn key(code: u16) -> i16 {
    let code = code as i16;
    code ^ ((code >> 15) & 0x7fff)
}

#[inline(always)]
fn canonical_or<F: Format>(a: u16, b: u16, ordered: u16) -> u16 {
    if (a & 0x7fff > F::INFINITY) | (b & 0x7fff > F::INFINITY) { F::NAN } else { ordered }
}
