//! A port of a device: its state, its link and its limits.

use super::abi::*;
use super::failure::outcome;
use super::{Context, Failure};
use std::ffi::c_int;

/// What a port says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortAttributes {
    /// Whether it carries traffic.
    pub state: PortState,
    /// What the link is made of.
    pub link_layer: LinkLayer,
    /// The largest packet that the link carries now.
    pub active_mtu: Mtu,
    /// The largest packet that the port could carry.
    pub max_mtu: Mtu,
    /// Its local identifier; 0 on Ethernet.
    pub lid: u16,
    /// The link's speed in megabits per second, if the port gives it in known terms.
    pub megabits: Option<u32>,
    /// The largest message, in bytes.
    pub message_bytes_max: u32,
    /// Entries of its table of GIDs, empty ones included.
    pub gids: u32,
}

/// Whether a port carries traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// It does.
    Active,
    /// No link.
    Down,
    /// A link, and no subnet manager that has set it up.
    Initialize,
    /// Set up, and not yet released for traffic.
    Armed,
    /// It did, and is losing its link.
    ActiveDefer,
    /// A state that is not known here.
    Other(i32),
}

/// What a link is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// InfiniBand: addressed by LID.
    InfiniBand,
    /// Ethernet: RoCE, addressed by GID.
    Ethernet,
    /// Neither, as far as known here.
    Other(u8),
}

/// The sizes of packet that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are bytes")]
pub enum Mtu {
    B256,
    B512,
    B1024,
    B2048,
    B4096,
}

impl Mtu {
    /// Its number in messages and in verbs, 1 to 5.
    pub fn number(self) -> u8 {
        match self {
            Self::B256 => 1,
            Self::B512 => 2,
            Self::B1024 => 3,
            Self::B2048 => 4,
            Self::B4096 => 5,
        }
    }

    /// The size with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::B256, Self::B512, Self::B1024, Self::B2048, Self::B4096].into_iter().find(|mtu| mtu.number() == number)
    }

    /// Bytes of payload in a packet.
    pub fn bytes(self) -> u32 {
        128 << self.number()
    }

    fn of(raw: c_int) -> Self {
        // A device that says nonsense gets the size that every link carries.
        u8::try_from(raw).ok().and_then(Self::from_number).unwrap_or(Self::B256)
    }
}

impl Context {
    /// What port `number` (from 1) says about itself now.
    ///
    /// # Errors
    /// As the device says: there may be no such port, or the device may be gone.
    pub fn port(&self, number: u8) -> Result<PortAttributes, Failure> {
        // The plain function fills what an older structure had, which ends before the last field: that stays zero.
        // SAFETY: numbers, of which zero is one.
        let mut raw: ibv_port_attr = unsafe { std::mem::zeroed() };
        // SAFETY: an open device, and room for its answer.
        outcome(unsafe { (self.library().ibv_query_port)(self.raw(), number, &raw mut raw) })
            .map_err(|errno| self.refused("ibv_query_port", errno))?;
        Ok(PortAttributes {
            state: PortState::of(raw.state),
            link_layer: LinkLayer::of(raw.link_layer),
            active_mtu: Mtu::of(raw.active_mtu),
            max_mtu: Mtu::of(raw.max_mtu),
            lid: raw.lid,
            megabits: megabits(raw.active_speed, raw.active_width),
            message_bytes_max: raw.max_msg_sz,
            gids: raw.gid_tbl_len.try_into().unwrap_or(0),
        })
    }
}

impl PortState {
    fn of(raw: c_int) -> Self {
        match raw {
            IBV_PORT_ACTIVE => Self::Active,
            IBV_PORT_DOWN => Self::Down,
            IBV_PORT_INIT => Self::Initialize,
            IBV_PORT_ARMED => Self::Armed,
            IBV_PORT_ACTIVE_DEFER => Self::ActiveDefer,
            other => Self::Other(other),
        }
    }
}

impl std::fmt::Display for PortState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Active => f.write_str("active"),
            Self::Down => f.write_str("down"),
            Self::Initialize => f.write_str("waiting for a subnet manager"),
            Self::Armed => f.write_str("armed"),
            Self::ActiveDefer => f.write_str("losing its link"),
            Self::Other(number) => write!(f, "in state {number}"),
        }
    }
}

impl LinkLayer {
    fn of(raw: u8) -> Self {
        match c_int::from(raw) {
            IBV_LINK_LAYER_ETHERNET => Self::Ethernet,
            // Kernels from before there was Ethernet under verbs say nothing.
            IBV_LINK_LAYER_INFINIBAND | IBV_LINK_LAYER_UNSPECIFIED => Self::InfiniBand,
            _ => Self::Other(raw),
        }
    }
}

impl std::fmt::Display for LinkLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InfiniBand => f.write_str("InfiniBand"),
            Self::Ethernet => f.write_str("RoCE"),
            Self::Other(number) => write!(f, "link layer {number}"),
        }
    }
}

impl std::fmt::Display for Mtu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bytes().fmt(f)
    }
}

/// Speed of one lane of the link times its lanes; both come as one bit of a mask (InfiniBand, PortInfo).
fn megabits(speed: u8, width: u8) -> Option<u32> {
    let lane = match speed {
        1 => 2_500,
        2 => 5_000,
        4 | 8 => 10_000,
        16 => 14_000,
        32 => 25_000,
        64 => 50_000,
        128 => 100_000,
        _ => return None,
    };
    let lanes = match width {
        1 => 1,
        2 => 4,
        4 => 8,
        8 => 12,
        16 => 2,
        _ => return None,
    };
    Some(lane * lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_packets_go_there_and_back() {
        for (number, bytes) in (1..).zip([256, 512, 1024, 2048, 4096]) {
            let mtu = Mtu::from_number(number).expect("one of the five");
            assert_eq!((mtu.number(), mtu.bytes()), (number, bytes));
        }
        assert!(Mtu::from_number(0).is_none() && Mtu::from_number(6).is_none());
        assert_eq!(Mtu::of(-7), Mtu::B256);
        assert!(Mtu::B1024 < Mtu::B4096);
    }

    #[test]
    fn speed_is_lane_times_lanes() {
        assert_eq!(megabits(32, 2), Some(100_000));
        assert_eq!(megabits(128, 2), Some(400_000));
        assert_eq!(megabits(0, 2), None);
        assert_eq!(megabits(1, 3), None);
    }
}
