//! Reduction kernels: how bytes of a [`DataType`] become one under an [`Op`].
//!
//! Everything above works on bytes and a table of function pointers ([`Kernels`]), looked up once per call. The kernels
//! promise two things that no compiler promises by itself, so that every rank ends with the same bits on every machine:
//!
//! * **Commutative to the bit.** `a ⊕ b` and `b ⊕ a` are the same bits. A NaN result is always the one quiet NaN with
//!   a clear sign and an otherwise clear payload (0x7fc0_0000 for `f32`), whatever NaNs went in; `min` and `max` return
//!   NaN if either input is one, and order −0 below +0.
//! * **One rounding.** 16-bit floats are widened, combined in `f32`, and rounded once (to nearest, ties to even).
//!
//! Integers wrap.

/// The kernels of one type and operator. Slices hold whole elements in native byte order, at any alignment; those of one call
/// have equal length.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    /// `acc = acc ⊕ x`.
    pub reduce: fn(acc: &mut [u8], x: &[u8]),
    /// `out = a ⊕ b`.
    pub combine: fn(out: &mut [u8], a: &[u8], b: &[u8]),
    /// `out = a ⊕ b` with stores that bypass the cache, for outputs larger than it.
    pub combine_streaming: fn(out: &mut [u8], a: &[u8], b: &[u8]),
    /// What an average does to a finished sum of `ranks` inputs; `None` for the other operators.
    pub finish: Option<fn(acc: &mut [u8], ranks: u32)>,
}
