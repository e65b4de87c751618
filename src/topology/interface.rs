//! Network interfaces: which there are, which the user asked for, and which to use when nobody said.
//!
//! Looking ([`interfaces`]) is apart from choosing ([`choose`]), which is pure. Nothing here opens a socket.

use super::node_of;
use crate::error::{Error, Result};
use std::cmp::Reverse;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// One address of one network interface that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name: `eth0`.
    pub name: String,
    /// One of its addresses. An interface with several is listed once for each.
    pub address: IpAddr,
    /// What it is made of.
    pub kind: Kind,
    /// Megabits a second, as its driver says; `None` if it does not.
    pub megabits: Option<u32>,
    /// The NUMA node that its device is attached to, where there are several.
    pub numa_node: Option<u32>,
}

/// What an interface is made of, in the order in which one prefers to use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A device, real or a hypervisor's.
    Physical,
    /// A bond, VLAN, tunnel or the end of a container's network: software, but it may well lead to other hosts.
    Virtual,
    /// A bridge or pair that containers and virtual machines *on this host* hang on; other hosts often have the same address.
    HostLocal,
    /// This host only.
    Loopback,
}

/// Names that container engines and hypervisors give to what connects their guests on this host.
const HOST_LOCAL_PREFIXES: [&str; 12] =
    ["docker", "veth", "virbr", "br-", "lxcbr", "lxdbr", "cni", "podman", "flannel", "cali", "vnet", "kube"];

/// Every address of every interface that is up.
pub fn interfaces() -> Result<Vec<Interface>> {
    let found = if_addrs::get_if_addrs()
        .map_err(|e| Error::System { what: "listing the network interfaces".into(), reason: e.to_string() })?;
    let up = found.into_iter().filter(if_addrs::Interface::is_oper_up);
    Ok(up.map(|i| Interface::look(i.ip(), i.name)).collect())
}

impl Interface {
    fn look(address: IpAddr, name: String) -> Self {
        // Below zero or unreadable where the driver does not know.
        let megabits = std::fs::read_to_string(device(&name).join("speed")).ok();
        let megabits = megabits.and_then(|text| text.trim().parse().ok()).filter(|speed| *speed > 0);
        Self { kind: Kind::of(&name, address), address, megabits, numa_node: node_of("net", &name), name }
    }
}

/// Where the system tells about an interface.
fn device(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}

impl Kind {
    fn of(name: &str, address: IpAddr) -> Self {
        if address.is_loopback() || name == "lo" {
            return Self::Loopback;
        }
        if HOST_LOCAL_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            return Self::HostLocal;
        }
        // An interface of software has no device behind it.
        let physical = device(name).join("device").exists();
        if physical { Self::Physical } else { Self::Virtual }
    }
}

/// Which interfaces the user wants: the grammar of `SERRIED_SOCKET_IFNAME` and `NCCL_SOCKET_IFNAME`.
///
/// A comma list of names. Each is a prefix (`eth` takes `eth0` and `eth1`); after a leading `=` all are exact; after a leading `^`
/// all are excluded; `^=` excludes exact names. The order of the list is the order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    names: Vec<String>,
    exact: bool,
    exclude: bool,
}

impl Selection {
    /// How well an interface of this name fits: `None` not at all, otherwise its place in the order of preference.
    pub fn place(&self, name: &str) -> Option<usize> {
        let place = self.names.iter().position(|n| if self.exact { n == name } else { name.starts_with(n.as_str()) });
        match (self.exclude, place) {
            (true, Some(_)) => None,
            (true, None) => Some(0),
            (false, place) => place,
        }
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = |on, mark| if on { mark } else { "" };
        write!(f, "{}{}{}", mark(self.exclude, "^"), mark(self.exact, "="), self.names.join(","))
    }
}

impl FromStr for Selection {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (exclude, rest) = text.trim().strip_prefix('^').map_or((false, text.trim()), |rest| (true, rest));
        let (exact, rest) = rest.strip_prefix('=').map_or((false, rest), |rest| (true, rest));
        let names: Vec<String> = rest.split(',').map(|name| name.trim().to_owned()).filter(|n| !n.is_empty()).collect();
        if names.is_empty() {
            return Err("it names no interface (expected names such as eth,ib or =eth0 or ^docker)");
        }
        if names.iter().any(|name| name.starts_with(['^', '='])) {
            return Err("^ and = stand once, in front of the whole list");
        }
        Ok(Self { names, exact, exclude })
    }
}

/// Which family of addresses the user wants: `SERRIED_SOCKET_FAMILY` and `NCCL_SOCKET_FAMILY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Both, version 4 first.
    #[default]
    Any,
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

impl Family {
    /// Whether an address belongs to it.
    pub fn has(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

impl FromStr for Family {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "AF_INET" | "4" | "ipv4" => Ok(Self::V4),
            "AF_INET6" | "6" | "ipv6" => Ok(Self::V6),
            _ => Err("expected AF_INET or AF_INET6"),
        }
    }
}

/// The ports a listener may take: `SERRIED_PORT_RANGE=lo-hi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange(RangeInclusive<u16>);

impl PortRange {
    /// The ports from `low` to `high`, both included; `None` unless 1 ≤ `low` ≤ `high`.
    pub fn new(low: u16, high: u16) -> Option<Self> {
        (1 <= low && low <= high).then_some(Self(low..=high))
    }

    /// The ports in order.
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.0.clone()
    }
}

impl FromStr for PortRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected two ports, 1 <= lo <= hi <= 65535, as in 40000-40999";
        let (low, high) = text.split_once('-').ok_or(EXPECTED)?;
        let port = |text: &str| text.trim().parse().map_err(|_| EXPECTED);
        Self::new(port(low)?, port(high)?).ok_or(EXPECTED)
    }
}

/// The interfaces to listen on, best first.
///
/// With a selection: those it takes, in its order. Without: the interfaces of the best kind there is, physical before virtual before
/// host-local, and loopback only when there is nothing else; link-local addresses only when there are no others. Faster ones come first.
pub fn choose(all: &[Interface], selection: Option<&Selection>, family: Family) -> Result<Vec<Interface>> {
    let usable = all.iter().filter(|i| family.has(i.address) && !needs_scope(i.address));
    let mut chosen: Vec<(usize, &Interface)> = match selection {
        Some(selection) => usable.filter_map(|i| Some((selection.place(&i.name)?, i))).collect(),
        None => {
            let usable: Vec<_> = usable.collect();
            let rank = |i: &Interface| (i.kind == Kind::Loopback, is_link_local(i.address), i.kind);
            let best = usable.iter().map(|i| rank(i)).min();
            usable.into_iter().filter(|i| Some(rank(i)) == best).map(|i| (0, i)).collect()
        }
    };
    // An exclusion is no wish for what is left over: loopback stays the last resort there.
    if selection.is_some_and(|s| s.exclude) && chosen.iter().any(|(_, i)| i.kind != Kind::Loopback) {
        chosen.retain(|(_, i)| i.kind != Kind::Loopback);
    }
    chosen.sort_by_key(|(place, i)| (*place, i.kind, Reverse(i.megabits), i.address.is_ipv6()));
    if chosen.is_empty() {
        return Err(none_fits(all, selection, family));
    }
    Ok(chosen.into_iter().map(|(_, i)| i.clone()).collect())
}

/// Of the interfaces to listen on, those to spread one pair's traffic over: the first, and all like it and as fast. One address of each.
pub fn rails(chosen: &[Interface]) -> Vec<&Interface> {
    let mut rails: Vec<&Interface> = Vec::new();
    for one in chosen.iter().filter(|one| one.kind != Kind::Loopback) {
        let alike = |first: &Interface| {
            (first.kind, first.megabits, first.address.is_ipv4()) == (one.kind, one.megabits, one.address.is_ipv4())
        };
        if rails.first().is_none_or(|first| alike(first)) && rails.iter().all(|rail| rail.name != one.name) {
            rails.push(one);
        }
    }
    rails
}

fn none_fits(all: &[Interface], selection: Option<&Selection>, family: Family) -> Error {
    let names: Vec<_> = all.iter().map(|i| format!("{} ({})", i.name, i.address)).collect();
    let there_are = format!("there are: {}", names.join(", "));
    let only = match family {
        Family::Any => "",
        Family::V4 => " of version 4",
        Family::V6 => " of version 6",
    };
    match selection {
        Some(selection) => Error::Setting {
            name: "SERRIED_SOCKET_IFNAME".into(),
            value: selection.to_string(),
            why: format!("it takes no interface that is up and has an address{only}; {there_are}"),
        },
        None => Error::System {
            what: "choosing a network interface".into(),
            reason: format!("none is up and has an address{only}; {there_are}"),
        },
    }
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// fe80::/10 means something only together with the number of an interface, which is another on every host.
pub(super) fn needs_scope(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, address: &str, kind: Kind) -> Interface {
        let address = address.parse().expect("an address");
        Interface { name: name.into(), address, kind, megabits: None, numa_node: None }
    }

    fn machine() -> Vec<Interface> {
        vec![
            interface("lo", "127.0.0.1", Kind::Loopback),
            interface("lo", "::1", Kind::Loopback),
            interface("docker0", "172.17.0.1", Kind::HostLocal),
            interface("bond0", "10.1.0.1", Kind::Virtual),
            interface("eth1", "169.254.3.3", Kind::Physical),
            interface("eth0", "fe80::1", Kind::Physical),
            interface("eth0", "2001:db8::7", Kind::Physical),
            interface("eth0", "192.0.2.7", Kind::Physical),
        ]
    }

    fn chosen(all: &[Interface], selection: &str, family: Family) -> String {
        let selection = (!selection.is_empty()).then(|| selection.parse().expect("a selection"));
        let chosen = choose(all, selection.as_ref(), family);
        chosen.map_or_else(|e| e.to_string(), |list| list.iter().map(|i| format!("{} ", i.address)).collect())
    }

    #[test]
    fn the_default_takes_what_leads_farthest() {
        let mut all = machine();
        assert_eq!(chosen(&all, "", Family::Any), "192.0.2.7 2001:db8::7 ");
        assert_eq!(chosen(&all, "", Family::V6), "2001:db8::7 ");
        all.retain(|i| i.name != "eth0");
        assert_eq!(chosen(&all, "", Family::Any), "10.1.0.1 ");
        all.retain(|i| i.name != "bond0");
        assert_eq!(chosen(&all, "", Family::Any), "172.17.0.1 ");
        all.retain(|i| i.name != "docker0");
        assert_eq!(chosen(&all, "", Family::Any), "169.254.3.3 ");
        all.retain(|i| i.name != "eth1");
        assert_eq!(chosen(&all, "", Family::Any), "127.0.0.1 ::1 ");
    }

    #[test]
    fn a_selection_is_obeyed_in_its_order() {
        let all = machine();
        assert_eq!(chosen(&all, "bond,eth0", Family::V4), "10.1.0.1 192.0.2.7 ");
        assert_eq!(chosen(&all, "eth", Family::V4), "169.254.3.3 192.0.2.7 ");
        assert_eq!(chosen(&all, "=lo", Family::V4), "127.0.0.1 ");
        assert_eq!(chosen(&all, "^docker,eth", Family::Any), "10.1.0.1 ");
        assert_eq!(chosen(&all, "^=eth0", Family::V4), "169.254.3.3 10.1.0.1 172.17.0.1 ");
        let none = chosen(&all, "^=lo,eth0,eth1,bond0,docker0", Family::Any);
        assert!(none.starts_with(r#"SERRIED_SOCKET_IFNAME="^=lo,eth0,eth1,bond0,docker0": "#), "{none}");
        assert!(none.contains("there are: lo (127.0.0.1)"), "{none}");
        assert!(chosen(&all, "^lo", Family::V4).starts_with("169"));
    }

    #[test]
    fn rails_are_as_fast_as_the_first() {
        let fast = |name, address, megabits| Interface { megabits, ..interface(name, address, Kind::Physical) };
        let all = [
            fast("eth0", "192.0.2.7", Some(1_000)),
            fast("eth1", "198.51.100.7", Some(100_000)),
            fast("eth1", "198.51.100.8", Some(100_000)),
            fast("eth1", "2001:db8::7", Some(100_000)),
            fast("eth2", "203.0.113.7", Some(100_000)),
            fast("eth3", "203.0.113.9", None),
            interface("lo", "127.0.0.1", Kind::Loopback),
        ];
        let rails = |selection: Option<&str>| {
            let selection = selection.map(|text| text.parse().expect("a selection"));
            let chosen = choose(&all, selection.as_ref(), Family::Any).expect("some fit");
            super::rails(&chosen).iter().map(|rail| rail.address.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(rails(None), "198.51.100.7 203.0.113.7");
        assert_eq!(rails(Some("=eth0,eth1,eth2")), "192.0.2.7", "the user's first comes first");
        assert_eq!(rails(Some("=eth2,eth1")), "203.0.113.7 198.51.100.7");
        assert_eq!(rails(Some("=eth3,eth1")), "203.0.113.9");
        assert_eq!(rails(Some("=lo")), "");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "^", "=", "^=", ",", "eth0,^eth1", "eth,=ib0"] {
            assert!(text.parse::<Selection>().is_err(), "{text}");
        }
        for text in ["", "40000", "5-4", "0-9", "1-65536", "a-b", "-1-5", "1-2-3"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
        assert_eq!("7-9".parse::<PortRange>().expect("a range").ports(), 7..=9);
        assert!("AF_UNIX".parse::<Family>().is_err());
    }

    #[test]
    fn this_machine_has_loopback() {
        let all = interfaces().expect("interfaces");
        assert!(all.iter().any(|i| i.kind == Kind::Loopback), "{all:?}");
        assert!(choose(&all, None, Family::Any).is_ok());
    }
}
