//! Choosing a port and its address among what there is, with a reason for everything that is passed over. Pure; looking is `device`'s.

use super::settings::VerbsSettings;
use super::sys::{Addressing, Gid, GidEntry, LinkLayer, Mtu, Path, PortAttributes, PortState};
use std::net::IpAddr;

/// A port of a device, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The device's name.
    pub device: String,
    /// The port's number, from 1.
    pub number: u8,
    /// What it says about itself.
    pub attributes: PortAttributes,
    /// Its addresses.
    pub gids: Vec<GidEntry>,
}

/// A port that can be used, and the address to use it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The device's name.
    pub device: String,
    /// The port's number, from 1.
    pub port: u8,
    /// What the link is made of: RoCE (Ethernet) or InfiniBand.
    pub link_layer: LinkLayer,
    /// How packets find the other end: by the address below, or by LID. The latter is not tested on hardware.
    pub addressing: Addressing,
    /// The address, to be told to peers; all zero where there is none.
    pub gid: Gid,
    /// The local identifier, to be told to peers; 0 on Ethernet.
    pub lid: u16,
    /// The largest packet that the link carries. A connection takes the smaller of both ends'.
    pub mtu: Mtu,
    /// The link's speed in megabits per second, if known.
    pub megabits: Option<u32>,
}

/// Something that was not chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// What: a device, a port, an address.
    pub what: String,
    /// Why not, in words.
    pub why: String,
}

/// What can be used, best first, and what not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Ports to use, the one to use first in front.
    pub usable: Vec<Selection>,
    /// Everything else, with its reason.
    pub passed_over: Vec<PassedOver>,
}

/// Chooses among ports: those that the user wants and that work, in the user's order, then by speed.
pub fn choose(ports: &[Port], settings: &VerbsSettings) -> Choice {
    let mut choice = Choice::default();
    let mut usable = Vec::new();
    for port in ports {
        let place = settings.devices.as_ref().map_or(Some(0), |filter| filter.place(&port.device, port.number));
        match place.ok_or_else(|| NOT_WANTED.to_owned()).and_then(|place| Ok((place, port.select(settings)?))) {
            Ok((place, (selection, others))) => {
                usable.push((place, selection));
                choice.passed_over.extend(others);
            }
            Err(why) => choice.passed_over.push(PassedOver { what: port.to_string(), why }),
        }
    }
    usable.sort_by_key(|(place, selection)| (*place, std::cmp::Reverse(selection.megabits)));
    choice.usable = usable.into_iter().map(|(_, selection)| selection).collect();
    choice
}

/// Why what the filter leaves out is left out.
pub(super) const NOT_WANTED: &str = "the setting of devices (SERRIED_IB_HCA, NCCL_IB_HCA) leaves it out";

impl Choice {
    /// The ports that the ranks of a host take turns at: those as fast as the first.
    pub fn shared(&self) -> impl Iterator<Item = &Selection> {
        self.usable.iter().filter(|one| one.megabits == self.usable[0].megabits)
    }

    /// The port for the rank with this number on its host: of those that ranks take turns at, one of the near ones if there are any.
    pub fn share(&self, local_rank: u32, is_near: impl Fn(&Selection) -> bool) -> Option<&Selection> {
        let near: Vec<_> = self.shared().filter(|one| is_near(one)).collect();
        let turns = if near.is_empty() { self.shared().collect() } else { near };
        turns.get((local_rank as usize).checked_rem(turns.len())?).copied()
    }

    /// Why there is nothing to use, in one line.
    pub fn why_none(&self) -> String {
        if self.passed_over.is_empty() {
            return "there is no RDMA device".into();
        }
        self.passed_over.iter().map(PassedOver::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl Port {
    /// How to use the port, and the addresses that were passed over; or why it cannot be used.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn select(&self, settings: &VerbsSettings) -> Result<(Selection, Vec<PassedOver>), String> {
        let attributes = &self.attributes;
        if attributes.state != PortState::Active {
            return Err(format!("the port is {}", attributes.state));
        }
        let (addressing, gid, others) = match attributes.link_layer {
            LinkLayer::Ethernet => {
                let (entry, others) = self.address(settings)?;
                let index = u8::try_from(entry.index).map_err(|_| BEYOND.to_owned())?;
                (Addressing::Gid { index }, entry.gid, others)
            }
            LinkLayer::InfiniBand if attributes.lid == 0 => {
                return Err("the port has no LID: no subnet manager has set it up".into());
            }
            LinkLayer::InfiniBand => {
                (Addressing::Lid, self.gids.first().map_or(Gid::default(), |entry| entry.gid), Vec::new())
            }
            LinkLayer::Other(_) => {
                return Err(format!("its link is neither Ethernet nor InfiniBand: {}", attributes.link_layer));
            }
        };
        let selection = Selection {
            device: self.device.clone(),
            port: self.number,
            link_layer: attributes.link_layer,
            addressing,
            gid,
            lid: attributes.lid,
            mtu: attributes.active_mtu,
            megabits: attributes.megabits,
        };
        Ok((selection, others))
    }

    /// The address to use, and why not the others: of the version, the family and the network that were asked for, what leads farthest, version
    /// 4 first; or the one that the user points at.
    fn address(&self, settings: &VerbsSettings) -> Result<(GidEntry, Vec<PassedOver>), String> {
        if let Some(index) = settings.gid_index {
            let asked = self.gids.iter().find(|entry| entry.index == u32::from(index));
            let others = self.gids.iter().filter(|entry| entry.index != u32::from(index));
            let others = others.map(|entry| self.passed(entry, format!("GID index {index} was asked for"))).collect();
            return Ok((*asked.ok_or_else(|| self.nothing_at(index))?, others));
        }
        let fits = |entry: &&GidEntry| reason_against(entry, settings).is_none();
        let rank = |entry: &&GidEntry| (Reach::of(entry.gid.address()), entry.gid.address().is_ipv6(), entry.index);
        let Some(best) = self.gids.iter().filter(fits).min_by_key(rank) else {
            let reasons: Vec<_> = self
                .gids
                .iter()
                .map(|entry| format!("{}: {}", entry.gid, reason_against(entry, settings).unwrap_or_default()))
                .collect();
            return Err(match reasons.is_empty() {
                true => "the port has no GID: does its network interface have an address?".into(),
                false => format!("no GID fits ({})", reasons.join(", ")),
            });
        };
        let others = self.gids.iter().filter(|entry| entry.index != best.index);
        let why = |entry: &GidEntry| match reason_against(entry, settings) {
            Some(why) => why,
            None if Reach::of(entry.gid.address()) > Reach::of(best.gid.address()) => {
                format!("{}, and GID {} leads farther", Reach::of(entry.gid.address()).words(), best.index)
            }
            None => format!("GID {} comes first", best.index),
        };
        Ok((*best, others.map(|entry| self.passed(entry, why(entry))).collect()))
    }

    fn nothing_at(&self, index: u8) -> String {
        let there_are: Vec<_> = self.gids.iter().map(|entry| format!("{} ({})", entry.index, entry.gid)).collect();
        let there_are = if there_are.is_empty() { "none".to_owned() } else { there_are.join(", ") };
        format!(
            "there is no GID at index {index}, which SERRIED_IB_GID_INDEX or NCCL_IB_GID_INDEX asks for; there are: {there_are}"
        )
    }

    fn passed(&self, entry: &GidEntry, why: String) -> PassedOver {
        PassedOver { what: format!("{self} GID {} ({}, {})", entry.index, entry.gid, entry.kind), why }
    }
}

impl Selection {
    /// The path of a connection from here with packets of `mtu`, the smaller of both ends'.
    pub fn path(&self, settings: &VerbsSettings, mtu: Mtu) -> Path {
        Path {
            port: self.port,
            addressing: self.addressing,
            mtu,
            service_level: settings.service_level,
            traffic_class: settings.traffic_class,
            hop_limit: u8::MAX,
            // 0.64 ms: what is sent before the receiver is ready comes again soon; NCCL's number.
            min_rnr_timer: 12,
            timeout: settings.timeout,
            retries: settings.retries,
            // For ever: receive requests cannot run out unless a peer breaks the protocol, and a peer that is gone answers nothing at all.
            rnr_retries: 7,
        }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} port {}", self.device, self.number)
    }
}

impl std::fmt::Display for PassedOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// A queue pair names its address in 8 bits.
const BEYOND: &str = "its index is beyond 255, which a queue pair cannot name";

/// Why an address cannot be taken under these settings, if so.
fn reason_against(entry: &GidEntry, settings: &VerbsSettings) -> Option<String> {
    let address = entry.gid.address();
    if entry.index > u32::from(u8::MAX) {
        return Some(BEYOND.into());
    }
    if entry.kind != settings.roce_version.kind() {
        return Some(format!("{} is wanted, and it is {}", settings.roce_version.kind(), entry.kind));
    }
    if settings.family.is_some_and(|family| !family.has(address)) {
        return Some("not of the family of addresses that is wanted".into());
    }
    settings.range.filter(|range| !range.has(address)).map(|range| format!("not in {range}"))
}

/// How far packets to an address get, farthest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Routable,
    LinkLocal,
    Loopback,
}

impl Reach {
    fn of(address: IpAddr) -> Self {
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        match (address.is_loopback(), link_local) {
            (true, _) => Self::Loopback,
            (false, true) => Self::LinkLocal,
            (false, false) => Self::Routable,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Routable => "routable",
            Self::LinkLocal => "link-local",
            Self::Loopback => "loopback",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sys::GidKind;
    use super::*;
    use std::net::Ipv6Addr;

    fn gid(index: u32, kind: GidKind, address: &str) -> GidEntry {
        let octets = address.parse::<Ipv6Addr>().expect("an address").octets();
        GidEntry { index, gid: Gid(octets), kind, interface: Some(2) }
    }

    /// As mlx5 lists them: each address in both versions, link-local first.
    fn table() -> Vec<GidEntry> {
        let addresses = ["fe80::1", "2001:db8::7", "::ffff:169.254.3.3", "::ffff:10.1.0.2", "::ffff:192.0.2.7"];
        let both = |(n, address): (u32, &&str)| {
            [gid(2 * n, GidKind::RoceV1, address), gid(2 * n + 1, GidKind::RoceV2, address)]
        };
        (0..).zip(&addresses).flat_map(both).collect()
    }

    fn port(device: &str, link_layer: LinkLayer, gids: Vec<GidEntry>) -> Port {
        let attributes = PortAttributes {
            state: PortState::Active,
            link_layer,
            active_mtu: Mtu::B1024,
            max_mtu: Mtu::B4096,
            lid: 0,
            megabits: Some(100_000),
            message_bytes_max: 1 << 30,
            gids: 256,
        };
        Port { device: device.into(), number: 1, attributes, gids }
    }

    fn settings(variables: &[(&str, &str)]) -> VerbsSettings {
        VerbsSettings::from_variables(|name| variables.iter().find(|v| v.0 == name).map(|v| v.1.to_owned()))
            .expect("sound settings")
    }

    /// The address chosen from the table, or why none.
    fn chosen(variables: &[(&str, &str)]) -> String {
        let selected = port("mlx5_0", LinkLayer::Ethernet, table()).select(&settings(variables));
        selected
            .map_or_else(|why| why, |(selection, _)| format!("{:?} {}", selection.addressing, selection.gid.address()))
    }

    #[test]
    fn the_address_that_leads_farthest_is_chosen_version_4_first() {
        assert_eq!(chosen(&[]), "Gid { index: 7 } 10.1.0.2");
        assert_eq!(chosen(&[("SERRIED_IB_ADDR_FAMILY", "AF_INET6")]), "Gid { index: 3 } 2001:db8::7");
        assert_eq!(chosen(&[("SERRIED_IB_ADDR_RANGE", "192.0.2.0/24")]), "Gid { index: 9 } 192.0.2.7");
        assert_eq!(chosen(&[("SERRIED_IB_ADDR_RANGE", "fe80::/10")]), "Gid { index: 1 } fe80::1");
        assert_eq!(chosen(&[("SERRIED_IB_ROCE_VERSION_NUM", "1")]), "Gid { index: 6 } 10.1.0.2");
        assert_eq!(chosen(&[("NCCL_IB_GID_INDEX", "0")]), "Gid { index: 0 } fe80::1");
        let none = chosen(&[("SERRIED_IB_ADDR_RANGE", "172.16.0.0/12")]);
        assert!(none.contains("::ffff:10.1.0.2: not in 172.16.0.0/12"), "{none}");
        let none = chosen(&[("NCCL_IB_GID_INDEX", "77")]);
        assert!(none.starts_with("there is no GID at index 77") && none.contains("7 (::ffff:10.1.0.2)"), "{none}");
    }

    #[test]
    fn every_other_address_has_its_reason() {
        let port = port("mlx5_0", LinkLayer::Ethernet, table());
        let (selection, others) = port.select(&settings(&[])).expect("it works");
        assert_eq!((selection.mtu, others.len()), (Mtu::B1024, 9));
        let why = |index: u32| {
            let what = format!("mlx5_0 port 1 GID {index} (");
            others.iter().find(|other| other.what.starts_with(&what)).map_or("", |other| other.why.as_str())
        };
        assert_eq!(why(6), "RoCE v2 is wanted, and it is RoCE v1");
        assert_eq!(why(1), "link-local, and GID 7 leads farther");
        assert_eq!(why(5), "link-local, and GID 7 leads farther");
        assert_eq!((why(3), why(9)), ("GID 7 comes first", "GID 7 comes first"));
    }

    #[test]
    fn an_address_beyond_what_a_queue_pair_can_name_is_passed_over() {
        let gids = vec![gid(300, GidKind::RoceV2, "::ffff:10.1.0.2"), gid(4, GidKind::RoceV2, "fe80::1")];
        let (selection, others) = port("a", LinkLayer::Ethernet, gids).select(&settings(&[])).expect("it works");
        assert_eq!((selection.addressing, others[0].why.as_str()), (Addressing::Gid { index: 4 }, BEYOND));
    }

    #[test]
    fn ports_that_cannot_be_used_say_why() {
        let mut ports: Vec<_> = (0..6).map(|n| port(&format!("mlx5_{n}"), LinkLayer::Ethernet, table())).collect();
        ports[0].attributes.state = PortState::Down;
        ports[1].gids.clear();
        ports[2].attributes.link_layer = LinkLayer::Other(9);
        ports[3].attributes.link_layer = LinkLayer::InfiniBand;
        ports[4].attributes.state = PortState::Initialize;
        let choice = choose(&ports, &settings(&[("SERRIED_IB_HCA", "^mlx5_5")]));
        assert_eq!(choice.usable, []);
        let said: Vec<_> = choice.passed_over.iter().map(PassedOver::to_string).collect();
        let expected = [
            "mlx5_0 port 1: the port is down",
            "mlx5_1 port 1: the port has no GID: does its network interface have an address?",
            "mlx5_2 port 1: its link is neither Ethernet nor InfiniBand: link layer 9",
            "mlx5_3 port 1: the port has no LID: no subnet manager has set it up",
            "mlx5_4 port 1: the port is waiting for a subnet manager",
            "mlx5_5 port 1: the setting of devices (SERRIED_IB_HCA, NCCL_IB_HCA) leaves it out",
        ];
        assert_eq!(said, expected);
        assert_eq!(choice.why_none(), expected.join("; "));
        assert_eq!(Choice::default().why_none(), "there is no RDMA device");
    }

    #[test]
    fn the_users_order_comes_before_speed() {
        let mut ports: Vec<_> = (0..3).map(|n| port(&format!("mlx5_{n}"), LinkLayer::Ethernet, table())).collect();
        ports[1].attributes.megabits = Some(400_000);
        let order = |variables: &[(&str, &str)]| -> Vec<String> {
            choose(&ports, &settings(variables)).usable.into_iter().map(|selection| selection.device).collect()
        };
        assert_eq!(order(&[]), ["mlx5_1", "mlx5_0", "mlx5_2"]);
        assert_eq!(order(&[("NCCL_IB_HCA", "=mlx5_2,mlx5_1:1,mlx5_0:2")]), ["mlx5_2", "mlx5_1"]);
    }

    #[test]
    fn ranks_take_turns_at_the_fastest_ports_near_them() {
        let mut ports: Vec<_> = (0..5).map(|n| port(&format!("mlx5_{n}"), LinkLayer::Ethernet, table())).collect();
        ports[4].attributes.megabits = Some(10_000);
        let choice = choose(&ports, &settings(&[]));
        let turns = |near: &[&str]| -> Vec<&str> {
            let is_near = |one: &Selection| near.contains(&one.device.as_str());
            (0..4).filter_map(|rank| Some(choice.share(rank, is_near)?.device.as_str())).collect()
        };
        assert_eq!(turns(&[]), ["mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3"]);
        assert_eq!(turns(&["mlx5_2", "mlx5_3", "mlx5_4"]), ["mlx5_2", "mlx5_3", "mlx5_2", "mlx5_3"]);
        assert_eq!(turns(&["mlx5_4"]), turns(&[]), "it is slower");
        assert_eq!(Choice::default().share(0, |_| true), None);
    }

    #[test]
    fn infiniband_is_addressed_by_lid() {
        let mut port = port("mlx5_0", LinkLayer::InfiniBand, vec![gid(0, GidKind::InfiniBand, "fe80::2")]);
        port.attributes.lid = 17;
        let settings = settings(&[("SERRIED_IB_SL", "2"), ("SERRIED_IB_TIMEOUT", "14")]);
        let (selection, _) = port.select(&settings).expect("it works");
        assert_eq!((selection.addressing, selection.lid), (Addressing::Lid, 17));
        let path = selection.path(&settings, Mtu::B512);
        assert_eq!((path.service_level, path.timeout, path.retries, path.mtu), (2, 14, 6, Mtu::B512));
    }
}
