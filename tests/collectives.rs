//! Every collective and messages, as a user calls them: ranks as threads of one process, over every transport and by every algorithm.

use serried::schedule::Algorithm;
use serried::{CollectiveKind, Communicator, Config, Error, Group, Op, TransportChoice, UniqueId};
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
            let config = Config { transport, algorithm: Some(algorithm), ..Config::default() };
            configs.push((format!("{transport:?}, {algorithm}"), config));
        }
    }
    configs
}

/// Runs `body` as `size` ranks on threads and gives their results back in order.
fn ranks<R: Send>(size: u32, config: &Config, body: impl Fn(Communicator) -> R + Sync) -> Vec<R> {
    let id = UniqueId::create(&config.control).expect("a rendezvous");
    std::thread::scope(|scope| {
        let (id, body) = (&id, &body);
        let rank = |rank| move || body(Communicator::create(id, rank, size, config).expect("all ranks come"));
        let threads: Vec<_> = (0..size).map(|number| scope.spawn(rank(number))).collect();
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
    for (label, config) in configs(kind) {
        for size in [1, 2, 3, 4, 5, 8] {
            // The large counts only where few threads share the cores.
            let counts = if size <= 4 { &COUNTS[..] } else { &COUNTS[..6] };
            let roots = if kind.has_root() { size } else { 1 };
            ranks(size, &config, |comm| {
                for &count in counts {
                    for root in 0..roots {
                        body(&comm, count, root, &format!("{label}, {size} ranks, {count} elements, root {root}"));
                    }
                }
            });
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
                // The same numbers on every rank; no rank waits for another between calls.
                let mut random = 7u64;
                let mut below = |limit: usize| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (random >> 33) as usize % limit
                };
                for seed in 0..400 {
                    let counts = [0, 1, 2, 7, 14, 15, 100, 3000, 9000];
                    let (which, count, root) = (below(9), counts[below(9)], below(size as usize) as u32);
                    any_call(&comm, which, count, root, seed);
                }
            });
        }
    }
}

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

#[test]
fn messages_arrive_in_order_and_in_any_order_of_a_group() {
    for (label, config) in configs(CollectiveKind::Send) {
        for size in [2, 3, 5] {
            ranks(size, &config, |comm| {
                let rank = comm.rank();
                for &count in &COUNTS {
                    // To everybody, oneself included, twice each; received in another order than sent.
                    let given: Vec<Vec<i32>> = (0..2 * size).map(|seed| input(seed as usize, rank, count)).collect();
                    let mut got = vec![vec![-7; count]; 2 * size as usize];
                    let mut group = Group::new();
                    for (seed, data) in (0..).zip(&given) {
                        group.send(&comm, data, seed / 2);
                    }
                    for (index, data) in (0..).zip(&mut got) {
                        group.recv(&comm, data, (index / 2 + rank) % size);
                    }
                    group.run().expect(&label);
                    for (index, data) in (0..).zip(&got) {
                        let (from, turn) = ((index / 2 + rank) % size, index % 2);
                        assert!(
                            *data == input((2 * rank + turn) as usize, from, count),
                            "{label}: {count} from {from}"
                        );
                    }
                }
                // One after the other, along a line.
                let mut data = if rank == 0 { input(9, 0, 5000) } else { vec![0; 5000] };
                if rank > 0 {
                    comm.recv(&mut data, rank - 1).expect(&label);
                }
                if rank + 1 < size {
                    comm.send(&data, rank + 1).expect(&label);
                }
                comm.barrier().expect(&label);
                assert!(data == input(9, 0, 5000), "{label}: along a line");
            });
        }
    }
}

#[test]
fn a_group_runs_collectives_of_several_communicators_in_any_order() {
    let config = Config::default();
    ranks(3, &config, |comm| {
        let other = comm.duplicate().expect("all ranks are well");
        for round in 0..20 {
            let (mut a, mut b) = ([comm.rank() as i32 + round; 100], [1i32; 2000]);
            let mut group = Group::new();
            // Ranks list the communicators in different orders.
            if comm.rank() % 2 == 0 {
                group.call(
                    &comm,
                    serried::Request::all_reduce(
                        serried::reduce::Reduction::of(serried::DataType::I32, Op::Sum),
                        None,
                        bytes(&mut a),
                    ),
                );
                group.call(
                    &other,
                    serried::Request::all_reduce(
                        serried::reduce::Reduction::of(serried::DataType::I32, Op::Sum),
                        None,
                        bytes(&mut b),
                    ),
                );
            } else {
                group.call(
                    &other,
                    serried::Request::all_reduce(
                        serried::reduce::Reduction::of(serried::DataType::I32, Op::Sum),
                        None,
                        bytes(&mut b),
                    ),
                );
                group.call(
                    &comm,
                    serried::Request::all_reduce(
                        serried::reduce::Reduction::of(serried::DataType::I32, Op::Sum),
                        None,
                        bytes(&mut a),
                    ),
                );
            }
            group.run().expect("all ranks are well");
            assert!(a.iter().all(|value| *value == 3 + 3 * round) && b.iter().all(|value| *value == 3));
        }
    });
}

fn bytes(data: &mut [i32]) -> &mut [u8] {
    zerocopy::IntoBytes::as_mut_bytes(data)
}

#[test]
fn a_split_makes_communicators_of_colours_in_the_order_of_keys() {
    for transport in [TransportChoice::Auto, TransportChoice::Tcp] {
        let config = Config { transport, ..Config::default() };
        ranks(5, &config, |comm| {
            let rank = comm.rank();
            // Ranks 0, 2, 4 in reverse; 1 and 3 as they are; then nobody but rank 3.
            let half = comm.split(Some(rank % 2), -i64::from(rank * (1 - rank % 2))).expect("all are well");
            let half = half.expect("every rank has a colour");
            let (place, size) = if rank.is_multiple_of(2) { (2 - rank / 2, 3) } else { (rank / 2, 2) };
            assert_eq!((half.rank(), half.size()), (place, size));
            let mut data = [rank];
            half.all_reduce(&mut data, Op::Sum).expect("all are well");
            assert_eq!(data, if rank.is_multiple_of(2) { [6] } else { [4] });
            let alone = comm.split((rank == 3).then_some(9), 0).expect("all are well");
            assert_eq!(alone.map(|alone| (alone.rank(), alone.size())), (rank == 3).then_some((0, 1)));
            let some = comm.subset(&[4, 1]).expect("all are well");
            assert_eq!(some.as_ref().map(Communicator::rank), [None, Some(1), None, None, Some(0)][rank as usize]);
            // The parent and its children go on side by side.
            if let Some(some) = some {
                let mut data = [rank + 10];
                some.broadcast(&mut data, 0).expect("both are well");
                assert_eq!(data, [14]);
            }
            comm.barrier().expect("all are well");
            let error = comm.subset(&[0, 7]).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("there is no rank 7"), "{error}");
        });
    }
}

#[test]
fn ranks_that_disagree_get_an_error_that_names_both_calls() {
    for transport in [TransportChoice::Shm, TransportChoice::Tcp] {
        let config = Config { transport, timeout: Duration::from_secs(20), ..Config::default() };
        let all = |call: fn(&Communicator) -> Result<(), Error>| {
            // A rank that only gives may be through before.
            let errors: Vec<Error> = ranks(3, &config, |comm| call(&comm).err()).into_iter().flatten().collect();
            let mismatch = |error: &&Error| matches!(error, Error::Mismatch { .. });
            assert!(errors.iter().any(|error| mismatch(&error)), "{transport:?}: {errors:?}");
            errors.iter().find(mismatch).expect("one was seen").to_string()
        };
        let error = all(|comm| match comm.rank() {
            1 => comm.broadcast(&mut [1i32; 8], 0),
            _ => comm.all_gather(&[1i32; 8], &mut [0; 24]),
        });
        assert!(error.contains("broadcast #1") && error.contains("all_gather #1"), "{error}");
        let error = all(|comm| comm.broadcast(&mut [1i32; 8], comm.rank() % 2).and_then(|()| comm.barrier()));
        assert!(error.contains("broadcast #1 of 8 int32, from rank "), "{error}");
        let error = all(|comm| {
            comm.all_gather_v(&[1i32; 2], &mut [0; 6], &[2, 2, 2]).and_then(|()| {
                let counts = if comm.rank() == 0 { [2, 1, 3] } else { [2, 3, 1] };
                comm.all_gather_v(&[1i32; 3][..counts[comm.rank() as usize]], &mut [0; 6], &counts)
            })
        });
        assert!(error.contains("uneven blocks"), "{error}");
        let error = all(|comm| match comm.rank() {
            0 => comm.send(&[1i32; 8], 1),
            1 => comm.recv(&mut [1i32; 9], 0),
            _ => comm.barrier(),
        });
        assert!(error.contains("send #1 of 8") && error.contains("send #1 of 9"), "{error}");
        let error = all(|comm| match comm.rank() {
            0 => comm.recv(&mut [0i32; 8], 1),
            _ => comm.barrier(),
        });
        assert!(error.contains("rank 0 called send #1") && error.contains("called barrier #1"), "{error}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name_and_breaks_nothing() {
    ranks(2, &Config::default(), |comm| {
        let refusal = |result: Result<(), Error>| match result {
            Err(Error::InvalidArgument { what }) => what,
            other => panic!("{other:?}"),
        };
        let rank = comm.rank();
        let cases = [
            (
                refusal(comm.broadcast(&mut [0u8; 4], 2)),
                "broadcast: there is no rank 2 to be the root; ranks are 0 to 1",
            ),
            (
                refusal(comm.reduce_into(&[0f32; 3], &mut [0f32; 4], Op::Sum, rank)),
                "the input has 12 bytes where 16 are due",
            ),
            (refusal(comm.all_gather(&[0u8; 4], &mut [0u8; 9])), "the output has 9 bytes where 8 are due"),
            (refusal(comm.reduce_scatter(&[0i32; 5], &mut [0; 2], Op::Max)), "the input has 20 bytes where 16 are due"),
            (
                refusal(comm.reduce_scatter_in_place(&mut [0i32; 5], Op::Max)),
                "20 bytes are not a block of whole elements for each of 2 ranks",
            ),
            (refusal(comm.all_gather_v(&[0u8; 4], &mut [0u8; 9], &[4])), "there are 1 counts for 2 ranks"),
            (refusal(comm.gather(&[0u8; 4], &mut [0u8; 7], rank)), "the output has 7 bytes where 8 are due"),
            (refusal(comm.scatter(&[0u8; 4], &mut [0u8; 4], 1 - rank)), "the input has 4 bytes where 0 are due"),
            (refusal(comm.all_to_all(&[0u8; 4], &mut [0u8; 6])), "the input has 4 bytes where 6 are due"),
            (refusal(comm.all_to_all_v(&[0u8; 2], &[1, 1], &mut [0; 4], &[2, 2])), "what it gives itself"),
            (
                refusal(comm.all_gather_v(&[0u8; 4], &mut [0u8; 9], &[usize::MAX, usize::MAX])),
                "more than memory can hold",
            ),
            (refusal(comm.send(&[0u8; 4], 2)), "send: there is no rank 2"),
            (refusal(comm.recv(&mut [0u8; 4], rank)), "as often as it receives"),
        ];
        for (error, part) in cases {
            assert!(error.contains(part) && error.starts_with(&format!("rank {rank}: ")), "{error}");
        }
        comm.barrier().expect("nothing has happened");
    });
}
