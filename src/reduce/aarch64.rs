//! The kernels of aarch64. The generic loops are NEON code there already, for every CPU has it; what only instructions say is here:
//! `conversions` between `f16` and `f32`, and the `streaming` stores. Neither defines an operator's meaning.

#![allow(unsafe_code)]

mod conversions;
mod streaming;

pub(super) use streaming::{interleave, stream};

use super::InstructionSet;
use super::generic::{self, Baseline};

/// The baseline with the CPU's own conversions of `f16`.
pub(super) static NEON: InstructionSet = InstructionSet {
    name: "neon",
    available: || true,
    copy: generic::copy,
    copy_shared: generic::copy,
    stream,
    table: generic::table::<Baseline>(conversions::row()),
};

// A vector register would hold its lanes in another order than memory does.
const _: () = assert!(cfg!(target_endian = "little"), "big-endian aarch64 is not supported");
// The target promises what the instructions of this module need.
const _: () = assert!(cfg!(target_feature = "neon"));
