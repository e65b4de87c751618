//! What prices say, beside formulas and beside running every slice.

use super::super::Allowed;
use super::super::calls::Calls;
use super::super::network::{COSTS, LinkCost};
use super::*;
use crate::schedule::{Algorithm, Program};
use crate::types::{CollectiveKind, Grouping};

const LATENCY_NS: f64 = 10_000.0;
const BYTE_NS: f64 = 8.0;

/// Hosts of so many ranks, with one kind of link everywhere; what a host's ranks share is as fast as one link.
fn network(sizes: &[u32]) -> Network {
    let hosts: Vec<u32> = (0..).zip(sizes).flat_map(|(host, size)| vec![host; *size as usize]).collect();
    let link = LinkCost { latency_ns: LATENCY_NS, busy_ns: 0.0, byte_ns: BYTE_NS, busy_byte_ns: 0.0, slots: 2 };
    Network {
        grouping: Grouping::new(&hosts),
        inside: LinkCost { latency_ns: 100.0, byte_ns: 0.01, ..link },
        between: link,
        shared_byte_ns: vec![BYTE_NS; sizes.len()],
        fold_byte_ns: 0.0,
        machines: vec![0; sizes.len()],
        cores: vec![64],
        crowded_ns: 0.0,
        calls: Calls::NONE,
        reads: None,
        room: Vec::new(),
    }
}

fn taken(network: &Network, kind: CollectiveKind, algorithm: Algorithm, sizes: Sizes) -> f64 {
    let program = |rank| Program::new(kind, 0, algorithm, rank, &network.grouping).expect("it serves the collective");
    let programs: Vec<_> = (0..network.grouping.size()).map(program).collect();
    time(network, &programs, sizes)
}

fn whole(bytes: usize) -> Sizes {
    Sizes { bytes, slice_bytes: bytes, lanes: 1, blocks: 1 }
}

#[track_caller]
fn about(actual: f64, expected: f64) {
    assert!((actual / expected - 1.0).abs() < 0.02, "{actual} ns, not about {expected}");
}

#[test]
fn a_ring_takes_what_its_formula_says() {
    for ranks in [2, 3, 4, 7, 16] {
        let (network, bytes) = (network(&vec![1; ranks]), 840 * 1024);
        let steps = 2.0 * (ranks as f64 - 1.0);
        let expected = steps * (LATENCY_NS + bytes as f64 / ranks as f64 * BYTE_NS);
        about(taken(&network, CollectiveKind::AllReduce, Algorithm::Ring, whole(bytes)), expected);
    }
}

#[test]
fn doubling_of_nothing_takes_a_latency_a_round() {
    for (ranks, rounds) in [(2, 1.0), (4, 2.0), (8, 3.0), (32, 5.0)] {
        let time = taken(&network(&vec![1; ranks]), CollectiveKind::AllReduce, Algorithm::Doubling, whole(0));
        about(time, rounds * LATENCY_NS);
    }
}

#[test]
fn slices_fill_a_chain() {
    let network = network(&[1; 8]);
    let bytes = 64 << 20;
    let alone = taken(&network, CollectiveKind::Broadcast, Algorithm::Chain, whole(bytes));
    about(alone, 7.0 * (LATENCY_NS + bytes as f64 * BYTE_NS));
    let sliced = Sizes { bytes, slice_bytes: 256 << 10, lanes: 2, blocks: 1 };
    let time = taken(&network, CollectiveKind::Broadcast, Algorithm::Chain, sliced);
    let floor = bytes as f64 * BYTE_NS;
    assert!(time > floor && time < 1.2 * floor, "{} of the floor", time / floor);
}

#[test]
fn a_message_waits_until_its_sender_knows_of_a_free_slot() {
    // Slices of 8 µs one after the other on one lane, and 10 µs each way: the message, and the news that it was taken.
    let sizes = Sizes { bytes: 8_000, slice_bytes: 1_000, lanes: 1, blocks: 1 };
    let with = |slots| {
        let mut network = network(&[1, 1]);
        network.between.slots = slots;
        taken(&network, CollectiveKind::Broadcast, Algorithm::Chain, sizes)
    };
    about(with(1), 7.0 * 28_000.0 + 18_000.0);
    about(with(2), 3.0 * 28_000.0 + 26_000.0);
    about(with(8), 8.0 * 8_000.0 + LATENCY_NS);
}

#[test]
fn more_ranks_than_cores_take_turns() {
    let mut network = network(&[4]);
    network.inside = LinkCost { latency_ns: 2_000.0, busy_ns: 1_000.0, byte_ns: 0.0, busy_byte_ns: 0.0, slots: 2 };
    let mut with = |cores, crowded_ns| {
        (network.cores, network.crowded_ns) = (vec![cores], crowded_ns);
        taken(&network, CollectiveKind::AllReduce, Algorithm::Doubling, whole(0))
    };
    // Two rounds of a message each way: 4 µs of work for each rank.
    about(with(4, 9_000.0), 4_000.0);
    about(with(1, 0.0), 16_000.0);
    assert!(with(1, 3_000.0) > 20_000.0, "going from one to the other takes time");
}

#[test]
fn the_largest_numbers_end() {
    let mut network = network(&[2, 1]);
    for number in [0.0, *COSTS.end()] {
        let link =
            LinkCost { latency_ns: number, busy_ns: number / 2.0, byte_ns: number, busy_byte_ns: number, slots: 1 };
        (network.inside, network.between, network.shared_byte_ns) = (link, link, vec![number; 2]);
        for algorithm in Algorithm::serving(CollectiveKind::AllReduce) {
            let sizes = Sizes { bytes: 1 << 20, slice_bytes: 1 << 16, lanes: 2, blocks: 1 };
            assert!(taken(&network, CollectiveKind::AllReduce, *algorithm, sizes).is_finite());
        }
    }
}

#[test]
fn ranks_of_a_host_share_its_way_out() {
    // Of two hosts of two, a ring takes each byte out of a host one and a half times, a hierarchy once.
    let (network, bytes) = (network(&[2, 2]), 8 << 20);
    let ring = taken(&network, CollectiveKind::AllReduce, Algorithm::Ring, whole(bytes));
    let hierarchy = taken(&network, CollectiveKind::AllReduce, Algorithm::Hierarchical, whole(bytes));
    about(ring, 1.5 * bytes as f64 * BYTE_NS);
    about(hierarchy, bytes as f64 * BYTE_NS);
}

#[test]
fn what_a_price_is_made_of_adds_up() {
    let network = Network { fold_byte_ns: 1.0, ..network(&[1, 2, 3]) };
    for algorithm in Algorithm::serving(CollectiveKind::AllReduce) {
        let program = |rank| Program::new(CollectiveKind::AllReduce, 0, *algorithm, rank, &network.grouping);
        let programs: Vec<_> = (0..6).map(|rank| program(rank).expect("it serves the allreduce")).collect();
        let sizes = Sizes { bytes: 3 << 20, slice_bytes: 512 << 10, lanes: 2, blocks: 1 };
        let price = price(&network, &programs, sizes);
        about(price.latency_ns + price.bandwidth_ns + price.reduction_ns, price.total_ns);
        assert!(price.latency_ns > 0.0 && price.bandwidth_ns > 0.0 && price.reduction_ns >= 0.0, "{algorithm}");
        about(price.total_ns, time(&network, &programs, sizes));
    }
}

#[test]
fn long_messages_take_about_as_long_as_running_every_slice() {
    let (mut off, mut worst) = (Vec::new(), 0.0f64);
    for sizes in [&[2, 1][..], &[4], &[1, 1, 1, 1], &[16], &[4, 4], &[1, 2, 3]] {
        let network = network(sizes);
        let link = LinkCost { latency_ns: 20_000.0, busy_ns: 5_000.0, byte_ns: 0.5, busy_byte_ns: 0.25, slots: 8 };
        let between = LinkCost { byte_ns: 1.0, ..link };
        let shared_byte_ns = vec![1.0; sizes.len()];
        let network = Network { inside: link, between, fold_byte_ns: 0.1, shared_byte_ns, ..network };
        for (kind, lanes) in CollectiveKind::ALL.into_iter().flat_map(|kind| [(kind, 2), (kind, 4)]) {
            for algorithm in Algorithm::serving(kind) {
                let program = |rank| Program::new(kind, 0, *algorithm, rank, &network.grouping);
                let programs: Vec<_> = (0..network.grouping.size()).filter_map(program).collect();
                let sizes = Sizes { bytes: 64 * 65536, slice_bytes: 65536, lanes, blocks: 1 };
                let all = Run::new(&network, &programs, sizes, 64, lanes).finish(f64::INFINITY);
                let error = (time(&network, &programs, sizes) / all - 1.0).abs();
                off.push(error);
                worst = worst.max(error);
            }
        }
    }
    let mean = off.iter().sum::<f64>() / off.len() as f64;
    assert!(mean < 0.01 && worst < 0.15, "{mean} and {worst} off");
}

#[test]
fn no_price_is_below_its_floor() {
    let hosts_and_cores = [
        (&[1u32, 1, 1, 1][..], 64, 0.0, 0.0),
        (&[2, 2], 64, 0.1, 0.0),
        (&[3, 1, 2], 2, 0.1, 500.0),
        (&[4, 4, 4], 3, 0.1, 500.0),
    ];
    for (sizes, cores, fold_byte_ns, crowded_ns) in hosts_and_cores {
        let mut network = network(sizes);
        (network.fold_byte_ns, network.crowded_ns) = (fold_byte_ns, crowded_ns);
        // The last host is on a machine of its own.
        network.machines[sizes.len() - 1] = 1;
        network.cores = vec![cores, 1];
        (network.between.busy_ns, network.between.busy_byte_ns) = (3_000.0, 0.5);
        let slice = 1 << 16;
        for (bytes, slice_bytes, lanes) in [
            (0, 1, 1),
            (1 << 10, 1 << 10, 1),
            (43 * slice / 10, slice, 1),
            (801 * slice / 100, slice, 2),
            (8 << 20, slice, 4),
        ] {
            for kind in CollectiveKind::ALL.into_iter().filter(|kind| *kind != CollectiveKind::Send) {
                let blocks = if kind.is_of_blocks() { network.grouping.size() } else { 1 };
                let sizes = Sizes { bytes, slice_bytes, lanes, blocks };
                for algorithm in Allowed::default().of(kind) {
                    let (floor, time) = floor_and_time(&network, kind, algorithm, sizes);
                    assert!(floor <= time * FLOOR_OFF, "{kind:?} by {algorithm}, {sizes:?}: {floor} and {time}");
                    assert!(floor > 0.0, "{kind:?} by {algorithm}, {sizes:?}");
                }
            }
        }
    }
    // A host of two ranks in a ring of four: each byte of the message leaves it one and a half times.
    let bytes = 1 << 20;
    let (floor, _) = floor_and_time(&network(&[2, 2]), CollectiveKind::AllReduce, Algorithm::Ring, whole(bytes));
    about(floor, 1.5 * bytes as f64 * BYTE_NS);
}

fn floor_and_time(network: &Network, kind: CollectiveKind, algorithm: Algorithm, sizes: Sizes) -> (f64, f64) {
    let program = |rank| Program::new(kind, 0, algorithm, rank, &network.grouping).expect("it serves the collective");
    let programs: Vec<_> = (0..network.grouping.size()).map(program).collect();
    (floor(network, &programs, sizes).ns, time(network, &programs, sizes))
}
