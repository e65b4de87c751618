//! Hosts with two cables each, to switches that do not know each other.

use crate::runs::{Alone, CHATTER_BYTES, print};
use serried_cluster::{Blueprint, RAILS};

#[test]
fn two_rails_carry_one_pairs_messages_and_are_told_apart() {
    let Some(cluster) = Alone::build(&Blueprint::new(&[2, 2]).rails(2).rate("1gbit")) else { return };
    for (title, environment) in [
        ("a socket each", &[][..]),
        ("one socket", &[("SERRIED_SOCKETS", "1")]),
        ("four sockets", &[("SERRIED_SOCKETS", "4")]),
        ("the second rail asked for", &[("SERRIED_SOCKET_IFNAME", RAILS[1])]),
    ] {
        let sent = || [0, 1].map(|host| RAILS.map(|rail| cluster.0.sent_bytes(host, rail)));
        let before = sent();
        let table = cluster.table("all_reduce -b 64 -e 1M -f 128 -n 5", environment);
        let after = sent();
        print(&format!("allreduce, 2 x 2 ranks, two rails of 1 Gb/s, {title}"), &table);
        for host in [0, 1] {
            let bytes = [0, 1].map(|rail| after[host][rail] - before[host][rail]);
            println!("  host {host} sent {} bytes by {}, {} by {}", bytes[0], RAILS[0], bytes[1], RAILS[1]);
            // Each host sends half the message at least in each of the calls.
            assert!(bytes.iter().sum::<u64>() > 10 * (1 << 20) / 2, "host {host}, {title}: {bytes:?}");
            let asked = environment.contains(&("SERRIED_SOCKET_IFNAME", RAILS[1]));
            assert!(!asked || bytes[0] < CHATTER_BYTES, "host {host}, {title}: {bytes:?}");
            // Even with a socket a pair, the ranks of a host take turns at the rails.
            let few = bytes.iter().sum::<u64>() / 10;
            assert!(asked || bytes.iter().all(|bytes| *bytes > few), "host {host}, {title}: {bytes:?}");
        }
    }
}
