//! Copies by stores of whole lines, through the caches and past them, for copies of kilobytes and more.

use super::streaming::{Line, lines_of};
use std::arch::x86_64::*;

/// Lines that are copied at a time, four vectors after four. (Of one at a time the compiler would make a call of the C library.)
const QUAD: usize = 4;

/// Whether a string instruction, which the C library takes for such copies, would be slow, wherever the two lie (slots are laid so that for most buffers it is not): with the output so few bytes after the input, modulo a page, Zen 3
/// moves 2.8 GB/s instead of 47. So it is where the allocator lets a large buffer begin 16 bytes after a page, and the input begins on one.
pub(super) fn strings_are_slow(out: &[u8], src: &[u8]) -> bool {
    const PAGE: usize = 4096;
    (1..32).contains(&(out.as_ptr().addr().wrapping_sub(src.as_ptr().addr()) % PAGE))
}

/// Copies `src` over `out`, which is as long, with 256-bit vectors.
#[target_feature(enable = "avx2")]
pub(super) fn copy_avx(out: &mut [u8], src: &[u8]) {
    // SAFETY: these are the vector's features.
    unsafe { by_lines::<__m256i, false>(out, src) }
}

/// Copies `src` over `out`, which is as long, past the caches. The stores are ordered only by the next [`fence`](super::fence).
#[target_feature(enable = "avx2")]
pub(super) fn stream_avx(out: &mut [u8], src: &[u8]) {
    // SAFETY: these are the vector's features.
    unsafe { by_lines::<__m256i, true>(out, src) }
}

/// Copies `src` over `out`, which is as long. From another core's cache and into lines that it has read, this takes four fifths of the C library's time
/// (128 KiB to 2 MiB, one way between two cores of a Cascade Lake): a line is given up once, not once a half.
#[target_feature(enable = "avx512f")]
pub(super) fn copy_avx512(out: &mut [u8], src: &[u8]) {
    // SAFETY: these are the vector's features.
    unsafe { by_lines::<__m512i, false>(out, src) }
}

/// Copies `src` over `out`, which is as long. The stores are ordered only by the next [`fence`](super::fence). Calls that end with it take 5 to 10 % less time than with
/// stores of a quarter of a line that ask for nothing ahead (outputs of 16 MiB and more, on the same cores).
#[target_feature(enable = "avx512f")]
pub(super) fn stream_avx512(out: &mut [u8], src: &[u8]) {
    // SAFETY: these are the vector's features.
    unsafe { by_lines::<__m512i, true>(out, src) }
}

/// # Safety
///
/// Needs the features of `V`.
#[inline(always)]
unsafe fn by_lines<V: Vector, const STREAM: bool>(out: &mut [u8], src: &[u8]) {
    const { assert!((QUAD * size_of::<Line>()).is_multiple_of(4 * size_of::<V>()), "four vectors after four") };
    let (head, lines, tail) = lines_of(out);
    let (src_head, src) = src.split_at(head.len());
    let (src_lines, src_tail) = src.split_at(size_of_val(lines));
    head.copy_from_slice(src_head);
    let (quads, rest) = lines.as_chunks_mut::<QUAD>();
    let (src_quads, src_rest) = src_lines.as_chunks::<{ QUAD * size_of::<Line>() }>();
    for (out, src) in quads.iter_mut().zip(src_quads) {
        let asked = if V::AHEAD > 0 { QUAD } else { 0 };
        for ahead in 0..asked {
            // Past the end it asks for what nobody reads, and never faults.
            let line = src.as_ptr().cast::<Line>().wrapping_add(V::AHEAD + ahead);
            // SAFETY: SSE is part of x86-64.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
        }
        let (from, to) = (src.as_ptr().cast::<V>(), (&raw mut *out).cast::<V>());
        for four in (0..size_of_val(src) / size_of::<V>()).step_by(4) {
            // SAFETY: both are a multiple of four vectors long, and lines begin on a multiple of a vector's size; the caller has the features.
            unsafe {
                let (from, to) = (from.add(four), to.add(four));
                let vectors = [V::load(from), V::load(from.add(1)), V::load(from.add(2)), V::load(from.add(3))];
                for (index, vector) in vectors.into_iter().enumerate() {
                    if STREAM { V::stream(to.add(index), vector) } else { V::store(to.add(index), vector) }
                }
            }
        }
    }
    for (line, src) in rest.iter_mut().zip(src_rest.as_chunks::<{ size_of::<Line>() }>().0) {
        *line = Line(*src);
    }
    tail.copy_from_slice(src_tail);
}

/// The vector of an instruction set; a line is one or more.
///
/// # Safety
///
/// All functions need the features of that set and a pointer to a whole vector, which for stores is aligned.
unsafe trait Vector: Copy {
    /// So many lines are asked for before they are read.
    const AHEAD: usize;

    unsafe fn load(from: *const Self) -> Self;
    unsafe fn store(to: *mut Self, vector: Self);
    unsafe fn stream(to: *mut Self, vector: Self);
}

macro_rules! vectors {
    ($($vector:ident by $load:ident, $store:ident, $stream:ident, $ahead:literal ahead);*) => {$(
        // SAFETY: the instructions need the set that the vector is of.
        unsafe impl Vector for $vector {
            const AHEAD: usize = $ahead;

            #[inline(always)]
            unsafe fn load(from: *const Self) -> Self {
                // SAFETY: the caller's promise; any alignment will do.
                unsafe { $load(from.cast()) }
            }

            #[inline(always)]
            unsafe fn store(to: *mut Self, vector: Self) {
                // SAFETY: the caller's promise.
                unsafe { $store(to.cast(), vector) }
            }

            #[inline(always)]
            unsafe fn stream(to: *mut Self, vector: Self) {
                // SAFETY: the caller's promise.
                unsafe { $stream(to.cast(), vector) }
            }
        }
    )*};
}

// By 512 bits, asking ahead takes another twentieth off (Cascade Lake; between far cores not measured). By 256, on a Zen 3, it changes nothing between two cores of one cache, and
// between two that share only memory a copy takes half as long again.
vectors! {
    __m256i by _mm256_loadu_si256, _mm256_store_si256, _mm256_stream_si256, 0 ahead;
    __m512i by _mm512_loadu_si512, _mm512_store_si512, _mm512_stream_si512, 8 ahead
}
