//! The oracle: slow, scalar, and sharing nothing with the kernels.

use crate::types::{DataType, Op};

/// `a ⊕ b` of two elements given as bits.
pub(in crate::reduce) fn fold(data_type: DataType, op: Op, a: u64, b: u64) -> u64 {
    match data_type {
        DataType::I8 | DataType::I32 | DataType::I64 => signed(data_type, op, a, b),
        DataType::U8 | DataType::U32 | DataType::U64 => unsigned(data_type, op, a, b),
        DataType::F16 | DataType::Bf16 | DataType::F8E4M3 | DataType::F8E5M2 => {
            let (format, x, y) = (Format::of(data_type), decode(data_type, a), decode(data_type, b));
            // Combined in f32 (whose sums and products are those of f64, rounded), then rounded to the format.
            float(op, x, y).map_or(format.nan(), |exact| format.encode(exact as f32 as f64))
        }
        DataType::F32 => float(op, decode(data_type, a), decode(data_type, b))
            .map_or(0x7fc0_0000, |exact| (exact as f32).to_bits().into()),
        DataType::F64 => float(op, f64::from_bits(a), f64::from_bits(b)).map_or(0x7ff8 << 48, f64::to_bits),
    }
}

/// The average of `ranks` inputs with this sum.
pub(in crate::reduce) fn average(data_type: DataType, sum: u64, ranks: u32) -> u64 {
    match data_type {
        DataType::I8 | DataType::I32 | DataType::I64 => {
            (i128::from(extended(data_type, sum)) / i128::from(ranks)) as u64 & mask(data_type)
        }
        DataType::U8 | DataType::U32 | DataType::U64 => sum / u64::from(ranks),
        DataType::F16 | DataType::Bf16 | DataType::F8E4M3 | DataType::F8E5M2 => {
            let (format, quotient) = (Format::of(data_type), decode(data_type, sum) as f32 / ranks as f32);
            if quotient.is_nan() { format.nan() } else { format.encode(quotient.into()) }
        }
        DataType::F32 => {
            let quotient = decode(data_type, sum) as f32 / ranks as f32;
            if quotient.is_nan() { 0x7fc0_0000 } else { quotient.to_bits().into() }
        }
        DataType::F64 => {
            let quotient = f64::from_bits(sum) / f64::from(ranks);
            if quotient.is_nan() { 0x7ff8 << 48 } else { quotient.to_bits() }
        }
    }
}

pub(in crate::reduce) fn mask(data_type: DataType) -> u64 {
    u64::MAX >> (64 - 8 * data_type.size())
}

fn extended(data_type: DataType, bits: u64) -> i64 {
    let unused = 64 - 8 * data_type.size();
    ((bits << unused) as i64) >> unused
}

fn signed(data_type: DataType, op: Op, a: u64, b: u64) -> u64 {
    let (a, b) = (i128::from(extended(data_type, a)), i128::from(extended(data_type, b)));
    let exact = match op {
        Op::Sum | Op::Avg => a + b,
        Op::Prod => a * b,
        Op::Max => std::cmp::max(a, b),
        Op::Min => std::cmp::min(a, b),
    };
    exact as u64 & mask(data_type)
}

fn unsigned(data_type: DataType, op: Op, a: u64, b: u64) -> u64 {
    let (a, b) = (u128::from(a), u128::from(b));
    let exact = match op {
        Op::Sum | Op::Avg => a + b,
        Op::Prod => a * b,
        Op::Max => std::cmp::max(a, b),
        Op::Min => std::cmp::min(a, b),
    };
    exact as u64 & mask(data_type)
}

/// The result in `f64`: exact, or rounded so finely that rounding again to `f32` is as one rounding. `None` is NaN.
fn float(op: Op, a: f64, b: f64) -> Option<f64> {
    if a.is_nan() || b.is_nan() {
        return None;
    }
    let below = |x: f64, y: f64| x < y || (x == 0.0 && y == 0.0 && x.is_sign_negative() && y.is_sign_positive());
    let result = match op {
        Op::Sum | Op::Avg => a + b,
        Op::Prod => a * b,
        Op::Max => [a, b][usize::from(below(a, b))],
        Op::Min => [a, b][usize::from(below(b, a))],
    };
    (!result.is_nan()).then_some(result)
}

pub(in crate::reduce) fn decode(data_type: DataType, bits: u64) -> f64 {
    match data_type {
        DataType::F16 | DataType::Bf16 | DataType::F8E4M3 | DataType::F8E5M2 => Format::of(data_type).decode(bits),
        DataType::F32 => f32::from_bits(bits as u32).into(),
        _ => f64::from_bits(bits),
    }
}

/// A narrow format by its parameters.
pub(in crate::reduce) struct Format {
    fraction_bits: i32,
    bias: i32,
    /// The code above the largest number: infinity, if there is one.
    beyond: u64,
    nan: u64,
    sign: u64,
    saturates: bool,
}

impl Format {
    pub(in crate::reduce) fn of(data_type: DataType) -> Self {
        let (wide, narrow) = ((0x8000, false), (0x80, true));
        let (fraction_bits, bias, beyond, nan, (sign, saturates)) = match data_type {
            DataType::F16 => (10, 15, 0x7c00, 0x7e00, wide),
            DataType::Bf16 => (7, 127, 0x7f80, 0x7fc0, wide),
            DataType::F8E4M3 => (3, 7, 0x7f, 0x7f, narrow),
            DataType::F8E5M2 => (2, 15, 0x7c, 0x7e, narrow),
            _ => panic!("{data_type} is not narrow"),
        };
        Self { fraction_bits, bias, beyond, nan, sign, saturates }
    }

    /// The code of infinity, or the first that is no number.
    pub(in crate::reduce) fn beyond(&self) -> u64 {
        self.beyond
    }

    pub(in crate::reduce) fn nan(&self) -> u64 {
        self.nan
    }

    pub(in crate::reduce) fn decode(&self, code: u64) -> f64 {
        let (sign, magnitude) = (if code & self.sign == 0 { 1.0 } else { -1.0 }, code & (self.sign - 1));
        if magnitude == self.beyond && self.beyond != self.nan {
            return sign * f64::INFINITY;
        } else if magnitude >= self.beyond {
            return f64::NAN;
        }
        let (exponent, fraction) =
            ((magnitude >> self.fraction_bits) as i32, magnitude & ((1 << self.fraction_bits) - 1));
        let significand = if exponent == 0 { fraction } else { fraction + (1 << self.fraction_bits) };
        sign * significand as f64 * 2f64.powi(exponent.max(1) - self.bias - self.fraction_bits)
    }

    /// The code of the nearest value, found by bisection over all of them.
    pub(in crate::reduce) fn encode(&self, value: f64) -> u64 {
        let (sign, magnitude) = (if value.is_sign_negative() { self.sign } else { 0 }, value.abs());
        if magnitude.is_infinite() {
            return if self.beyond == self.nan { self.nan } else { sign | self.beyond };
        }
        let (mut below, mut above) = (0, self.beyond);
        while above - below > 1 {
            let middle = (below + above) / 2;
            if self.decode(middle) <= magnitude { below = middle } else { above = middle }
        }
        // The value that follows the largest finite one, were there an exponent for it.
        let largest = self.beyond - 1;
        let next = 2.0 * self.decode(largest) - self.decode(largest - 1);
        let upper = if above == self.beyond { next } else { self.decode(above) };
        let (down, up) = (magnitude - self.decode(below), upper - magnitude);
        let nearest = if down < up || (down == up && below % 2 == 0) { below } else { above };
        sign | if self.saturates { nearest.min(largest) } else { nearest }
    }
}
