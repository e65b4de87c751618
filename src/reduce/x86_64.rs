//! The kernels of x86-64: the generic loops compiled for AVX2 and AVX-512. It defines no operator's meaning, except that
//! `f16c` converts by the CPU's own instructions; `copy` copies by whole lines, and `streaming` has stores past the cache.

#![allow(unsafe_code)]

mod copy;
mod f16c;
mod streaming;

pub(crate) use streaming::fence;
pub(super) use streaming::{Sse2, interleave, stream};

use super::fold::{Average, Fold};
use super::generic::{self, Features};
use super::{InstructionSet, Interleaved};
use f16c::{Eight, Sixteen};

/// 256-bit vectors.
pub(super) static AVX2: InstructionSet = InstructionSet {
    name: "avx2",
    available: Avx2::available,
    copy: |out, src| match copy::strings_are_slow(out, src) {
        false => generic::copy(out, src),
        // SAFETY: this set is used only where `available` found its features, of which this is one.
        true => unsafe { copy::copy_avx(out, src) },
    },
    copy_shared: |out, src| {
        // SAFETY: the same.
        unsafe { copy::copy_avx(out, src) }
    },
    stream: |out, src| {
        // SAFETY: the same.
        unsafe { copy::stream_avx(out, src) }
    },
    table: generic::table::<Avx2>(f16c::row::<Avx2, Eight>()),
};

/// 512-bit vectors.
pub(super) static AVX512: InstructionSet = InstructionSet {
    name: "avx512",
    available: Avx512::available,
    copy: |out, src| {
        // SAFETY: this set is used only where `available` found its features.
        unsafe { copy::copy_avx512(out, src) }
    },
    copy_shared: |out, src| {
        // SAFETY: the same.
        unsafe { copy::copy_avx512(out, src) }
    },
    stream: |out, src| {
        // SAFETY: the same.
        unsafe { copy::stream_avx512(out, src) }
    },
    table: generic::table::<Avx512>(f16c::row::<Avx512, Sixteen>()),
};

/// Compiles the generic loops with CPU features. One list says both what they are compiled for and what is looked for, so that
/// neither can have what the other lacks.
macro_rules! features {
    ($name:ident, [$($feature:tt),+], $store:ty) => {
        pub(super) struct $name;

        impl $name {
            fn available() -> bool {
                $(is_x86_feature_detected!($feature))&&+
            }
        }

        impl Features for $name {
            fn reduce<F: Fold>(acc: &mut [u8], x: &[u8]) {
                #[target_feature($(enable = $feature),+)]
                fn with_features<F: Fold>(acc: &mut [u8], x: &[u8]) {
                    generic::reduce::<F>(acc, x);
                }
                // SAFETY: this is reached only through the set's table, which is used only where `available` found all of the
                // features.
                unsafe { with_features::<F>(acc, x) }
            }

            fn combine<F: Fold>(out: &mut [u8], a: &[u8], b: &[u8]) {
                #[target_feature($(enable = $feature),+)]
                fn with_features<F: Fold>(out: &mut [u8], a: &[u8], b: &[u8]) {
                    generic::combine::<F>(out, a, b);
                }
                // SAFETY: as above.
                unsafe { with_features::<F>(out, a, b) }
            }

            fn interleave<W: Fold, T: Fold>(step: Interleaved<'_>) {
                #[target_feature($(enable = $feature),+)]
                fn with_features<W: Fold, T: Fold>(step: Interleaved<'_>) {
                    interleave::<W, T, $store>(step);
                }
                // SAFETY: as above.
                unsafe { with_features::<W, T>(step) }
            }

            fn finish<A: Average>(acc: &mut [u8], ranks: u32) {
                #[target_feature($(enable = $feature),+)]
                fn with_features<A: Average>(acc: &mut [u8], ranks: u32) {
                    generic::finish::<A>(acc, ranks);
                }
                // SAFETY: as above.
                unsafe { with_features::<A>(acc, ranks) }
            }
        }
    };
}

features!(Avx2, ["avx2", "f16c"], streaming::Avx);
features!(Avx512, ["avx512f", "avx512bw", "avx512vl", "avx512dq", "f16c"], streaming::Avx512f);
