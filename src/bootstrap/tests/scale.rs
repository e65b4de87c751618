//! A thousand ranks in one process: that it works, how long it takes, and that the rendezvous' work grows as their number.

use super::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::atomic::Ordering;
use std::time::Instant;

const RANKS: u32 = 1000;

/// A rank listens, and has two ends of a connection to the rendezvous and two of an edge here, all in this process.
const DESCRIPTORS_PER_RANK: u64 = 5;

fn ranks_that_fit() -> u32 {
    let wanted = u64::from(RANKS) * DESCRIPTORS_PER_RANK + 500;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)).max(limit.current.unwrap_or(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum })
        .expect("up to the hard limit");
    let fit = current.saturating_sub(500) / DESCRIPTORS_PER_RANK;
    u32::try_from(fit).map_or(RANKS, |fit| fit.min(RANKS))
}

#[tokio::test]
async fn a_thousand_ranks_join_and_exchange() {
    let size = ranks_that_fit();
    if size < RANKS {
        println!("only {size} ranks instead of {RANKS}: the hard limit of open files allows no more");
    }
    let mut settings = loopback();
    settings.init_timeout = Duration::from_secs(60);
    let (meeting, counter) = meeting(Afterwards::Close);
    let begun = Instant::now();
    let controls = join_some(&meeting, 0..size, size, &settings).await;
    let controls: Vec<_> = controls.into_iter().map(|control| control.expect("all joined")).collect();
    let joined = begun.elapsed();
    exchange_ranks(&controls).await;
    let exchanged = begun.elapsed() - joined;
    // One dies, and all know.
    let mut controls = controls;
    kill(controls.pop().expect("a last rank"));
    let died = Instant::now();
    for control in &controls {
        assert_eq!(verdict(control).await.peer, size - 1);
    }
    println!(
        "{size} ranks: joined in {joined:?}, exchanged in {exchanged:?}, learned of a death in {:?}",
        died.elapsed()
    );
    // Register, welcome, ready, go.
    assert_eq!(counter.load(Ordering::Relaxed), 4 * u64::from(size));
}

#[tokio::test]
async fn a_thousand_ranks_leave_together() {
    let size = ranks_that_fit().min(300);
    let controls = joined(size, &loopback()).await;
    let begun = Instant::now();
    all_leave(controls).await;
    println!("{size} ranks left in {:?}", begun.elapsed());
}

#[tokio::test]
async fn an_idle_control_plane_costs_next_to_nothing() {
    // This runtime is one thread, so its time is that of all these ranks and of nothing else.
    let used = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).expect("a time after the beginning")
    };
    let controls = joined(20, &loopback()).await;
    let (begun, before) = (Instant::now(), used());
    // why: idling is what is measured.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let share = (used() - before).as_secs_f64() / begun.elapsed().as_secs_f64() / controls.len() as f64;
    println!("an idle rank uses {:.4} % of a core", share * 100.0);
    assert!(share < 0.001, "{share}");
    all_leave(controls).await;
}
