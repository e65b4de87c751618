//! Hosts for tests: network namespaces, each with a cable to a bridge in a namespace of its own. Touches nothing outside of the
//! namespaces that it has made, and takes them away when it is dropped.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What the names of all namespaces of these tests begin with; the number of the process follows.
const PREFIX: &str = "serried";

/// How long an interface may take to come up.
const CARRIER: Duration = Duration::from_secs(10);

/// Namespaces that are joined like hosts on one switch.
pub(crate) struct Hosts {
    name: String,
    count: usize,
}

/// One host's connection to the switch.
pub(crate) struct Cable;

impl Cable {
    /// Its name on every host.
    pub(crate) const INTERFACE: &str = "fabric0";
}

impl Hosts {
    /// So many hosts; `None`, with a line that says why, where this process may not make them.
    pub(crate) fn join(count: usize) -> Option<Self> {
        Self::lay(None, count)
    }

    /// Hosts that each have a bridge of their own with the same name and address, which leads nowhere and came before the cable.
    pub(crate) fn join_beside(bridge: (&str, &str), count: usize) -> Option<Self> {
        Self::lay(Some(bridge), count)
    }

    fn lay(bridge: Option<(&str, &str)>, count: usize) -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        remove_orphans();
        let name = format!("{PREFIX}-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let hosts = Self { name, count };
        match hosts.lay_switch().and_then(|()| (0..count).try_for_each(|host| hosts.lay_host(host, bridge))) {
            Ok(()) => Some(hosts),
            Err(why) => {
                println!("skipped: network: no network namespaces can be made: {why}");
                None
            }
        }
    }

    fn lay_switch(&self) -> Result<(), String> {
        let switch = self.switch();
        ip(&["netns", "add", &switch])?;
        ip(&["netns", "exec", &switch, "true"])?;
        ip(&["-n", &switch, "link", "add", "bridge0", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "bridge0", "up"])?;
        Ok(())
    }

    fn lay_host(&self, number: usize, bridge: Option<(&str, &str)>) -> Result<(), String> {
        let (switch, host, port, cable) = (self.switch(), self.host(number), port(number), Cable::INTERFACE);
        let address = format!("{}/24", self.address(number));
        ip(&["netns", "add", &host])?;
        ip(&["-n", &host, "link", "set", "lo", "up"])?;
        if let Some((name, address)) = bridge {
            ip(&["-n", &host, "link", "add", name, "type", "bridge"])?;
            ip(&["-n", &host, "addr", "add", address, "dev", name])?;
            // A bridge is up only when a port of it is.
            ip(&["-n", &host, "link", "add", "outer0", "type", "veth", "peer", "name", "inner0"])?;
            ip(&["-n", &host, "link", "set", "outer0", "master", name, "up"])?;
            ip(&["-n", &host, "link", "set", "inner0", "up"])?;
            ip(&["-n", &host, "link", "set", name, "up"])?;
            wait_until_up(&host, name)?;
        }
        ip(&["-n", &host, "link", "add", cable, "type", "veth", "peer", "name", &port, "netns", &switch])?;
        ip(&["-n", &host, "addr", "add", &address, "dev", cable])?;
        ip(&["-n", &host, "link", "set", cable, "up"])?;
        ip(&["-n", &switch, "link", "set", &port, "master", "bridge0", "up"])?;
        wait_until_up(&host, cable)
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The address of a host's cable.
    pub(crate) fn address(&self, host: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 73, 0, host as u8 + 1)
    }

    /// A command that runs a program on a host.
    pub(crate) fn command(&self, host: usize, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(host)]).arg(program);
        command
    }

    /// Takes down the host's end of its cable.
    pub(crate) fn pull_at_host(&self, host: usize) {
        ip(&["-n", &self.host(host), "link", "set", Cable::INTERFACE, "down"]).expect("it goes down");
    }

    /// Takes down the switch's end of a host's cable: the host sees the carrier go, and keeps its address.
    pub(crate) fn pull_at_switch(&self, host: usize) {
        ip(&["-n", &self.switch(), "link", "set", &port(host), "down"]).expect("it goes down");
    }

    fn host(&self, host: usize) -> String {
        format!("{}-{host}", self.name)
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // Cables and bridges go with their namespaces. Some may not have been made.
        for namespace in (0..self.count).map(|host| self.host(host)).chain([self.switch()]) {
            let _ = ip(&["netns", "del", &namespace]);
        }
    }
}

fn port(host: usize) -> String {
    format!("port{host}")
}

/// The system tells of a carrier up to a second after it is there; a rank that starts before would not see the interface.
fn wait_until_up(host: &str, interface: &str) -> Result<(), String> {
    let began = Instant::now();
    while !ip(&["-n", host, "-o", "link", "show", "dev", interface])?.contains(" state UP ") {
        if began.elapsed() > CARRIER {
            return Err(format!("{interface} of {host} stays down"));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Takes away what a test process left that was killed before it could.
fn remove_orphans() {
    for line in ip(&["netns", "list"]).unwrap_or_default().lines() {
        let name = line.split(' ').next().unwrap_or(line);
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-')?.split('-').next());
        if let Some(process) = process
            && process.parse::<u32>().is_ok()
            && !std::path::Path::new("/proc").join(process).exists()
        {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// Runs `ip`; what it printed, or why it failed.
fn ip(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(format!("ip {}: {}", arguments.join(" "), text(output.stderr)))
    }
}
