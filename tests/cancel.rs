//! Joins that wait for ranks which do not come are ended from another thread, soon, and whatever they wait for.

use serried::bootstrap::{Control, Launch, Settings};
use serried::{Communicator, Config, Error, Op, Result, UniqueId};
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Joins that are not cancelled last longer.
const SOON: Duration = Duration::from_secs(1);

/// Between two aborts of which one must meet what it is to end.
const AGAIN: Duration = Duration::from_millis(2);

fn config() -> Config {
    let mut config = Config::default();
    config.control.interfaces = "=lo".parse().ok();
    config
}

fn id() -> UniqueId {
    UniqueId::create(&config().control).expect("a place to meet")
}

/// Ends what another thread does by `end`, as soon as it waits, or before.
fn ends_by<T: Debug + Send>(waits: impl FnOnce() -> Result<T> + Send, end: impl FnOnce()) {
    std::thread::scope(|scope| {
        let waits = scope.spawn(waits);
        let begun = Instant::now();
        end();
        let error = waits.join().expect("no panic").expect_err("it was ended");
        assert!(matches!(error, Error::Cancelled { .. }), "{error}");
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    });
}

/// Both ranks of a communicator, each of which does something.
fn two<A: Send, B: Send>(
    first: impl FnOnce(Communicator) -> A + Send,
    second: impl FnOnce(Communicator) -> B + Send,
) -> (A, B) {
    let id = id();
    let join = |rank| Communicator::create(&id, rank, 2, &config()).expect("both come");
    std::thread::scope(|scope| {
        let second = scope.spawn(|| second(join(1)));
        (first(join(0)), second.join().expect("no panic"))
    })
}

#[test]
fn a_rank_that_waits_for_others_is_cancelled() {
    let config = config();
    let cancel = config.control.cancel.clone();
    ends_by(|| Communicator::create(&id(), 1, 2, &config), || cancel.cancel());
    let error = Communicator::create(&id(), 0, 1, &config).expect_err("cancelled before").to_string();
    assert_eq!(error, "rank 0: joining was cancelled");
}

#[test]
fn a_rank_that_holds_the_rendezvous_or_looks_for_it_is_cancelled() {
    for rank in ["0", "1"] {
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let variable = |name: &str| match name {
            "SERRIED_RANK" => Some(rank.to_owned()),
            "SERRIED_SIZE" => Some("2".to_owned()),
            "SERRIED_ROOT" => Some(format!("localhost:{port}")),
            _ => None,
        };
        let launch = Launch::from_variables(variable, || None).expect("sound").expect("a launch");
        let config = config();
        let cancel = config.control.cancel.clone();
        ends_by(|| Communicator::launched(&launch, &config), || cancel.cancel());
    }
}

/// The other rank is there, but takes no part in what follows.
#[test]
fn a_rank_that_has_met_the_others_is_cancelled_and_they_hear_of_it() {
    let (id, config) = (id(), config());
    let (told, tell) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let control = Control::join(&id, 1, 2, &Settings::default()).expect("both come");
            told.send(()).expect("it listens");
            let begun = Instant::now();
            // Where rank 0 has not been told yet that all have joined, it just leaves.
            while control.verdict().is_none() && !control.left(0) {
                assert!(begun.elapsed() < Duration::from_secs(30), "nobody says anything");
                std::thread::yield_now();
            }
            control.verdict().map(|verdict| verdict.cause.to_string())
        });
        let cancel = config.control.cancel.clone();
        let met = || {
            tell.recv().expect("it joins");
            cancel.cancel();
        };
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| Communicator::create(&id, 0, 2, &config));
            met();
            let begun = Instant::now();
            let error = waits.join().expect("no panic").expect_err("cancelled");
            assert!(matches!(error, Error::Cancelled { rank: 0 }) && begun.elapsed() < SOON, "{error}");
        });
        let heard = other.join().expect("no panic");
        assert!(heard.is_none_or(|heard| heard == "reported: its user has cancelled joining"));
    });
}

#[test]
fn an_abort_ends_a_split_that_another_rank_does_not_finish() {
    let stops = config();
    stops.control.cancel.cancel();
    let met = std::sync::Barrier::new(2);
    let waits = |comm: Communicator| {
        ends_by(
            || comm.split(Some(0), 0),
            || {
                met.wait();
                comm.abort();
            },
        );
    };
    let leaves = |comm: Communicator| {
        let error = comm.split_with(Some(0), 0, &stops).expect_err("cancelled");
        assert!(matches!(error, Error::Cancelled { .. }), "{error}");
        met.wait();
    };
    two(waits, leaves);
}

/// A first abort makes way for survivors, and does not end what begins after it.
#[test]
fn an_abort_ends_the_making_of_survivors_that_do_not_come() {
    let alone = |comm: Communicator| {
        comm.abort();
        // Until the making waits, an abort ends nothing that it could not end later.
        std::thread::scope(|scope| {
            let makes = scope.spawn(|| comm.survivors(&[0, 1], &config()));
            let begun = Instant::now();
            while !makes.is_finished() {
                assert!(begun.elapsed() < Duration::from_secs(30), "it goes on");
                comm.abort();
                // why: it is the pace of a loop that looks
                std::thread::sleep(AGAIN);
            }
            let error = makes.join().expect("no panic").expect_err("it was ended");
            assert!(matches!(error, Error::Cancelled { .. }), "{error}");
            assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        });
        comm
    };
    let idle = |comm: Communicator| comm;
    two(alone, idle);
    two(idle, alone);
}

#[test]
fn an_aborted_communicator_has_survivors() {
    let go_on = |comm: Communicator| {
        comm.abort();
        let both = comm.survivors(&[0, 1], &config()).expect("both come");
        let mut sum = [1];
        both.all_reduce(&mut sum, Op::Sum).expect("both come");
        sum[0]
    };
    assert_eq!(two(go_on, go_on), (2, 2));
}

#[test]
fn a_communicator_grows_or_is_aborted_while_it_waits_for_new_ranks() {
    let (grown, sum) = (id(), |comm: Communicator| {
        let mut sum = [1];
        comm.all_reduce(&mut sum, Op::Sum).expect("all come");
        (comm.rank(), sum[0])
    });
    let grow = |comm: Communicator| {
        let small = comm.grow(&grown, 2, &config()).expect_err("no larger").to_string();
        assert!(small.contains("of 2 ranks, 2 are here already"), "{small}");
        sum(comm.grow(&grown, 3, &config()).expect("all come"))
    };
    let new = std::thread::scope(|scope| {
        let new = scope.spawn(|| sum(Communicator::create(&grown, 2, 3, &config()).expect("all come")));
        assert_eq!(two(grow, grow), ((0, 3), (1, 3)));
        new.join().expect("no panic")
    });
    assert_eq!(new, (2, 3));
    let comm = Communicator::create(&id(), 0, 1, &config()).expect("it is alone");
    std::thread::scope(|scope| {
        let grows = scope.spawn(|| comm.grow(&id(), 2, &config()));
        let begun = Instant::now();
        while !grows.is_finished() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it goes on");
            comm.abort();
            // why: it is the pace of a loop that looks
            std::thread::sleep(AGAIN);
        }
        let error = grows.join().expect("no panic").expect_err("it was ended");
        assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    });
}
