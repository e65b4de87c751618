//! What one end of a verbs link tells the other so that they can connect, over the authenticated control plane. Only the format.

use super::choice::Selection;
use super::layout::Layout;
use super::sys::{LinkLayer, Mtu};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The most queue pairs of one link: more than any device has paths to another.
pub(super) const QUEUE_PAIRS_MAX: usize = 16;

const VERSION: u8 = 1;
const ETHERNET: u8 = 1;
const INFINIBAND: u8 = 2;

/// One end's card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Card {
    version: u8,
    link_layer: u8,
    mtu: u8,
    queue_pairs: u8,
    slot_bytes: U32,
    piece_bytes: U32,
    credits: U32,
    lid: U16,
    zero: [u8; 2],
    key: U32,
    address: U64,
    gid: [u8; 16],
    numbers: [U32; QUEUE_PAIRS_MAX],
}

impl Card {
    pub(super) fn new(layout: Layout, selection: &Selection, memory: (u64, u32), numbers: &[u32]) -> Self {
        let numbers = &numbers[..numbers.len().min(QUEUE_PAIRS_MAX)];
        Self {
            version: VERSION,
            link_layer: number_of(selection.link_layer),
            mtu: selection.mtu.number(),
            queue_pairs: numbers.len() as u8,
            slot_bytes: U32::new(layout.slot_bytes as u32),
            piece_bytes: U32::new(layout.piece_bytes as u32),
            credits: U32::new(layout.credits as u32),
            lid: U16::new(selection.lid),
            zero: [0; 2],
            key: U32::new(memory.1),
            address: U64::new(memory.0),
            gid: selection.gid.0,
            numbers: std::array::from_fn(|place| U32::new(numbers.get(place).copied().unwrap_or(0))),
        }
    }

    /// Why the ends with these cards cannot be connected, if they cannot.
    pub(super) fn differs(&self, theirs: &Self) -> Option<String> {
        if theirs.version != self.version {
            return Some("it has no verbs".to_owned());
        }
        let pairs = [
            ("link layers", u32::from(self.link_layer), u32::from(theirs.link_layer)),
            ("queue pairs", u32::from(self.queue_pairs), u32::from(theirs.queue_pairs)),
            ("bytes a slot", self.slot_bytes.get(), theirs.slot_bytes.get()),
            ("bytes a piece", self.piece_bytes.get(), theirs.piece_bytes.get()),
            ("slots a lane", self.credits.get(), theirs.credits.get()),
        ];
        let (what, ours, others) = pairs.into_iter().find(|(_, ours, others)| ours != others)?;
        Some(format!("{what} differ: {ours} here, {others} there"))
    }

    pub(super) fn mtu(&self) -> Option<Mtu> {
        Mtu::from_number(self.mtu)
    }

    pub(super) fn lid(&self) -> u16 {
        self.lid.get()
    }

    pub(super) fn gid(&self) -> [u8; 16] {
        self.gid
    }

    /// Where the other end's memory begins, and its key.
    pub(super) fn memory(&self) -> (u64, u32) {
        (self.address.get(), self.key.get())
    }

    /// The numbers of its queue pairs, in their order.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.numbers.iter().take(self.queue_pairs.into()).map(|number| number.get())
    }
}

fn number_of(link_layer: LinkLayer) -> u8 {
    match link_layer {
        LinkLayer::InfiniBand => INFINIBAND,
        _ => ETHERNET,
    }
}
