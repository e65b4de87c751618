//! Tests of whole links over loopback sockets.

mod hostile;
mod model;
mod small;

use super::{TcpLink, TcpSettings};
use crate::transport::{Fault, Head};
use crate::types::{Call, DataType, Op};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// No wait in these tests is longer; none comes near it unless something hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Connected sockets, and their other ends.
fn streams(count: usize, address: IpAddr) -> (Vec<TcpStream>, Vec<TcpStream>) {
    let listener = TcpListener::bind((address, 0)).expect("loopback");
    let address = listener.local_addr().expect("bound");
    let pair = |_| {
        let one = TcpStream::connect(address).expect("listening");
        (one, listener.accept().expect("connecting").0)
    };
    (0..count).map(pair).unzip()
}

/// A link's two ends. The peer has its sockets in another order.
fn links(count: usize, settings: &TcpSettings) -> (TcpLink, TcpLink) {
    let address = if count % 2 == 1 { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
    let (one, mut other) = streams(count, address);
    other.reverse();
    (TcpLink::new(one, settings).expect("settings"), TcpLink::new(other, settings).expect("settings"))
}

fn head(step: u32, bytes: usize) -> Head {
    Head { call: Call::all_reduce(1, 10, DataType::F32, Op::Sum, 0), slice: 7, step, bytes: bytes as u64 }
}

/// Calls until something comes of it.
fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(start.elapsed() < DEADLINE, "nothing came of it");
        std::thread::yield_now();
    }
}

/// Calls until the link reports a fault.
fn fault<T>(mut attempt: impl FnMut() -> Result<T, Fault>) -> Fault {
    until(|| attempt().err())
}

/// Reproducible random numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % bound as u64) as usize
    }
}
