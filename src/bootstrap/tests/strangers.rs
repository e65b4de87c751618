//! Strangers at the job's listeners: garbage, silence, scans, replays, false claims. None disturbs the job.

use super::*;
use crate::bootstrap::Endpoint;
use crate::bootstrap::auth::{self, Denied, Membership, Purpose, RENDEZVOUS, Refusal, Role};
use crate::bootstrap::dial::{self, Unreached};
use crate::bootstrap::message::Message;
use crate::bootstrap::rendezvous::{Answer, Report};
use crate::bootstrap::wire;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

fn address(meeting: &Meeting) -> SocketAddr {
    let Site::Endpoint(endpoint) = &meeting.site else { unreachable!("made in this module's parent") };
    endpoint.addresses()[0]
}

/// Connections of every kind that strangers make, to be held open by the caller.
async fn molest(at: SocketAddr) -> Vec<TcpStream> {
    let mut held = Vec::new();
    let garbage: [&[u8]; 6] = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 4096],
        &[0; 69],
        b"serried\x01",
        b"serried\x02 and so on and on and on and on",
    ];
    for bytes in garbage {
        for hold in [true, false] {
            let mut stream = TcpStream::connect(at).await.expect("a connection");
            // It may be hung up on already.
            let _ = stream.write_all(bytes).await;
            if hold {
                held.push(stream);
            }
        }
    }
    held
}

/// More connections than the waiting room has places, all silent.
async fn crowd(at: SocketAddr) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(TcpStream::connect(at).await.expect("a connection"));
    }
    held
}

#[tokio::test]
async fn strangers_at_the_rendezvous_disturb_nobody() {
    let (meeting, _) = meeting(Afterwards::Close);
    let at = address(&meeting);
    let _held = molest(at).await;
    let early = tokio::spawn(join(meeting.clone(), 1, 3, loopback()));
    let _crowd = crowd(at).await;
    let begun = Instant::now();
    let late = join_some(&meeting, [0, 2], 3, &loopback()).await;
    assert!(late.iter().all(Result::is_ok) && early.await.expect("no panic").is_ok());
    // The crowd holds the door for some graces, not for its handshakes' deadlines.
    assert!(begun.elapsed() < auth::HANDSHAKE_TIMEOUT, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn strangers_at_a_member_disturb_nobody() {
    let controls = joined(3, &loopback()).await;
    let mut held = Vec::new();
    for control in &controls {
        held.extend(molest(control.addresses()[0]).await);
        held.extend(crowd(control.addresses()[0]).await);
    }
    let begun = Instant::now();
    let dialled = controls[2].dial_task(0, controls[0].addresses().to_vec(), 5);
    let accepted = controls[0].accept_task(2, 5);
    let (dialled, accepted) = tokio::join!(dialled, accepted);
    assert!(dialled.is_ok() && accepted.is_ok());
    assert!(begun.elapsed() < auth::HANDSHAKE_TIMEOUT, "{:?}", begun.elapsed());
    exchange_ranks(&controls).await;
    assert!(controls.iter().all(|control| control.verdict().is_none()));
    all_leave(controls).await;
}

#[tokio::test]
async fn who_says_nothing_is_put_out_in_time() {
    let (meeting, _) = meeting(Afterwards::Close);
    let mut silent = TcpStream::connect(address(&meeting)).await.expect("a connection");
    let begun = Instant::now();
    let end = tokio::time::timeout(HANG, silent.read(&mut [0; 1])).await.expect("put out");
    assert!(matches!(end, Ok(0) | Err(_)));
    assert!(begun.elapsed() < auth::HANDSHAKE_TIMEOUT * 2);
}

#[tokio::test]
async fn a_wrong_secret_opens_nothing() {
    let (meeting, _) = meeting(Afterwards::Close);
    let forged = Meeting { secret: Secret([0; 32]), site: meeting.site.clone() };
    let mut settings = loopback();
    settings.init_timeout = Duration::from_millis(300);
    let forging = join_some(&forged, [1], 2, &settings).await.remove(0).err().expect("a wrong secret").to_string();
    assert!(forging.contains("no part of this job"), "{forging}");
    assert!(join_some(&meeting, [0, 1], 2, &loopback()).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn the_secret_alone_does_not_open_a_member() {
    let (meeting, _) = meeting(Afterwards::Close);
    let controls = join_some(&meeting, [0, 1, 2], 3, &loopback()).await;
    let zero = controls[0].as_ref().expect("all joined");
    // Who knows the unique id but was not admitted by the rendezvous has not the session's key.
    let member = Membership::of_rendezvous(&meeting.secret);
    for role in [Role::Tree, Role::Data] {
        let stream = TcpStream::connect(zero.addresses()[0]).await.expect("a connection");
        let purpose = Purpose { role, from: 1, to: 0, tag: 0 };
        assert!(matches!(auth::greet(stream, &member, purpose).await, Err(Denied::Stranger(_) | Denied::Io(_))));
    }
    assert!(zero.verdict().is_none());
}

#[tokio::test]
async fn a_member_cannot_take_anothers_place() {
    let controls = joined(12, &loopback()).await;
    let attempt = |role, from, to: usize| {
        let (member, site) = (controls[0].membership(), Site::Addresses(controls[to].addresses().to_vec()));
        let purpose = Purpose { role, from, to: controls[to].rank(), tag: 0 };
        async move {
            let deadline = Instant::now() + Duration::from_millis(300);
            match dial::dial(&member, purpose, &site, &[], deadline).await {
                Err(Unreached::Refused(why)) => Some(why),
                // Busy until the deadline.
                Err(Unreached::Deadline(_)) => Some(Refusal::Busy),
                Ok(_) => None,
            }
        }
    };
    assert_eq!(attempt(Role::Tree, 1, 0).await, Some(Refusal::Taken), "rank 1 is attached");
    assert_eq!(attempt(Role::Tree, 10, 0).await, Some(Refusal::Busy), "rank 10 belongs to rank 1, which has not left");
    assert_eq!(attempt(Role::Tree, 99, 0).await, Some(Refusal::Unexpected), "there is no rank 99");
    assert_eq!(attempt(Role::Data, 0, 0).await, Some(Refusal::Unexpected), "rank 0 does not dial itself");
    assert_eq!(attempt(Role::Register, 1, 0).await, Some(Refusal::Unexpected), "rank 0 is no rendezvous");
    exchange_ranks(&controls).await;
    assert!(controls.iter().all(|control| control.verdict().is_none()));
    all_leave(controls).await;
}

/// Joins as rank 1 of 2 by hand, up to its connection to rank 0.
async fn join_by_hand(meeting: &Meeting) -> TcpStream {
    let shake = async |at, member: &Membership, role, to| {
        let stream = TcpStream::connect(at).await.expect("a connection");
        let purpose = Purpose { role, from: 1, to, tag: 0 };
        auth::greet(stream, member, purpose).await.expect("a member").prove().await.expect("a welcome")
    };
    let mut root =
        shake(address(meeting), &Membership::of_rendezvous(&meeting.secret), Role::Register, RENDEZVOUS).await;
    let answer = async |root: &mut TcpStream| {
        let body = wire::read_frame(root, 10_000, || ()).await.expect("a frame").expect("not the end");
        Answer::parse(&body).expect("an answer")
    };
    let endpoint = Endpoint::here(vec![]);
    let register = Report::Register { size: 2, patience: HANG, timeout: HANG, endpoint: endpoint.clone() };
    root.write_all(&register.frame()).await.expect("a write");
    let Answer::Welcome { session, above: Some(above) } = answer(&mut root).await else { panic!("no welcome") };
    let member = Membership::of_session(&meeting.secret, &session);
    let mut edge = shake(above.addresses()[0], &member, Role::Tree, 0).await;
    let state = Message::State { endpoint, process: None, left: vec![], verdict: None };
    edge.write_all(&state.frame()).await.expect("a write");
    root.write_all(&Report::Ready.frame()).await.expect("a write");
    assert_eq!(answer(&mut root).await, Answer::Go);
    edge
}

#[tokio::test]
async fn a_member_that_talks_nonsense_is_the_one_that_failed() {
    let too_long = u32::MAX.to_le_bytes().to_vec();
    let unknown = vec![1, 0, 0, 0, 200];
    let wrong_way = Message::Spread { round: 0, entries: vec![] }.frame();
    let uncalled = Message::Gather { round: 9, entries: vec![] }.frame();
    let without_a_rank = Message::Gather { round: 0, entries: vec![1; 30] }.frame();
    for nonsense in [too_long, unknown, wrong_way, uncalled, without_a_rank] {
        let (meeting, _) = meeting(Afterwards::Close);
        let zero = tokio::spawn(join(meeting.clone(), 0, 2, loopback()));
        let mut edge = join_by_hand(&meeting).await;
        let zero = zero.await.expect("no panic").expect("both joined");
        let exchange = tokio::spawn(zero.exchange_task(vec![]));
        edge.write_all(&nonsense).await.expect("a write");
        let failure = verdict(&zero).await;
        let crate::Cause::Link { with: 0, reason, .. } = &failure.cause else { panic!("{failure:?}") };
        assert!(failure.peer == 1 && reason.contains("nonsense"), "{reason}");
        assert!(exchange.await.expect("no panic").is_err());
    }
}

#[tokio::test]
async fn a_rank_that_talks_nonsense_to_the_rendezvous_is_not_seated() {
    let mut settings = loopback();
    settings.init_timeout = Duration::from_secs(2);
    let (meeting, _) = meeting(Afterwards::Close);
    let waiting = tokio::spawn(join(meeting.clone(), 0, 2, settings));
    // An authenticated rank whose frame claims four gigabytes.
    let member = Membership::of_rendezvous(&meeting.secret);
    let stream = TcpStream::connect(address(&meeting)).await.expect("a connection");
    let purpose = Purpose { role: Role::Register, from: 1, to: RENDEZVOUS, tag: 0 };
    let mut stream = auth::greet(stream, &member, purpose).await.expect("a member").prove().await.expect("a welcome");
    stream.write_all(&u32::MAX.to_le_bytes()).await.expect("a write");
    let hung_up = tokio::time::timeout(HANG, stream.read(&mut [0; 1])).await.expect("hung up on");
    assert!(matches!(hung_up, Ok(0) | Err(_)));
    // It was never seated, so its rank is merely missing.
    let error = waiting.await.expect("no panic").err().expect("nobody else came");
    assert!(matches!(&error, crate::Error::Missing { missing, .. } if missing == &[1]), "{error}");
}
