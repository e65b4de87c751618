//! How exact results are, and what makes them the same everywhere.
//!
//! # The same bits on every rank
//!
//! Every rank of a call ends with the same bits: all evaluate the same expression, and each operator is commutative to the bit. The expression depends on the
//! algorithm and on the number of ranks, not on timing; so a job that is run again with the same ranks, sizes and settings (`SERRIED_ALGO` included, or the same
//! machine) gives the same bits again. Another number of ranks, or another algorithm, adds in another order.
//!
//! # How far from the exact result
//!
//! A sum of n inputs x₁ … xₙ is n − 1 additions, whatever the algorithm, each rounded once to the type: 8- and 16-bit floats are widened to `f32`, added, and rounded, so what
//! is on the wire is the type. The result differs from the exact sum by at most
//!
//! ```text
//! |result − exact| ≤ (d · u) / (1 − d · u) · (|x₁| + … + |xₙ|)
//! ```
//!
//! where u is half of the type's last place at 1, and d is the most additions that one input goes through:
//!
//! | type | u | | algorithm | d |
//! |---|---|---|---|---|
//! | `f64` | 2⁻⁵³ | | direct, twoshot (ranks in order) | n − 1 |
//! | `f32` | 2⁻²⁴ | | ring | n − 1 |
//! | `f16` | 2⁻¹¹ | | NHR, doubling, halving | ⌈log₂ n⌉, and 1 more where n is no power of two |
//! | `bf16` | 2⁻⁸ | | tree | 2 · ⌈log₂ n⌉ |
//! | [`F8E4M3`](crate::F8E4M3) | 2⁻⁴ | | | |
//! | [`F8E5M2`](crate::F8E5M2) | 2⁻³ | | | |
//!
//! d = n − 1 holds for all of them, and is what the tests check for every type and algorithm. Results that are subnormal are off by at most d halves of the
//! smallest subnormal more.
//!
//! An average is a sum and then one division, rounded once more. A sum of multiples ([`PreMulSum`](crate::PreMulSum)) rounds each product to the type first.
//! Minimum and maximum are exact. Integers wrap, which makes their sums and products independent of any order.
//!
//! # At the ends of a type
//!
//! `f16`, `bf16`, `f32` and `f64` overflow to infinity. 8-bit floats saturate: a sum above 448 (E4M3) or 57,344 (E5M2) is that number, as the field's hardware does
//! it. An infinity that comes in stays one in E5M2, and E4M3 has none. NaN comes out as one NaN, whatever NaNs went in; minimum and maximum give NaN if any input is
//! one; −0 is below +0.
//!
//! The widest instruction set is used that the CPU has, and all give the same bits. AVX-512's own conversions to bfloat16 are not used: they take
//! subnormal numbers for zero.
