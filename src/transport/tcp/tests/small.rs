//! Small messages cost one system call at either end, and sleeping wakes for what it should.

use super::*;
use crate::transport::{Interest, LANES, Transport};
use crate::transport::{Sleep, Woken};
use rustix::event::{PollFd, PollFlags};
use std::os::fd::AsFd;

/// Waits until something has come to the link's first socket.
fn arrival(link: &TcpLink) {
    let mut descriptors = [PollFd::from_borrowed_fd(link.sockets[0].as_fd(), PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut descriptors, None).expect("poll"), 1);
}

#[test]
fn a_small_message_is_one_send_and_one_receive() {
    let (mut one, mut other) = links(1, &TcpSettings::default());
    let counts = |link: &TcpLink| (link.sockets[0].calls.sends.get(), link.sockets[0].calls.receives.get());
    for size in [0, 1, 8, 4096, 16 << 10] {
        let (before, after) = (counts(&one), counts(&other));
        assert!(one.open(2, &head(1, size)).expect("sound"));
        assert_eq!(one.write(2, &vec![9; size]).expect("sound"), size);
        assert_eq!(counts(&one), (before.0 + 1, before.1), "sending {size} bytes");

        // As the engine does: a pump, then every lane in turn.
        arrival(&other);
        other.pump().expect("sound");
        let waiting = (0..LANES).filter(|&lane| other.head(lane).expect("sound").is_some());
        assert_eq!(waiting.collect::<Vec<_>>(), [2]);
        let mut into = vec![0; size];
        if size == 0 {
            other.consume(2, 0);
        } else {
            assert_eq!(other.read(2, &mut into).expect("sound"), size);
        }
        assert!(into.iter().all(|&byte| byte == 9));
        assert_eq!(counts(&other), (after.0, after.1 + 1), "receiving {size} bytes");
    }
}

#[test]
fn a_pass_over_dry_lanes_asks_the_system_once() {
    let (mut one, _other) = links(1, &TcpSettings::default());
    let receives = |link: &TcpLink| link.sockets[0].calls.receives.get();
    // The first pass also finds the hello.
    for _ in 0..3 {
        one.pump().expect("sound");
        (0..LANES).for_each(|lane| assert_eq!(one.head(lane).expect("sound"), None));
    }
    for _ in 0..10 {
        let before = receives(&one);
        assert!(!one.pump().expect("sound"));
        (0..LANES).for_each(|lane| assert_eq!(one.head(lane).expect("sound"), None));
        assert_eq!(receives(&one), before + 1);
    }
}

#[test]
fn a_sleeper_wakes_when_something_comes_and_not_before() {
    let (mut one, mut other) = links(2, &TcpSettings::default());
    let mut sleep = Sleep::new().expect("epoll");
    // The hellos are read first.
    until(|| (!other.pump().expect("sound") && other.head(0).expect("sound").is_none()).then_some(()));
    until(|| {
        other.pump().expect("sound");
        sleep.watch(&other).expect("watching");
        (sleep.sleep(Duration::ZERO).expect("sleeping") == Woken::Idle).then_some(())
    });
    assert_eq!(sleep.sleep(Duration::from_millis(2)).expect("sleeping"), Woken::Idle);

    assert!(one.open(0, &head(0, 5)).expect("sound"));
    assert_eq!(one.write(0, b"hello").expect("sound"), 5);
    assert_eq!(sleep.sleep(DEADLINE).expect("sleeping"), Woken::Ready);
    assert!(until(|| other.head(0).expect("sound")).bytes == 5);
}

#[test]
fn a_blocked_writer_wakes_when_there_is_room_and_wants_nothing_otherwise() {
    let settings = TcpSettings {
        slot_bytes: 1 << 20,
        send_buffer: Some(32 << 10),
        receive_buffer: Some(32 << 10),
        ..TcpSettings::default()
    };
    let (mut one, mut other) = links(1, &settings);
    let interest = |link: &TcpLink| {
        let mut seen = Vec::new();
        link.descriptors(&mut |_, interest| seen.push(interest));
        seen
    };
    assert_eq!(interest(&one), [Interest::Read]);
    let payload = vec![5; 1 << 20];
    assert!(one.open(3, &head(0, payload.len())).expect("sound"));
    let mut written = one.write(3, &payload).expect("sound");
    assert!(written < payload.len(), "the kernel's buffers are small");
    assert_eq!(interest(&one), [Interest::ReadWrite]);

    let mut sleep = Sleep::new().expect("epoll");
    let mut into = vec![0; 1 << 20];
    let mut read = 0;
    while read < payload.len() {
        other.pump().expect("sound");
        read += other.read(3, &mut into[read..]).expect("sound");
        one.pump().expect("sound");
        written += one.write(3, &payload[written..]).expect("sound");
        if written < payload.len() && interest(&one) == [Interest::ReadWrite] {
            sleep.watch(&one).expect("watching");
            sleep.sleep(Duration::from_millis(1)).expect("sleeping");
        }
    }
    assert_eq!(into, payload);
    assert_eq!(interest(&one), [Interest::Read]);
}

#[test]
fn settings_that_cannot_be_are_refused() {
    for settings in [
        TcpSettings { slot_bytes: 0, ..TcpSettings::default() },
        TcpSettings { slot_bytes: 12, ..TcpSettings::default() },
        TcpSettings { credits: 0, ..TcpSettings::default() },
        TcpSettings { slot_bytes: 1 << 29, credits: 3, ..TcpSettings::default() },
        TcpSettings { slot_bytes: usize::MAX - 7, credits: u32::MAX, ..TcpSettings::default() },
    ] {
        let (streams, _) = streams(1, IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert!(matches!(TcpLink::new(streams, &settings), Err(crate::Error::InvalidArgument { .. })), "{settings:?}");
    }
    assert!(TcpLink::new(Vec::new(), &TcpSettings::default()).is_err());
}
