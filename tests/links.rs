//! Connecting all ranks on purpose, and what they then say of their links.

use serried::{Communicator, Config, Error, LinkReport, Op, TransportChoice, UniqueId};

/// Lets one rank per config meet, each on a thread, and gives what `body` makes of each one's communicator.
fn ranks<R: Send>(configs: &[Config], body: impl Fn(Communicator) -> R + Sync) -> Vec<R> {
    let id = UniqueId::create(&configs[0].control).expect("a rendezvous");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(configs)
            .map(|(rank, config)| {
                let (id, body, size) = (&id, &body, configs.len() as u32);
                scope.spawn(move || body(Communicator::create(id, rank, size, config).expect("all ranks come")))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a rank's body holds")).collect()
    })
}

/// Ranks 0 and 1 on one host, 2 on another.
fn two_hosts(config: &Config) -> Vec<Config> {
    ["a", "a", "b"].map(|host| Config { host_id: Some(host.into()), ..config.clone() }).into()
}

#[test]
fn every_pair_says_how_it_talks_and_why_not_better() {
    let reports = ranks(&two_hosts(&Config::default()), |comm| {
        // Whether links were there before, or are used after, makes no difference.
        comm.all_reduce(&mut [1u8; 100_000], Op::Sum).expect("all ranks are well");
        let reports = comm.links().expect("all ranks are well");
        comm.all_reduce(&mut [1.0f32; 10], Op::Sum).expect("all ranks are well");
        assert_eq!(comm.links().expect("all ranks are well"), reports, "asked again");
        reports
    });
    for (rank, reports) in (0u32..).zip(&reports) {
        let peers: Vec<u32> = reports.iter().map(|report| report.peer).collect();
        assert_eq!(peers, (0..3).filter(|peer| *peer != rank).collect::<Vec<_>>());
        for report in reports {
            let same_host = rank < 2 && report.peer < 2;
            assert_eq!(report.transport == "shm", same_host, "{rank}: {report:?}");
            assert_eq!(report.refused.is_empty(), same_host, "{rank}: {report:?}");
            assert_eq!(report.here.is_empty(), same_host, "{rank}: {report:?}");
            if !same_host {
                let first = &report.refused[0];
                assert_eq!((first.transport, first.here.as_deref()), ("shm", Some("the two are on different hosts")));
            }
        }
    }
    let back = |report: &LinkReport| (report.transport, report.there.clone(), report.here.clone());
    assert_eq!(
        (reports[0][1].transport, reports[0][1].here.clone(), reports[0][1].there.clone()),
        back(&reports[2][0])
    );
}

#[test]
fn what_is_asked_for_is_not_measured_against_others() {
    let config = Config { transport: TransportChoice::Tcp, ..Config::default() };
    for reports in ranks(&vec![config; 3], |comm| comm.links().expect("all ranks are well")) {
        assert!(reports.iter().all(|report| report.transport == "tcp" && report.refused.is_empty()), "{reports:?}");
        assert!(reports.iter().all(|report| !report.here.is_empty() && !report.there.is_empty()), "{reports:?}");
    }
}

#[test]
fn a_rank_alone_has_no_links() {
    assert_eq!(ranks(&[Config::default()], |comm| comm.links().expect("it is well")), [[]]);
}

#[test]
fn a_transport_that_does_not_work_is_an_error_for_both() {
    let config = Config { transport: TransportChoice::Shm, ..Config::default() };
    for error in ranks(&two_hosts(&config)[1..], |comm| comm.links().expect_err("they share nothing").to_string()) {
        assert!(error.contains("cannot share memory: the two are on different hosts"), "{error}");
    }
}

#[test]
fn a_rank_that_calls_something_else_is_found_out() {
    for transport in [TransportChoice::Auto, TransportChoice::Tcp] {
        let config = Config { transport, ..Config::default() };
        let errors = ranks(&vec![config; 3], |comm| match comm.rank() {
            1 => comm.all_reduce(&mut [1.0f32; 10], Op::Sum).expect_err("the others connect"),
            _ => match comm.links() {
                Err(error) => error,
                // It was through before: then it is the next call that tells.
                Ok(_) => comm.all_reduce(&mut [1.0f32; 10], Op::Sum).expect_err("rank 1 is one call behind"),
            },
        });
        assert!(errors.iter().any(|error| matches!(error, Error::Mismatch { .. })), "{errors:?}");
    }
}
