//! `f16` by the CPU's own conversions: sums, products and averages a vector at a time. Results are to the bit those of
//! [`Binary16`]'s own arithmetic, which takes what is left over at the end.

use crate::reduce::Kernels;
use crate::reduce::fold::{Average, Cell, Fold};
use crate::reduce::generic::{self, Features};
use crate::reduce::half::Binary16;
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// The kernels of `f16` for an instruction set that has the features `W` needs.
pub(super) const fn row<C: Features, W: Widened>() -> [Kernels; 5] {
    generic::row_in_vectors::<C, Binary16, WideSum<W>, WideProd<W>, WideAverage<W>>()
}

/// A vector of `f32` and the binary16 codes it comes from and goes to.
///
/// # Safety
///
/// The methods of an implementation need the CPU features of its instructions.
pub(super) unsafe trait Widened {
    /// As many codes, as they lie in memory.
    type Codes: Cell;
    /// As many values.
    type Values: Copy;
    unsafe fn widen(codes: Self::Codes) -> Self::Values;
    /// Rounds to nearest, ties to even; NaN becomes the canonical one.
    unsafe fn narrow(values: Self::Values) -> Self::Codes;
    unsafe fn all(value: f32) -> Self::Values;
    unsafe fn add(a: Self::Values, b: Self::Values) -> Self::Values;
    unsafe fn mul(a: Self::Values, b: Self::Values) -> Self::Values;
    unsafe fn div(a: Self::Values, b: Self::Values) -> Self::Values;
}

/// The methods of [`Widened`] that are one instruction each.
macro_rules! lanewise {
    ($values:ty: $all:ident, $add:ident, $mul:ident, $div:ident) => {
        #[inline(always)]
        unsafe fn all(value: f32) -> $values {
            // SAFETY: the caller has the features.
            unsafe { $all(value) }
        }

        #[inline(always)]
        unsafe fn add(a: $values, b: $values) -> $values {
            // SAFETY: the caller has the features.
            unsafe { $add(a, b) }
        }

        #[inline(always)]
        unsafe fn mul(a: $values, b: $values) -> $values {
            // SAFETY: the caller has the features.
            unsafe { $mul(a, b) }
        }

        #[inline(always)]
        unsafe fn div(a: $values, b: $values) -> $values {
            // SAFETY: the caller has the features.
            unsafe { $div(a, b) }
        }
    };
}

/// Eight values a vector, by F16C.
pub(super) struct Eight;

/// Sixteen values a vector, by AVX-512.
pub(super) struct Sixteen;

/// A NaN that becomes binary16's canonical one.
const NAN: f32 = f32::from_bits(0x7fc0_0000);

// SAFETY: the methods use AVX and F16C, which `AVX2.available` asks for.
unsafe impl Widened for Eight {
    type Codes = [u8; 16];
    type Values = __m256;

    #[inline(always)]
    unsafe fn widen(codes: [u8; 16]) -> __m256 {
        // SAFETY: the caller has the features; 16 bytes are a vector of as many.
        unsafe { _mm256_cvtph_ps(std::mem::transmute::<[u8; 16], __m128i>(codes)) }
    }

    #[inline(always)]
    unsafe fn narrow(values: __m256) -> [u8; 16] {
        // SAFETY: as above.
        unsafe {
            let values = _mm256_blendv_ps(values, _mm256_set1_ps(NAN), _mm256_cmp_ps::<_CMP_UNORD_Q>(values, values));
            std::mem::transmute::<__m128i, [u8; 16]>(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values))
        }
    }

    lanewise!(__m256: _mm256_set1_ps, _mm256_add_ps, _mm256_mul_ps, _mm256_div_ps);
}

// SAFETY: the methods use AVX-512F, which `AVX512.available` asks for.
unsafe impl Widened for Sixteen {
    type Codes = [u8; 32];
    type Values = __m512;

    #[inline(always)]
    unsafe fn widen(codes: [u8; 32]) -> __m512 {
        // SAFETY: the caller has the features; 32 bytes are a vector of as many.
        unsafe { _mm512_cvtph_ps(std::mem::transmute::<[u8; 32], __m256i>(codes)) }
    }

    #[inline(always)]
    unsafe fn narrow(values: __m512) -> [u8; 32] {
        // SAFETY: as above.
        unsafe {
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
            let values = _mm512_mask_blend_ps(nan, values, _mm512_set1_ps(NAN));
            std::mem::transmute::<__m256i, [u8; 32]>(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values))
        }
    }

    lanewise!(__m512: _mm512_set1_ps, _mm512_add_ps, _mm512_mul_ps, _mm512_div_ps);
}

/// The sum, product or average of vectors.
struct WideSum<W>(PhantomData<W>);
struct WideProd<W>(PhantomData<W>);
struct WideAverage<W>(PhantomData<W>);

impl<W: Widened> Fold for WideSum<W> {
    type Cell = W::Codes;

    #[inline(always)]
    fn fold(a: W::Codes, b: W::Codes) -> W::Codes {
        // SAFETY: `row` pairs `W` with features that it needs, and only loops compiled for those call this.
        unsafe { W::narrow(W::add(W::widen(a), W::widen(b))) }
    }
}

impl<W: Widened> Fold for WideProd<W> {
    type Cell = W::Codes;

    #[inline(always)]
    fn fold(a: W::Codes, b: W::Codes) -> W::Codes {
        // SAFETY: as above.
        unsafe { W::narrow(W::mul(W::widen(a), W::widen(b))) }
    }
}

impl<W: Widened> Average for WideAverage<W> {
    type Cell = W::Codes;
    type Divisor = f32;

    #[inline(always)]
    fn divisor(ranks: u32) -> f32 {
        Binary16::divisor(ranks)
    }

    #[inline(always)]
    fn average(sum: W::Codes, ranks: f32) -> W::Codes {
        // SAFETY: as above.
        unsafe { W::narrow(W::div(W::widen(sum), W::all(ranks))) }
    }
}
