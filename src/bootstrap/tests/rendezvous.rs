//! Joining: when it works, and what each rank is told when it does not.

use super::*;
use crate::Error;
use crate::error::Cause;

#[tokio::test]
async fn ranks_join_exchange_and_leave() {
    for size in [1, 2, 3, 9, 20] {
        let controls = joined(size, &loopback()).await;
        for (rank, control) in controls.iter().enumerate() {
            assert_eq!((control.rank() as usize, control.size()), (rank, size));
            assert!(control.verdict().is_none() && !control.any_left());
        }
        for _ in 0..3 {
            exchange_ranks(&controls).await;
        }
        all_leave(controls).await;
    }
}

#[test]
fn the_blocking_calls_work_from_plain_threads() {
    let settings = loopback();
    let id = super::super::UniqueId::create(&settings).expect("an id");
    let ranks: Vec<_> = (0..3)
        .map(|rank| {
            let (id, settings) = (id.clone(), settings.clone());
            std::thread::spawn(move || {
                let control = Control::join(&id, rank, 3, &settings).expect("a communicator");
                let all = control.exchange(&control.endpoint().to_bytes()).expect("an exchange");
                if rank == 0 {
                    let one = super::super::Endpoint::from_bytes(&all[1]).expect("an endpoint");
                    let mut stream = control.dial(1, &one.reachable(), 7).expect("a stream");
                    std::io::Write::write_all(&mut stream, b"hello").expect("a write");
                    assert!(stream.nodelay().expect("an option"));
                } else if rank == 1 {
                    let mut stream = control.accept(0, 7, || Ok(())).expect("a stream");
                    let mut got = String::new();
                    std::io::Read::read_to_string(&mut stream, &mut got).expect("blocking, up to the end");
                    assert_eq!(got, "hello");
                }
                control.exchange(b"").expect("a barrier");
                assert!(control.dial(rank, &[], 0).is_err() && control.accept(9, 0, || Ok(())).is_err());
                control.leave();
            })
        })
        .collect();
    ranks.into_iter().for_each(|rank| rank.join().expect("no panic"));
    // The id is used up, and says so.
    let error = Control::join(&id, 1, 3, &settings).err().expect("used up").to_string();
    assert!(error.contains("used up"), "{error}");
}

#[tokio::test]
async fn ranks_that_do_not_come_are_named_to_all_who_did() {
    let (meeting, _) = meeting(Afterwards::Answer);
    let mut settings = loopback();
    settings.init_timeout = Duration::from_millis(400);
    for (result, here) in join_some(&meeting, [0, 1, 4], 6, &settings).await.into_iter().zip([0, 1, 4]) {
        let error = result.err().expect("three are missing");
        let Error::Missing { rank, size: 6, missing, after } = &error else { panic!("{error}") };
        assert_eq!((*rank, &missing[..], *after), (here, &[2, 3, 5][..], settings.init_timeout));
    }
    // A late-comer is told at once.
    let late = join_some(&meeting, [2], 6, &loopback()).await.remove(0).err().expect("too late");
    assert!(matches!(late, Error::Missing { rank: 2, .. }), "{late}");
}

#[tokio::test]
async fn a_rendezvous_that_is_not_there_is_unreachable() {
    let (mut meeting, _) = meeting(Afterwards::Close);
    let mut settings = loopback();
    settings.init_timeout = Duration::from_millis(300);
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    meeting.site = Site::Addresses(vec![free]);
    let begun = std::time::Instant::now();
    let error = join_some(&meeting, [1], 2, &settings).await.remove(0).err().expect("nobody there");
    let Error::Unreachable { rank: 1, address, after, reason } = &error else { panic!("{error}") };
    assert_eq!((address, *after), (&free.to_string(), settings.init_timeout));
    assert!(reason.contains("refused"), "{reason}");
    assert!(begun.elapsed() < settings.init_timeout * 3);
    // One that accepts and never says a word.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    meeting.site = Site::Addresses(vec![mute.local_addr().expect("its address")]);
    let error = join_some(&meeting, [1], 2, &settings).await.remove(0).err().expect("nobody speaks");
    assert!(matches!(&error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_rank_claimed_twice_is_refused_and_the_job_goes_on() {
    let (meeting, _) = meeting(Afterwards::Close);
    // Both claim rank 1; which of them is first does not matter.
    let mut one = tokio::spawn(join(meeting.clone(), 1, 3, loopback()));
    let mut other = tokio::spawn(join(meeting.clone(), 1, 3, loopback()));
    let (refused, waiting) = tokio::select! {
        refused = &mut one => (refused, other),
        refused = &mut other => (refused, one),
    };
    let error = refused.expect("no panic").err().expect("one of the two is refused").to_string();
    assert!(error.contains("rank 1 is taken"), "{error}");
    let others = join_some(&meeting, [0, 2], 3, &loopback()).await;
    assert!(others.iter().all(Result::is_ok), "{:?}", others.iter().map(|r| r.as_ref().err()).collect::<Vec<_>>());
    assert!(waiting.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn ranks_that_disagree_on_the_size_are_all_told() {
    let (meeting, _) = meeting(Afterwards::Close);
    let one = tokio::spawn(join(meeting.clone(), 0, 4, loopback()));
    let other = tokio::spawn(join(meeting.clone(), 3, 5, loopback()));
    for error in
        [one, other].map(|task| async { task.await.expect("no panic").err().expect("they disagree").to_string() })
    {
        let error = error.await;
        assert!(error.contains("says 4") && error.contains("says 5"), "{error}");
    }
}

#[tokio::test]
async fn impossible_ranks_are_refused() {
    let (meeting, _) = meeting(Afterwards::Close);
    for (rank, size) in [(2, 2), (7, 2), (0, 0), (0, u32::MAX)] {
        let error = join_some(&meeting, [rank], size, &loopback()).await.remove(0).err().expect("impossible");
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_rank_that_dies_while_joining_fails_all_at_once() {
    let (meeting, counter) = meeting(Afterwards::Close);
    let dying = tokio::spawn(join(meeting.clone(), 2, 3, loopback()));
    // Its registration is the first message.
    while counter.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let waiting = tokio::spawn(join(meeting.clone(), 0, 3, loopback()));
    while counter.load(std::sync::atomic::Ordering::Relaxed) == 1 {
        tokio::task::yield_now().await;
    }
    dying.abort();
    let error = waiting.await.expect("no panic").err().expect("a rank died");
    assert!(matches!(error, Error::Peer { rank: 0, peer: 2, cause: Cause::Died, .. }), "{error}");
}

#[tokio::test]
async fn a_rendezvous_that_ends_leaves_nobody_waiting() {
    let listener = Listener::bind(&[Ipv4Addr::LOCALHOST.into()], None).expect("a listener");
    let meeting = Meeting { secret: Secret([1; 32]), site: Site::Endpoint(listener.endpoint()) };
    let counter = Counter::default();
    let root = tokio::spawn(root::serve(listener, meeting.secret.clone(), Afterwards::Close, counter.clone()));
    let waiting = tokio::spawn(join(meeting, 0, 2, loopback()));
    while counter.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    root.abort();
    let error = waiting.await.expect("no panic").err().expect("the rendezvous ended");
    assert!(matches!(&error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn ports_stay_in_their_range() {
    let mut settings = loopback();
    settings.ports = crate::topology::interface::PortRange::new(21_000, 21_400);
    let controls = joined(4, &settings).await;
    for control in &controls {
        assert!(control.addresses().iter().all(|a| (21_000..=21_400).contains(&a.port())), "{:?}", control.addresses());
    }
    all_leave(controls).await;
}
