//! Groups of calls, messages, and communicators made of others, over every transport of one host: ranks as threads of one process.

use serried::reduce::Reduction;
use serried::{CollectiveKind, Communicator, Config, DataType, Error, Group, Op, Request, TransportChoice, UniqueId};
use std::time::Duration;
use zerocopy::IntoBytes;

/// Counts around every boundary: none, one, fewer than ranks, lines, slots, slices.
const COUNTS: [usize; 9] = [0, 1, 3, 14, 31, 1000, 4099, 20_000, 70_001];

/// The ways in which ranks of one host talk.
fn configs() -> Vec<(String, Config)> {
    // An emulated machine with RoCE devices is there for those, and slow.
    let transports: &[_] = match std::env::var_os("SERRIED_SOFTROCE") {
        None => &[TransportChoice::Shm, TransportChoice::Tcp],
        Some(_) => &[TransportChoice::Verbs],
    };
    let config = |transport: &TransportChoice| Config { transport: *transport, ..Config::default() };
    transports.iter().map(|transport| (format!("{transport:?}"), config(transport))).collect()
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

#[test]
fn messages_arrive_in_order_and_in_any_order_of_a_group() {
    for (label, config) in configs() {
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
fn no_order_of_messages_waits_for_a_link_that_is_not_needed_yet() {
    for (label, config) in configs() {
        for large in [1, 3_000_000] {
            // Each link is new, and whom a rank has to meet first differs from rank to rank.
            ranks(3, &config, |comm| {
                let rank = comm.rank();
                let (give, mut one, mut two) = (vec![rank as i32; large], vec![-1; large], vec![-1; large]);
                let mut group = Group::new();
                match rank {
                    0 => {
                        comm.send(&give, 1).expect(&label);
                        comm.send(&give, 2).expect(&label);
                    }
                    1 => {
                        comm.recv(&mut two, 2).expect(&label);
                        comm.recv(&mut one, 0).expect(&label);
                    }
                    _ => {
                        group.recv(&comm, &mut one, 0).send(&comm, &give, 1);
                        group.run().expect(&label);
                    }
                }
                assert!(rank == 0 || one.iter().all(|value| *value == 0), "{label}");
                assert!(rank != 1 || two.iter().all(|value| *value == 2), "{label}");
            });
            ranks(3, &config, |comm| {
                let (mut one, mut two) = ([-1], [-1]);
                let (give, rank) = ([comm.rank() as i32], comm.rank());
                let mut group = Group::new();
                match rank {
                    0 => _ = group.send(&comm, &give, 1).send(&comm, &give, 2),
                    1 => {
                        comm.recv(&mut two, 2).expect(&label);
                        group.recv(&comm, &mut one, 0);
                    }
                    _ => _ = group.recv(&comm, &mut one, 0).send(&comm, &give, 1),
                }
                group.run().expect(&label);
                assert!(rank == 0 || one == [0], "{label}");
                assert!(rank != 1 || two == [2], "{label}");
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
                group.call(&comm, sum(&mut a)).call(&other, sum(&mut b));
            } else {
                group.call(&other, sum(&mut b)).call(&comm, sum(&mut a));
            }
            group.run().expect("all ranks are well");
            assert!(a.iter().all(|value| *value == 3 + 3 * round) && b.iter().all(|value| *value == 3));
        }
    });
}

/// The sum of this data.
fn sum(data: &mut [i32]) -> Request<'_> {
    let bytes = zerocopy::IntoBytes::as_mut_bytes(data);
    Request::all_reduce(Reduction::of(DataType::I32, Op::Sum), None, bytes)
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
        // What one rank gives another is not what that one expects: less, as much as whole slices less, and more.
        for (given, due) in [(5, 6), (1 << 20, (1 << 20) + (1 << 19)), (3 << 20, 1 << 20)] {
            let counts = |rank: u32, with: usize| -> Vec<usize> {
                (0..3).map(|peer| if rank + peer == 1 { with } else { 2 }).collect()
            };
            let errors: Vec<Error> = ranks(3, &config, |comm| {
                let rank = comm.rank();
                let (give, get) = match rank {
                    0 => (counts(0, given), counts(0, 2)),
                    1 => (counts(1, 2), counts(1, due)),
                    _ => (vec![2; 3], vec![2; 3]),
                };
                let (input, mut output) = (vec![1i32; give.iter().sum()], vec![0; get.iter().sum()]);
                comm.all_to_all_v(&input, &give, &mut output, &get).and_then(|()| comm.barrier()).err()
            })
            .into_iter()
            .flatten()
            .collect();
            let mismatch = errors.iter().any(|error| matches!(error, Error::Mismatch { .. }));
            assert!(mismatch, "{given} for {due}: {errors:?}");
        }
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
fn ranks_that_split_differently_get_an_error_that_names_it() {
    let config = Config { timeout: Duration::from_secs(20), ..Config::default() };
    let errors = |call: fn(&Communicator) -> Option<Error>| -> Vec<String> {
        ranks(3, &config, |comm| call(&comm)).into_iter().flatten().map(|error| error.to_string()).collect()
    };
    for said in [
        errors(|comm| comm.subset(if comm.rank() == 2 { &[2] } else { &[0, 1] }).err()),
        errors(|comm| if comm.rank() == 0 { comm.duplicate().err() } else { comm.split(Some(0), 0).err() }),
        errors(|comm| if comm.rank() == 0 { comm.barrier().err() } else { comm.split(Some(0), 0).err() }),
    ] {
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said.iter().any(|error| error.contains("of a split or subset")), "{said:?}");
    }
}

#[test]
fn two_threads_that_split_do_not_mix_their_ranks() {
    ranks(3, &Config::default(), |comm| {
        std::thread::scope(|scope| {
            // Which thread's split meets which of another rank's is open; that both of a pair are of one call is not.
            let split = || {
                let half = comm.split(Some(comm.rank() % 2), 0).expect("all are well").expect("a colour");
                assert_eq!(half.size(), 2 - comm.rank() % 2);
                half.barrier().expect("all are well");
            };
            scope.spawn(split);
            scope.spawn(split);
        });
    });
}

#[test]
fn ranks_hear_of_a_rank_that_refuses_a_call() {
    for (label, config) in configs() {
        let config = Config { timeout: Duration::from_secs(60), ..config };
        // The rank that refuses is still there when the others hear of it.
        let heard = std::sync::Barrier::new(3);
        let errors = ranks(3, &config, |comm| {
            // What all refuse they go on after, whether there is a request of it or not.
            comm.refuse(CollectiveKind::Gather).expect("it counts");
            comm.barrier().expect("all have refused");
            let bytes = if comm.rank() == 1 { 6 } else { 8 };
            let ended = comm.run(Request::broadcast(DataType::I32, 1, None, &mut [0; 8][..bytes]));
            heard.wait();
            ended
        });
        let said: Vec<String> =
            errors.into_iter().map(|error| error.expect_err("nobody can do it").to_string()).collect();
        assert!(said[1].contains("6 bytes are not whole elements"), "{label}: {said:?}");
        assert!(
            [&said[0], &said[2]].into_iter().all(|said| said.contains("refused for its arguments")),
            "{label}: {said:?}"
        );
    }
}

#[test]
fn ranks_hear_of_what_a_group_did_not_come_to() {
    for (label, config) in configs() {
        let config = Config { timeout: Duration::from_secs(60), ..config };
        // The rank that refuses is still there when the other hears of it.
        let heard = std::sync::Barrier::new(2);
        let errors = ranks(2, &config, |comm| {
            let (mut data, to) = ([1.0f32], comm.size());
            let mut group = Group::new();
            if comm.rank() == 1 {
                group.send(&comm, &[1.0f32], to);
            }
            group.call(&comm, Request::barrier());
            group.call(&comm, Request::broadcast(DataType::F32, 1, None, data.as_mut_bytes()));
            let ended = group.run();
            heard.wait();
            ended
        });
        let said: Vec<String> = errors.into_iter().map(|error| error.expect_err("nobody can").to_string()).collect();
        assert!(said[0].contains("barrier") && said[0].contains("refused for its arguments"), "{label}: {said:?}");
        assert!(said[1].contains("there is no rank 2"), "{label}: {said:?}");
    }
}

#[test]
fn ranks_know_who_is_on_which_host() {
    let id = UniqueId::create(&Config::default().control).expect("a rendezvous");
    std::thread::scope(|scope| {
        for rank in 0..5u32 {
            let id = &id;
            scope.spawn(move || {
                let host_id = Some(["b", "a", "b", "c", "a"][rank as usize].to_owned());
                let config = Config { host_id, ..Config::default() };
                let comm = Communicator::create(id, rank, 5, &config).expect("all come");
                let hosts: Vec<u32> = (0..5).filter_map(|rank| comm.host(rank)).collect();
                assert_eq!((hosts, comm.hosts(), comm.host(5)), (vec![0, 1, 0, 2, 1], 3, None));
                assert_eq!(comm.ranks_on(1).collect::<Vec<_>>(), [1, 4]);
            });
        }
    });
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
