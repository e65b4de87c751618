//! The description of one collective call. It travels in the head of every message, so ranks that disagree find out.

use crate::types::{Algorithm, DataType, Op};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which collective a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CollectiveKind {
    /// Every rank ends with the reduction of every rank's input.
    AllReduce = 1,
    /// The root ends with the reduction of every rank's input.
    Reduce = 2,
    /// Each rank ends with its block of the reduction of every rank's input.
    ReduceScatter = 3,
    /// Every rank ends with the root's input.
    Broadcast = 4,
    /// Every rank ends with every rank's block.
    AllGather = 5,
    /// The root ends with every rank's block.
    Gather = 6,
    /// Each rank ends with its block of the root's input.
    Scatter = 7,
    /// Each rank ends with a block from every rank's input.
    AllToAll = 8,
    /// No rank goes on before all have come.
    Barrier = 9,
    /// One rank sends, another receives.
    Send = 10,
    /// Every rank is connected with every other; nothing is moved. Far from the collectives' numbers.
    Connect = 255,
}

impl CollectiveKind {
    /// Every kind but connecting, in the order of its number, from 1.
    pub const ALL: [Self; 10] = [
        Self::AllReduce,
        Self::Reduce,
        Self::ReduceScatter,
        Self::Broadcast,
        Self::AllGather,
        Self::Gather,
        Self::Scatter,
        Self::AllToAll,
        Self::Barrier,
        Self::Send,
    ];

    /// The kind with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        if number == Self::Connect as u8 {
            return Some(Self::Connect);
        }
        Self::ALL.get(usize::from(number.checked_sub(1)?)).copied()
    }

    /// Whether elements are reduced.
    pub const fn reduces(self) -> bool {
        matches!(self, Self::AllReduce | Self::Reduce | Self::ReduceScatter)
    }

    /// Whether a block for each rank is moved, rather than one message.
    pub const fn is_of_blocks(self) -> bool {
        matches!(
            self,
            Self::ReduceScatter | Self::AllGather | Self::Gather | Self::Scatter | Self::AllToAll | Self::Barrier
        )
    }

    /// Whether one rank is the root.
    pub const fn has_root(self) -> bool {
        matches!(self, Self::Reduce | Self::Broadcast | Self::Gather | Self::Scatter)
    }

    /// The collective's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllReduce => "allreduce",
            Self::Reduce => "reduce",
            Self::ReduceScatter => "reduce_scatter",
            Self::Broadcast => "broadcast",
            Self::AllGather => "all_gather",
            Self::Gather => "gather",
            Self::Scatter => "scatter",
            Self::AllToAll => "all_to_all",
            Self::Barrier => "barrier",
            Self::Send => "send",
            Self::Connect => "connecting all ranks",
        }
    }
}

/// One collective call as all its ranks must agree on it; 24 bytes, sent as they are (little endian hosts only).
///
/// Values that came from a peer are not trusted to name an existing type or operator: printing them copes with any byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Call {
    /// Elements on each rank, or of each block; of blocks of uneven sizes what [`Call::uneven`] makes of them.
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

    /// A call of `kind`, the `sequence`-th of its communicator: `count` elements on each rank, `root` where the kind has one (of a message, its sender), `op` the
    /// operator's number.
    pub fn new(
        kind: CollectiveKind,
        sequence: u64,
        root: u32,
        count: u64,
        data_type: DataType,
        op: u8,
        algorithm: u8,
    ) -> Self {
        Self { count, sequence, root, kind: kind as u8, data_type: data_type as u8, op, algorithm }
    }

    /// What stands for `counts` in [`Self::count`]: other counts give (but for one chance in 2⁶³) other numbers, and none is a number of elements.
    pub fn uneven(counts: &[usize]) -> u64 {
        let mix = |hash: u64, count: &usize| (hash ^ *count as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        counts.iter().fold(counts.len() as u64, mix) | Self::UNEVEN
    }

    const UNEVEN: u64 = 1 << 63;

    /// Stands for the algorithm of a call that was not made because its arguments make no sense on this rank.
    pub(crate) const REFUSED: u8 = u8::MAX;

    /// The same call with another count.
    pub(crate) fn with_count(self, count: u64) -> Self {
        Self { count, ..self }
    }

    /// Connecting all ranks, as the `sequence`-th call of their communicator.
    pub fn connect(sequence: u64) -> Self {
        let kind = CollectiveKind::Connect as u8;
        Self { count: 0, sequence, root: 0, kind, data_type: 0, op: 0, algorithm: 0 }
    }

    /// Which collective it is, if its number names one.
    pub fn kind(&self) -> Option<CollectiveKind> {
        CollectiveKind::from_number(self.kind)
    }

    /// 32 bits that differ (but for one chance in 2³²) between calls that differ in anything.
    #[inline]
    pub fn fingerprint(&self) -> u32 {
        let fields = [self.algorithm, self.op, self.data_type, self.kind];
        let small = fields.into_iter().fold(u64::from(self.root), |word, field| word.rotate_left(8) ^ u64::from(field));
        // Each field by a factor of its own, then two rounds of fold and multiply; odd constants from the digits of π.
        let mixed = (self.count ^ 0x243f_6a88_85a3_08d3).wrapping_mul(0x1319_8a2e_0370_7345)
            ^ small.wrapping_mul(0xa409_3822_299f_31d1).rotate_left(23)
            ^ self.sequence.wrapping_mul(0x4528_21e6_38d0_1377).rotate_left(41);
        let folded = (mixed ^ (mixed >> 29)).wrapping_mul(0x082e_fa98_ec4e_6c89);
        let folded = (folded ^ (folded >> 32)).wrapping_mul(0xbe54_66cf_34e9_0c6d);
        (folded >> 32) as u32
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.kind();
        write!(f, "{} #{}", kind.map_or("?", CollectiveKind::name), self.sequence)?;
        if self.algorithm == Self::REFUSED {
            return f.write_str(", which that rank refused for its arguments");
        }
        match (kind, self.count) {
            (Some(CollectiveKind::Connect), _) | (Some(CollectiveKind::Barrier), 0) => return Ok(()),
            (Some(CollectiveKind::Barrier), number) => return write!(f, " of a split or subset ({number:x})"),
            _ => {}
        }
        let data_type = DataType::from_number(self.data_type).map_or("?", DataType::name);
        match self.count & Self::UNEVEN {
            0 => write!(f, " of {} {data_type}", self.count)?,
            _ => write!(f, " of uneven blocks ({:06x}) of {data_type}", self.count & 0xff_ffff)?,
        }
        if kind.is_none_or(CollectiveKind::reduces) {
            write!(f, ", {}", Op::name_of(self.op))?;
        }
        match kind {
            Some(CollectiveKind::Reduce | CollectiveKind::Gather) => write!(f, ", to rank {}", self.root)?,
            Some(kind) if kind.has_root() || kind == CollectiveKind::Send => write!(f, ", from rank {}", self.root)?,
            _ => {}
        }
        write!(f, ", by {}", Algorithm::from_number(self.algorithm).map_or("?", Algorithm::name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_of_calls_that_could_be_confused_differ() {
        let mut seen = std::collections::HashMap::new();
        let (mut calls, mut pairs) = (0u64, 0);
        for sequence in (1..60).chain([255, 256, 257, 258, 1 << 32]) {
            for count in (0..12).chain([1 << 20, 1 << 32]) {
                for (kind, data_type, op) in
                    (1..5).flat_map(|kind| (0..10).flat_map(move |t| (0..5).map(move |op| (kind, t, op))))
                {
                    let algorithm = (data_type + op) % 7;
                    let call = Call { count, sequence, root: 0, kind, data_type, op, algorithm };
                    calls += 1;
                    pairs += u32::from(seen.insert(call.fingerprint(), call).is_some());
                }
            }
        }
        // By chance, n calls have about n² / 2³³ pairs that fall together; a structural weakness has thousands.
        let chance = (calls * calls) >> 33;
        assert!(u64::from(pairs) <= chance * 2 + 5, "{pairs} pairs among {calls} calls, {chance} by chance");
    }

    #[test]
    fn neighbouring_calls_never_share_a_fingerprint() {
        let all = |sequence: u64| {
            (1..9u8).flat_map(move |kind| {
                (0..12u8).flat_map(move |data_type| {
                    (0..8u8).map(move |op| Call { count: 64, sequence, root: 0, kind, data_type, op, algorithm: 0 })
                })
            })
        };
        for sequence in 1..20 {
            let here: std::collections::HashSet<u32> = all(sequence).map(|call| call.fingerprint()).collect();
            assert_eq!(here.len(), all(sequence).count());
            assert!(all(sequence + 1).all(|call| !here.contains(&call.fingerprint())), "after {sequence}");
        }
    }

    #[test]
    fn calls_that_differ_in_anything_are_told_apart_in_words() {
        let call = Call::all_reduce(5, 10, DataType::F32, Op::Sum, 2);
        assert_eq!(call.to_string(), "allreduce #5 of 10 float, sum, by ring");
        assert_ne!(call.to_string(), Call::all_reduce(5, 10, DataType::F32, Op::Sum, 3).to_string());
    }

    #[test]
    fn printing_survives_bytes_that_name_nothing() {
        let call = Call { count: 3, sequence: 9, root: 0, kind: 77, data_type: 200, op: 99, algorithm: 250 };
        assert_eq!(call.to_string(), "? #9 of 3 ?, ?, by ?");
    }
}
