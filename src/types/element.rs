//! Element types: the values that a reduction works on.

use super::float8::{F8E4M3, F8E5M2};
use half::{bf16, f16};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The type of one element, as it is named on the wire and in tables. The numbers are those of NCCL's `ncclDataType_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DataType {
    /// 8-bit signed integer.
    I8 = 0,
    /// 8-bit unsigned integer.
    U8 = 1,
    /// 32-bit signed integer.
    I32 = 2,
    /// 32-bit unsigned integer.
    U32 = 3,
    /// 64-bit signed integer.
    I64 = 4,
    /// 64-bit unsigned integer.
    U64 = 5,
    /// IEEE 754 binary16.
    F16 = 6,
    /// IEEE 754 binary32.
    F32 = 7,
    /// IEEE 754 binary64.
    F64 = 8,
    /// bfloat16: the upper half of a binary32.
    Bf16 = 9,
    /// 8-bit float with 4 bits of exponent: [`F8E4M3`].
    F8E4M3 = 10,
    /// 8-bit float with 5 bits of exponent: [`F8E5M2`].
    F8E5M2 = 11,
}

impl DataType {
    /// Every type, in the order of its number.
    pub const ALL: [Self; 12] = [
        Self::I8,
        Self::U8,
        Self::I32,
        Self::U32,
        Self::I64,
        Self::U64,
        Self::F16,
        Self::F32,
        Self::F64,
        Self::Bf16,
        Self::F8E4M3,
        Self::F8E5M2,
    ];

    /// Bytes that one element takes.
    pub const fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::F8E4M3 | Self::F8E5M2 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// The name that nccl-tests prints for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::I32 => "int32",
            Self::U32 => "uint32",
            Self::I64 => "int64",
            Self::U64 => "uint64",
            Self::F16 => "half",
            Self::F32 => "float",
            Self::F64 => "double",
            Self::Bf16 => "bfloat16",
            Self::F8E4M3 => "f8e4m3",
            Self::F8E5M2 => "f8e5m2",
        }
    }

    /// The type with this number, if there is one.
    #[inline]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl std::fmt::Display for DataType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A Rust type whose slices can be reduced. Sealed: the kernels know exactly these twelve.
pub trait Element: Copy + Send + Sync + FromBytes + IntoBytes + Immutable + sealed::Sealed + 'static {
    /// The type's name for everything below the typed interface.
    const TYPE: DataType;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($rust:ty => $name:ident),* $(,)?) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const TYPE: DataType = DataType::$name;
        }
    )*};
}

elements! {
    i8 => I8, u8 => U8, i32 => I32, u32 => U32, i64 => I64, u64 => U64,
    f16 => F16, f32 => F32, f64 => F64, bf16 => Bf16, F8E4M3 => F8E4M3, F8E5M2 => F8E5M2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_agree_with_the_rust_types() {
        for (number, data_type) in DataType::ALL.into_iter().enumerate() {
            assert_eq!(data_type as usize, number);
            assert_eq!(DataType::from_number(number as u8), Some(data_type));
        }
        assert_eq!(DataType::from_number(12), None);
        assert_eq!(f16::TYPE.size(), size_of::<f16>());
        assert_eq!(bf16::TYPE.size(), size_of::<bf16>());
        assert_eq!(f64::TYPE.size(), size_of::<f64>());
        assert_eq!(u8::TYPE.size(), 1);
        assert_eq!(i32::TYPE.size(), 4);
    }
}
