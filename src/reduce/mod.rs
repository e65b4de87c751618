//! Reduction kernels: how bytes of a [`DataType`] become one under an [`Op`].
//!
//! Everything above works on bytes and a table of function pointers ([`Kernels`]), looked up once per call. The kernels
//! promise two things that no compiler promises by itself, so that every rank ends with the same bits on every machine:
//!
//! * **Commutative to the bit.** `a ⊕ b` and `b ⊕ a` are the same bits. A NaN result is always the one quiet NaN with
//!   a clear sign and an otherwise clear payload (0x7fc0_0000 for `f32`), whatever NaNs went in; `min` and `max` return
//!   NaN if either input is one, and order −0 below +0.
//! * **One rounding.** 8- and 16-bit floats are widened, combined in `f32`, and rounded once (to nearest, ties to even); 8-bit floats saturate.
//!
//! Integers wrap. The floating-point environment is taken to be Rust's: a thread that has told its CPU to flush subnormal
//! numbers to zero gets them flushed here too, and may then end with other bits than its peers.
//!
//! This module knows element types and operators, nothing of ranks, messages or where memory comes from. The meaning of every
//! operator is written once, for one element (`fold`, `half`, `types::float8`); `generic` runs it over slices; each instruction set
//! (`x86_64`, `aarch64`) is the same loops compiled with more features.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod fold;
mod generic;
mod half;
mod reduction;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use reduction::{Combine, Operator, Own, PreMulSum, Reduction};

use crate::types::{DataType, Op};
use std::sync::OnceLock;

/// The kernels of one type and operator. Slices hold whole elements in native byte order, at any alignment; those of one call
/// have equal length.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    /// `acc = acc ⊕ x`.
    pub reduce: fn(acc: &mut [u8], x: &[u8]),
    /// `out = a ⊕ b`.
    pub combine: fn(out: &mut [u8], a: &[u8], b: &[u8]),
    /// Three actions on three places at once, line by line; what it leaves out of the caches is ordered only by `fence`.
    pub(crate) interleave: fn(Interleaved<'_>),
    /// What an average does to a finished sum of `ranks` inputs; `None` for the other operators.
    pub finish: Option<fn(acc: &mut [u8], ranks: u32)>,
}

/// A copy, a fold and another copy that take turns line by line, so that reads from memory, reads from another core's cache and
/// writes past the caches overlap. All slices have one length.
#[derive(Debug)]
pub(crate) struct Interleaved<'a> {
    /// Becomes `fill_from`, by plain stores.
    pub(crate) fill: &'a mut [u8],
    /// What is copied there.
    pub(crate) fill_from: &'a [u8],
    /// Becomes `fold ⊕ fold_own`, by plain stores.
    pub(crate) fold: &'a mut [u8],
    /// The other input of the fold.
    pub(crate) fold_own: &'a [u8],
    /// Becomes the same as `fold`; past the caches if it begins on a line.
    pub(crate) folded: &'a mut [u8],
    /// Becomes `gather_from`; past the caches if it begins on a line.
    pub(crate) gathered: &'a mut [u8],
    /// What is copied there.
    pub(crate) gather_from: &'a [u8],
}

/// The kernels of this type and operator, in the widest instruction set that this CPU has.
#[inline]
pub fn kernels(data_type: DataType, op: Op) -> &'static Kernels {
    &chosen().table[data_type as usize][op as usize]
}

/// The name of the instruction set that [`kernels`] uses on this CPU.
pub fn instruction_set() -> &'static str {
    chosen().name
}

/// Copies `src` over `out` through the caches: for copies of kilobytes and more to or from another core's cache.
///
/// # Panics
///
/// If the lengths differ.
pub fn copy_cached(out: &mut [u8], src: &[u8]) {
    assert_eq!(out.len(), src.len(), "a copy's two sides have one length");
    if out.len() < LINES_BYTES_MIN { out.copy_from_slice(src) } else { (chosen().copy)(out, src) }
}

/// Copies `src` over `out`, where another core has written `src` and will do so again. A string instruction, which a plain copy often is, may leave the lines so that the
/// other's next stores take twice as long: one writer and one reader then go on at 8 GB/s where they could at 17 (Zen 3, two cores of one cache, 16 KiB to 1 MiB; which of
/// the two it is changes from one run to the next).
///
/// # Panics
///
/// If the lengths differ.
pub fn copy_shared(out: &mut [u8], src: &[u8]) {
    assert_eq!(out.len(), src.len(), "a copy's two sides have one length");
    if out.len() < LINES_BYTES_MIN { out.copy_from_slice(src) } else { (chosen().copy_shared)(out, src) }
}

/// Below it, finding the lines takes longer than they save.
const LINES_BYTES_MIN: usize = 1 << 10;

/// Copies `src` over `out` with stores that bypass the cache, for copies larger than it. The stores are ordered before
/// everything the caller does afterwards.
///
/// # Panics
///
/// If the lengths differ.
pub fn copy_streaming(out: &mut [u8], src: &[u8]) {
    assert_eq!(out.len(), src.len(), "a copy's two sides have one length");
    stream(out, src);
    fence();
}

/// [`copy_streaming`] without its order, for many copies and one [`fence`].
pub(crate) fn stream(out: &mut [u8], src: &[u8]) {
    (chosen().stream)(out, src);
}

/// Orders what was streamed before everything that follows.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) use generic::fence;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::fence;

/// Streams with what every CPU of the architecture has.
#[cfg(target_arch = "aarch64")]
use aarch64::stream as stream_anywhere;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use generic::copy as stream_anywhere;
#[cfg(target_arch = "x86_64")]
use x86_64::stream as stream_anywhere;

/// The kernels of every type (outer index, by its number) and operator (inner).
type Table = [[Kernels; Op::ALL.len()]; DataType::ALL.len()];

/// A table and the instruction set it was compiled for.
#[derive(Debug)]
struct InstructionSet {
    name: &'static str,
    available: fn() -> bool,
    /// Copies through the caches.
    copy: fn(out: &mut [u8], src: &[u8]),
    /// Copies what another core has written.
    copy_shared: fn(out: &mut [u8], src: &[u8]),
    /// Copies past them; the stores are ordered only by the next [`fence`].
    stream: fn(out: &mut [u8], src: &[u8]),
    table: Table,
}

/// How many instruction sets are told apart on this architecture.
const SETS: usize = if cfg!(target_arch = "x86_64") {
    3
} else if cfg!(target_arch = "aarch64") {
    2
} else {
    1
};

/// Every instruction set of this architecture, the widest first; the last is always available.
#[cfg(target_arch = "x86_64")]
static INSTRUCTION_SETS: [&InstructionSet; SETS] = [&x86_64::AVX512, &x86_64::AVX2, &generic::BASELINE];
#[cfg(target_arch = "aarch64")]
static INSTRUCTION_SETS: [&InstructionSet; SETS] = [&aarch64::NEON, &generic::BASELINE];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static INSTRUCTION_SETS: [&InstructionSet; SETS] = [&generic::BASELINE];

fn chosen() -> &'static InstructionSet {
    INSTRUCTION_SETS[chosen_index()]
}

/// Which of the instruction sets is used.
fn chosen_index() -> usize {
    static CHOSEN: OnceLock<usize> = OnceLock::new();
    let widest = || INSTRUCTION_SETS.iter().position(|set| (set.available)());
    *CHOSEN.get_or_init(|| widest().expect("the baseline is always available"))
}
