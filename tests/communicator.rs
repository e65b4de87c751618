//! Communicators as a user holds them: ranks as threads of one process, over every transport.

use half::{bf16, f16};
use serried::schedule::Algorithm;
use serried::{CollectiveKind, Communicator, Config, Element, Error, Memory, Op, Probe, TransportChoice, UniqueId};
use std::time::{Duration, Instant};

/// The ways in which ranks of one host talk; every body below runs over all of them.
fn configs() -> Vec<(String, Config)> {
    use TransportChoice::{Shm, Tcp, Verbs};
    // An emulated machine with RoCE devices is there for those, and slow: all algorithms over such links are the engine's tests.
    let (transports, algorithms): (&[_], _) = match std::env::var_os("SERRIED_SOFTROCE") {
        None => (&[("shm", Shm), ("tcp", Tcp)], Algorithm::serving(CollectiveKind::AllReduce)),
        Some(_) => (&[("verbs", Verbs)], &[Algorithm::Direct, Algorithm::Ring][..]),
    };
    let mut configs = vec![("tcp, 3 sockets".into(), Config { transport: Tcp, sockets: Some(3), ..Config::default() })];
    for &(name, transport) in transports {
        configs.push((format!("{name}, auto"), Config { transport, ..Config::default() }));
        for &algorithm in algorithms {
            let config = Config { transport, algorithms: algorithm.into(), probe: Probe::Off, ..Config::default() };
            configs.push((format!("{name}, {algorithm}"), config));
        }
    }
    configs
}

/// Runs `body` as `size` ranks on threads and gives their results back in order.
fn ranks<R: Send>(size: u32, config: &Config, body: impl Fn(Communicator) -> R + Sync) -> Vec<R> {
    let configs = vec![config.clone(); size as usize];
    creations(&configs, |comm| body(comm.expect("all ranks come")))
}

/// Lets one rank per config meet, each on a thread, and gives what `body` makes of each one's communicator or error.
fn creations<R: Send>(configs: &[Config], body: impl Fn(Result<Communicator, Error>) -> R + Sync) -> Vec<R> {
    let id = UniqueId::create(&configs[0].control).expect("a rendezvous");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(configs)
            .map(|(rank, config)| {
                let (id, body) = (&id, &body);
                scope.spawn(move || body(Communicator::create(id, rank, configs.len() as u32, config)))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a rank's body holds")).collect()
    })
}

/// Counts around every boundary: none, one, fewer than ranks, lines, slots, slices.
const COUNTS: [usize; 16] = [0, 1, 2, 3, 7, 13, 14, 15, 31, 100, 1000, 4096, 4099, 20_000, 70_001, 300_007];

#[test]
fn every_count_sums_right_with_the_same_bits_everywhere() {
    for (label, config) in configs() {
        for size in [1, 2, 3, 4, 5, 8] {
            // The large counts only where few threads share the cores; emulated ones carry little.
            let few = if std::env::var_os("SERRIED_SOFTROCE").is_some() { 2 } else { 4 };
            let counts = if size <= few { &COUNTS[..] } else { &COUNTS[..13] };
            let outputs = ranks(size, &config, |comm| {
                let mut outputs = Vec::new();
                for &count in counts {
                    let input: Vec<f32> =
                        (0..count).map(|index| ((index * 7 + comm.rank() as usize * 13) % 101) as f32 / 3.0).collect();
                    let mut output = vec![f32::NAN; count];
                    comm.all_reduce_into(&input, &mut output, Op::Sum).expect("all ranks are well");
                    let mut in_place = input.clone();
                    comm.all_reduce(&mut in_place, Op::Sum).expect("all ranks are well");
                    assert_eq!(bits(&output), bits(&in_place), "{label}, {size} ranks, {count} in place");
                    outputs.push(output);
                }
                outputs
            });
            for (which, &count) in counts.iter().enumerate() {
                for (index, got) in outputs[0][which].iter().enumerate() {
                    let exact: f64 =
                        (0..size as usize).map(|rank| f64::from(((index * 7 + rank * 13) % 101) as f32 / 3.0)).sum();
                    assert!(
                        (f64::from(*got) - exact).abs() < 1e-3,
                        "{label}, {size} ranks, {count}, {index}: {got} {exact}"
                    );
                }
                for output in &outputs[1..] {
                    assert_eq!(
                        bits(&output[which]),
                        bits(&outputs[0][which]),
                        "{label}, {size} ranks, {count}: other bits"
                    );
                }
            }
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Values that every type holds, and whose sums, products and averages it holds too (of 3 ranks).
fn small<T: Element>(from: fn(i8) -> T, op: Op) {
    for (label, config) in configs() {
        let results = ranks(3, &config, |comm| {
            let value = |rank: usize, index: usize| ((rank + 1) * (index % 4)) as i8;
            let mut data: Vec<T> = (0..77).map(|index| from(value(comm.rank() as usize, index))).collect();
            comm.all_reduce(&mut data, op).expect("all ranks are well");
            for (index, got) in data.iter().enumerate() {
                let values = (0..3).map(|rank| value(rank, index));
                let right: i8 = match op {
                    Op::Sum => values.sum(),
                    Op::Prod => values.fold(1, i8::wrapping_mul),
                    Op::Max => values.max().expect("three"),
                    Op::Min => values.min().expect("three"),
                    Op::Avg => values.sum::<i8>() / 3,
                };
                // The product of three 3s times 1·2·3 overflows i8: leave such indices to the kernels' own tests.
                if op != Op::Prod || index % 4 < 3 {
                    assert!(got.as_bytes() == from(right).as_bytes(), "{label}, {op} of {}: index {index}", T::TYPE);
                }
            }
        });
        assert_eq!(results.len(), 3);
    }
}

#[test]
fn every_type_and_operator_reduces() {
    for op in Op::ALL {
        small::<i8>(|value| value, op);
        small::<u8>(|value| value as u8, op);
        small::<i32>(i32::from, op);
        small::<u32>(|value| value as u32, op);
        small::<i64>(i64::from, op);
        small::<u64>(|value| value as u64, op);
        small::<f16>(|value| f16::from_f32(value.into()), op);
        small::<bf16>(|value| bf16::from_f32(value.into()), op);
        small::<f32>(f32::from, op);
        small::<f64>(f64::from, op);
    }
}

#[test]
fn nan_and_infinity_behave_the_same_on_every_rank() {
    for (label, config) in configs() {
        for op in Op::ALL {
            let all = ranks(4, &config, |comm| {
                let nan = f32::from_bits(0xffc1_2345 + comm.rank());
                let mut data = match comm.rank() {
                    0 => vec![nan, 1.0, f32::INFINITY, f32::INFINITY, 0.0],
                    1 => vec![2.0, nan, f32::NEG_INFINITY, 1.0, -0.0],
                    2 => vec![nan, 3.0, 1.0, f32::INFINITY, 0.0],
                    _ => vec![1.0, nan, 1.0, -1.0, -0.0],
                };
                comm.all_reduce(&mut data, op).expect("all ranks are well");
                bits(&data)
            });
            assert!(all.iter().all(|data| *data == all[0]), "{label}, {op}: {all:x?}");
            let canonical = 0x7fc0_0000;
            assert_eq!(all[0][..2], [canonical; 2], "{label}, {op}");
            let third = match op {
                Op::Max => f32::INFINITY.to_bits(),
                Op::Min => f32::NEG_INFINITY.to_bits(),
                Op::Prod => f32::NEG_INFINITY.to_bits(),
                Op::Sum | Op::Avg => canonical,
            };
            assert_eq!(all[0][2], third, "{label}, {op}");
        }
    }
}

#[test]
fn calls_of_changing_size_type_and_kind_follow_each_other() {
    for (label, config) in configs() {
        let sums = ranks(3, &config, |comm| {
            let mut random = 12345u64;
            let mut sum = 0u64;
            for turn in 0..300 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let count = (random >> 40) as usize % [3, 20, 500, 9_000][turn % 4];
                let mut data = vec![turn as i64; count];
                if turn % 3 == 0 {
                    data = comm.start_all_reduce(data, Op::Sum).expect("it starts").wait().expect("all ranks are well");
                } else {
                    comm.all_reduce(&mut data, Op::Sum).expect("all ranks are well");
                }
                assert!(data.iter().all(|value| *value == 3 * turn as i64), "{label}, turn {turn}");
                let mut bytes = vec![1u8; count % 100];
                comm.all_reduce(&mut bytes, Op::Sum).expect("all ranks are well");
                assert!(bytes.iter().all(|value| *value == 3), "{label}, turn {turn}");
                sum += count as u64;
            }
            sum
        });
        assert!(sums.iter().all(|sum| *sum == sums[0]));
    }
}

#[test]
fn started_calls_overlap_with_the_caller_and_keep_their_order() {
    for (label, config) in configs() {
        ranks(2, &config, |comm| {
            let handles: Vec<_> = (0..20)
                .map(|turn| comm.start_all_reduce(vec![turn as f32; 1000 * turn], Op::Sum).expect("it starts"))
                .collect();
            // A blocking call comes after all that were started.
            let mut one = [1.0f64];
            comm.all_reduce(&mut one, Op::Sum).expect("all ranks are well");
            assert_eq!(one, [2.0]);
            for (turn, handle) in handles.into_iter().enumerate() {
                assert!(handle.test(), "{label}");
                let data = handle.wait().expect("all ranks are well");
                assert!(data.len() == 1000 * turn && data.iter().all(|value| *value == 2.0 * turn as f32), "{label}");
            }
            let handle = comm.start_all_reduce_into(vec![1.5f64; 999], vec![0.0; 999].into_boxed_slice(), Op::Sum);
            let (input, output) = handle.expect("it starts").wait().expect("all ranks are well");
            assert!(input.iter().all(|value| *value == 1.5) && output.iter().all(|value| *value == 3.0), "{label}");
            drop(comm.start_all_reduce(vec![1u8; 100_000], Op::Max).expect("it starts"));
        });
    }
}

#[test]
fn library_memory_reduces_like_any_other() {
    for (label, config) in configs() {
        ranks(2, &config, |comm| {
            for count in [1, 1000, 300_000, 1_500_000] {
                let mut input = Memory::<f32>::allocate(count).expect("there is room");
                let mut output = Memory::<f32>::allocate(count).expect("there is room");
                for turn in 0..3 {
                    input.fill((comm.rank() + turn) as f32);
                    output.fill(-1.0);
                    comm.all_reduce_into(&input, &mut output, Op::Sum).expect("all ranks are well");
                    assert!(output.iter().all(|value| *value == (1 + 2 * turn) as f32), "{label}, {count}");
                }
            }
        });
    }
}

#[test]
fn several_communicators_at_once_do_not_disturb_each_other() {
    let config = Config::default();
    let (first, second) =
        (UniqueId::create(&config.control).expect("an id"), UniqueId::create(&config.control).expect("an id"));
    std::thread::scope(|scope| {
        for rank in 0..3 {
            for (id, factor) in [(&first, 1), (&second, 10)] {
                let config = &config;
                scope.spawn(move || {
                    let comm = Communicator::create(id, rank, 3, config).expect("all ranks come");
                    for turn in 0..200 {
                        let mut data = vec![factor * turn; 50 * turn as usize];
                        comm.all_reduce(&mut data, Op::Sum).expect("all ranks are well");
                        assert!(data.iter().all(|value| *value == 3 * factor * turn));
                    }
                });
            }
        }
    });
}

#[test]
fn wrong_lengths_are_refused_before_anybody_is_bothered() {
    let config = Config::default();
    ranks(2, &config, |comm| {
        let error = comm.all_reduce_into(&[1.0f32; 3], &mut [0.0; 4], Op::Sum).expect_err("lengths differ").to_string();
        assert!(error.contains(&format!("rank {}", comm.rank())) && error.contains("12 bytes"), "{error}");
        let error = comm
            .run(serried::Request::all_reduce(
                serried::reduce::Reduction::of(serried::DataType::F32, Op::Sum),
                None,
                &mut [0; 7],
            ))
            .expect_err("7 bytes");
        assert!(error.to_string().contains("whole elements"), "{error}");
        let mut data = [1];
        comm.all_reduce(&mut data, Op::Sum).expect("the communicator is still whole");
        assert_eq!(data, [2]);
    });
}

#[test]
fn a_rank_that_never_calls_is_named_when_the_time_is_up() {
    for (label, config) in configs() {
        let config = Config { timeout: Duration::from_millis(300), ..config };
        let began = Instant::now();
        let results = ranks(2, &config, |comm| match comm.rank() {
            0 => comm.all_reduce(&mut [1.0f32; 100], Op::Sum),
            _ => {
                // Alive, but elsewhere until the other has given up.
                while began.elapsed() < Duration::from_secs(20) {
                    std::thread::yield_now();
                    comm.health()?;
                }
                Ok(())
            }
        });
        match &results[0] {
            Err(Error::Timeout { rank: 0, peer: 1, .. }) => {}
            other => panic!("{label}: {other:?}"),
        }
        assert!(
            results[1].as_ref().is_err_and(|error| error.to_string().contains("rank 0 reported")),
            "{label}: {results:?}"
        );
    }
}

#[test]
fn a_rank_that_does_not_come_is_named_by_all_whomever_they_wait_for() {
    const RANKS: u32 = 5;
    let with = |transport, algorithm: Option<Algorithm>| Config {
        transport,
        algorithms: algorithm.map_or_else(Default::default, Into::into),
        timeout: Duration::from_millis(1500),
        ..Config::default()
    };
    for config in [
        with(TransportChoice::Shm, None),
        with(TransportChoice::Tcp, Some(Algorithm::Ring)),
        with(TransportChoice::Tcp, Some(Algorithm::Tree)),
        with(TransportChoice::Shm, Some(Algorithm::Nhr)),
    ] {
        let began = Instant::now();
        let errors = ranks(RANKS, &config, |comm| {
            // All links are there before one of them matters.
            comm.all_reduce(&mut [1.0f32; 100], Op::Sum).expect("all come");
            if comm.rank() != RANKS - 1 {
                return comm.all_reduce(&mut [1.0f32; 100], Op::Sum).expect_err("one does not come").to_string();
            }
            // Alive, but elsewhere until the others have given up.
            while comm.health().is_ok() {
                assert!(began.elapsed() < Duration::from_secs(20), "nobody gives up");
                std::thread::yield_now();
            }
            String::from("waiting for rank 4")
        });
        let named = |error: &String| error.contains("waiting for rank 4");
        assert!(errors.iter().all(named), "{:?}, {:?}: {errors:#?}", config.transport, config.algorithms);
    }
}

#[test]
fn an_abort_ends_a_call_that_hangs_and_every_other_ranks() {
    for (label, config) in configs() {
        // An abort while a rank is still in the barrier would end that.
        let met = std::sync::Barrier::new(3);
        let ended = ranks(3, &config, |comm| {
            comm.barrier().expect("everybody comes");
            met.wait();
            if comm.rank() == 2 {
                // It comes to no call; the others hang until it gives up.
                comm.abort();
                let error = comm.all_reduce(&mut [1], Op::Sum).expect_err("aborted").to_string();
                assert!(error.contains("aborted") && comm.health().is_err(), "{label}: {error}");
                return Duration::ZERO;
            }
            if comm.rank() == 1 {
                return std::thread::scope(|scope| {
                    let hangs = scope.spawn(|| comm.all_reduce(&mut [1], Op::Sum).expect_err("aborted").to_string());
                    let begun = Instant::now();
                    comm.abort();
                    let error = hangs.join().expect("no panic");
                    assert!(error.contains("aborted"), "{label}: {error}");
                    begun.elapsed()
                });
            }
            let begun = Instant::now();
            let error = comm.all_reduce(&mut [1], Op::Sum).expect_err("aborted").to_string();
            assert!(error.contains("aborted"), "{label}: {error}");
            drop(comm);
            begun.elapsed()
        });
        assert!(ended.iter().all(|time| *time < Duration::from_secs(1)), "{label}: {ended:?}");
    }
}

#[test]
fn survivors_go_on_without_the_others_whether_or_not_they_have_failed() {
    // The algorithm does not matter to it, and who leaves while others stay takes its time.
    for (label, config) in configs().into_iter().filter(|(label, _)| label.ends_with("auto")) {
        for breaks in [false, true] {
            let met = std::sync::Barrier::new(5);
            let sums = ranks(5, &config, |comm| {
                comm.barrier().expect("everybody comes");
                met.wait();
                if breaks && comm.rank() == 1 {
                    comm.abort();
                }
                if comm.rank() == 1 || comm.rank() == 4 {
                    return None;
                }
                if breaks {
                    comm.all_reduce(&mut [0], Op::Sum).expect_err("rank 1 has given up");
                }
                let made = comm.survivors(&[3, 0, 2], &config).expect("all three come");
                assert_eq!(made.rank(), [1, 9, 2, 0][comm.rank() as usize], "{label}");
                let mut data = [comm.rank()];
                made.all_reduce(&mut data, Op::Sum).expect("it is whole");
                Some(data[0])
            });
            assert_eq!(sums, [Some(5), None, Some(5), Some(5), None], "{label}");
        }
    }
    let refused = ranks(2, &Config::default(), |comm| {
        let refusal =
            |staying: &[u32]| comm.survivors(staying, &Config::default()).expect_err("a bad list").to_string();
        [refusal(&[0, 1, 2]), refusal(&[0, 1, 0]), refusal(&[1 - comm.rank()])]
    });
    for [stranger, twice, absent] in refused {
        assert!(stranger.contains("no rank 2") && twice.contains("twice") && absent.contains("not listed"));
    }
}

#[test]
fn a_buffer_that_panics_is_an_error_here_and_news_to_the_others() {
    struct Bomb;
    impl AsMut<[f32]> for Bomb {
        fn as_mut(&mut self) -> &mut [f32] {
            panic!("a buffer that panics (this is part of the test)");
        }
    }
    let errors = ranks(2, &Config::default(), |comm| match comm.rank() {
        0 => comm.start_all_reduce(Bomb, Op::Sum).expect("it starts").wait().map(|_| ()).expect_err("it panicked"),
        _ => comm.all_reduce(&mut [1.0f32], Op::Sum).expect_err("rank 0 never calls"),
    });
    assert!(errors.iter().all(|error| error.to_string().contains("panicked when asked")), "{errors:?}");
}

/// Four ranks that pretend to be on two hosts, two on each.
fn two_hosts(config: &Config) -> Vec<Config> {
    ["a", "a", "b", "b"].map(|host| Config { host_id: Some(host.into()), ..config.clone() }).into()
}

#[test]
fn ranks_on_two_hosts_mix_their_links_and_sum_right_with_the_same_bits() {
    let all = Algorithm::serving(CollectiveKind::AllReduce).iter().copied().map(Some);
    for algorithm in all.chain([None]) {
        let label = algorithm.map_or("auto", Algorithm::name);
        let input = |rank: usize, index: usize| ((index * 7 + rank * 13) % 101) as f32 / 3.0;
        let algorithms = algorithm.map_or_else(Default::default, Into::into);
        let outputs = creations(&two_hosts(&Config { algorithms, ..Config::default() }), |comm| {
            let comm = comm.expect("all ranks come");
            COUNTS.map(|count| {
                let input: Vec<f32> = (0..count).map(|index| input(comm.rank() as usize, index)).collect();
                let mut output = vec![f32::NAN; count];
                comm.all_reduce_into(&input, &mut output, Op::Sum).expect("all ranks are well");
                let mut in_place = input;
                comm.all_reduce(&mut in_place, Op::Sum).expect("all ranks are well");
                assert_eq!(bits(&output), bits(&in_place), "{label}, {count} in place");
                output
            })
        });
        for (which, count) in COUNTS.into_iter().enumerate() {
            for (index, got) in outputs[0][which].iter().enumerate() {
                let exact: f64 = (0..4).map(|rank| f64::from(input(rank, index))).sum();
                assert!((f64::from(*got) - exact).abs() < 1e-3, "{label}, {count}, {index}: {got} {exact}");
            }
            for output in &outputs[1..] {
                assert_eq!(bits(&output[which]), bits(&outputs[0][which]), "{label}, {count}: other bits");
            }
        }
    }
}

#[test]
fn ranks_on_two_hosts_cannot_have_shared_memory_alone() {
    let config = Config { transport: TransportChoice::Shm, algorithms: Algorithm::TwoShot.into(), ..Config::default() };
    let errors = creations(&two_hosts(&config), |comm| {
        let comm = comm.expect("the hosts matter only to calls");
        comm.all_reduce(&mut [1.0f32; 100], Op::Sum).expect_err("the hosts share nothing").to_string()
    });
    for error in errors {
        assert!(error.contains("cannot share memory") && error.contains("the two are on different hosts"), "{error}");
    }
}

#[test]
fn settings_that_differ_are_named_when_ranks_meet() {
    use TransportChoice::{Auto, Shm, Tcp};
    let plain = Config::default;
    let with = |transport| Config { transport, ..plain() };
    let sockets = |sockets| Config { sockets: Some(sockets), ..with(Tcp) };
    for (one, other, names) in [
        (
            Config { algorithms: Algorithm::Ring.into(), ..plain() },
            Config { algorithms: Algorithm::Tree.into(), ..plain() },
            ["algorithm ring", "algorithm tree"],
        ),
        (with(Auto), with(Tcp), ["transport auto", "transport tcp"]),
        (with(Shm), with(Tcp), ["transport shm", "transport tcp"]),
        (with(Auto), with(Shm), ["transport auto", "transport shm"]),
        (sockets(2), sockets(3), ["sockets 2", "sockets 3"]),
    ] {
        let errors = creations(&[one.clone(), one, other], |comm| comm.map(|_| ()).expect_err("they differ"));
        for error in errors {
            let text = error.to_string();
            assert!(matches!(error, Error::Setting { .. }), "{text}");
            assert!(text.contains("rank 0 has") && text.contains("rank 2 has"), "{text}");
            assert!(names.iter().all(|name| text.contains(name)), "{names:?}: {text}");
        }
    }
}
