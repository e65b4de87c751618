//! Interfaces that are not used, and why not: what [`interface::choose`](super::interface::choose) leaves out, put into words.

use super::interface::{Family, Interface, Kind, Selection, is_link_local, needs_scope};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

/// An interface, or one address of it, that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    /// The interface's name.
    pub name: String,
    /// The address; none if the interface has none that could be used.
    pub address: Option<IpAddr>,
    /// Why not, in words.
    pub why: String,
}

/// Everything that is not among the `chosen`: of `all` that are up and have an address, and of what else the kernel lists.
pub fn idle(all: &[Interface], chosen: &[Interface], selection: Option<&Selection>, family: Family) -> Vec<Idle> {
    let left_out = all.iter().filter(|interface| !chosen.contains(interface));
    let mut idle: Vec<Idle> = left_out
        .map(|interface| Idle {
            name: interface.name.clone(),
            address: Some(interface.address),
            why: why_not(interface, chosen, selection, family),
        })
        .collect();
    let up: BTreeSet<&str> = all.iter().map(|interface| interface.name.as_str()).collect();
    let without = listed().into_iter().filter(|name| !up.contains(name.as_str()));
    idle.extend(without.map(|name| Idle { why: state(&name), name, address: None }));
    idle
}

fn why_not(interface: &Interface, chosen: &[Interface], selection: Option<&Selection>, family: Family) -> String {
    if !family.has(interface.address) {
        return "not of the family of addresses that is wanted (SERRIED_SOCKET_FAMILY, NCCL_SOCKET_FAMILY)".into();
    }
    if needs_scope(interface.address) {
        return "a link-local address of version 6 means something on its own host only".into();
    }
    if selection.is_some_and(|selection| selection.place(&interface.name).is_none()) {
        return "SERRIED_SOCKET_IFNAME or NCCL_SOCKET_IFNAME leaves it out".into();
    }
    let better = chosen.first().map_or("another", |first| first.name.as_str());
    match interface.kind {
        Kind::Loopback => "it leads nowhere but here".into(),
        _ if is_link_local(interface.address) => {
            format!("its address is link-local, and that of {better} leads farther")
        }
        Kind::HostLocal => format!("it connects containers or guests of this host; {better} leads farther"),
        Kind::Virtual => format!("it is made of software, and {better} is a device"),
        Kind::Physical => format!("{better} comes first"),
    }
}

/// The names that the kernel lists.
fn listed() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/class/net") else { return Vec::new() };
    let interfaces = entries.flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = interfaces.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

/// Why an interface offers no address.
fn state(name: &str) -> String {
    let state = std::fs::read_to_string(Path::new("/sys/class/net").join(name).join("operstate")).unwrap_or_default();
    match state.trim() {
        "up" | "unknown" => "it has no address".into(),
        "" => "its state cannot be read".into(),
        state => format!("it is {state}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::interface::{choose, interfaces};
    use super::*;

    fn interface(name: &str, address: &str, kind: Kind) -> Interface {
        let address = address.parse().expect("an address");
        Interface { name: name.into(), address, kind, megabits: None, numa_node: None }
    }

    fn reason(all: &[Interface], which: usize, selection: &str, family: Family) -> String {
        let selection = (!selection.is_empty()).then(|| selection.parse().expect("a selection"));
        let chosen = choose(all, selection.as_ref(), family).expect("something is left");
        let idle = idle(all, &chosen, selection.as_ref(), family);
        let meant = idle.into_iter().find(|idle| idle.address == Some(all[which].address));
        meant.map_or_else(|| "used".into(), |idle| idle.why)
    }

    #[test]
    fn every_reason_is_the_one_that_decided() {
        let all = [
            interface("lo", "127.0.0.1", Kind::Loopback),
            interface("docker0", "172.17.0.1", Kind::HostLocal),
            interface("bond0", "10.1.0.1", Kind::Virtual),
            interface("eth1", "169.254.3.3", Kind::Physical),
            interface("eth0", "fe80::1", Kind::Physical),
            interface("eth0", "192.0.2.7", Kind::Physical),
        ];
        let why = |which| reason(&all, which, "", Family::Any);
        assert_eq!(why(5), "used");
        assert_eq!(why(0), "it leads nowhere but here");
        assert!(why(1).contains("containers") && why(1).contains("eth0 leads farther"), "{}", why(1));
        assert!(why(2).contains("software"), "{}", why(2));
        assert!(why(3).contains("link-local"), "{}", why(3));
        assert!(why(4).contains("version 6"), "{}", why(4));
        assert!(reason(&all, 5, "bond0", Family::Any).contains("SERRIED_SOCKET_IFNAME"));
        assert!(reason(&all, 4, "", Family::V4).contains("SERRIED_SOCKET_FAMILY"));
    }

    #[test]
    fn nothing_on_this_machine_is_both_used_and_idle() {
        let all = interfaces().expect("interfaces");
        let chosen = choose(&all, None, Family::Any).expect("loopback at least");
        let idle = idle(&all, &chosen, None, Family::Any);
        assert_eq!(all.len(), chosen.len() + idle.iter().filter(|idle| idle.address.is_some()).count());
        assert!(idle.iter().all(|idle| !idle.why.is_empty()), "{idle:?}");
    }
}
