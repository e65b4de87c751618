//! Two hosts that reach all others but not each other: every rank is told whose fault it is, in time.

use crate::runs::{Alone, told};
use serried_cluster::{Blueprint, Parting};
use std::time::Duration;

/// What ranks have to find each other.
const JOINING: Duration = Duration::from_secs(6);

/// How much longer news may take on a busy machine.
const MARGIN: Duration = Duration::from_secs(10);

fn names_both(parting: Parting) {
    let Some(cluster) = Alone::build(&Blueprint::new(&[1; 3]).part(parting, 1, 2)) else { return };
    let seconds = JOINING.as_secs().to_string();
    let endings = cluster.run("perf all_reduce -b 1M -e 1M -n 2", &[("SERRIED_INIT_TIMEOUT", seconds.as_str())]);
    println!("{}", told(&endings));
    for (rank, ending) in endings.iter().enumerate() {
        assert!(ending.status.is_some_and(|status| !status.success()), "rank {rank}: {}", told(&endings));
        assert!(ending.after < JOINING + MARGIN, "rank {rank}: {}", told(&endings));
        let error = ending.text.lines().find(|line| line.contains("serried: ")).unwrap_or_default();
        assert!(["rank 1", "rank 2"].iter().all(|name| error.contains(name)), "rank {rank} names both: {error}");
        let addresses = [1, 2].map(|host| format!("does not reach it: {}:", cluster.0.address(host, 0)));
        assert!(addresses.iter().any(|address| error.contains(address)), "rank {rank} says where: {error}");
    }
}

#[test]
fn hosts_that_a_switch_keeps_apart_are_both_named() {
    names_both(Parting::Isolated);
}

#[test]
fn hosts_whose_packets_vanish_are_both_named() {
    names_both(Parting::Swallowed);
}
