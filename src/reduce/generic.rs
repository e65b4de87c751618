//! The loops over slices, written once, and the table of any instruction set made of them.
//!
//! The loops are always inlined, so each [`Features`] compiles its own copy of them with its own vector width. No `unsafe` here.

use super::fold::{Average, Cell, Fold, Max, Min, PairAverage, PairProd, PairSum, Prod, Sum, Value};
use super::half::{Bfloat16, Binary16};
use super::{InstructionSet, Interleaved, Kernels, Table};
use crate::types::{F8E4M3, F8E5M2};

/// What every CPU of the architecture has.
pub(super) static BASELINE: InstructionSet = InstructionSet {
    name: "baseline",
    available: || true,
    copy,
    copy_shared: copy,
    stream: super::stream_anywhere,
    table: table::<Baseline>(row::<Baseline, Binary16>()),
};

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

/// The three actions by turns, with plain stores.
#[inline(always)]
pub(super) fn interleave<F: Fold>(step: Interleaved<'_>) {
    step.fill.copy_from_slice(step.fill_from);
    combine::<F>(step.folded, step.fold, step.fold_own);
    step.fold.copy_from_slice(step.folded);
    step.gathered.copy_from_slice(step.gather_from);
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
    /// Whole lines by `W`, what is after them by `T`; both are the same operator.
    fn interleave<W: Fold, T: Fold>(step: Interleaved<'_>);
    fn finish<A: Average>(acc: &mut [u8], ranks: u32);
}

pub(super) struct Baseline;

impl Features for Baseline {
    fn reduce<F: Fold>(acc: &mut [u8], x: &[u8]) {
        reduce::<F>(acc, x);
    }

    fn combine<F: Fold>(out: &mut [u8], a: &[u8], b: &[u8]) {
        combine::<F>(out, a, b);
    }

    fn interleave<W: Fold, T: Fold>(step: Interleaved<'_>) {
        #[cfg(target_arch = "x86_64")]
        super::x86_64::interleave::<W, T, super::x86_64::Sse2>(step);
        #[cfg(target_arch = "aarch64")]
        super::aarch64::interleave::<W, T>(step);
        // Safe Rust has no other stores than plain ones.
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        interleave::<T>(step);
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
        row_in_vectors::<C, Bfloat16, PairSum, PairProd, PairAverage>(),
        row::<C, F8E4M3>(),
        row::<C, F8E5M2>(),
    ]
}

/// The kernels of one type.
pub(super) const fn row<C: Features, V: Value + Average>() -> [Kernels; 5] {
    let sum = entry::<C, Sum<V>>();
    let avg = Kernels { finish: Some(C::finish::<V>), ..sum };
    [sum, entry::<C, Prod<V>>(), entry::<C, Max<V>>(), entry::<C, Min<V>>(), avg]
}

/// The kernels of an operator that is no [`Value`]'s, in the widest instruction set that this CPU has.
pub(super) fn own<F: Fold>() -> &'static Kernels {
    /// In the order of `INSTRUCTION_SETS`.
    struct Sets<F>(std::marker::PhantomData<F>);
    #[cfg(target_arch = "x86_64")]
    impl<F: Fold> Sets<F> {
        const KERNELS: [Kernels; 3] =
            [entry::<super::x86_64::Avx512, F>(), entry::<super::x86_64::Avx2, F>(), entry::<Baseline, F>()];
    }
    #[cfg(target_arch = "aarch64")]
    impl<F: Fold> Sets<F> {
        const KERNELS: [Kernels; 2] = [entry::<Baseline, F>(); 2];
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    impl<F: Fold> Sets<F> {
        const KERNELS: [Kernels; 1] = [entry::<Baseline, F>()];
    }
    let kernels: &'static [Kernels] = &Sets::<F>::KERNELS;
    &kernels[super::chosen_index()]
}

const fn entry<C: Features, F: Fold>() -> Kernels {
    Kernels { reduce: C::reduce::<F>, combine: C::combine::<F>, interleave: C::interleave::<F, F>, finish: None }
}

/// The kernels of a 16-bit float whose sums, products and averages go several elements at a time by `S`, `P` and `A`.
pub(super) const fn row_in_vectors<C: Features, V: Value + Average, S: Fold, P: Fold, A: Average>() -> [Kernels; 5] {
    const fn entry<C: Features, W: Fold, T: Fold>() -> Kernels {
        Kernels {
            reduce: reduce_vectors::<C, W, T>,
            combine: combine_vectors::<C, W, T>,
            interleave: C::interleave::<W, T>,
            finish: None,
        }
    }
    let [_, _, max, min, _] = row::<C, V>();
    let sum = entry::<C, S, Sum<V>>();
    let avg = Kernels { finish: Some(finish_vectors::<C, A, V>), ..sum };
    [sum, entry::<C, P, Prod<V>>(), max, min, avg]
}

/// Whole vectors by `W`, what is left over at the end by `T`.
fn reduce_vectors<C: Features, W: Fold, T: Fold>(acc: &mut [u8], x: &[u8]) {
    let whole = whole_cells::<W::Cell>(acc);
    let (acc, acc_tail) = acc.split_at_mut(whole);
    C::reduce::<W>(acc, &x[..whole]);
    if !acc_tail.is_empty() {
        C::reduce::<T>(acc_tail, &x[whole..]);
    }
}

fn combine_vectors<C: Features, W: Fold, T: Fold>(out: &mut [u8], a: &[u8], b: &[u8]) {
    let whole = whole_cells::<W::Cell>(out);
    let (out, out_tail) = out.split_at_mut(whole);
    C::combine::<W>(out, &a[..whole], &b[..whole]);
    if !out_tail.is_empty() {
        C::combine::<T>(out_tail, &a[whole..], &b[whole..]);
    }
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

/// Copies as the C library does it.
pub(super) fn copy(out: &mut [u8], src: &[u8]) {
    out.copy_from_slice(src);
}

/// Plain stores need no fence, nor do those of aarch64.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn fence() {}
