//! Tests of the control plane as a whole: real sockets on loopback, many ranks as tasks of one runtime.

mod farewell;
mod news;
mod process;
mod rendezvous;
mod scale;
mod strangers;

use super::join::join;
use super::listener::Listener;
use super::rendezvous::Meeting;
use super::root::{self, Afterwards, Counter};
use super::site::Site;
use super::unique_id::{Secret, fill_random};
use super::{Control, Failure, Settings};
use crate::error::Result;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Nothing in these tests takes so long, except by a fault.
const HANG: Duration = Duration::from_secs(30);

/// Settings that stay on loopback, whatever interfaces there are.
fn loopback() -> Settings {
    Settings {
        interfaces: "=lo".parse().ok(),
        family: crate::topology::interface::Family::V4,
        init_timeout: HANG,
        connect_timeout: HANG,
        ..Settings::default()
    }
}

/// A rendezvous that runs in the present runtime.
fn meeting(afterwards: Afterwards) -> (Meeting, Counter) {
    let listener = Listener::bind(&[Ipv4Addr::LOCALHOST.into()], None).expect("a listener");
    let mut secret = Secret([0; 32]);
    fill_random(&mut secret.0).expect("randomness");
    let meeting = Meeting { secret: secret.clone(), site: Site::Endpoint(listener.endpoint()) };
    let counter = Counter::default();
    tokio::spawn(root::serve(listener, secret, afterwards, counter.clone()));
    (meeting, counter)
}

/// What these ranks get from joining a communicator of `size`, in the order of `ranks`.
async fn join_some(
    meeting: &Meeting,
    ranks: impl IntoIterator<Item = u32>,
    size: u32,
    settings: &Settings,
) -> Vec<Result<Control>> {
    let tasks = ranks.into_iter().map(|rank| join(meeting.clone(), rank, size, settings.clone()));
    all(tasks).await
}

/// All ranks of a communicator of `size`.
async fn joined(size: u32, settings: &Settings) -> Vec<Control> {
    let (meeting, _) = meeting(Afterwards::Close);
    let controls = join_some(&meeting, 0..size, size, settings).await;
    controls.into_iter().map(|control| control.expect("all ranks joined")).collect()
}

/// The results of tasks that run side by side, in their order.
async fn all<T: Send + 'static>(tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    let mut set = JoinSet::new();
    for (at, task) in tasks.into_iter().enumerate() {
        set.spawn(async move { (at, task.await) });
    }
    let done = tokio::time::timeout(HANG, set.join_all()).await;
    let mut results = done.expect("no task hangs");
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The verdict, once it falls.
async fn verdict(control: &Control) -> Failure {
    let (tell, told) = oneshot::channel();
    control.subscribe(move |failure| drop(tell.send(failure.clone())));
    tokio::time::timeout(HANG, told).await.expect("a verdict in time").expect("a verdict")
}

/// Ends a rank as the end of its process would: all its connections close without a word.
fn kill(control: Control) {
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _dropped_while_unwinding = control;
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(killed.is_err());
}

/// All ranks leave, side by side.
async fn all_leave(controls: Vec<Control>) {
    all(controls.iter().map(Control::leave_task)).await;
}

/// Every rank exchanges its number.
async fn exchange_ranks(controls: &[Control]) {
    let size = u32::try_from(controls.len()).expect("few ranks");
    let expected: Vec<Vec<u8>> = (0..size).map(|rank| rank.to_le_bytes().to_vec()).collect();
    for result in all(controls.iter().map(|c| c.exchange_task(c.rank().to_le_bytes().to_vec()))).await {
        assert_eq!(result.expect("an exchange"), expected);
    }
}
