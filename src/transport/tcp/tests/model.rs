//! Random interleavings of every call, against a simple model: each lane delivers exactly its messages, in order.

use super::*;
use crate::transport::{LANES, Transport};

/// One lane in one direction: what its sender and its receiver have come to. What is sent follows from the message's number.
#[derive(Default)]
struct Traffic {
    sizes: Vec<usize>,
    /// The message that the sender is at, how much of it is written, and whether it is open.
    sending: usize,
    written: usize,
    open: bool,
    /// The message that the receiver is at, and how much of it is consumed.
    receiving: usize,
    consumed: usize,
}

fn byte(lane: usize, message: usize, position: usize) -> u8 {
    (lane * 101 + message * 31 + position * 7 + (position >> 8)) as u8
}

impl Traffic {
    fn done(&self) -> bool {
        self.receiving == self.sizes.len()
    }

    /// Opens or writes; whether anything moved.
    fn send(&mut self, dice: &mut Dice, link: &mut TcpLink, lane: usize) -> bool {
        let Some(&size) = self.sizes.get(self.sending) else { return false };
        if !self.open {
            self.open = link.open(lane, &head(self.sending as u32, size)).expect("a sound link");
            if !self.open {
                return false;
            }
        } else {
            let offered = if dice.below(3) == 0 { 1 + dice.below(size - self.written) } else { size - self.written };
            let payload: Vec<u8> = (0..offered).map(|k| byte(lane, self.sending, self.written + k)).collect();
            let accepted = link.write(lane, &payload).expect("a sound link");
            assert!(accepted <= offered);
            if accepted == 0 {
                return false;
            }
            self.written += accepted;
        }
        if self.written == size {
            (self.sending, self.written, self.open) = (self.sending + 1, 0, false);
        }
        true
    }

    /// Reads, or peeks and consumes; whether anything moved.
    fn receive(&mut self, dice: &mut Dice, link: &mut TcpLink, lane: usize) -> bool {
        let Some(came) = link.head(lane).expect("a sound link") else { return false };
        assert!(self.receiving < self.sizes.len(), "a message that nobody sent: {came:?}");
        let size = self.sizes[self.receiving];
        assert_eq!(came, head(self.receiving as u32, size));
        if size == 0 {
            assert_eq!(link.peek(lane).expect("a sound link"), b"");
            link.consume(lane, 0);
            self.receiving += 1;
            return true;
        }
        let bytes = if dice.below(2) == 0 {
            let mut into = vec![0; 1 + dice.below(2 * size)];
            let bytes = link.read(lane, &mut into).expect("a sound link");
            self.check(lane, &into[..bytes]);
            bytes
        } else {
            let lent = link.peek(lane).expect("a sound link");
            self.check(lane, lent);
            let bytes = if lent.is_empty() { 0 } else { 1 + dice.below(lent.len()) };
            link.consume(lane, bytes);
            bytes
        };
        self.consumed += bytes;
        if self.consumed == size {
            (self.receiving, self.consumed) = (self.receiving + 1, 0);
        }
        bytes > 0
    }

    fn check(&self, lane: usize, bytes: &[u8]) {
        assert!(self.consumed + bytes.len() <= self.sizes[self.receiving]);
        let wrong = (0..bytes.len()).find(|&k| bytes[k] != byte(lane, self.receiving, self.consumed + k));
        assert_eq!(wrong, None, "lane {lane}, message {}, from {}", self.receiving, self.consumed);
    }
}

/// Runs messages both ways over all lanes. `pumps`: one in so many actions is a pump.
fn run(seed: u64, sockets: usize, settings: &TcpSettings, messages: usize, pumps: usize) {
    let dice = &mut Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (one, other) = links(sockets, settings);
    let mut ends = [one, other];
    let slot = settings.slot_bytes;
    let size = |dice: &mut Dice| match dice.below(8) {
        0..5 => [0, 1, 7, slot - 1, slot][dice.below(5)],
        5 => dice.below(64),
        _ => dice.below(slot),
    };
    let mut traffic: [[Traffic; LANES]; 2] = std::array::from_fn(|_| {
        std::array::from_fn(|_| Traffic { sizes: (0..messages).map(|_| size(dice)).collect(), ..Traffic::default() })
    });
    let start = Instant::now();
    while !traffic.iter().flatten().all(Traffic::done) {
        let (from, lane) = (dice.below(2), dice.below(LANES));
        // Phases in which one lane is favoured fill its window.
        let lane = if dice.below(4) == 0 { 0 } else { lane };
        let lane_traffic = &mut traffic[from][lane];
        match dice.below(2 * pumps) {
            0 => drop(ends[from].pump().expect("a sound link")),
            k if k % 2 == 0 => drop(lane_traffic.send(dice, &mut ends[from], lane)),
            _ => drop(lane_traffic.receive(dice, &mut ends[1 - from], lane)),
        }
        assert!(start.elapsed() < DEADLINE, "seed {seed}, {sockets} sockets: stuck");
    }
    for end in &mut ends {
        end.pump().expect("a sound link");
        for lane in 0..LANES {
            assert_eq!(end.head(lane).expect("a sound link"), None, "more than was sent");
        }
    }
}

#[test]
fn every_lane_delivers_its_messages_whatever_the_order_of_calls() {
    for seed in 1..=12 {
        for sockets in [1, 2, 4] {
            for (slot_bytes, credits) in [(64, 1), (1000, 2), (4096, 3)] {
                let settings = TcpSettings { slot_bytes, credits, ..TcpSettings::default() };
                run(seed, sockets, &settings, 40, 8);
            }
        }
    }
}

#[test]
fn small_kernel_buffers_cut_frames_anywhere() {
    for seed in 1..=6 {
        for sockets in [1, 2, 4] {
            let settings = TcpSettings {
                slot_bytes: 400_000,
                send_buffer: Some(32 << 10),
                receive_buffer: Some(32 << 10),
                ..TcpSettings::default()
            };
            run(100 + seed, sockets, &settings, 12, 8);
        }
    }
}

#[test]
fn large_slots_stream_over_several_sockets() {
    for sockets in [1, 2, 4] {
        run(7, sockets, &TcpSettings::default(), 12, 4);
    }
}

#[test]
fn lanes_that_are_polled_without_a_pump_are_served_too() {
    // Credit needs pumps; but what fits the window must come without.
    let settings = TcpSettings { slot_bytes: 4096, ..TcpSettings::default() };
    let (mut one, mut other) = links(1, &settings);
    for lane in 0..LANES {
        assert!(one.open(lane, &head(lane as u32, 4096)).expect("sound"));
        assert_eq!(one.write(lane, &[lane as u8; 4096]).expect("sound"), 4096);
    }
    for lane in (0..LANES).rev() {
        assert_eq!(until(|| other.head(lane).expect("sound")).step, lane as u32);
        let mut left = 4096;
        let mut into = [0xff; 4096];
        while left > 0 {
            let bytes = until(|| Some(other.read(lane, &mut into).expect("sound")).filter(|&bytes| bytes > 0));
            assert!(into[..bytes].iter().all(|&byte| byte == lane as u8));
            left -= bytes;
        }
    }
}

#[test]
fn a_lane_whose_receiver_is_late_fills_its_window_and_holds_up_no_other() {
    for sockets in [1, 2] {
        let settings = TcpSettings { slot_bytes: 8192, ..TcpSettings::default() };
        let (mut one, mut other) = links(sockets, &settings);
        let payload = [3; 8192];
        let mut ahead = 0;
        // Two slots go, a third waits for its receiver, however often it is offered.
        for attempt in 0..100 {
            if one.open(0, &head(attempt, 8192)).expect("sound") {
                let accepted = one.write(0, &payload).expect("sound");
                ahead += usize::from(accepted > 0);
                if accepted < 8192 {
                    break;
                }
            }
            one.pump().expect("sound");
        }
        assert_eq!(ahead, 2);
        for message in 0..200 {
            until(|| {
                one.pump().expect("sound");
                other.pump().expect("sound");
                one.open(1, &head(message, 8192)).expect("sound").then_some(())
            });
            let (mut written, mut read, mut into) = (0, 0, [0; 8192]);
            until(|| {
                one.pump().expect("sound");
                other.pump().expect("sound");
                written += one.write(1, &payload[written..]).expect("sound");
                read += other.read(1, &mut into[read..]).expect("sound");
                (read == 8192).then_some(())
            });
        }
        // And what waited is all there.
        for message in 0..2 {
            assert_eq!(until(|| other.head(0).expect("sound")).step, message);
            let mut into = [0; 8192];
            assert_eq!(other.read(0, &mut into).expect("sound"), 8192);
            assert_eq!(into, payload);
        }
    }
}
