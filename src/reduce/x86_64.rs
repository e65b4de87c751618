//! The kernels of x86-64: the generic loops compiled for AVX2 and AVX-512, `f16` by the CPU's own conversions, and
//! stores that bypass the cache. It defines no operator's meaning except that `f16` is converted by other instructions.

#![allow(unsafe_code)]

use super::fold::{Average, Cell, Fold, Prod, Sum};
use super::generic::{self, Features};
use super::half::Binary16;
use super::{InstructionSet, Kernels};
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// 256-bit vectors.
pub(super) static AVX2: InstructionSet = InstructionSet {
    name: "avx2",
    available: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c"),
    table: generic::table::<Avx2>(f16_row::<Avx2, F16c<8>>()),
};

/// 512-bit vectors.
pub(super) static AVX512: InstructionSet = InstructionSet {
    name: "avx512",
    available: || {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
    },
    table: generic::table::<Avx512>(f16_row::<Avx512, F16c<16>>()),
};

/// Compiles the generic loops with CPU features.
macro_rules! features {
    ($name:ident, $features:literal) => {
        struct $name;

        impl Features for $name {
            fn reduce<F: Fold>(acc: &mut [u8], x: &[u8]) {
                #[target_feature(enable = $features)]
                fn with_features<F: Fold>(acc: &mut [u8], x: &[u8]) {
                    generic::reduce::<F>(acc, x);
                }
                // SAFETY: this is reached only through the set's table, which is used only where `available` found the features.
                unsafe { with_features::<F>(acc, x) }
            }

            fn combine<F: Fold>(out: &mut [u8], a: &[u8], b: &[u8]) {
                #[target_feature(enable = $features)]
                fn with_features<F: Fold>(out: &mut [u8], a: &[u8], b: &[u8]) {
                    generic::combine::<F>(out, a, b);
                }
                // SAFETY: as above.
                unsafe { with_features::<F>(out, a, b) }
            }

            fn finish<A: Average>(acc: &mut [u8], ranks: u32) {
                #[target_feature(enable = $features)]
                fn with_features<A: Average>(acc: &mut [u8], ranks: u32) {
                    generic::finish::<A>(acc, ranks);
                }
                // SAFETY: as above.
                unsafe { with_features::<A>(acc, ranks) }
            }
        }
    };
}

features!(Avx2, "avx2,f16c");
features!(Avx512, "avx512f,avx512bw,avx512vl,avx512dq,f16c");

/// The kernels of `f16`: sums, products and averages go through `f32` by `W`, a vector at a time; what is left over at the end
/// and the operators that only compare take the generic way.
const fn f16_row<C: Features, W: Widened>() -> [Kernels; 5] {
    const fn entry<C: Features, W: Fold, T: Fold>() -> Kernels {
        Kernels {
            reduce: reduce_vectors::<C, W, T>,
            combine: combine_vectors::<C, W, T>,
            combine_streaming: |out, a, b| {
                generic::streaming(combine_vectors::<C, W, T>, size_of::<T::Cell>(), out, a, b)
            },
            finish: None,
        }
    }
    let [_, _, max, min, _] = generic::row::<C, Binary16>();
    let sum = entry::<C, WideSum<W>, Sum<Binary16>>();
    let avg = Kernels { finish: Some(finish_vectors::<C, WideAverage<W>, Binary16>), ..sum };
    [sum, entry::<C, WideProd<W>, Prod<Binary16>>(), max, min, avg]
}

fn reduce_vectors<C: Features, W: Fold, T: Fold>(acc: &mut [u8], x: &[u8]) {
    let whole = whole_cells::<W::Cell>(acc);
    let (acc, acc_tail) = acc.split_at_mut(whole);
    C::reduce::<W>(acc, &x[..whole]);
    C::reduce::<T>(acc_tail, &x[whole..]);
}

fn combine_vectors<C: Features, W: Fold, T: Fold>(out: &mut [u8], a: &[u8], b: &[u8]) {
    let whole = whole_cells::<W::Cell>(out);
    let (out, out_tail) = out.split_at_mut(whole);
    C::combine::<W>(out, &a[..whole], &b[..whole]);
    C::combine::<T>(out_tail, &a[whole..], &b[whole..]);
}

fn finish_vectors<C: Features, W: Average, T: Average>(acc: &mut [u8], ranks: u32) {
    let (acc, tail) = acc.split_at_mut(whole_cells::<W::Cell>(acc));
    C::finish::<W>(acc, ranks);
    C::finish::<T>(tail, ranks);
}

/// How many bytes the whole cells of `bytes` take.
fn whole_cells<C>(bytes: &[u8]) -> usize {
    bytes.len() - bytes.len() % size_of::<C>()
}

/// A vector of `f32` and the binary16 codes it comes from and goes to.
///
/// # Safety
///
/// The methods of an implementation need the CPU features of its instructions.
unsafe trait Widened {
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

/// `N` values converted by F16C, or by AVX-512 at 16.
struct F16c<const N: usize>;

/// A NaN that becomes binary16's canonical one.
const NAN: f32 = f32::from_bits(0x7fc0_0000);

// SAFETY: the methods use AVX and F16C, which `AVX2.available` asks for.
unsafe impl Widened for F16c<8> {
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
unsafe impl Widened for F16c<16> {
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
        // SAFETY: `f16_row` pairs `W` with features that it needs, and only loops compiled for those call this.
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

/// Copies with stores that bypass the cache wherever a whole line is written; they are ordered only by [`fence`].
pub(crate) fn stream(out: &mut [u8], src: &[u8]) {
    debug_assert_eq!(out.len(), src.len());
    let len = out.len().min(src.len());
    // SAFETY: any bytes are a line.
    let (head, lines, tail) = unsafe { out[..len].align_to_mut::<Line>() };
    let (src_head, src) = src[..len].split_at(head.len());
    let (src_lines, src_tail) = src.split_at(size_of_val(lines));
    head.copy_from_slice(src_head);
    for (out, src) in lines.iter_mut().zip(src_lines.as_chunks::<64>().0) {
        let out = (&raw mut out.0).cast::<__m128i>();
        let src = src.as_ptr().cast::<__m128i>();
        // SAFETY: both sides are 64 bytes, `out` on a multiple of 64; SSE2 is part of x86-64. `fence` comes before anybody
        // else is told of these bytes.
        unsafe {
            let line = [0, 1, 2, 3].map(|i| _mm_loadu_si128(src.add(i)));
            _mm_stream_si128(out, line[0]);
            _mm_stream_si128(out.add(1), line[1]);
            _mm_stream_si128(out.add(2), line[2]);
            _mm_stream_si128(out.add(3), line[3]);
        }
    }
    tail.copy_from_slice(src_tail);
}

/// Orders the stores of [`stream`] before everything that follows.
pub(crate) fn fence() {
    // SAFETY: SSE is part of x86-64.
    unsafe { _mm_sfence() }
}

/// A cache line.
#[repr(C, align(64))]
struct Line([u8; 64]);
