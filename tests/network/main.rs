//! Ranks on several hosts: network namespaces of one machine, joined by a bridge. Which way connections go, and what happens when a
//! cable is pulled in the middle of a call. Needs root, and iproute2; without either it says so and skips.

mod ranks;

use ranks::{Rank, SILENCE, monotonic_ms, start};
use serried_cluster::{Blueprint, Cluster, RAILS};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Nothing here takes longer unless it hangs.
const HANG: Duration = Duration::from_secs(40);

/// How much longer than the silence an error may take to reach everybody: beats are counted, and the machine may be busy.
const MARGIN: Duration = Duration::from_secs(3);

/// What ranks may send over loopback without anybody's data being among it.
const LOOPBACK_BYTES_MAX: u64 = 64 << 10;

#[test]
fn ranks_on_two_hosts_talk_from_the_interface_that_was_asked_for() {
    let Some(hosts) = hosts(2) else { return };
    connect(&hosts, &[("SERRIED_SOCKET_IFNAME", RAILS[0])]);
}

#[test]
fn ranks_on_three_hosts_find_the_interface_that_leads_to_the_others() {
    let Some(hosts) = hosts(3) else { return };
    connect(&hosts, &[]);
}

#[test]
fn an_interface_that_is_the_same_on_every_host_is_not_taken_for_the_way_to_another() {
    // What a container engine leaves behind everywhere: a bridge of its own with one and the same address.
    let Some(hosts) = Blueprint::new(&[1; 2]).beside("docker0", "172.17.0.1/16").build_or_skip() else { return };
    connect(&hosts, &[]);
}

#[test]
fn an_interface_that_leads_nowhere_does_not_keep_ranks_apart() {
    let Some(hosts) = Blueprint::new(&[1; 2]).beside("attic0", "10.99.0.1/24").build_or_skip() else { return };
    connect(&hosts, &[]);
    connect(&hosts, &[("SERRIED_SOCKET_IFNAME", "attic,fabric")]);
}

#[test]
fn a_rank_whose_own_end_goes_down_is_named_by_all_others_and_names_one() {
    pull_cables(|hosts, victim| hosts.pull_at_host(victim));
}

#[test]
fn a_rank_whose_far_end_goes_down_is_named_by_all_others_and_names_one() {
    pull_cables(|hosts, victim| hosts.pull_at_switch(victim));
}

#[test]
fn an_interface_that_is_not_there_is_an_error_that_names_the_variable() {
    let Some(hosts) = hosts(1) else { return };
    let mut ranks = start(&hosts, "connect", &[("SERRIED_SOCKET_IFNAME", "=nosuch0")]);
    let (_, error) = ranks[0].error();
    assert!(error.contains("SERRIED_SOCKET_IFNAME") && error.contains("nosuch0"), "{error}");
    assert!(error.contains(RAILS[0]), "it says what there is: {error}");
}

/// Hosts with one rank each; `None`, once it is said why, where there cannot be any.
fn hosts(count: usize) -> Option<Cluster> {
    Blueprint::new(&vec![1; count]).build_or_skip()
}

/// Runs one rank on each host and checks that they reach the right sums over the cables, from and to the cables' addresses only.
fn connect(hosts: &Cluster, environment: &[(&str, &str)]) {
    let began = Instant::now();
    let mut ranks = start(hosts, "connect", environment);
    for (number, rank) in ranks.iter_mut().enumerate() {
        let mine = IpAddr::V4(hosts.address(number, 0));
        let traffic = rank.traffic();
        let others: Vec<IpAddr> =
            (0..hosts.hosts()).filter(|host| *host != number).map(|host| hosts.address(host, 0).into()).collect();
        for (local, remote) in &traffic.connections {
            let right = *local == mine && others.contains(remote);
            assert!(right, "rank {number} has a connection from {local} to {remote}");
        }
        assert!(
            others.iter().all(|other| traffic.connections.iter().any(|(_, remote)| remote == other)),
            "rank {number} is connected to all others: {:?}",
            traffic.connections
        );
        assert!(traffic.cable_bytes >= ranks::PAYLOAD_BYTES, "the data went by the cable: {traffic:?}");
        assert!(traffic.loopback_bytes < LOOPBACK_BYTES_MAX, "none of it went by loopback: {traffic:?}");
    }
    assert!(began.elapsed() < HANG, "it took {:?}", began.elapsed());
}

fn pull_cables(pull: impl Fn(&Cluster, usize)) {
    for count in [2, 3] {
        for victim in [0, count - 1] {
            let Some(hosts) = hosts(count) else { return };
            let mut ranks = start(&hosts, "call", &[("SERRIED_SOCKET_IFNAME", RAILS[0])]);
            ranks.iter_mut().for_each(Rank::is_ready);
            let pulled_ms = monotonic_ms();
            pull(&hosts, victim);
            for (number, rank) in ranks.iter_mut().enumerate() {
                let label = format!("rank {number} of {count}, cable of {victim}");
                let (failed_ms, error) = rank.error();
                let after = Duration::from_millis(failed_ms - pulled_ms);
                assert!(after < SILENCE + MARGIN, "{label}: after {after:?}: {error}");
                assert!(error.starts_with(&format!("rank {number}: allreduce #")), "{label}: {error}");
                let silent =
                    |rank: usize| error.contains(&format!("rank {rank} was silent for {:.1} s", SILENCE.as_secs_f64()));
                if number == victim {
                    assert!((0..count).any(|other| other != victim && silent(other)), "{label}: {error}");
                } else {
                    assert!(silent(victim), "{label}: {error}");
                }
            }
        }
    }
}
