//! Leaving: it is no failure, all know of it, and the tree stays whole for those who remain.

use super::*;
use crate::Error;
use crate::error::Cause;
use std::time::Instant;

const SIZE: u32 = 20;

/// These ranks leave while the others stay; then one of the others dies, and all others must learn of it.
async fn stay_connected(leaving: &[u32], dying: u32) {
    let controls = joined(SIZE, &loopback()).await;
    let (left, stayed): (Vec<_>, Vec<_>) = controls.into_iter().partition(|c| leaving.contains(&c.rank()));
    all_leave(left).await;
    for control in &stayed {
        while !leaving.iter().all(|rank| control.left(*rank)) {
            // why: the loop waits for the news itself; between looks the other tasks run.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(control.any_left() && control.verdict().is_none(), "leaving is no failure");
        assert_eq!(control.explain(leaving[0], Duration::ZERO).map(|f| f.cause), Some(Cause::Left));
    }
    let (mut dead, stayed): (Vec<_>, Vec<_>) = stayed.into_iter().partition(|c| c.rank() == dying);
    kill(dead.pop().expect("it had not left"));
    for control in &stayed {
        let failure = verdict(control).await;
        assert_eq!(
            (failure.peer, failure.cause),
            (dying, Cause::Died),
            "at rank {} after {leaving:?} left",
            control.rank()
        );
    }
    all_leave(stayed).await;
}

#[tokio::test]
async fn an_inner_rank_leaves() {
    stay_connected(&[1], 9).await;
}

#[tokio::test]
async fn the_top_leaves() {
    stay_connected(&[0], 19).await;
}

#[tokio::test]
async fn a_leaf_leaves() {
    stay_connected(&[19], 9).await;
}

#[tokio::test]
async fn parent_and_grandparent_leave_at_once() {
    stay_connected(&[0, 1], 9).await;
}

#[tokio::test]
async fn all_inner_ranks_leave_at_once() {
    stay_connected(&[0, 1, 2], 17).await;
}

#[tokio::test]
async fn the_top_and_its_heirs_leave_one_after_the_other() {
    let mut controls = joined(SIZE, &loopback()).await;
    for _ in 0..3 {
        controls.remove(0).leave_task().await;
    }
    assert!(controls.iter().all(|control| control.verdict().is_none()));
    kill(controls.pop().expect("rank 19"));
    for control in &controls {
        assert_eq!(verdict(control).await.peer, 19, "at rank {}", control.rank());
    }
}

#[tokio::test]
async fn leaving_together_is_quick_and_no_failure() {
    let mut best = Duration::MAX;
    let mut watchers = Vec::new();
    for _ in 0..5 {
        let controls = joined(SIZE, &loopback()).await;
        watchers = controls.clone();
        let begun = Instant::now();
        all_leave(controls).await;
        best = best.min(begun.elapsed());
        assert!(watchers.iter().all(|control| control.verdict().is_none()));
    }
    assert!(best < Duration::from_millis(400), "somebody waits for its patience to end: {best:?}");
    let error = watchers[0].exchange_task(vec![]).await.expect_err("it has left");
    assert!(error.to_string().contains("has left"), "{error}");
    assert!(watchers[3].accept_task(1, 1).await.is_err());
}

#[tokio::test]
async fn the_last_handle_leaves_when_dropped() {
    let mut controls = joined(3, &loopback()).await;
    drop(controls.pop());
    while !controls.iter().all(|control| control.left(2)) {
        // why: the loop waits for the news itself; between looks the other tasks run.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(controls.iter().all(|control| control.verdict().is_none()));
    let error = controls[0].exchange_task(vec![]).await.expect_err("rank 2 left");
    assert!(matches!(error, Error::Peer { peer: 2, cause: Cause::Left, .. }), "{error}");
    // Who is waiting when a rank leaves is told, too.
    let (mut controls, waiting) = (joined(3, &loopback()).await, |c: &Control| tokio::spawn(c.exchange_task(vec![])));
    let waits = [waiting(&controls[0]), waiting(&controls[1])];
    controls.pop().expect("rank 2").leave_task().await;
    for wait in waits {
        let error = wait.await.expect("no panic").expect_err("rank 2 left");
        assert!(matches!(error, Error::Peer { peer: 2, cause: Cause::Left, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_rank_may_leave_right_after_an_exchange() {
    // The end of an exchange must not be overtaken by the news that a rank has left after it.
    for _ in 0..10 {
        let controls = joined(SIZE, &loopback()).await;
        let tasks = controls.into_iter().map(|control| async move {
            let all = control.exchange_task(vec![1]).await;
            control.leave_task().await;
            all.expect("an exchange").len()
        });
        assert!(all(tasks).await.into_iter().all(|count| count == SIZE as usize));
    }
}
