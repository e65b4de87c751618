//! News of failures: whatever happens to a rank, all others learn the same, soon.

use super::*;
use crate::Error;
use crate::error::Cause;
use std::time::Instant;

/// Ranks in several levels: 0; 1 to 8; 9 to 19.
const SIZE: u32 = 20;

#[tokio::test]
async fn a_death_is_known_to_all_whoever_dies() {
    let mut times = Vec::new();
    for dying in [0, 1, 2, 8, 9, 19] {
        let mut controls = joined(SIZE, &loopback()).await;
        kill(controls.remove(dying as usize));
        let begun = Instant::now();
        for control in &controls {
            let failure = verdict(control).await;
            assert_eq!((failure.peer, failure.cause), (dying, Cause::Died));
            assert_eq!(control.verdict().map(|f| f.peer), Some(dying));
        }
        let known = begun.elapsed();
        let error = controls[3].exchange_task(vec![]).await.expect_err("a rank died");
        assert!(matches!(error, Error::Peer { peer, cause: Cause::Died, .. } if peer == dying), "{error}");
        let begun = Instant::now();
        all_leave(controls).await;
        println!("the death of rank {dying} was known to all after {known:?}; they left in {:?}", begun.elapsed());
        times.push((known, begun.elapsed()));
    }
    // The best of them, since this machine may be anybody's: news does not wait for heartbeats, nor a leave for those below.
    let best = times.into_iter().reduce(|a, b| (a.0.min(b.0), a.1.min(b.1))).expect("six deaths");
    assert!(best.0 < Duration::from_millis(100) && best.1 < Duration::from_millis(400), "{best:?}");
}

#[tokio::test]
async fn a_death_ends_what_is_waited_for() {
    let mut controls = joined(4, &loopback()).await;
    let exchange = tokio::spawn(controls[0].exchange_task(vec![1]));
    let accept = tokio::spawn(controls[1].accept_task(2, 3));
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let dial = tokio::spawn(controls[2].dial_task(1, vec![free], 3));
    tokio::task::yield_now().await;
    kill(controls.pop().expect("rank 3"));
    let waits = [
        exchange.await.expect("no panic").err(),
        accept.await.expect("no panic").err(),
        dial.await.expect("no panic").err(),
    ];
    for error in waits {
        assert!(matches!(error, Some(Error::Peer { peer: 3, cause: Cause::Died, .. })), "{error:?}");
    }
}

#[tokio::test]
async fn a_report_reaches_all_and_the_first_stands() {
    let controls = joined(SIZE, &loopback()).await;
    let cause = Cause::Link { with: 12, transport: "tcp".into(), reason: "reset by peer".into() };
    let failure = Failure { peer: 7, cause, reporter: 12 };
    let (twelve, reported) = (controls[12].clone(), failure.clone());
    // `report` blocks its thread, and this one runs the control plane.
    let stands = tokio::task::spawn_blocking(move || twelve.report(reported).clone()).await.expect("no panic");
    assert_eq!(stands, failure);
    for control in &controls {
        assert_eq!(verdict(control).await, failure);
    }
    let (three, late) = (controls[3].clone(), Failure { peer: 1, cause: Cause::Died, reporter: 3 });
    let stands = tokio::task::spawn_blocking(move || three.report(late).clone()).await.expect("no panic");
    assert_eq!(stands, failure);
    all_leave(controls).await;
}

/// Runs one rank on a runtime of its own, which can be made to stand still as a stopped process does.
struct Stoppable {
    control: Control,
    runtime: tokio::runtime::Handle,
    /// Dropping it ends the runtime's thread.
    _end: oneshot::Sender<()>,
}

impl Stoppable {
    async fn join(meeting: Meeting, rank: u32, size: u32, settings: Settings) -> Self {
        let (tell, told) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let control = join(meeting, rank, size, settings).await.expect("all joined");
                let _ = tell.send((control, tokio::runtime::Handle::current()));
                let _ = ended.await;
            });
        });
        let (control, runtime) = told.await.expect("joined");
        Self { control, runtime, _end: end }
    }

    /// Stands still until the returned sender is dropped.
    async fn stop(&self) -> std::sync::mpsc::Sender<()> {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (tell, told) = oneshot::channel();
        self.runtime.spawn(async move {
            let _ = tell.send(());
            // Blocks the whole runtime, on purpose.
            let _ = wait.recv();
        });
        told.await.expect("it stands still");
        go
    }
}

#[tokio::test]
async fn a_rank_that_stands_still_is_silent_and_learns_of_it() {
    let mut settings = loopback();
    settings.silence = Duration::from_millis(800);
    for stopped in [0, 1, 9] {
        let size = 12;
        let (meeting, _) = meeting(Afterwards::Close);
        let odd = tokio::spawn(Stoppable::join(meeting.clone(), stopped, size, settings.clone()));
        let others = join_some(&meeting, (0..size).filter(|r| *r != stopped), size, &settings).await;
        let others: Vec<_> = others.into_iter().map(|c| c.expect("all joined")).collect();
        let odd = odd.await.expect("no panic");
        // why: nothing must happen meanwhile; long enough for a false alarm, were heartbeats missing.
        tokio::time::sleep(settings.silence * 2).await;
        assert!(others.iter().chain([&odd.control]).all(|control| control.verdict().is_none()));
        let still = odd.stop().await;
        let begun = Instant::now();
        for control in &others {
            let failure = verdict(control).await;
            assert_eq!((failure.peer, failure.cause), (stopped, Cause::Silent(settings.silence)));
        }
        println!("that rank {stopped} stood still was known after {:?}", begun.elapsed());
        assert!(begun.elapsed() >= settings.silence / 2, "no sooner than its patience allows");
        drop(still);
        let own = verdict(&odd.control).await;
        assert_eq!((own.peer, own.cause), (stopped, Cause::Silent(settings.silence)), "it learns that it was given up");
        all_leave(others).await;
    }
}

#[tokio::test]
async fn a_short_stop_is_forgiven() {
    let mut settings = loopback();
    settings.silence = Duration::from_secs(2);
    let (meeting, _) = meeting(Afterwards::Close);
    let odd = tokio::spawn(Stoppable::join(meeting.clone(), 1, 3, settings.clone()));
    let others = join_some(&meeting, [0, 2], 3, &settings).await;
    let odd = odd.await.expect("no panic");
    let still = odd.stop().await;
    // why: the length of the stop is what is tested.
    tokio::time::sleep(settings.silence / 2).await;
    drop(still);
    // An exchange passes only when all take part again.
    let mut tasks = vec![tokio::spawn(odd.control.exchange_task(vec![]))];
    tasks.extend(others.iter().map(|c| tokio::spawn(c.as_ref().expect("all joined").exchange_task(vec![]))));
    for task in tasks {
        task.await.expect("no panic").expect("an exchange");
    }
    assert!(odd.control.verdict().is_none());
}

#[tokio::test]
async fn an_exchange_that_a_rank_misses_names_it() {
    let mut settings = loopback();
    settings.connect_timeout = Duration::from_millis(200);
    settings.silence = Duration::from_millis(400);
    let controls = joined(3, &settings).await;
    let results = all(controls[..2].iter().map(|c| c.exchange_task(vec![]))).await;
    assert!(matches!(results[0], Err(Error::Timeout { rank: 0, peer: 2, .. })), "{:?}", results[0]);
    assert!(matches!(results[1], Err(Error::Timeout { rank: 1, peer: 0, .. })), "{:?}", results[1]);
    all_leave(controls).await;
}

#[test]
fn a_hook_that_waits_for_its_own_thread_is_told_so() {
    let id = crate::bootstrap::UniqueId::create(&loopback()).expect("an id");
    let control = Control::join(&id, 0, 1, &loopback()).expect("a communicator of one");
    let (tell, told) = std::sync::mpsc::channel();
    let inner = control.clone();
    control.subscribe(move |_| drop(tell.send(inner.exchange(b"").err())));
    control.report(Failure { peer: 0, cause: Cause::Reported("a test".into()), reporter: 0 });
    let error = told.recv_timeout(HANG).expect("no hang").expect("an error").to_string();
    assert!(error.contains("on the control thread"), "{error}");
}
