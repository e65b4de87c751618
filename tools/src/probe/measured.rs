//! Latency and bandwidth of every pair of ranks, one pair after the other, so that none disturbs another.

use serde_json::{Value, json};
use serried::{Communicator, Result};
use std::time::Instant;

/// Messages there and back, of which the median counts; as many come before.
const PINGS: usize = 24;
/// Bytes of a message that shows the bandwidth, sent so many times; the fastest counts.
const LARGE_BYTES: usize = 1 << 20;
const LARGE: usize = 4;

/// What was measured between two ranks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// One way, of 8 bytes, in microseconds.
    pub(super) latency_us: f64,
    /// One way, in GB/s.
    pub(super) gb_s: f64,
}

/// By pair, the lower rank first; the same on all ranks, as all measure together.
pub(super) fn all_pairs(communicator: &Communicator) -> Result<Vec<((u32, u32), Pace)>> {
    let (me, size) = (communicator.rank(), communicator.size());
    let pairs = (0..size).flat_map(|one| (one + 1..size).map(move |other| (one, other)));
    let mut all = Vec::new();
    for (one, other) in pairs {
        let mut numbers = [0.0; 2];
        if me == one {
            numbers = [latency_us(communicator, other)?, gb_s(communicator, other)?];
        } else if me == other {
            answer(communicator, one)?;
        }
        communicator.broadcast(&mut numbers, one)?;
        // Nobody begins the next pair before this one is through.
        communicator.barrier()?;
        all.push(((one, other), Pace { latency_us: numbers[0], gb_s: numbers[1] }));
    }
    Ok(all)
}

fn latency_us(communicator: &Communicator, peer: u32) -> Result<f64> {
    let mut ways = Vec::with_capacity(PINGS);
    let mut word = [0_u64];
    for ping in 0..2 * PINGS {
        let began = Instant::now();
        communicator.send(&word, peer)?;
        communicator.recv(&mut word, peer)?;
        if ping >= PINGS {
            ways.push(began.elapsed().as_nanos() as f64 / 2e3);
        }
    }
    ways.sort_by(f64::total_cmp);
    Ok(ways[PINGS / 2])
}

fn gb_s(communicator: &Communicator, peer: u32) -> Result<f64> {
    let large = vec![1_u8; LARGE_BYTES];
    let mut word = [0_u64];
    let mut fastest = f64::INFINITY;
    for _ in 0..LARGE {
        let began = Instant::now();
        communicator.send(&large, peer)?;
        communicator.recv(&mut word, peer)?;
        fastest = fastest.min(began.elapsed().as_nanos() as f64);
    }
    Ok(LARGE_BYTES as f64 / fastest)
}

/// The other end of both.
fn answer(communicator: &Communicator, peer: u32) -> Result<()> {
    let mut word = [0_u64];
    for _ in 0..2 * PINGS {
        communicator.recv(&mut word, peer)?;
        communicator.send(&word, peer)?;
    }
    let mut large = vec![0_u8; LARGE_BYTES];
    for _ in 0..LARGE {
        communicator.recv(&mut large, peer)?;
        communicator.send(&word, peer)?;
    }
    Ok(())
}

impl Pace {
    pub(super) fn json(&self) -> Value {
        json!({ "latency_us": self.latency_us, "gb_s": self.gb_s })
    }
}
