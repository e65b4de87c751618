//! How exact results are, and what makes them the same everywhere.
//!
//! # The same bits on every rank
//!
//! Every rank of a call ends with the same bits: all evaluate the same expression, and each built-in operator is commutative to the bit (your own must be, for the same). The expression depends on the
//! algorithm and on the number of ranks, not on timing; so a job that is run again with the same ranks, sizes and settings (`SERRIED_ALGO` included, or the same
//! machine) gives the same bits again. Another number of ranks, or another algorithm, adds in another order.
//!
//! # How far from the exact result
//!
//! A sum of n inputs x₁ … xₙ is n − 1 additions, whatever the algorithm, each rounded once to the type: 8- and 16-bit floats are widened to `f32`, added, and rounded, so what
//! is on the wire is the type. As long as no partial sum leaves the type's range, the result differs from the exact sum by at most
//!
//! ```text
//! |result − exact| ≤ (n − 1) · u · (|x₁| + … + |xₙ|)
//! ```
//!
//! in whatever order the algorithm adds (C.-P. Jeannerod and S. M. Rump, "Improved error bounds for inner products in floating-point arithmetic", 2013), where u is half
//! of the type's last place at 1:
//!
//! | type | u |
//! |---|---|
//! | `f64` | 2⁻⁵³ |
//! | `f32` | 2⁻²⁴ |
//! | `f16` | 2⁻¹¹ |
//! | `bf16` | 2⁻⁸ |
//! | [`F8E4M3`](crate::F8E4M3) | 2⁻⁴ |
//! | [`F8E5M2`](crate::F8E5M2) | 2⁻³ |
//!
//! The tests check it for every type and algorithm. An input goes through fewer additions by some algorithms than by others, and the error that is to be expected is smaller then:
//! n − 1 by direct, twoshot and ring, about log₂ n by NHR, doubling and halving, 2 · log₂ n by the tree. Results that are subnormal are off by at most n − 1 halves of
//! the smallest subnormal more.
//!
//! An average is a sum and then one division, rounded once more. A sum of multiples ([`PreMulSum`](crate::PreMulSum)) rounds each product to the type first.
//! Minimum and maximum are exact. Integers wrap, which makes their sums and products independent of any order.
//!
//! # At the ends of a type
//!
//! `f16`, `bf16`, `f32` and `f64` overflow to infinity. 8-bit floats saturate: a sum above 448 (E4M3) or 57,344 (E5M2) is that number, as the field's hardware does
//! it, and so is each partial sum: 400 + 400 − 400 is 48 or 400 in E4M3, as the order has it. An infinity that comes in stays one in E5M2, and E4M3 has none. NaN comes out as one NaN, whatever NaNs went in; minimum and maximum give NaN if any input is
//! one; −0 is below +0.
//!
//! The widest instruction set is used that the CPU has, and all give the same bits. AVX-512's own conversions to bfloat16 are not used: they take
//! subnormal numbers for zero.
