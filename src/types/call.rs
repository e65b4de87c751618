//! The description of one collective call. It travels in the head of every message, so ranks that disagree find out.

use crate::types::{DataType, Op};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which collective a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CollectiveKind {
    /// Every rank ends with the reduction of every rank's input.
    AllReduce = 1,
}

impl CollectiveKind {
    /// The collective's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllReduce => "allreduce",
        }
    }
}

/// One collective call as all its ranks must agree on it; 24 bytes, sent as they are (little endian hosts only).
///
/// Values that came from a peer are not trusted to name an existing type or operator: printing them copes with any byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Call {
    /// Elements on each rank.
    pub count: u64,
    /// The how-manyeth call on this communicator it is, from 1.
    pub sequence: u64,
    /// The root's rank, for collectives that have one; otherwise 0.
    pub root: u32,
    kind: u8,
    data_type: u8,
    op: u8,
    /// The algorithm's number, so that ranks configured differently get an error rather than a hang.
    pub algorithm: u8,
}

impl Call {
    /// An allreduce of `count` elements, the `sequence`-th call of its communicator, run by algorithm number `algorithm`.
    pub fn all_reduce(sequence: u64, count: u64, data_type: DataType, op: Op, algorithm: u8) -> Self {
        let kind = CollectiveKind::AllReduce as u8;
        Self { count, sequence, root: 0, kind, data_type: data_type as u8, op: op as u8, algorithm }
    }

    /// 32 bits that differ (but for one chance in 2³²) between calls that differ in anything.
    #[inline]
    pub fn fingerprint(&self) -> u32 {
        let small = u64::from_le_bytes(zerocopy::transmute!([
            self.root.to_le_bytes(),
            [self.kind, self.data_type, self.op, self.algorithm]
        ]));
        // Two rounds of multiply and fold, with odd constants from the digits of π.
        let mixed = (self.count ^ 0x243f_6a88_85a3_08d3).wrapping_mul(0x1319_8a2e_0370_7345)
            ^ (small ^ self.sequence.rotate_left(32)).wrapping_mul(0xa409_3822_299f_31d1);
        let folded = (mixed ^ (mixed >> 32)).wrapping_mul(0x082e_fa98_ec4e_6c89);
        (folded >> 32) as u32
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.kind == CollectiveKind::AllReduce as u8 { CollectiveKind::AllReduce.name() } else { "?" };
        let data_type = DataType::from_number(self.data_type).map_or("?", DataType::name);
        let op = Op::from_number(self.op).map_or("?", Op::name);
        write!(f, "{kind} #{} of {} {data_type}, {op}", self.sequence, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_tells_any_two_neighbouring_calls_apart() {
        let mut seen = std::collections::HashMap::new();
        for sequence in 1..20 {
            for count in (0..200).chain([1 << 20, 1 << 32, 1 << 33]) {
                for data_type in DataType::ALL {
                    for op in Op::ALL {
                        let call = Call::all_reduce(sequence, count, data_type, op, 0);
                        let other = seen.insert(call.fingerprint(), call);
                        // Some 200,000 calls: a few birthday pairs may fall together, but never within one sequence number.
                        assert!(other.is_none_or(|other| other.sequence != sequence), "{call} / {other:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn printing_survives_bytes_that_name_nothing() {
        let call = Call { count: 3, sequence: 9, root: 0, kind: 77, data_type: 200, op: 99, algorithm: 0 };
        assert_eq!(call.to_string(), "? #9 of 3 ?, ?");
    }
}
