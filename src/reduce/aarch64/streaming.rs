//! Stores that tell the CPU not to keep in its caches what they write, a line at a time.
//!
//! It is a hint, and the stores are otherwise plain ones: the architecture's only exception from the usual order is for non-temporal
//! loads. So a release orders them as it orders any store, and they need no fence of their own.

use crate::reduce::fold::{Cell, Fold};
use crate::reduce::{Interleaved, generic};
use std::arch::{aarch64::uint8x16_t, asm};

/// A cache line, of whatever alignment. CPUs with longer ones gather neighbours.
type Line = [u8; 64];

/// The three actions of `step` by turns, a line at a time: whole lines by `W`, what is after them by `T`, both the same operator. Where
/// an output does not begin on a line all stores are plain.
#[inline(always)]
pub(in crate::reduce) fn interleave<W: Fold, T: Fold>(step: Interleaved<'_>) {
    const { assert!(size_of::<Line>().is_multiple_of(size_of::<W::Cell>()), "a line is whole vectors") };
    if to_line(step.folded) != 0 || to_line(step.gathered) != 0 {
        return generic::interleave::<T>(step);
    }
    let (fill, fill_tail) = step.fill.as_chunks_mut();
    let (fill_from, fill_from_tail) = step.fill_from.as_chunks::<64>();
    let (fold, fold_tail) = step.fold.as_chunks_mut();
    let (fold_own, fold_own_tail) = step.fold_own.as_chunks();
    let (folded, folded_tail) = step.folded.as_chunks_mut();
    let (gathered, gathered_tail) = step.gathered.as_chunks_mut();
    let (gather_from, gather_from_tail) = step.gather_from.as_chunks();
    let places = fill.iter_mut().zip(fill_from).zip(fold.iter_mut().zip(fold_own)).zip(folded.iter_mut());
    for ((((fill, fill_from), (fold, fold_own)), folded), (gathered, gather_from)) in
        places.zip(gathered.iter_mut().zip(gather_from))
    {
        let line = fold_line::<W>(fold, fold_own);
        *fill = *fill_from;
        *fold = line;
        store(folded, line);
        store(gathered, *gather_from);
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

/// A line of `a ⊕ b`: cell by cell as it is written, four vectors once compiled.
#[inline(always)]
fn fold_line<W: Fold>(a: &Line, b: &Line) -> Line {
    let mut line = [0; 64];
    for ((out, a), b) in W::Cell::of_mut(&mut line).iter_mut().zip(W::Cell::of(a)).zip(W::Cell::of(b)) {
        *out = W::fold(*a, *b);
    }
    line
}

/// Copies `src` over `out`, which is as long.
pub(in crate::reduce) fn stream(out: &mut [u8], src: &[u8]) {
    let head = to_line(out).min(out.len());
    let (head, out) = out.split_at_mut(head);
    let (src_head, src) = src.split_at(head.len());
    let (lines, tail) = out.as_chunks_mut();
    let (src_lines, src_tail) = src.as_chunks();
    head.copy_from_slice(src_head);
    for (out, src) in lines.iter_mut().zip(src_lines) {
        store(out, *src);
    }
    tail.copy_from_slice(src_tail);
}

/// How many bytes are before the first line.
fn to_line(bytes: &[u8]) -> usize {
    bytes.as_ptr().align_offset(size_of::<Line>())
}

/// Fills a line past the caches.
#[inline(always)]
fn store(out: &mut Line, line: Line) {
    // SAFETY: 64 bytes are four vectors. The instructions write the 64 bytes of `out`, at any alignment, as plain stores would, and
    // every aarch64 CPU of this target has NEON.
    unsafe {
        let [a, b, c, d] = std::mem::transmute::<Line, [uint8x16_t; 4]>(line);
        asm!(
            "stnp {a:q}, {b:q}, [{out}]",
            "stnp {c:q}, {d:q}, [{out}, #32]",
            a = in(vreg) a,
            b = in(vreg) b,
            c = in(vreg) c,
            d = in(vreg) d,
            out = in(reg) out.as_mut_ptr(),
            options(nostack, preserves_flags)
        );
    }
}
