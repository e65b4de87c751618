//! 8-bit floats, as the Open Compute Project's OFP8 specification defines them: E4M3 for weights and activations, E5M2 for gradients.
//!
//! Plain arithmetic without branches or tables, so that a loop over it becomes vector code. Rounding is to nearest, ties to even; what is finite but too
//! large becomes the largest number, as the hardware of the field does it when it saturates; every NaN becomes one.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const F32_INFINITY: u32 = 0x7f80_0000;
const F32_FRACTION_BITS: u32 = 23;
const F32_BIAS: u32 = 127;
/// A code without its sign.
const MAGNITUDE: u8 = 0x7f;

macro_rules! float8 {
    ($(#[$doc:meta])* $name:ident: fraction $fraction:literal, bias $bias:literal, max $max:literal, infinity $infinity:literal, nan $nan:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(transparent)]
        pub struct $name(u8);

        impl $name {
            /// The largest number.
            pub const MAX: Self = Self($max);
            /// The number that results are when they are none.
            pub const NAN: Self = Self($nan);
            /// Codes above it, sign aside, are NaN.
            const LAST: u8 = if $infinity == $nan { $max } else { $infinity };

            /// The float with this code.
            pub const fn from_bits(code: u8) -> Self {
                Self(code)
            }

            /// The float's code.
            pub const fn to_bits(self) -> u8 {
                self.0
            }

            /// Whether it is no number.
            #[inline(always)]
            pub const fn is_nan(self) -> bool {
                self.0 & MAGNITUDE > Self::LAST
            }

            /// The same value, exactly.
            #[inline(always)]
            pub const fn to_f32(self) -> f32 {
                const SHIFT: u32 = F32_FRACTION_BITS - $fraction;
                /// What the exponent's bias grows by, in its place in an `f32`.
                const REBIAS: u32 = (F32_BIAS - $bias) << F32_FRACTION_BITS;
                const SMALLEST_NORMAL: u32 = (F32_BIAS + 1 - $bias) << F32_FRACTION_BITS;
                let sign = ((self.0 & !MAGNITUDE) as u32) << 24;
                let code = self.0 & MAGNITUDE;
                let magnitude = (code as u32) << SHIFT;
                // A subnormal is the fraction of the smallest normal number and itself: build that, and subtract the smallest.
                let subnormal = f32::from_bits(magnitude + SMALLEST_NORMAL) - f32::from_bits(SMALLEST_NORMAL);
                let finite = if magnitude < 1 << F32_FRACTION_BITS { subnormal.to_bits() } else { magnitude + REBIAS };
                let bits = if code > $max { F32_INFINITY } else { finite };
                let bits = if code > Self::LAST { f32::NAN.to_bits() } else { bits };
                f32::from_bits(sign | bits)
            }

            /// The nearest float. Infinity stays what it is where the format has one, and is no number otherwise.
            #[inline(always)]
            pub const fn from_f32(value: f32) -> Self {
                const SHIFT: u32 = F32_FRACTION_BITS - $fraction;
                const REBIAS: u32 = (F32_BIAS - $bias) << F32_FRACTION_BITS;
                const SMALLEST_NORMAL: u32 = (F32_BIAS + 1 - $bias) << F32_FRACTION_BITS;
                /// The power of two whose last place is that of a subnormal: adding it rounds to one.
                const ROUNDER: u32 = (F32_BIAS + F32_FRACTION_BITS + 1 - $bias - $fraction) << F32_FRACTION_BITS;
                let bits = value.to_bits();
                let sign = (bits >> 24) as u8 & !MAGNITUDE;
                let magnitude = bits & !(1 << 31);
                // Half of the last kept place, less one unless that place is odd: a tie goes to the even code.
                let half = (1 << (SHIFT - 1)) - 1 + ((magnitude >> SHIFT) & 1);
                let normal = magnitude.wrapping_sub(REBIAS).wrapping_add(half) >> SHIFT;
                let subnormal =
                    (f32::from_bits(magnitude) + f32::from_bits(ROUNDER)).to_bits().wrapping_sub(ROUNDER);
                let rounded = if magnitude < SMALLEST_NORMAL { subnormal } else { normal };
                let finite = if rounded > $max { $max } else { rounded };
                let code = if magnitude < F32_INFINITY { finite } else { $infinity };
                if magnitude > F32_INFINITY { Self::NAN } else { Self(sign | code as u8).canonical() }
            }

            /// The one NaN for every NaN.
            #[inline(always)]
            pub(crate) const fn canonical(self) -> Self {
                if self.is_nan() { Self::NAN } else { self }
            }
        }

        impl From<$name> for f32 {
            fn from(value: $name) -> f32 {
                value.to_f32()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.to_f32() == other.to_f32()
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                self.to_f32().partial_cmp(&other.to_f32())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.to_f32().fmt(f)
            }
        }
    };
}

float8! {
    /// An 8-bit float with 4 bits of exponent and 3 of fraction: largest 448, smallest 2⁻⁹, no infinity.
    F8E4M3: fraction 3, bias 7, max 0x7e, infinity 0x7f, nan 0x7f
}

float8! {
    /// An 8-bit float with 5 bits of exponent and 2 of fraction: largest 57,344, smallest 2⁻¹⁶, then infinity.
    F8E5M2: fraction 2, bias 15, max 0x7b, infinity 0x7c, nan 0x7e
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the specification says of a code, spelled out: sign, exponent and fraction to a value.
    fn specified(code: u8, fraction_bits: i32, bias: i32, infinity: Option<u8>, first_nan: u8) -> f64 {
        let (sign, magnitude) = (if code & 0x80 == 0 { 1.0 } else { -1.0 }, code & 0x7f);
        if Some(magnitude) == infinity {
            return sign * f64::INFINITY;
        } else if magnitude >= first_nan {
            return f64::NAN;
        }
        let (exponent, fraction) =
            (i32::from(magnitude >> fraction_bits), i32::from(magnitude) & ((1 << fraction_bits) - 1));
        let significand = if exponent == 0 { fraction } else { fraction + (1 << fraction_bits) };
        sign * f64::from(significand) * 2f64.powi(exponent.max(1) - bias - fraction_bits)
    }

    fn e4m3(code: u8) -> f64 {
        specified(code, 3, 7, None, 0x7f)
    }

    fn e5m2(code: u8) -> f64 {
        specified(code, 2, 15, Some(0x7c), 0x7d)
    }

    #[test]
    fn every_code_has_the_specified_value_and_comes_back() {
        for code in 0..=255u8 {
            for (value, bits, is_nan, specified, nan) in [
                (
                    F8E4M3(code).to_f32(),
                    F8E4M3::from_f32(F8E4M3(code).to_f32()).0,
                    F8E4M3(code).is_nan(),
                    e4m3(code),
                    0x7f,
                ),
                (
                    F8E5M2(code).to_f32(),
                    F8E5M2::from_f32(F8E5M2(code).to_f32()).0,
                    F8E5M2(code).is_nan(),
                    e5m2(code),
                    0x7e,
                ),
            ] {
                assert_eq!(is_nan, specified.is_nan(), "{code:#x}");
                assert_eq!(value.is_nan(), specified.is_nan(), "{code:#x}");
                if specified.is_nan() {
                    assert_eq!(bits, nan, "{code:#x}");
                } else {
                    assert_eq!(f64::from(value).to_bits(), specified.to_bits(), "{code:#x}");
                    assert_eq!(bits, code, "{code:#x}");
                }
            }
        }
    }

    #[test]
    fn the_known_constants_are_there() {
        assert_eq!((F8E4M3::MAX.to_f32(), F8E5M2::MAX.to_f32()), (448.0, 57_344.0));
        assert_eq!((F8E4M3(1).to_f32(), F8E5M2(1).to_f32()), (2f32.powi(-9), 2f32.powi(-16)));
        assert_eq!((F8E4M3(0x08).to_f32(), F8E5M2(0x04).to_f32()), (2f32.powi(-6), 2f32.powi(-14)));
        assert_eq!((F8E4M3(0x38).to_f32(), F8E5M2(0x3c).to_f32()), (1.0, 1.0));
        assert!(F8E4M3::NAN.is_nan() && F8E5M2::NAN.is_nan() && F8E5M2(0x7c).to_f32().is_infinite());
    }

    /// The code nearest to a value, by looking at all of them.
    fn nearest(value: f64, decode: fn(u8) -> f64, max: u8) -> u8 {
        let (sign, magnitude) = (if value.is_sign_negative() { 0x80 } else { 0 }, value.abs());
        let far = |code: u8| (decode(code) - magnitude).abs();
        let best = (0..=max).min_by(|a, b| far(*a).total_cmp(&far(*b)).then((a % 2).cmp(&(b % 2)))).expect("codes");
        sign | best
    }

    #[test]
    fn rounding_is_right_around_every_code_and_every_middle() {
        for code in 0..0x7f_u8 {
            for (decode, max) in [(e4m3 as fn(u8) -> f64, 0x7e), (e5m2 as fn(u8) -> f64, 0x7b)] {
                if code > max {
                    continue;
                }
                let (value, next) =
                    (decode(code), if code == max { 2.0 * decode(max) - decode(max - 1) } else { decode(code + 1) });
                let middle = ((value + next) / 2.0) as f32;
                let value = value as f32;
                for near in [value, value.next_up(), value.next_down(), middle, middle.next_up(), middle.next_down()] {
                    for signed in [near, -near] {
                        let expected = nearest(signed.into(), decode, max);
                        let got = if max == 0x7e { F8E4M3::from_f32(signed).0 } else { F8E5M2::from_f32(signed).0 };
                        assert_eq!(got, expected, "{signed:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_too_large_saturates_and_what_is_no_number_stays_none() {
        for large in [449.0, 465.0, 1e5, f32::MAX] {
            assert_eq!((F8E4M3::from_f32(large).0, F8E4M3::from_f32(-large).0), (0x7e, 0xfe));
        }
        for large in [57_345.0, 61_440.0, 65_536.0, f32::MAX] {
            assert_eq!((F8E5M2::from_f32(large).0, F8E5M2::from_f32(-large).0), (0x7b, 0xfb));
        }
        assert_eq!((F8E5M2::from_f32(f32::INFINITY).0, F8E5M2::from_f32(-f32::INFINITY).0), (0x7c, 0xfc));
        assert_eq!((F8E4M3::from_f32(f32::INFINITY).0, F8E4M3::from_f32(-f32::INFINITY).0), (0x7f, 0x7f));
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)] {
            assert_eq!((F8E4M3::from_f32(nan).0, F8E5M2::from_f32(nan).0), (0x7f, 0x7e));
        }
    }

    #[test]
    fn order_is_that_of_values() {
        assert!(F8E4M3::from_f32(-1.0) < F8E4M3::from_f32(0.5) && F8E4M3(0x80) == F8E4M3(0));
        assert!(F8E5M2::NAN != F8E5M2::NAN && F8E5M2::from_f32(3.0).to_string() == "3");
    }
}
