//! What looking up a call's choice costs, beside reading places whose indices are known, in the same run: both go through calls of mixed kinds and sizes. And what
//! finding all choices takes when a communicator begins.
//!
//! `cargo bench --bench choice`; a lookup is meant to take less than 20 ns.

use criterion::{Criterion, Throughput};
use serried::CollectiveKind;
use serried::schedule::Grouping;
use serried::tune::network::{LinkCost, Network};
use serried::tune::{Allowed, Candidates, Choice, Reach, Tables};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const CALLS: u64 = 1024;

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    let tables =
        Tables::new(Arc::new(Grouping::one_host(4)), Reach::Links { slot_bytes: 1 << 19 }, &Allowed::default());
    let calls = calls();
    let known: Vec<Choice> = calls.iter().map(|(kind, bytes)| *tables.choice(*kind, *bytes)).collect();
    let mut group = criterion.benchmark_group("choice");
    group.throughput(Throughput::Elements(CALLS));
    group.bench_function("looked up", |bencher| {
        bencher.iter(|| calls.iter().map(|(kind, bytes)| tables.choice(*kind, black_box(*bytes)).lanes).sum::<usize>());
    });
    group.bench_function("known", |bencher| {
        bencher.iter(|| (0..known.len()).map(|call| known[black_box(call)].lanes).sum::<usize>());
    });
    group.finish();
    prices(&mut criterion);
    criterion.final_summary();
}

/// What all ranks together do when a communicator begins: finding the best way of every collective and size on what was measured.
fn prices(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prices");
    for hosts in [[4, 0, 0, 0], [1, 1, 1, 1], [16, 0, 0, 0], [4, 4, 4, 4], [64, 0, 0, 0]] {
        let candidates = candidates(&hosts);
        let ranks: u32 = hosts.iter().sum();
        group.bench_function(format!("{ranks} ranks, {hosts:?}"), |bencher| {
            let cells = candidates.cells();
            bencher.iter(|| cells.iter().filter_map(|(kind, bytes)| candidates.best(*kind, *bytes)).count());
        });
    }
    group.finish();
}

/// On links as TCP makes them, and a core for each rank.
fn candidates(hosts: &[u32; 4]) -> Candidates {
    let sizes = (0..).zip(hosts).flat_map(|(host, ranks): (u32, _)| (0..*ranks).map(move |_| host));
    let link = LinkCost { latency_ns: 20_000.0, busy_ns: 5_000.0, byte_ns: 0.5, busy_byte_ns: 0.25, slots: 8 };
    let mut network = Network::unknown(Grouping::new(&sizes.collect::<Vec<u32>>()));
    let machines = network.machines.len();
    (network.inside, network.between) = (link, LinkCost { byte_ns: 1.0, ..link });
    (network.fold_byte_ns, network.shared_byte_ns, network.cores) = (0.1, vec![1.0; machines], vec![64; machines]);
    network.machines = (0..).take(machines).collect();
    Candidates { network, reach: Reach::Links { slot_bytes: 1 << 19 }, allowed: Allowed::default() }
}

/// Every collective, at sizes of every length, in no order.
fn calls() -> Vec<(CollectiveKind, usize)> {
    let kinds: Vec<_> = CollectiveKind::ALL.into_iter().filter(|kind| *kind != CollectiveKind::Send).collect();
    let mut state = 1u64;
    let mut next = || {
        // Xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    (0..CALLS).map(|_| (kinds[next() % kinds.len()], next() >> (next() % 64))).collect()
}
