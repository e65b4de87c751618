//! Which algorithm runs at which size. Where the network was measured ([`network`]), every candidate is priced ([`Candidates`]): over links by running its schedule in
//! virtual time ([`price`]), in memory that all ranks share by what the same calls took; and the fastest is taken. Otherwise a small table of crossovers serves
//! (`crossover`). What may run at all is the user's to say ([`Allowed`]).
//!
//! [`Tables`] are made once per communicator; a call looks its choice up by its kind and the bit length of its size, two indices and nothing else.

mod allowed;
pub mod calls;
mod candidates;
mod crossover;
mod estimate;
pub mod network;
pub mod price;
mod told;

pub use allowed::Allowed;
pub use candidates::{Candidates, RANKS_MOST};

use crate::schedule::{Algorithm, Grouping, Program, Schedule};
use crate::transport::LANES;
use crate::types::CollectiveKind;
use std::sync::Arc;
use std::time::Duration;

/// The allreduces in memory that all ranks share.
pub const IN_ROOM: [Algorithm; 2] = [Algorithm::Direct, Algorithm::TwoShot];

/// How one call is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The schedule.
    pub algorithm: Algorithm,
    /// The most bytes of the message that one slice has.
    pub slice_bytes: usize,
    /// Slices in flight.
    pub lanes: usize,
}

impl Choice {
    /// In memory that all ranks share.
    pub(crate) fn in_room(algorithm: Algorithm) -> Self {
        Self { algorithm, slice_bytes: usize::MAX, lanes: 1 }
    }
}

/// How the ranks of a communicator reach each other, as far as the choice depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All ranks are on one host and read each other's memory. What that does not do goes over links.
    Room {
        /// The slot of those links.
        slot_bytes: usize,
    },
    /// Over links, of which the slowest kind has this slot size.
    Links {
        /// The smallest slot among all links of the communicator.
        slot_bytes: usize,
    },
}

impl Reach {
    /// Whether ranks that are grouped so can run `kind` by `choice`: it serves, and its slices fit the slots.
    fn can_run(self, kind: CollectiveKind, grouping: &Grouping, choice: &Choice) -> bool {
        let serves = Algorithm::serving(kind).contains(&choice.algorithm);
        match self {
            Self::Room { .. } if kind == CollectiveKind::AllReduce => IN_ROOM.contains(&choice.algorithm),
            Self::Room { .. } => serves && choice.algorithm == Algorithm::Direct,
            Self::Links { slot_bytes } => {
                let most = || sliced(kind, choice.algorithm, grouping, slot_bytes, usize::MAX).slice_bytes;
                serves && (1..=LANES).contains(&choice.lanes) && (8..=most()).contains(&choice.slice_bytes)
            }
        }
    }
}

/// The choice for every size of one collective.
#[derive(Clone, Debug)]
pub struct Table([Choice; Table::BUCKETS]);

/// What was measured, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The network, and what runs on it.
    pub candidates: Candidates,
    /// The best for each of its [cells](Candidates::cells).
    pub best: Vec<Choice>,
}

/// The choices for every collective of a communicator.
#[derive(Clone, Debug)]
pub struct Tables {
    grouping: Arc<Grouping>,
    reach: Reach,
    measured: Option<Measured>,
    /// By the collective's number, from 1.
    tables: Vec<Table>,
    uneven_exchange: Choice,
}

impl Tables {
    /// The tables for communicators whose ranks are grouped so, of what is `allowed`, by crossovers.
    pub fn new(grouping: Arc<Grouping>, reach: Reach, allowed: &Allowed) -> Self {
        let straight = Table::new(CollectiveKind::AllToAll, &grouping, reach, &Algorithm::Direct.into());
        // Messages between two are sliced alike at every size.
        let kinds = CollectiveKind::ALL.into_iter().filter(|kind| *kind != CollectiveKind::Send);
        let tables = kinds.map(|kind| Table::new(kind, &grouping, reach, allowed)).collect();
        Self { grouping, reach, measured: None, tables, uneven_exchange: *straight.choice(usize::MAX) }
    }

    /// From now on, what was measured to be the best is chosen.
    pub fn take(&mut self, measured: Measured) {
        let tables = CollectiveKind::ALL.into_iter().zip(&mut self.tables);
        tables.for_each(|(kind, table)| table.take(kind, &measured));
        self.measured = Some(measured);
    }

    /// The choice for a call whose message, or whose largest block, has `bytes`.
    #[inline]
    pub fn choice(&self, kind: CollectiveKind, bytes: usize) -> &Choice {
        self.tables[kind as usize - 1].choice(bytes)
    }

    /// What choices are made among, if that was measured.
    pub fn candidates(&self) -> Option<&Candidates> {
        self.measured.as_ref().map(|measured| &measured.candidates)
    }

    /// Whether `choice` can run for `kind`.
    pub fn can_run(&self, kind: CollectiveKind, choice: &Choice) -> bool {
        self.reach.can_run(kind, &self.grouping, choice)
    }

    /// From now on, every call of `kind` goes by this choice, which can run.
    pub fn fix(&mut self, kind: CollectiveKind, choice: Choice) {
        self.tables[kind as usize - 1] = Table([choice; Table::BUCKETS]);
    }

    /// What such a call is expected to take: by what was measured or, where nothing was, by a rule of thumb.
    pub fn estimate(&self, kind: CollectiveKind, bytes: usize) -> Duration {
        let choice = self.choice(kind, bytes);
        let price = self.candidates().and_then(|candidates| candidates.predict(kind, bytes, choice));
        price.map_or_else(
            || estimate::collective(kind, &self.grouping, self.reach, choice, bytes),
            |price| Duration::try_from_secs_f64(price.total_ns * 1e-9).unwrap_or(Duration::MAX),
        )
    }

    /// What a message of so many bytes between two ranks is expected to take: by what was measured of their link or, where nothing was, by a rule of thumb.
    pub fn estimate_message(&self, one: u32, other: u32, bytes: usize) -> Duration {
        let is_known = |rank: &u32| *rank < self.grouping.size();
        let network = self.candidates().map(|candidates| &candidates.network);
        let link = network.filter(|_| [one, other].iter().all(is_known)).map(|network| network.link(one, other));
        match link.filter(|link| link.latency_ns > 0.0) {
            None => estimate::message(self.reach, bytes),
            Some(link) => Duration::from_nanos((link.latency_ns + link.byte_ns * bytes as f64) as u64),
        }
    }

    /// Says which algorithm was chosen for which sizes, to whoever listens.
    pub(crate) fn tell(&self) {
        let kinds = CollectiveKind::ALL.into_iter().zip(&self.tables);
        for (kind, choices) in kinds.filter(|(kind, _)| *kind != CollectiveKind::Barrier) {
            let mut from = 0;
            while let Some(first) = choices.0.get(from) {
                let alike = choices.0[from..].iter().take_while(|choice| choice.algorithm == first.algorithm).count();
                let least = |bucket: usize| bucket.checked_sub(1).map_or(0, |bit| 1u128 << bit);
                let (least, most) = (least(from), least(from + alike) - 1);
                tracing::info!(collective = kind.name(), from = %least, to = %most, algorithm = %first.algorithm, "chosen");
                from += alike;
            }
        }
    }

    /// The choice for an all-to-all of uneven blocks. Only the two ends of a block know its size, so nobody else can forward it.
    pub fn uneven_exchange(&self) -> &Choice {
        &self.uneven_exchange
    }
}

impl Table {
    /// One bucket for 0 and one for each bit length of a 64-bit size.
    const BUCKETS: usize = 65;

    /// The table for `kind` among ranks that are grouped so, of what is allowed, by crossovers.
    pub fn new(kind: CollectiveKind, grouping: &Grouping, reach: Reach, allowed: &Allowed) -> Self {
        Self(std::array::from_fn(|bucket| {
            let bytes = Self::smallest(bucket);
            let algorithm = crossover::algorithm(kind, grouping.size(), reach, bytes, allowed);
            match reach {
                Reach::Room { .. } if kind == CollectiveKind::AllReduce => Choice::in_room(algorithm),
                Reach::Room { slot_bytes } | Reach::Links { slot_bytes } => {
                    sliced(kind, algorithm, grouping, slot_bytes, bytes)
                }
            }
        }))
    }

    /// Takes over what was found to be the best for `kind`.
    fn take(&mut self, kind: CollectiveKind, measured: &Measured) {
        let cells = measured.candidates.cells();
        for (bucket, choice) in self.0.iter_mut().enumerate() {
            let cell = Candidates::cell(&cells, kind, Self::smallest(bucket));
            *choice = cell.and_then(|cell| measured.best.get(cell)).copied().unwrap_or(*choice);
        }
    }

    /// The smallest size of a bucket, which stands for it.
    fn smallest(bucket: usize) -> usize {
        if bucket == 0 { 0 } else { 1 << (bucket - 1) }
    }

    #[inline]
    fn bucket(bytes: usize) -> usize {
        (usize::BITS - bytes.leading_zeros()) as usize
    }

    /// The choice for a message, or blocks, of `bytes`.
    #[inline]
    pub fn choice(&self, bytes: usize) -> &Choice {
        &self.0[Self::bucket(bytes)]
    }
}

/// Slices of a message between two ranks that are in flight.
pub const MESSAGE_SLICES_IN_FLIGHT: usize = IN_FLIGHT;

/// One slice is on its way while the other is reduced. Four took 1.5 times as long at 8 MiB and above: their slots outgrow the cache.
const IN_FLIGHT: usize = 2;

/// Slices as large as slots allow, but at least as many as are in flight for messages that are worth cutting.
fn sliced(kind: CollectiveKind, algorithm: Algorithm, grouping: &Grouping, slot_bytes: usize, bytes: usize) -> Choice {
    /// Below this a second slice costs more in messages than it hides in latency (TCP over loopback, two ranks: a third at 128 KiB, a sixth at
    /// 512 KiB).
    const LEAST_SLICE: usize = 512 * 1024;
    /// All blocks of a slice together: what a lane may have to keep of them is to stay in a core's cache, or near.
    const BLOCKS_BYTES: usize = 4 << 20;
    const { assert!(IN_FLIGHT <= LANES) };
    let ranks = grouping.size();
    let program = Program::new(kind, 0, algorithm, 0, grouping).expect("it serves the collective");
    let (parts, widest) = (program.parts().max(1) as usize, program.widest().max(1) as usize);
    // A step moves `widest` chunks in one message, which must fit a slot whatever the element size.
    let chunk = slot_bytes / widest / 8 * 8;
    let least = if kind.is_of_blocks() { LEAST_SLICE / ranks as usize } else { LEAST_SLICE };
    let wanted = (bytes / IN_FLIGHT).next_multiple_of(8).max(least);
    let largest = if kind.is_of_blocks() {
        let grain = parts / ranks as usize;
        (chunk * grain).min(BLOCKS_BYTES / ranks as usize / 8 * 8).max(8)
    } else {
        chunk * parts
    };
    Choice { algorithm, slice_bytes: largest.min(wanted), lanes: IN_FLIGHT }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Extent, Layout, Part};
    use crate::tune::network::Network;

    #[test]
    fn every_message_of_every_choice_fits_its_slot() {
        for (ranks, slot_bytes) in (2..40).flat_map(|ranks| [4096, 65536, 262144].map(|slot_bytes| (ranks, slot_bytes)))
        {
            // Hosts of one rank, two, three and so on.
            let hosts: Vec<_> = (0..ranks).map(|rank: u32| ((8 * rank + 1).isqrt() - 1) / 2).collect();
            let grouping = Grouping::new(&hosts);
            for kind in CollectiveKind::ALL.into_iter().filter(|kind| *kind != CollectiveKind::Send) {
                for &algorithm in Algorithm::serving(kind) {
                    let table = Table::new(kind, &grouping, Reach::Links { slot_bytes }, &algorithm.into());
                    for bytes in [0usize, 8, 1000, 4096, 65536, 1 << 20, 1 << 24] {
                        let choice = table.choice(bytes);
                        assert_eq!(choice.algorithm, algorithm);
                        let root = ranks / 2;
                        (0..ranks).for_each(|rank| fits(kind, root, rank, &grouping, choice, bytes, slot_bytes));
                    }
                }
            }
        }
    }

    #[test]
    fn a_message_takes_what_was_measured_of_its_link() {
        let text = "serried network 1\nhosts 0 0 1\ninside 2000 100 1 0.1 2\nbetween 10000 1000 8 0.1 2\nshared 1 8\nfold 0.1\nmachines 0 1\ncores 8 8\ncrowded 0\n";
        let network: Network = text.parse().expect("a network");
        let (grouping, reach, allowed) =
            (Arc::new(network.grouping.clone()), Reach::Links { slot_bytes: 1 << 16 }, Allowed::default());
        let candidates = Candidates { network, reach, allowed };
        let cells = candidates.cells();
        let best = cells.into_iter().filter_map(|(kind, bytes)| candidates.best(kind, bytes)).collect();
        let unmeasured = Tables::new(grouping, reach, &allowed);
        let mut tables = unmeasured.clone();
        tables.take(Measured { candidates, best });
        let takes = |one, other| tables.estimate_message(one, other, 1000).as_nanos();
        assert_eq!((takes(0, 1), takes(2, 1)), (3000, 18000));
        assert_eq!(tables.estimate_message(0, 3, 1000), unmeasured.estimate_message(0, 1, 1000), "there is no rank 3");
    }

    fn fits(
        kind: CollectiveKind,
        root: u32,
        rank: u32,
        grouping: &Grouping,
        choice: &Choice,
        bytes: usize,
        slot_bytes: usize,
    ) {
        let ranks = grouping.size();
        let part = Part { kind, root, rank, in_place: false };
        let program = Program::new(kind, root, choice.algorithm, rank, grouping).expect("it serves the collective");
        for element in [1, 8] {
            let elements = bytes / element;
            let extent =
                if kind.is_of_blocks() { Extent::Blocks { ranks, elements } } else { Extent::Message(elements) };
            let layout = Layout::new(part, extent, extent, element, choice.slice_bytes);
            for step in 0..program.len() {
                let moved = layout.received(0, program.step(step).chunks(), program.parts());
                assert!(moved <= slot_bytes as u64, "{kind:?} by {} of {ranks}: {moved} bytes", choice.algorithm);
            }
        }
    }

    #[test]
    fn a_size_finds_the_bucket_of_its_bit_length() {
        let two = Grouping::one_host(2);
        let all_reduce =
            |allowed| Table::new(CollectiveKind::AllReduce, &two, Reach::Room { slot_bytes: 4096 }, &allowed);
        let table = all_reduce(Allowed::default());
        assert_eq!(table.choice(0).algorithm, Algorithm::Direct);
        assert_eq!(table.choice(8).algorithm, Algorithm::Direct);
        assert_eq!(table.choice(usize::MAX).algorithm, Algorithm::TwoShot);
        assert_eq!(all_reduce(Algorithm::TwoShot.into()).choice(8).algorithm, Algorithm::TwoShot);
    }
}
