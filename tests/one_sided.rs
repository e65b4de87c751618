//! One-sided calls: what is put is there when its signal is, and whoever waits for a rank that is gone hears of it.

use serried::memory::Target;
use serried::{Communicator, Config, Error, Signal, UniqueId};
use std::time::{Duration, Instant};

const FIRST: Signal = Signal { index: 0, context: 0 };
const SECOND: Signal = Signal { index: 1, context: 0 };

/// Runs `rank` as every rank of `size`, each on a thread of its own.
fn ranks(size: u32, config: &Config, rank: impl Fn(Communicator) + Sync) {
    let id = UniqueId::create(&config.control).expect("an id");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..size)
            .map(|number| {
                let (id, rank) = (&id, &rank);
                scope.spawn(move || rank(Communicator::create(id, number, size, config).expect("all come")))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no check fails"));
    });
}

fn target(bytes: usize) -> Target {
    Target::owned(vec![0; bytes].into_boxed_slice())
}

#[test]
fn what_is_put_is_there_when_its_signal_is() {
    const WORDS: usize = 40_000;
    ranks(3, &Config::default(), |comm| {
        let (rank, size) = (comm.rank(), comm.size());
        let window = comm.open_window(target(8 * WORDS * size as usize)).expect("a window");
        for round in 1..=5u64 {
            let mine: Vec<u8> =
                (0..WORDS as u64).flat_map(|word| (word * round + u64::from(rank)).to_le_bytes()).collect();
            let place = u64::from(rank) * 8 * WORDS as u64;
            (0..size).for_each(|to| comm.put(&mine, to, &window, place, FIRST).expect("it fits"));
            let all: Vec<_> = (0..size).map(|from| (from, FIRST, 1)).collect();
            comm.wait_for_signals(&all).expect("all have put");
            for from in 0..u64::from(size) {
                let mut part = vec![0; 8 * WORDS];
                window.read(from * 8 * WORDS as u64, &mut part).expect("it is all there");
                let expected = (0..WORDS as u64).flat_map(|word| (word * round + from).to_le_bytes());
                assert!(part.into_iter().eq(expected), "round {round}, from rank {from}");
            }
            (0..size).for_each(|to| comm.signal(to, SECOND).expect("it is there"));
            comm.wait_for_signals(&(0..size).map(|from| (from, SECOND, 1)).collect::<Vec<_>>()).expect("all have read");
        }
    });
}

/// Whichever of two threads comes first: what a rank knows of a window's size on the other is true, and what it puts there lands there.
#[test]
fn windows_that_two_threads_open_are_the_same_on_all_ranks() {
    const SIZES: [usize; 2] = [64, 128];
    (0..20).for_each(|_| {
        ranks(2, &Config::default(), |comm| {
            let open = |bytes: usize| comm.open_window(target(bytes)).expect("a window");
            let windows = std::thread::scope(|scope| {
                SIZES.map(|bytes| scope.spawn(move || open(bytes))).map(|thread| thread.join().expect("it opens"))
            });
            let peer = 1 - comm.rank();
            for window in &windows {
                let fits = |bytes: &&usize| comm.put(&[1], peer, window, **bytes as u64 - 1, FIRST).is_ok();
                SIZES.iter().rev().find(fits).expect("the peer's is one of them");
            }
            comm.wait_for_signals(&[(peer, FIRST, 2)]).expect("both fit");
            for (window, bytes) in windows.iter().zip(SIZES) {
                let mut last = [0];
                window.read(bytes as u64 - 1, &mut last).expect("it is that long");
                assert_eq!(last, [1], "of {bytes} bytes");
            }
            comm.barrier().expect("both have looked");
        });
    });
}

#[test]
fn what_makes_no_sense_is_refused_and_breaks_nothing() {
    ranks(2, &Config::default(), |comm| {
        let refused = |result: Result<(), Error>, words: &str| {
            let error = result.expect_err(words);
            assert!(matches!(error, Error::InvalidArgument { .. }) && error.to_string().contains(words), "{error}");
        };
        refused(comm.signal(0, FIRST), "need a window");
        let window = comm.open_window(target(32)).expect("a window");
        refused(comm.put(&[0; 8], 1, &window, 25, FIRST), "beyond the window");
        refused(comm.put(&[0; 8], 1, &window, u64::MAX, FIRST), "beyond the window");
        refused(comm.put(&[], 2, &window, 1, FIRST), "beyond the window");
        refused(comm.signal(2, FIRST), "there is no rank 2");
        refused(comm.wait_for_signals(&[(2, FIRST, 1)]), "there is no rank 2");
        comm.barrier().expect("it is whole");
    });
}

#[test]
fn a_rank_that_is_gone_ends_the_wait_for_it() {
    ranks(2, &Config::default(), |comm| {
        let _window = comm.open_window(target(32)).expect("a window");
        if comm.rank() == 1 {
            comm.signal(0, FIRST).expect("it is there");
            return;
        }
        comm.wait_for_signals(&[(1, FIRST, 1)]).expect("it was sent before the rank left");
        let error = comm.wait_for_signals(&[(1, FIRST, 1)]).expect_err("it has left");
        assert!(matches!(error, Error::Peer { peer: 1, .. }), "{error}");
    });
}

#[test]
fn an_abort_and_the_time_limit_end_a_wait() {
    let config = Config { timeout: Duration::from_millis(300), ..Config::default() };
    // An abort while the other is still in the barrier would end that.
    let met = std::sync::Barrier::new(2);
    ranks(2, &config, |comm| {
        let _window = comm.open_window(target(32)).expect("a window");
        let error = comm.wait_for_signals(&[(1 - comm.rank(), FIRST, 1)]).expect_err("nobody signals");
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        comm.barrier().expect("it is whole");
        comm.signal(1 - comm.rank(), FIRST).expect("it is there");
        let twice = [(1 - comm.rank(), FIRST, 1); 2];
        let error = comm.wait_for_signals(&twice).expect_err("two are waited for, and one has come");
        assert!(error.to_string().contains("waiting for signals"), "{error}");
        comm.wait_for_signals(&twice[..1]).expect("it has come");
        met.wait();
        let begun = Instant::now();
        if comm.rank() == 1 {
            comm.abort();
        }
        let error = comm.wait_for_signals(&[(1 - comm.rank(), FIRST, 1)]).expect_err("it was aborted");
        assert!(matches!(error, Error::Peer { .. }) && begun.elapsed() < Duration::from_secs(1), "{error}");
    });
}
