//! Interfaces that have one and the same address on every host and lead nowhere, as container engines leave them.

use crate::runs::{Alone, CHATTER_BYTES, told};
use serried_cluster::{Blueprint, Ending, RAILS, SPARE};

/// A rank's settings.
type Settings<'a> = &'a [(&'a str, &'a str)];

fn is_not_taken(name: &str, runs: &[Settings<'_>]) {
    let Some(cluster) = Alone::build(&Blueprint::new(&[2, 2]).beside(name, "172.17.0.1/16")) else { return };
    for (settings, runs) in runs.iter().zip(1..) {
        let label = format!("{name}, {settings:?}");
        let endings = cluster.run("perf all_reduce -b 64 -e 1M -f 128 -n 5 -c 1", settings);
        assert!(endings.iter().all(Ending::success), "{label}: {}", told(&endings));
        for host in [0, 1] {
            let (spare, cable) = (cluster.0.sent_bytes(host, SPARE), cluster.0.sent_bytes(host, RAILS[0]));
            let right = spare < runs * CHATTER_BYTES && cable > runs * (10 << 20);
            assert!(right, "{label}: {spare} bytes by it, {cable} by the cable");
        }
    }
}

#[test]
fn a_container_engines_bridge_is_not_taken_for_the_way_to_other_hosts() {
    is_not_taken("docker0", &[&[]]);
}

#[test]
fn a_bridge_by_any_name_is_not_taken_for_the_way_to_other_hosts() {
    // In the second run the same address and port are another rank on every host.
    is_not_taken("attic0", &[&[], &[("SERRIED_PORT_RANGE", "41000-41099")]]);
}
