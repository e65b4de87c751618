//! The loops over slices, written once, and the table of any instruction set made of them.
//!
//! The loops are always inlined, so each [`Features`] compiles its own copy of them with its own vector width. No `unsafe` here.

use super::fold::{Average, Cell, Fold, Max, Min, Prod, Sum, Value};
use super::half::{Bfloat16, Binary16};
use super::{InstructionSet, Kernels, Table};

/// What every CPU of the architecture has.
pub(super) static BASELINE: InstructionSet =
    InstructionSet { name: "baseline", available: || true, table: table::<Baseline>(row::<Baseline, Binary16>()) };

/// `acc = acc ⊕ x`.
#[inline(always)]
pub(super) fn reduce<F: Fold>(acc: &mut [u8], x: &[u8]) {
    debug_assert_eq!(acc.len(), x.len());
    for (acc, x) in F::Cell::of_mut(acc).iter_mut().zip(F::Cell::of(x)) {
        *acc = F::fold(*acc, *x);
    }
}

/// `out = a ⊕ b`.
#[inline(always)]
pub(super) fn combine<F: Fold>(out: &mut [u8], a: &[u8], b: &[u8]) {
    debug_assert!(out.len() == a.len() && a.len() == b.len());
    for ((out, a), b) in F::Cell::of_mut(out).iter_mut().zip(F::Cell::of(a)).zip(F::Cell::of(b)) {
        *out = F::fold(*a, *b);
    }
}

/// `acc = acc / ranks`.
#[inline(always)]
pub(super) fn finish<A: Average>(acc: &mut [u8], ranks: u32) {
    let divisor = A::divisor(ranks.max(1));
    for acc in A::Cell::of_mut(acc) {
        *acc = A::average(*acc, divisor);
    }
}

/// The loops, compiled with some CPU features.
pub(super) trait Features {
    fn reduce<F: Fold>(acc: &mut [u8], x: &[u8]);
    fn combine<F: Fold>(out: &mut [u8], a: &[u8], b: &[u8]);
    fn finish<A: Average>(acc: &mut [u8], ranks: u32);
}

struct Baseline;

impl Features for Baseline {
    fn reduce<F: Fold>(acc: &mut [u8], x: &[u8]) {
        reduce::<F>(acc, x);
    }

    fn combine<F: Fold>(out: &mut [u8], a: &[u8], b: &[u8]) {
        combine::<F>(out, a, b);
    }

    fn finish<A: Average>(acc: &mut [u8], ranks: u32) {
        finish::<A>(acc, ranks);
    }
}

/// The kernels of every type; those of `f16` are given, because some instruction sets have their own.
pub(super) const fn table<C: Features>(f16: [Kernels; 5]) -> Table {
    [
        row::<C, i8>(),
        row::<C, u8>(),
        row::<C, i32>(),
        row::<C, u32>(),
        row::<C, i64>(),
        row::<C, u64>(),
        f16,
        row::<C, f32>(),
        row::<C, f64>(),
        row::<C, Bfloat16>(),
    ]
}

/// The kernels of one type.
pub(super) const fn row<C: Features, V: Value + Average>() -> [Kernels; 5] {
    let sum = entry::<C, Sum<V>>();
    let avg = Kernels { finish: Some(C::finish::<V>), ..sum };
    [sum, entry::<C, Prod<V>>(), entry::<C, Max<V>>(), entry::<C, Min<V>>(), avg]
}

const fn entry<C: Features, F: Fold>() -> Kernels {
    Kernels {
        reduce: C::reduce::<F>,
        combine: C::combine::<F>,
        combine_streaming: |out, a, b| streaming(C::combine::<F>, size_of::<F::Cell>(), out, a, b),
        finish: None,
    }
}

/// A cache line: what one streaming store should fill whole.
const LINE: usize = 64;

/// What is combined at a time before it is streamed out: small beside the L1 cache, large beside the cost of a call.
const STRIP: usize = 4096;

/// `out = a ⊕ b` with streaming stores: strip by strip through a buffer that stays in the L1 cache, which costs a few
/// percent of what the memory does and spares every kernel a second form.
pub(crate) fn streaming(
    combine: fn(&mut [u8], &[u8], &[u8]),
    element_bytes: usize,
    out: &mut [u8],
    a: &[u8],
    b: &[u8],
) {
    #[repr(align(64))]
    struct Strip([u8; STRIP]);

    if cfg!(not(target_arch = "x86_64")) || out.len() < STRIP {
        return combine(out, a, b);
    }
    // After a first short strip the others begin on a line, if whole elements can.
    let first = out.as_ptr().align_offset(LINE).next_multiple_of(element_bytes);
    let (head, out) = out.split_at_mut(first);
    combine(head, &a[..first], &b[..first]);
    let mut strip = Strip([0; STRIP]);
    for ((out, a), b) in out.chunks_mut(STRIP).zip(a[first..].chunks(STRIP)).zip(b[first..].chunks(STRIP)) {
        let strip = &mut strip.0[..out.len()];
        combine(strip, a, b);
        super::stream(out, strip);
    }
    super::fence();
}

/// Copies with plain stores, where safe Rust has no others.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn stream(out: &mut [u8], src: &[u8]) {
    out.copy_from_slice(src);
}

/// Plain stores need no fence.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn fence() {}
