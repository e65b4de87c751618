//! The collectives that can be measured: what each rank's buffers hold before a call and after it, and what nccl-tests calls its size.
//!
//! Pure: numbers and ranges only.

use serried::CollectiveKind;
use std::ops::Range;

/// A collective under test, by nccl-tests' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collective {
    AllReduce,
    Reduce,
    ReduceScatter,
    Broadcast,
    AllGather,
    Gather,
    Scatter,
    AllToAll,
    /// Every rank sends to the next one and receives from the one before.
    SendRecv,
    Barrier,
}

/// Where a call's result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Into another buffer than the input's.
    Out,
    /// Over the input.
    In,
}

/// One rank's place in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) collective: Collective,
    /// Elements of the message or, of a collective that moves blocks, of a block.
    pub(crate) count: usize,
    pub(crate) rank: u32,
    pub(crate) ranks: u32,
    pub(crate) root: u32,
    pub(crate) place: Place,
}

/// What some elements of a buffer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The reduction of every rank's input, from this index on.
    Reduced { from: u64 },
    /// A rank's input, from this index on.
    Input { of: u32, from: u64 },
    /// What nobody has written.
    Nothing,
}

/// Elements of a buffer, and what they are.
pub(crate) type Piece = (Range<usize>, Content);

impl Collective {
    pub(crate) const ALL: [Self; 10] = [
        Self::AllReduce,
        Self::Reduce,
        Self::ReduceScatter,
        Self::Broadcast,
        Self::AllGather,
        Self::Gather,
        Self::Scatter,
        Self::AllToAll,
        Self::SendRecv,
        Self::Barrier,
    ];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AllReduce => "all_reduce",
            Self::Reduce => "reduce",
            Self::ReduceScatter => "reduce_scatter",
            Self::Broadcast => "broadcast",
            Self::AllGather => "all_gather",
            Self::Gather => "gather",
            Self::Scatter => "scatter",
            Self::AllToAll => "all_to_all",
            Self::SendRecv => "sendrecv",
            Self::Barrier => "barrier",
        }
    }

    /// The collective with this name, however people spell it: `all_to_all`, `alltoall`, `alltoall_perf`.
    pub(crate) fn named(text: &str) -> Option<Self> {
        let plain = |text: &str| text.strip_suffix("_perf").unwrap_or(text).replace('_', "");
        Self::ALL.into_iter().find(|collective| plain(collective.name()) == plain(text))
    }

    /// The library's word for it.
    pub(crate) fn kind(self) -> CollectiveKind {
        match self {
            Self::AllReduce => CollectiveKind::AllReduce,
            Self::Reduce => CollectiveKind::Reduce,
            Self::ReduceScatter => CollectiveKind::ReduceScatter,
            Self::Broadcast => CollectiveKind::Broadcast,
            Self::AllGather => CollectiveKind::AllGather,
            Self::Gather => CollectiveKind::Gather,
            Self::Scatter => CollectiveKind::Scatter,
            Self::AllToAll => CollectiveKind::AllToAll,
            Self::SendRecv => CollectiveKind::Send,
            Self::Barrier => CollectiveKind::Barrier,
        }
    }

    /// Whether it exists in place.
    pub(crate) fn is_in_place(self) -> bool {
        !matches!(self, Self::AllToAll | Self::SendRecv | Self::Barrier)
    }

    /// Blocks that make up the size: one for each rank where blocks are moved.
    fn blocks(self, ranks: u32) -> u64 {
        if self.kind().is_of_blocks() { ranks.into() } else { 1 }
    }

    /// Elements of the message or of a block, of a size in bytes: as many whole ones as fit.
    pub(crate) fn count(self, bytes: u64, element: usize, ranks: u32) -> u64 {
        if self == Self::Barrier { 0 } else { bytes / element as u64 / self.blocks(ranks) }
    }

    /// The size in bytes: of the message, or of all blocks together.
    pub(crate) fn bytes(self, count: u64, element: usize, ranks: u32) -> u64 {
        count * element as u64 * self.blocks(ranks)
    }

    /// What the algorithm's bandwidth is multiplied by to tell what a link carries.
    pub(crate) fn bus_factor(self, ranks: u32) -> f64 {
        let n = f64::from(ranks);
        match self {
            Self::AllReduce => 2.0 * (n - 1.0) / n,
            Self::ReduceScatter | Self::AllGather | Self::Gather | Self::Scatter | Self::AllToAll => (n - 1.0) / n,
            Self::Reduce | Self::Broadcast | Self::SendRecv | Self::Barrier => 1.0,
        }
    }
}

impl Seat {
    fn is_root(&self) -> bool {
        self.rank == self.root
    }

    /// A gather, or a scatter, that is in place where its root is alone is so.
    fn has_input(&self) -> bool {
        let at_root_only = matches!(self.collective, Collective::Gather | Collective::Scatter);
        self.place == Place::Out || (at_root_only && !self.is_root())
    }

    /// Elements of the input, where it is apart from the output.
    pub(crate) fn input(&self) -> Option<usize> {
        let all = self.count * self.ranks as usize;
        self.has_input().then_some(match self.collective {
            Collective::ReduceScatter | Collective::AllToAll => all,
            Collective::Scatter => {
                if self.is_root() {
                    all
                } else {
                    0
                }
            }
            _ => self.count,
        })
    }

    /// Elements of the output.
    pub(crate) fn output(&self) -> usize {
        let all = self.count * self.ranks as usize;
        match self.collective {
            Collective::AllGather | Collective::AllToAll => all,
            Collective::ReduceScatter if self.place == Place::In => all,
            Collective::Scatter if !self.has_input() => all,
            Collective::Gather => {
                if self.is_root() {
                    all
                } else {
                    0
                }
            }
            _ => self.count,
        }
    }

    fn block(&self, rank: u32) -> Range<usize> {
        let begin = rank as usize * self.count;
        begin..begin + self.count
    }

    /// What the output holds before the call.
    pub(crate) fn before(&self) -> Vec<Piece> {
        let (whole, own) = (0..self.output(), self.block(self.rank));
        let input = |at: Range<usize>| (at, Content::Input { of: self.rank, from: 0 });
        if self.has_input() || (self.collective == Collective::Broadcast && !self.is_root()) {
            return vec![(whole, Content::Nothing)];
        }
        match self.collective {
            Collective::AllGather | Collective::Gather => {
                vec![(0..own.start, Content::Nothing), input(own.clone()), (own.end..whole.end, Content::Nothing)]
            }
            _ => vec![input(whole)],
        }
    }

    /// What the output holds after the call.
    pub(crate) fn after(&self) -> Vec<Piece> {
        let (whole, own) = (0..self.output(), self.block(self.rank));
        let of = |of: u32, from: usize| Content::Input { of, from: from as u64 };
        match self.collective {
            Collective::AllReduce => vec![(whole, Content::Reduced { from: 0 })],
            Collective::Reduce if self.is_root() => vec![(whole, Content::Reduced { from: 0 })],
            Collective::Reduce => self.before(),
            Collective::ReduceScatter if self.place == Place::Out => {
                vec![(whole, Content::Reduced { from: own.start as u64 })]
            }
            Collective::ReduceScatter => vec![
                (0..own.start, of(self.rank, 0)),
                (own.clone(), Content::Reduced { from: own.start as u64 }),
                (own.end..whole.end, of(self.rank, own.end)),
            ],
            Collective::Broadcast => vec![(whole, of(self.root, 0))],
            Collective::AllGather => (0..self.ranks).map(|rank| (self.block(rank), of(rank, 0))).collect(),
            Collective::Gather if self.is_root() => {
                (0..self.ranks).map(|rank| (self.block(rank), of(rank, 0))).collect()
            }
            Collective::Scatter if self.has_input() => vec![(whole, of(self.root, own.start))],
            Collective::Scatter => vec![(whole, of(self.root, 0))],
            Collective::AllToAll => (0..self.ranks).map(|rank| (self.block(rank), of(rank, own.start))).collect(),
            Collective::SendRecv => vec![(whole, of(self.before_me(), 0))],
            Collective::Gather | Collective::Barrier => Vec::new(),
        }
    }

    /// The rank that this one sends to, in a circle.
    pub(crate) fn after_me(&self) -> u32 {
        (self.rank + 1) % self.ranks
    }

    /// The rank that this one receives from.
    pub(crate) fn before_me(&self) -> u32 {
        (self.rank + self.ranks - 1) % self.ranks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_people_write_them() {
        for (text, collective) in [
            ("all_reduce", Collective::AllReduce),
            ("alltoall_perf", Collective::AllToAll),
            ("sendrecv", Collective::SendRecv),
            ("send_recv", Collective::SendRecv),
            ("reducescatter", Collective::ReduceScatter),
        ] {
            assert_eq!(Collective::named(text), Some(collective), "{text}");
        }
        assert_eq!(Collective::named("all_dance"), None);
        assert!(Collective::ALL.into_iter().all(|collective| Collective::named(collective.name()) == Some(collective)));
    }

    #[test]
    fn sizes_are_of_whole_elements_and_factors_those_of_nccl_tests() {
        assert_eq!(Collective::AllReduce.count(1027, 4, 4), 256);
        assert_eq!(Collective::AllGather.count(1027, 4, 4), 64);
        assert_eq!(Collective::AllGather.bytes(64, 4, 4), 1024);
        assert_eq!(Collective::SendRecv.bytes(64, 4, 4), 256);
        for (collective, factor) in
            [(Collective::AllReduce, 1.5), (Collective::Gather, 0.75), (Collective::Broadcast, 1.0)]
        {
            assert_eq!(collective.bus_factor(4), factor);
        }
    }

    /// Every seat of small calls.
    fn seats() -> impl Iterator<Item = Seat> {
        let calls =
            Collective::ALL.into_iter().flat_map(|collective| [Place::Out, Place::In].map(|place| (collective, place)));
        calls.filter(|(collective, place)| *place == Place::Out || collective.is_in_place()).flat_map(
            |(collective, place)| {
                (1..5u32).flat_map(move |ranks| {
                    (0..ranks).flat_map(move |root| {
                        (0..ranks).map(move |rank| Seat { collective, count: 3, rank, ranks, root, place })
                    })
                })
            },
        )
    }

    #[test]
    fn pieces_cover_the_output_in_order_before_and_after() {
        for seat in seats().filter(|seat| seat.collective != Collective::Barrier) {
            for pieces in [seat.before(), seat.after()] {
                let end = pieces.iter().fold(0, |end, (range, _)| {
                    assert_eq!(range.start, end, "{seat:?}");
                    range.end
                });
                assert_eq!(end, seat.output(), "{seat:?}");
            }
        }
    }

    #[test]
    fn every_piece_of_an_input_is_within_one() {
        for seat in seats() {
            let longest = 3 * seat.ranks as u64;
            for (range, content) in seat.before().into_iter().chain(seat.after()) {
                if let Content::Input { from, .. } | Content::Reduced { from } = content {
                    assert!(range.is_empty() || from + range.len() as u64 <= longest, "{seat:?}");
                }
            }
        }
    }
}
