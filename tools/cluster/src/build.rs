//! Builds what a blueprint describes, out of namespaces, bridges, pairs of interfaces and shapers.

use crate::blueprint::{Blueprint, Parting};
use crate::cluster::{Cluster, RAILS, SPARE, address, port};
use crate::guard::{Guard, PREFIX, remove_orphans};
use crate::system::{ip, run};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long an interface may take to come up.
const CARRIER: Duration = Duration::from_secs(10);

/// What goes over a shaped cable at once, at most: one large packet that its sender left to the card to cut.
const BURST: &str = "70000";

/// How long the last packet of a full queue waits, as on a switch with a few megabytes for each port; more is dropped.
const QUEUE: &str = "20ms";

/// A hardware address that nobody has.
const NOBODY: &str = "02:00:00:00:00:00";

pub(crate) fn build(blueprint: &Blueprint) -> Result<Cluster, String> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let hosts = blueprint.hosts();
    ip("-V")?;
    remove_orphans();
    let name = format!("{PREFIX}-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    let namespaces: Vec<String> =
        (0..hosts).map(|host| host.to_string()).chain(["switch".to_owned()]).map(|of| format!("{name}-{of}")).collect();
    let guard = Guard::over(&namespaces)?;
    let cluster = Cluster { name, ranks: blueprint.ranks.clone(), _guard: guard };
    lay_switches(&cluster, blueprint)?;
    for host in 0..hosts {
        ip(&format!("netns add {}", cluster.host(host)))?;
        ip(&format!("-n {} link set lo up", cluster.host(host)))?;
        if let Some((bridge, address)) = &blueprint.spare {
            lay_spare(&cluster.host(host), bridge, address)?;
        }
        (0..blueprint.rails).try_for_each(|rail| lay_cable(&cluster, blueprint, host, rail))?;
    }
    for host in 0..hosts {
        RAILS[..blueprint.rails].iter().try_for_each(|cable| wait_until_up(&cluster.host(host), cable))?;
    }
    if let Some((how, one, other)) = blueprint.parted {
        (0..blueprint.rails).try_for_each(|rail| part(&cluster, how, [one, other], rail))?;
    }
    Ok(cluster)
}

fn lay_switches(cluster: &Cluster, blueprint: &Blueprint) -> Result<(), String> {
    let switch = cluster.switch();
    ip(&format!("netns add {switch}"))?;
    ip(&format!("netns exec {switch} true"))?;
    for rail in 0..blueprint.rails {
        ip(&format!("-n {switch} link add name switch{rail} type bridge"))?;
        ip(&format!("-n {switch} link set switch{rail} up"))?;
    }
    Ok(())
}

fn lay_cable(cluster: &Cluster, blueprint: &Blueprint, number: usize, rail: usize) -> Result<(), String> {
    let (switch, host, port, cable) = (cluster.switch(), cluster.host(number), port(number, rail), RAILS[rail]);
    ip(&format!("-n {host} link add name {cable} type veth peer name {port} netns {switch}"))?;
    ip(&format!("-n {host} addr add {}/24 dev {cable}", address(number, rail)))?;
    if let Some(rate) = &blueprint.rates[number] {
        for (namespace, end) in [(&host, cable), (&switch, &port)] {
            run(
                "tc",
                &format!("-n {namespace} qdisc add dev {end} root tbf rate {rate} burst {BURST} latency {QUEUE}"),
            )?;
        }
    }
    ip(&format!("-n {host} link set {cable} up"))?;
    ip(&format!("-n {switch} link set {port} master switch{rail} up"))?;
    Ok(())
}

/// A bridge of this host's own.
fn lay_spare(host: &str, bridge: &str, address: &str) -> Result<(), String> {
    ip(&format!("-n {host} link add name {bridge} type bridge"))?;
    ip(&format!("-n {host} addr add {address} dev {bridge}"))?;
    // A bridge is up only when a port of it is.
    ip(&format!("-n {host} link add name {SPARE} type veth peer name inner0"))?;
    ip(&format!("-n {host} link set {SPARE} master {bridge} up"))?;
    ip(&format!("-n {host} link set inner0 up"))?;
    ip(&format!("-n {host} link set {bridge} up"))?;
    wait_until_up(host, bridge)
}

fn part(cluster: &Cluster, how: Parting, pair: [usize; 2], rail: usize) -> Result<(), String> {
    for (one, other) in [(pair[0], pair[1]), (pair[1], pair[0])] {
        match how {
            // Isolated ports reach all but each other.
            Parting::Isolated => {
                run("bridge", &format!("-n {} link set dev {} isolated on", cluster.switch(), port(one, rail)))?
            }
            Parting::Swallowed => {
                let (host, to, cable) = (cluster.host(one), address(other, rail), RAILS[rail]);
                ip(&format!("-n {host} neigh replace {to} lladdr {NOBODY} dev {cable} nud permanent"))?
            }
        };
    }
    Ok(())
}

/// The system tells of a carrier up to a second after it is there; a rank that starts before would not see the interface.
fn wait_until_up(host: &str, interface: &str) -> Result<(), String> {
    let began = Instant::now();
    while !ip(&format!("-n {host} -o link show dev {interface}"))?.contains(" state UP ") {
        if began.elapsed() > CARRIER {
            return Err(format!("{interface} of {host} stays down"));
        }
        std::thread::yield_now();
    }
    Ok(())
}
