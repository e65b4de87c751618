//! A cluster that stands: where its hosts are, what runs on them, what went over their cables, and what can be done to these.

use crate::blueprint::Blueprint;
use crate::build;
use crate::guard::Guard;
use crate::system::ip;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// The names of each host's interfaces, by rail.
pub const RAILS: [&str; 2] = ["fabric0", "fabric1"];

/// The port of the spare bridge whose other end is on the same host.
pub const SPARE: &str = "outer0";

/// Hosts joined by switches. They are gone when it is dropped, with all that still runs on them.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) name: String,
    /// Of each host.
    pub(crate) ranks: Vec<usize>,
    pub(crate) _guard: Guard,
}

/// Why no network namespaces can be made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub(crate) String);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no network namespaces can be made: {}", self.0)
    }
}

impl std::error::Error for Unavailable {}

impl Cluster {
    pub(crate) fn build(blueprint: &Blueprint) -> Result<Self, Unavailable> {
        build::build(blueprint).map_err(Unavailable)
    }

    /// How many hosts there are.
    pub fn hosts(&self) -> usize {
        self.ranks.len()
    }

    /// The address of a host on a rail.
    pub fn address(&self, host: usize, rail: usize) -> Ipv4Addr {
        address(host, rail)
    }

    /// A command that runs a program on a host. Its process is the program's own.
    pub fn command(&self, host: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(host)]).arg(program);
        command
    }

    /// Bytes that a host has sent by an interface.
    ///
    /// # Panics
    /// If it has no such interface.
    pub fn sent_bytes(&self, host: usize, interface: &str) -> u64 {
        let file = format!("/sys/class/net/{interface}/statistics/tx_bytes");
        let text = ip(&format!("netns exec {} cat {file}", self.host(host))).expect("the interface is there");
        text.parse().expect("the kernel writes a number")
    }

    /// Takes down a host's end of its first cable.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn pull_at_host(&self, host: usize) {
        ip(&format!("-n {} link set {} down", self.host(host), RAILS[0])).expect("it goes down");
    }

    /// Takes down the switch's end of a host's first cable: the host sees the carrier go, and keeps its address.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn pull_at_switch(&self, host: usize) {
        ip(&format!("-n {} link set {} down", self.switch(), port(host, 0))).expect("it goes down");
    }

    pub(crate) fn host(&self, host: usize) -> String {
        format!("{}-{host}", self.name)
    }

    /// The namespace of all switches.
    pub(crate) fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }
}

pub(crate) fn address(host: usize, rail: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 73, rail as u8, host as u8 + 1)
}

/// The name of the switch's end of a cable.
pub(crate) fn port(host: usize, rail: usize) -> String {
    format!("port{rail}-{host}")
}
