//! Peers that are gone, differ, or lie. Each gets the right fault, and none a panic or a hang.

use super::super::frame::{Frame, FrameHeader, Hello};
use super::*;
use crate::transport::{LANES, Transport};
use std::io::{Read, Write};
use zerocopy::IntoBytes;

const SLOT_BYTES: usize = 4096;

/// A link, and a raw socket in the place of its peer that has said hello.
fn link_and_liar() -> (TcpLink, TcpStream) {
    let (one, mut other) = streams(1, IpAddr::V4(Ipv4Addr::LOCALHOST));
    let settings = TcpSettings { slot_bytes: SLOT_BYTES, ..TcpSettings::default() };
    let mut liar = other.remove(0);
    liar.write_all(Hello::new(1, SLOT_BYTES, settings.credits).as_bytes()).expect("connected");
    let link = TcpLink::new(one, &settings).expect("settings");
    // It reads the link's hello, too: closing a socket with something unread would be a reset.
    liar.read_exact(Hello::new(1, SLOT_BYTES, settings.credits).as_mut_bytes()).expect("a hello");
    (link, liar)
}

fn data(lane: usize, offset: u64, length: u32) -> Vec<u8> {
    FrameHeader::new(Frame::Data { lane, offset, length }, &[0; LANES]).as_bytes().to_vec()
}

fn says(bytes: &[u8]) -> Fault {
    let (mut link, mut liar) = link_and_liar();
    liar.write_all(bytes).expect("connected");
    let first = fault(|| {
        link.pump()?;
        link.head(0)
    });
    let again = link.head(1).expect_err("a link that was lied to stays broken");
    assert_eq!(first.to_string(), again.to_string());
    first
}

#[test]
fn lies_are_nonsense() {
    let window = 2 * (SLOT_BYTES as u64 + 48);
    let too_large = [data(0, 0, 40), head(0, SLOT_BYTES + 1).as_bytes().to_vec()].concat();
    let credit = FrameHeader::new(Frame::Credit, &[0, 1, 0, 0]).as_bytes().to_vec();
    let twice = [data(0, 0, 8), vec![0; 8], data(0, 4, 8)].concat();
    for (lie, words) in [
        (vec![0xff; 32], "kind 0xff"),
        (data(LANES, 0, 1), "lane 4"),
        (data(0, 0, 0), "0 bytes"),
        (data(1, window, 1), "1 bytes at 8288"),
        (data(0, 0, window as u32 + 1), "8289 bytes at 0"),
        (data(2, u64::MAX, 1), "lane 2"),
        (data(2, u64::MAX, u32::MAX), "lane 2"),
        (too_large, "4097 bytes for slots of 4096"),
        (credit, "credit for 1 bytes of lane 1, of which 0"),
        (twice, "8 bytes at 4 of lane 0"),
    ] {
        match says(&lie) {
            Fault::Nonsense(why) => assert!(why.contains(words), "{why:?} instead of {words:?}"),
            lost => panic!("{lost} instead of {words:?}"),
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    for seed in 1..200 {
        let mut dice = Dice(seed);
        let (mut link, mut liar) = link_and_liar();
        for _ in 0..1 + dice.below(6) {
            // Plausible frames, with any content, and then anything at all.
            let length = 1 + dice.below(300);
            let mut bytes = data(dice.below(LANES), (dice.below(40) * 8) as u64, length as u32);
            bytes.extend((0..dice.below(2 * length)).map(|_| dice.below(256) as u8));
            liar.write_all(&bytes).expect("connected");
        }
        drop(liar);
        let mut into = [0; 64];
        fault(|| {
            link.pump()?;
            for lane in 0..LANES {
                if dice.below(2) == 0 {
                    link.read(lane, &mut into)?;
                } else {
                    let lent = link.peek(lane)?.len();
                    link.consume(lane, lent.min(1 + dice.below(9)));
                }
            }
            Ok(())
        });
    }
}

#[test]
fn a_stranger_is_nonsense_and_a_different_setup_is_named() {
    for (first_bytes, words) in [
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec(), "no greeting"),
        (Hello::new(1, 8192, 2).as_bytes().to_vec(), "bytes a slot 4096 here, 8192 there"),
    ] {
        let (one, mut other) = streams(1, IpAddr::V4(Ipv4Addr::LOCALHOST));
        let settings = TcpSettings { slot_bytes: SLOT_BYTES, ..TcpSettings::default() };
        let mut link = TcpLink::new(one, &settings).expect("settings");
        other[0].write_all(&first_bytes).expect("connected");
        let fault = fault(|| link.head(0));
        assert!(matches!(&fault, Fault::Nonsense(why) if why.contains(words)), "{fault}");
    }
}

#[test]
fn what_came_before_the_end_is_read_before_the_end_is_told() {
    for sockets in [1, 3] {
        let (mut one, mut other) = links(sockets, &TcpSettings::default());
        for lane in 0..LANES {
            assert!(one.open(lane, &head(0, 70_000)).expect("sound"));
            assert_eq!(one.write(lane, &vec![lane as u8; 70_000]).expect("sound"), 70_000);
        }
        drop(one);
        for lane in (0..LANES).rev() {
            let mut read = 0;
            let mut into = vec![0xff; 70_000];
            until(|| {
                other.pump().expect("the end is no fault while there is something to read");
                read += other.read(lane, &mut into[read..]).expect("sent before the end");
                (read == into.len()).then_some(())
            });
            assert!(into.iter().all(|&byte| byte == lane as u8));
        }
        assert!(matches!(fault(|| other.head(0)), Fault::Lost(why) if why == "the peer closed the connection"));
        let interest = |link: &TcpLink| {
            let mut all_gone = true;
            link.descriptors(&mut |_, interest| all_gone &= interest == crate::transport::Interest::None);
            all_gone
        };
        until(|| {
            other.pump().expect("not a fault by itself");
            interest(&other).then_some(())
        });
        let lost = fault(|| if other.open(0, &head(0, 1))? { other.write(0, &[1]) } else { Ok(0) });
        assert!(matches!(lost, Fault::Lost(why) if why == "the peer closed the connection"));
    }
}

#[test]
fn leaving_waits_until_the_peer_has_everything() {
    let settings = TcpSettings { slot_bytes: 1 << 20, credits: 1, ..TcpSettings::default() };
    for sockets in [1, 2] {
        let (mut one, mut other) = links(sockets, &settings);
        let payload = vec![8; 1 << 20];
        let mut into = vec![0; 1 << 20];
        let (mut written, mut read) = (0, 0);
        assert!(one.open(0, &head(0, payload.len())).expect("sound"));
        until(|| {
            one.pump().expect("sound");
            written += one.write(0, &payload[written..]).expect("sound");
            read += other.read(0, &mut into[read..(1 << 18)]).expect("sound");
            (written == payload.len()).then_some(())
        });
        one.leave();
        // The rest arrives although credit goes the other way, which would reset a socket that is closed.
        until(|| {
            assert!(!one.has_left() || other.head(0).is_ok(), "it left too early");
            other.pump().expect("no fault while there is something to read");
            read += other.read(0, &mut into[read..]).expect("sent before the end");
            (read == payload.len()).then_some(())
        });
        assert_eq!(into, payload);
        until(|| {
            other.pump().expect("not a fault by itself");
            one.has_left().then_some(())
        });
    }
}

#[test]
fn an_end_in_the_middle_is_a_loss() {
    let whole = [data(0, 0, 50), head(0, 10).as_bytes().to_vec(), vec![1; 10]].concat();
    for cut in [1, 31, 32, 33, 71, 72, 73, 81] {
        let (mut link, mut liar) = link_and_liar();
        liar.write_all(&whole[..cut]).expect("connected");
        drop(liar);
        let fault = fault(|| link.read(0, &mut [0; 10]));
        assert!(matches!(&fault, Fault::Lost(why) if why.contains("in the middle")), "cut at {cut}: {fault}");
    }
}

#[test]
fn a_reset_is_told_in_the_systems_words() {
    let (mut link, liar) = link_and_liar();
    socket2::SockRef::from(&liar).set_linger(Some(Duration::ZERO)).expect("linger");
    drop(liar);
    let fault = fault(|| link.head(0));
    assert!(matches!(&fault, Fault::Lost(why) if why.contains("reset")), "{fault}");
}
