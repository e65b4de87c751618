//! Stores that bypass the cache. They fill whole lines of memory and are not ordered with other stores until a fence.

use crate::reduce::fold::{Cell, Fold};
use crate::reduce::{Interleaved, generic};
use std::arch::x86_64::*;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::reduce) struct Line(pub(super) [u8; 64]);

/// The three actions of `step` by turns, a line at a time: whole lines by `W`, what is after them by `T`, both the same operator. Where
/// an output does not begin on a line all stores are plain. They are ordered only by the next [`fence`].
#[inline(always)]
pub(in crate::reduce) fn interleave<W: Fold, T: Fold, S: Store>(step: Interleaved<'_>) {
    const { assert!(64 % size_of::<W::Cell>() == 0, "a line is whole vectors") };
    if !starts_line(step.folded) || !starts_line(step.gathered) {
        return generic::interleave::<T>(step);
    }
    let (_, folded, folded_tail) = lines_of(step.folded);
    let (_, gathered, gathered_tail) = lines_of(step.gathered);
    let (fill, fill_tail) = step.fill.as_chunks_mut::<64>();
    let (fill_from, fill_from_tail) = step.fill_from.as_chunks::<64>();
    let (fold, fold_tail) = step.fold.as_chunks_mut::<64>();
    let (fold_own, fold_own_tail) = step.fold_own.as_chunks::<64>();
    let (gather_from, gather_from_tail) = step.gather_from.as_chunks::<64>();
    let places = fill.iter_mut().zip(fill_from).zip(fold.iter_mut().zip(fold_own)).zip(folded.iter_mut());
    for ((((fill, fill_from), (fold, fold_own)), folded), (gathered, gather_from)) in
        places.zip(gathered.iter_mut().zip(gather_from))
    {
        let line = fold_line::<W>(fold, fold_own);
        *fill = *fill_from;
        *fold = line.0;
        // SAFETY: only loops compiled for the features of `S` call this; to fence is the caller's promise.
        unsafe {
            S::line(folded, line);
            S::line(gathered, Line(*gather_from));
        }
    }
    generic::interleave::<T>(Interleaved {
        fill: fill_tail,
        fill_from: fill_from_tail,
        fold: fold_tail,
        fold_own: fold_own_tail,
        folded: folded_tail,
        gathered: gathered_tail,
        gather_from: gather_from_tail,
    });
}

/// A line of `a ⊕ b`: cell by cell as it is written, a vector or two once compiled, and never in memory before it is where it goes.
#[inline(always)]
fn fold_line<W: Fold>(a: &[u8; 64], b: &[u8; 64]) -> Line {
    let mut line = Line([0; 64]);
    for ((out, a), b) in W::Cell::of_mut(&mut line.0).iter_mut().zip(W::Cell::of(a)).zip(W::Cell::of(b)) {
        *out = W::fold(*a, *b);
    }
    line
}

/// Copies `src` over `out`, which is as long. The stores are ordered only by the next [`fence`].
pub(in crate::reduce) fn stream(out: &mut [u8], src: &[u8]) {
    let (head, lines, tail) = lines_of(out);
    let (src_head, src) = src.split_at(head.len());
    let (src_lines, src_tail) = src.split_at(size_of_val(lines));
    head.copy_from_slice(src_head);
    for (out, src) in lines.iter_mut().zip(src_lines.as_chunks().0) {
        // SAFETY: SSE2 is part of x86-64; to fence is the caller's promise.
        unsafe { Sse2::line(out, Line(*src)) };
    }
    tail.copy_from_slice(src_tail);
}

/// Orders the streaming stores before everything that follows.
#[inline(always)]
pub(crate) fn fence() {
    // SAFETY: SSE is part of x86-64.
    unsafe { _mm_sfence() }
}

fn starts_line(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(size_of::<Line>())
}

/// The bytes before the first whole line, the whole lines, and what follows them.
#[inline(always)]
pub(super) fn lines_of(bytes: &mut [u8]) -> (&mut [u8], &mut [Line], &mut [u8]) {
    // SAFETY: any 64 bytes on a multiple of 64 are a line, and a line is any bytes.
    unsafe { bytes.align_to_mut() }
}

/// The streaming store of an instruction set. Each has its own encoding: mixing them stalls some CPUs.
///
/// # Safety
///
/// `line` needs the CPU features of its instructions.
pub(in crate::reduce) unsafe trait Store {
    /// Fills a line; whoever calls this fences before anybody can see the line.
    unsafe fn line(out: &mut Line, line: Line);
}

/// 128 bits at a time.
pub(in crate::reduce) struct Sse2;

/// 256 bits at a time.
pub(in crate::reduce) struct Avx;

/// 512 bits at a time.
pub(in crate::reduce) struct Avx512f;

macro_rules! stores {
    ($($set:ident: $count:literal of $vector:ident by $stream:ident);*) => {$(
        // SAFETY: the instruction needs the set it is named for.
        unsafe impl Store for $set {
            #[inline(always)]
            unsafe fn line(out: &mut Line, line: Line) {
                // SAFETY: a line is so many vectors, on a multiple of their alignment; the caller has the features.
                unsafe {
                    let vectors: [$vector; $count] = std::mem::transmute(line.0);
                    for (i, vector) in vectors.into_iter().enumerate() {
                        $stream((&raw mut out.0).cast::<$vector>().add(i), vector);
                    }
                }
            }
        }
    )*};
}

stores! {
    Sse2: 4 of __m128i by _mm_stream_si128;
    Avx: 2 of __m256i by _mm256_stream_si256;
    Avx512f: 1 of __m512i by _mm512_stream_si512
}
