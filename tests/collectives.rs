//! Every collective and messages, as a user calls them: ranks as threads of one process, over every transport and by every algorithm.

use serried::schedule::Algorithm;
use serried::{CollectiveKind, Communicator, Config, Op, Probe, TransportChoice, UniqueId};
use std::time::Duration;

/// Counts around every boundary: none, one, fewer than ranks, lines, slots, slices.
const COUNTS: [usize; 9] = [0, 1, 3, 14, 31, 1000, 4099, 20_000, 70_001];

/// The ways in which ranks of one host talk; every body below runs over all of them, by each algorithm that serves the collective.
fn configs(kind: CollectiveKind) -> Vec<(String, Config)> {
    let mut configs = Vec::new();
    // An emulated machine with RoCE devices is there for those, and slow.
    let transports: &[_] = match std::env::var_os("SERRIED_SOFTROCE") {
        None => &[TransportChoice::Shm, TransportChoice::Tcp],
        Some(_) => &[TransportChoice::Verbs],
    };
    for &transport in transports {
        configs.push((format!("{transport:?}"), Config { transport, ..Config::default() }));
        for &algorithm in Algorithm::serving(kind) {
            let config = Config { transport, algorithms: algorithm.into(), probe: Probe::Off, ..Config::default() };
            configs.push((format!("{transport:?}, {algorithm}"), config));
        }
    }
    configs
}

/// Runs `body` as `size` ranks on threads and gives their results back in order.
fn ranks<R: Send>(size: u32, config: &Config, body: impl Fn(Communicator) -> R + Sync) -> Vec<R> {
    ranks_with(&vec![config.clone(); size as usize], body)
}

/// The same with a config for each rank.
fn ranks_with<R: Send>(configs: &[Config], body: impl Fn(Communicator) -> R + Sync) -> Vec<R> {
    let id = UniqueId::create(&configs[0].control).expect("a rendezvous");
    std::thread::scope(|scope| {
        let (id, body, size) = (&id, &body, configs.len() as u32);
        let rank = |(rank, config)| {
            scope.spawn(move || body(Communicator::create(id, rank, size, config).expect("all ranks come")))
        };
        let threads: Vec<_> = (0..).zip(configs).map(rank).collect();
        threads.into_iter().map(|thread| thread.join().expect("a rank's body holds")).collect()
    })
}

/// The element at `index` of what `rank` gives in the call with this seed.
fn element(seed: usize, rank: u32, index: usize) -> i32 {
    (index as i32).wrapping_mul(2_654_435) ^ (rank as i32).wrapping_mul(97_003) ^ (seed as i32).wrapping_mul(31)
}

fn input(seed: usize, rank: u32, count: usize) -> Vec<i32> {
    (0..count).map(|index| element(seed, rank, index)).collect()
}

/// The sum of all ranks' elements at `index`.
fn sum(seed: usize, size: u32, index: usize) -> i32 {
    (0..size).fold(0, |sum, rank| sum.wrapping_add(element(seed, rank, index)))
}

/// Runs `body` with each number of ranks, each way and each count, and once for each root or once in all.
fn everywhere(kind: CollectiveKind, body: impl Fn(&Communicator, usize, u32, &str) + Sync) {
    let calls = |configs: &[Config], counts: &[usize], label: &str| {
        let size = configs.len() as u32;
        let roots = if kind.has_root() { size } else { 1 };
        ranks_with(configs, |comm| {
            for &count in counts {
                for root in 0..roots {
                    body(&comm, count, root, &format!("{label}, {size} ranks, {count} elements, root {root}"));
                }
            }
        });
    };
    for (label, config) in configs(kind) {
        for size in [1, 2, 3, 4, 5, 8] {
            // The large counts only where few threads share the cores.
            calls(&vec![config.clone(); size], if size <= 4 { &COUNTS } else { &COUNTS[..6] }, &label);
        }
    }
    for algorithm in [Algorithm::Hierarchical, Algorithm::Leaders] {
        // Ranks that pretend to be on hosts of different sizes, numbered host by host and not.
        for hosts in ["abbccc", "abacbb"].into_iter().filter(|_| Algorithm::serving(kind).contains(&algorithm)) {
            let config =
                |host: char| Config { algorithms: algorithm.into(), host_id: Some(host.into()), ..Config::default() };
            calls(&hosts.chars().map(config).collect::<Vec<_>>(), &COUNTS[..6], &format!("{algorithm} on {hosts}"));
        }
    }
}

#[test]
fn reduce_ends_at_the_root() {
    everywhere(CollectiveKind::Reduce, |comm, count, root, label| {
        let mine = input(count, comm.rank(), count);
        let expected: Vec<i32> = (0..count).map(|index| sum(count, comm.size(), index)).collect();
        let mut output = vec![-7; if comm.rank() == root { count } else { 0 }];
        comm.reduce_into(&mine, &mut output, Op::Sum, root).expect(label);
        let mut data = mine.clone();
        comm.reduce(&mut data, Op::Sum, root).expect(label);
        if comm.rank() == root {
            assert!(output == expected && data == expected, "{label}");
        } else {
            assert!(data == mine, "{label}: the others keep theirs");
        }
    });
}

#[test]
fn broadcast_spreads_the_root() {
    everywhere(CollectiveKind::Broadcast, |comm, count, root, label| {
        let expected = input(count, root, count);
        let mut data = if comm.rank() == root { expected.clone() } else { vec![-7; count] };
        comm.broadcast(&mut data, root).expect(label);
        assert!(data == expected, "{label}");
        let mine = input(count, comm.rank(), count);
        let mut output = vec![-7; count];
        comm.broadcast_into(&mine, &mut output, root).expect(label);
        assert!(output == expected, "{label}, out of place");
    });
}

#[test]
fn reduce_scatter_gives_each_its_block() {
    everywhere(CollectiveKind::ReduceScatter, |comm, count, _, label| {
        let (rank, size) = (comm.rank() as usize, comm.size());
        let all = input(count, comm.rank(), count * size as usize);
        let expected: Vec<i32> = (0..count).map(|index| sum(count, size, rank * count + index)).collect();
        let mut output = vec![-7; count];
        comm.reduce_scatter(&all, &mut output, Op::Sum).expect(label);
        assert!(output == expected, "{label}");
        let mut data = all.clone();
        comm.reduce_scatter_in_place(&mut data, Op::Sum).expect(label);
        let mut right = all;
        right[rank * count..][..count].copy_from_slice(&expected);
        assert!(data == right, "{label}, in place: only the own block changes");
    });
}

#[test]
fn all_gather_gives_all_to_all() {
    everywhere(CollectiveKind::AllGather, |comm, count, _, label| {
        let mine = input(count, comm.rank(), count);
        let expected: Vec<i32> = (0..comm.size()).flat_map(|rank| input(count, rank, count)).collect();
        let mut output = vec![-7; expected.len()];
        comm.all_gather(&mine, &mut output).expect(label);
        assert!(output == expected, "{label}");
        let mut data = vec![-7; expected.len()];
        data[comm.rank() as usize * count..][..count].copy_from_slice(&mine);
        comm.all_gather_in_place(&mut data).expect(label);
        assert!(data == expected, "{label}, in place");
    });
}

#[test]
fn gather_and_scatter_are_each_others_reverse() {
    for kind in [CollectiveKind::Gather, CollectiveKind::Scatter] {
        everywhere(kind, |comm, count, root, label| {
            let mine = input(count, comm.rank(), count);
            let all: Vec<i32> = (0..comm.size()).flat_map(|rank| input(count, rank, count)).collect();
            let at_root = if comm.rank() == root { all.len() } else { 0 };
            let mut gathered = vec![-7; at_root];
            comm.gather(&mine, &mut gathered, root).expect(label);
            assert!(gathered == all[..at_root], "{label}: gathered");
            let mut back = vec![-7; count];
            comm.scatter(&gathered, &mut back, root).expect(label);
            assert!(back == mine, "{label}: scattered");
        });
    }
}

#[test]
fn all_to_all_transposes() {
    everywhere(CollectiveKind::AllToAll, |comm, count, _, label| {
        let (rank, size) = (comm.rank() as usize, comm.size() as usize);
        let given = input(count, comm.rank(), count * size);
        let block = |from: u32| (0..count).map(move |index| element(count, from, rank * count + index));
        let expected: Vec<i32> = (0..comm.size()).flat_map(block).collect();
        let mut got = vec![-7; count * size];
        comm.all_to_all(&given, &mut got).expect(label);
        assert!(got == expected, "{label}");
    });
}

/// One call of the kind with this number, checked.
fn any_call(comm: &Communicator, which: usize, count: usize, root: u32, seed: usize) {
    let (rank, size) = (comm.rank(), comm.size());
    let mine = input(seed, rank, count);
    let sums =
        |start: usize, count: usize| (start..start + count).map(|index| sum(seed, size, index)).collect::<Vec<_>>();
    let all = || (0..size).flat_map(|rank| input(seed, rank, count)).collect::<Vec<_>>();
    let at_root = |elements: usize| if rank == root { elements } else { 0 };
    let label = format!("call {seed}: kind {which} of {count}, root {root}, rank {rank} of {size}");
    match which {
        0 => {
            let mut data = mine;
            comm.all_reduce(&mut data, Op::Sum).expect(&label);
            assert!(data == sums(0, count), "{label}");
        }
        1 => {
            let mut output = vec![0; at_root(count)];
            comm.reduce_into(&mine, &mut output, Op::Sum, root).expect(&label);
            assert!(rank != root || output == sums(0, count), "{label}");
        }
        2 => {
            let mut data = mine;
            comm.broadcast(&mut data, root).expect(&label);
            assert!(data == input(seed, root, count), "{label}");
        }
        3 => {
            let mut output = vec![0; count];
            comm.reduce_scatter(&input(seed, rank, count * size as usize), &mut output, Op::Sum).expect(&label);
            assert!(output == sums(rank as usize * count, count), "{label}");
        }
        4 => {
            let mut output = vec![0; count * size as usize];
            comm.all_gather(&mine, &mut output).expect(&label);
            assert!(output == all(), "{label}");
        }
        5 => {
            let mut output = vec![0; at_root(count * size as usize)];
            comm.gather(&mine, &mut output, root).expect(&label);
            assert!(rank != root || output == all(), "{label}");
        }
        6 => {
            let (given, mut output) = (all(), vec![0; count]);
            comm.scatter(&given[..at_root(given.len())], &mut output, root).expect(&label);
            assert!(output == mine, "{label}");
        }
        7 => {
            let mut output = vec![0; count * size as usize];
            comm.all_to_all(&input(seed, rank, count * size as usize), &mut output).expect(&label);
            let block = |from: u32| (0..count).map(move |index| element(seed, from, rank as usize * count + index));
            assert!(output == (0..size).flat_map(block).collect::<Vec<_>>(), "{label}");
        }
        _ => comm.barrier().expect(&label),
    }
}

#[test]
fn calls_of_changing_kind_and_root_follow_each_other() {
    for transport in [TransportChoice::Auto, TransportChoice::Tcp] {
        for size in [2, 3, 5] {
            ranks(size, &Config { transport, ..Config::default() }, |comm| {
                // The same numbers on every rank; no rank waits for another between calls, and now and then one is late.
                let mut random = 7u64;
                let mut below = |limit: usize| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (random >> 33) as usize % limit
                };
                for seed in 0..400 {
                    let counts = [0, 1, 2, 7, 14, 15, 100, 3000, 9000, 33_000];
                    let (which, count, root) = (below(9), counts[below(10)], below(size as usize) as u32);
                    let late = below(20 * size as usize);
                    if late == comm.rank() as usize {
                        // why: that a rank is late is what is tested.
                        std::thread::sleep(LATE);
                    }
                    any_call(&comm, which, count, root, seed);
                }
            });
        }
    }
}

/// So late a rank is now and then: long enough for others to compare what they are in.
const LATE: Duration = Duration::from_millis(2);

/// Counts of all ranks' blocks: uneven, some empty.
fn uneven(size: u32, count: usize) -> Vec<usize> {
    (0..size as usize).map(|rank| if rank % 3 == 1 { 0 } else { count / (rank + 1) + rank }).collect()
}

#[test]
fn blocks_of_uneven_sizes_arrive_whole() {
    everywhere(CollectiveKind::AllGather, |comm, count, _, label| {
        let (rank, size) = (comm.rank(), comm.size());
        let counts = uneven(size, count);
        let mine = input(count, rank, counts[rank as usize]);
        let all: Vec<i32> = (0..size).flat_map(|rank| input(count, rank, counts[rank as usize])).collect();
        let mut gathered = vec![-7; all.len()];
        comm.all_gather_v(&mine, &mut gathered, &counts).expect(label);
        assert!(gathered == all, "{label}: all_gather_v");
        let root = size / 2;
        let at_root = if rank == root { all.len() } else { 0 };
        let mut gathered = vec![-7; at_root];
        comm.gather_v(&mine, &mut gathered, &counts, root).expect(label);
        assert!(gathered == all[..at_root], "{label}: gather_v");
        let mut back = vec![-7; mine.len()];
        comm.scatter_v(&all[..at_root], &mut back, &counts, root).expect(label);
        assert!(back == mine, "{label}: scatter_v");
        let whole = input(count, rank, all.len());
        let before: usize = counts[..rank as usize].iter().sum();
        let expected: Vec<i32> = (0..mine.len()).map(|index| sum(count, size, before + index)).collect();
        let mut reduced = vec![-7; mine.len()];
        comm.reduce_scatter_v(&whole, &mut reduced, &counts, Op::Sum).expect(label);
        assert!(reduced == expected, "{label}: reduce_scatter_v");
    });
}

#[test]
fn uneven_exchanges_arrive_whole() {
    // What `from` gives to `to`.
    let count = |scale: usize, from: u32, to: u32| (from as usize * 3 + to as usize * 5) % 4 * scale;
    everywhere(CollectiveKind::AllToAll, |comm, scale, _, label| {
        let (rank, size) = (comm.rank(), comm.size());
        let given: Vec<usize> = (0..size).map(|to| count(scale, rank, to)).collect();
        let got: Vec<usize> = (0..size).map(|from| count(scale, from, rank)).collect();
        let data = input(scale, rank, given.iter().sum());
        let from = |from: u32| {
            let before: usize = (0..rank).map(|to| count(scale, from, to)).sum();
            (0..count(scale, from, rank)).map(move |index| element(scale, from, before + index))
        };
        let expected: Vec<i32> = (0..size).flat_map(from).collect();
        let mut output = vec![-7; expected.len()];
        comm.all_to_all_v(&data, &given, &mut output, &got).expect(label);
        assert!(output == expected, "{label}");
    });
}

#[test]
fn nobody_passes_a_barrier_before_all_have_come() {
    use std::sync::atomic::{AtomicU32, Ordering};
    for (label, config) in configs(CollectiveKind::Barrier) {
        for size in [1, 2, 3, 5, 8] {
            let arrived = AtomicU32::new(0);
            ranks(size, &config, |comm| {
                for round in 1..=20 {
                    arrived.fetch_add(1, Ordering::SeqCst);
                    comm.barrier().expect("all ranks are well");
                    assert!(arrived.load(Ordering::SeqCst) >= round * size, "{label}, {size} ranks, round {round}");
                }
            });
        }
    }
}
