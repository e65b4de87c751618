//! Joins that wait for ranks which do not come are ended from another thread, soon, and whatever they wait for.

use serried::bootstrap::{Control, Launch, Settings};
use serried::{Communicator, Config, Error, Op, Result, UniqueId};
use std::fmt::Debug;
use std::net::{TcpListener, TcpStream};
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

/// Ends what another thread does by `end`, which waits until it waits.
fn ends_by<T: Debug + Send>(waits: impl FnOnce() -> Result<T> + Send, end: impl FnOnce()) {
    std::thread::scope(|scope| {
        let waits = scope.spawn(waits);
        end();
        let begun = Instant::now();
        let error = waits.join().expect("no panic").expect_err("it was ended");
        assert!(matches!(error, Error::Cancelled { .. }), "{error}");
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    });
}

/// A launch of two ranks that meet at this port. Ports are free before they are used: another process may have come upon the same one, and its ranks are not to join these.
fn launch(rank: u32, port: u16) -> Launch {
    let variable = |name: &str| match name {
        "SERRIED_SECRET" => Some(format!("of process {}", std::process::id())),
        "SERRIED_RANK" => Some(rank.to_string()),
        "SERRIED_SIZE" => Some("2".to_owned()),
        "SERRIED_ROOT" => Some(format!("127.0.0.1:{port}")),
        _ => None,
    };
    Launch::from_variables(variable, || None).expect("sound").expect("a launch")
}

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("it is bound").port()
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
fn who_is_cancelled_joins_nothing() {
    let config = config();
    config.control.cancel.cancel();
    let error = Communicator::create(&id(), 0, 1, &config).expect_err("cancelled before").to_string();
    assert_eq!(error, "rank 0: joining was cancelled");
}

#[test]
fn a_rank_that_waits_for_the_rendezvous_is_cancelled() {
    let (config, silent) = (config(), TcpListener::bind("127.0.0.1:0").expect("loopback has a port"));
    let launch = launch(1, port_of(&silent));
    ends_by(
        || Communicator::launched(&launch, &config),
        || {
            let _kept = silent.accept().expect("it comes");
            config.control.cancel.cancel();
        },
    );
}

/// The place is free again then.
#[test]
fn a_rank_that_holds_the_rendezvous_is_cancelled() {
    let port = port_of(&TcpListener::bind("127.0.0.1:0").expect("loopback has a port"));
    let alone = config();
    ends_by(
        || Communicator::launched(&launch(0, port), &alone),
        || {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                std::thread::yield_now();
            }
            alone.control.cancel.cancel();
        },
    );
    let begun = Instant::now();
    let join = |rank| Communicator::launched(&launch(rank, port), &config()).expect("both come");
    std::thread::scope(|scope| {
        scope.spawn(|| join(1));
        join(0);
    });
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// The other rank is there, but takes no part in what follows. What it hears if this one is cancelled so much later than it has joined: nothing but a
/// goodbye where this one has not even been told that all have joined.
fn hears_of_a_cancelled_rank(later: Duration) -> Option<String> {
    let (id, config) = (id(), config());
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| Communicator::create(&id, 0, 2, &config));
        let control = Control::join(&id, 1, 2, &Settings::default()).expect("both come");
        // why: that a rank is on its way for so long is what is tested
        std::thread::sleep(later);
        let begun = Instant::now();
        config.control.cancel.cancel();
        while control.verdict().is_none() && !control.left(0) {
            assert!(begun.elapsed() < Duration::from_secs(30), "nobody says anything");
            std::thread::yield_now();
        }
        let error = waits.join().expect("no panic").expect_err("cancelled");
        assert!(matches!(error, Error::Cancelled { rank: 0 }) && begun.elapsed() < SOON, "{error}");
        control.verdict().map(|verdict| verdict.cause.to_string())
    })
}

#[test]
fn a_rank_that_has_met_the_others_is_cancelled_and_they_hear_of_it() {
    let heard = (0..8).find_map(|doublings| hears_of_a_cancelled_rank(Duration::from_millis((1 << doublings) - 1)));
    assert_eq!(heard.as_deref(), Some("reported: its user has cancelled joining"));
}

/// The other ranks, which wait in the agreement or would, hear of it.
#[test]
fn a_cancelled_split_breaks_the_parent_while_its_ranks_agree() {
    for before in [true, false] {
        let child = config();
        let splits = |comm: Communicator| {
            if before {
                child.control.cancel.cancel();
            }
            let cancel = child.control.cancel.child();
            let error = std::thread::scope(|scope| {
                let splits = scope.spawn(|| comm.split_with(Some(0), 0, &child));
                if !before {
                    // why: that a rank is on its way for so long is what is tested
                    std::thread::sleep(Duration::from_millis(300));
                    child.control.cancel.cancel();
                }
                splits.join().expect("no panic").expect_err("cancelled")
            });
            assert!(matches!(error, Error::Cancelled { .. }) && cancel.is_cancelled(), "{error}");
            comm
        };
        let hears = |comm: Communicator| {
            if before {
                return comm.split(Some(0), 0).expect_err("refused").to_string();
            }
            let begun = Instant::now();
            while comm.health().is_ok() {
                assert!(begun.elapsed() < Duration::from_secs(30), "nobody says anything");
                std::thread::yield_now();
            }
            comm.health().expect_err("seen above").to_string()
        };
        let (_, error) = two(splits, hears);
        let expected = if before { "refused" } else { "its user has cancelled joining" };
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_abort_ends_a_split_that_another_rank_does_not_finish() {
    // They agree, and then there is no way to join.
    let mut stops = config();
    stops.control.interfaces = "=no-such-interface".parse().ok();
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
        comm.split_with(Some(0), 0, &stops).expect_err("no way");
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
        // why: that it is on its way for so long is what is tested
        std::thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        comm.abort();
        let error = grows.join().expect("no panic").expect_err("it was ended");
        assert!(matches!(error, Error::Cancelled { .. }), "{error}");
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    });
    assert!(comm.grow(&id(), 2, &config()).expect_err("aborted").to_string().contains("aborted"));
}
