//! The table of GIDs of a port: the addresses under which RoCE reaches it.

use super::abi::*;
use super::failure::{last_errno, numbered};
use super::{Context, Failure};
use std::ffi::c_int;
use std::net::{IpAddr, Ipv6Addr};

/// Ports with more entries than this have the rest left out; the largest known table has 1024.
const ENTRIES_MAX: u32 = 4096;

/// A global identifier, as it travels: 16 bytes, which RoCE v2 takes for an IPv6 address or an IPv4 one mapped into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gid(pub [u8; 16]);

/// One address of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GidEntry {
    /// Its place in the table.
    pub index: u32,
    /// The address.
    pub gid: Gid,
    /// What packets from it look like.
    pub kind: GidKind,
    /// The number of the network interface that it belongs to, if known.
    pub interface: Option<u32>,
}

/// What packets from an address look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GidKind {
    /// InfiniBand's own.
    InfiniBand,
    /// Ethernet frames, which no router passes on.
    RoceV1,
    /// UDP packets.
    RoceV2,
    /// Not known here.
    Other(u32),
}

impl Gid {
    /// The address that RoCE v2 makes of it.
    pub fn address(self) -> IpAddr {
        let v6 = Ipv6Addr::from(self.0);
        v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
    }

    fn is_zero(self) -> bool {
        self.0 == [0; 16]
    }
}

impl std::fmt::Display for Gid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ipv6Addr::from(self.0).fmt(f)
    }
}

impl std::fmt::Display for GidKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InfiniBand => f.write_str("InfiniBand"),
            Self::RoceV1 => f.write_str("RoCE v1"),
            Self::RoceV2 => f.write_str("RoCE v2"),
            Self::Other(number) => write!(f, "kind {number}"),
        }
    }
}

impl Context {
    /// The addresses of port `number` (from 1), by index, without empty entries.
    ///
    /// # Errors
    /// As the device says: there may be no such port, or the device may be gone.
    pub fn gid_table(&self, number: u8) -> Result<Vec<GidEntry>, Failure> {
        let attributes = self.port(number)?;
        let Some(query) = self.library()._ibv_query_gid_table else {
            return Ok(self.gids_from_files(number, attributes.gids.min(ENTRIES_MAX)));
        };
        // The table is of the whole device: room for every port's, as large as this one's.
        let ports = usize::from(self.attributes()?.ports.max(1));
        let room = (attributes.gids.min(ENTRIES_MAX) as usize * ports).max(1);
        // SAFETY: numbers and bytes, of which zero is one.
        let mut raw: Vec<ibv_gid_entry> = vec![unsafe { std::mem::zeroed() }; room];
        // SAFETY: an open device, and room for as many entries of that size.
        let found = unsafe { query(self.raw(), raw.as_mut_ptr(), raw.len(), 0, size_of::<ibv_gid_entry>()) };
        let Ok(found) = usize::try_from(found) else {
            let errno =
                if found == -1 { last_errno() } else { numbered(c_int::try_from(found.saturating_neg()).unwrap_or(0)) };
            return Err(self.refused("ibv_query_gid_table", errno));
        };
        let ours = raw.iter().take(found).filter(|entry| entry.port_num == u32::from(number));
        let mut entries: Vec<_> = ours.map(GidEntry::of).filter(|entry| !entry.gid.is_zero()).collect();
        entries.sort_by_key(|entry| entry.index);
        Ok(entries)
    }

    /// The same from the kernel's files, for libraries from before they had a function for it.
    pub(super) fn gids_from_files(&self, port: u8, count: u32) -> Vec<GidEntry> {
        let base = format!("/sys/class/infiniband/{}/ports/{port}", self.device());
        let read = |path: String| std::fs::read_to_string(format!("{base}/{path}")).ok();
        let entry = |index: u32| {
            let gid = Gid(read(format!("gids/{index}"))?.trim().parse::<Ipv6Addr>().ok()?.octets());
            // It cannot be read of an empty entry.
            let kind = GidKind::from_file(read(format!("gid_attrs/types/{index}"))?.trim())?;
            let interface = read(format!("gid_attrs/ndevs/{index}"))
                .and_then(|name| std::fs::read_to_string(format!("/sys/class/net/{}/ifindex", name.trim())).ok())
                .and_then(|number| number.trim().parse().ok());
            (!gid.is_zero()).then_some(GidEntry { index, gid, kind, interface })
        };
        (0..count).filter_map(entry).collect()
    }
}

impl GidEntry {
    fn of(raw: &ibv_gid_entry) -> Self {
        let interface = (raw.ndev_ifindex != 0).then_some(raw.ndev_ifindex);
        Self { index: raw.gid_index, gid: Gid(raw.gid.raw), kind: GidKind::of(raw.gid_type), interface }
    }
}

impl GidKind {
    fn of(raw: u32) -> Self {
        match c_int::try_from(raw) {
            Ok(IBV_GID_TYPE_IB) => Self::InfiniBand,
            Ok(IBV_GID_TYPE_ROCE_V1) => Self::RoceV1,
            Ok(IBV_GID_TYPE_ROCE_V2) => Self::RoceV2,
            _ => Self::Other(raw),
        }
    }

    /// The kernel's file does not tell InfiniBand from RoCE v1; its callers know the link layer.
    fn from_file(text: &str) -> Option<Self> {
        match text {
            "IB/RoCE v1" => Some(Self::RoceV1),
            "RoCE v2" => Some(Self::RoceV2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gid_is_an_address() {
        let mapped = Gid("::ffff:10.1.0.2".parse::<Ipv6Addr>().expect("an address").octets());
        assert_eq!(mapped.address().to_string(), "10.1.0.2");
        assert_eq!(mapped.to_string(), "::ffff:10.1.0.2");
        let link_local = Gid("fe80::1".parse::<Ipv6Addr>().expect("an address").octets());
        assert_eq!(link_local.address().to_string(), "fe80::1");
        assert!(Gid::default().is_zero() && !mapped.is_zero());
    }
}
