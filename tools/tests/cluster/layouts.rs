//! Every way of spreading ranks over hosts: who shares memory, who talks over the network, and that results are right.

use crate::runs::{Alone, rows};
use serde_json::Value;
use serried_cluster::Blueprint;

/// Ranks of each host.
const LAYOUTS: [&[usize]; 4] = [&[1, 1, 1, 1], &[2, 2], &[2, 2, 2, 2], &[1, 2, 3]];

/// The host of each rank.
fn places(layout: &[usize]) -> Vec<usize> {
    layout.iter().enumerate().flat_map(|(host, &ranks)| std::iter::repeat_n(host, ranks)).collect()
}

#[test]
fn ranks_of_a_host_share_memory_and_others_talk_over_the_network() {
    for layout in LAYOUTS {
        let Some(cluster) = Alone::build(&Blueprint::new(layout)) else { return };
        let json = cluster.text("probe --json", &[]);
        let report: Value = serde_json::from_str(&json).unwrap_or_else(|why| panic!("{why}: {json}"));
        let places = places(layout);
        let pairs = report["pairs"].as_array().expect("pairs");
        assert_eq!(pairs.len(), places.len() * (places.len() - 1) / 2, "{layout:?}");
        for pair in pairs {
            let place = |end: usize| places[pair["ranks"][end].as_u64().expect("a rank") as usize];
            let wanted = if place(0) == place(1) { "shm" } else { "tcp" };
            assert_eq!(pair["transport"], wanted, "{layout:?}: {pair}");
        }
    }
}

#[test]
fn every_algorithm_of_allreduce_is_right_on_every_layout() {
    for layout in LAYOUTS {
        let Some(cluster) = Alone::build(&Blueprint::new(layout)) else { return };
        // One element, fewer than there are ranks; a number with few divisors; a prime number.
        let table = cluster.table("all_reduce --algo auto,all -b 4 -e 131084 -i 65540 -n 1", &[]);
        assert!(rows(&table).len() > 3, "{layout:?}: {table}");
        // What rank 0 prints of each is its number on its host.
        for (rank, host) in places(layout).into_iter().enumerate() {
            let local = rank - layout[..host].iter().sum::<usize>();
            let line =
                table.lines().find(|line| line.starts_with(&format!("#  Rank {rank:>2} "))).expect("a line a rank");
            assert!(line.contains(&format!(" device {local:>2} ")), "{layout:?}: {line}");
        }
    }
}

#[test]
fn every_other_collective_is_right_on_every_layout() {
    for layout in LAYOUTS {
        let Some(cluster) = Alone::build(&Blueprint::new(layout)) else { return };
        for collective in [
            "reduce -r 1",
            "broadcast -r 1",
            "reduce_scatter",
            "all_gather",
            "gather",
            "scatter",
            "all_to_all",
            "sendrecv",
            "barrier",
        ] {
            cluster.table(&format!("{collective} -b 4 -e 131084 -i 65540 -n 1"), &[]);
        }
    }
}
