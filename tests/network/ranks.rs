//! The ranks' side: this test binary, started again on each host, and what its lines of output say.

use serried::{Communicator, Config, Op, Result};
use serried_cluster::{Cluster, RAILS};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

/// The silence after which a rank that is cut off counts as lost, in these tests.
pub(crate) const SILENCE: Duration = Duration::from_millis(1500);

/// What each rank sends at the least in the scenario `connect`: its part of the large calls.
pub(crate) const PAYLOAD_BYTES: u64 = (LARGE * size_of::<f32>()) as u64 * LARGE_CALLS;

const SCENARIO: &str = "SERRIED_TEST_SCENARIO";
const PORT: u16 = 29_400;
const LARGE: usize = 300_000;
const LARGE_CALLS: u64 = 10;

/// A rank's process.
pub(crate) struct Rank {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

/// What a rank has said over the network.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// From and to.
    pub(crate) connections: Vec<(IpAddr, IpAddr)>,
    /// Bytes sent by the cable.
    pub(crate) cable_bytes: u64,
    /// Bytes sent by loopback.
    pub(crate) loopback_bytes: u64,
}

/// Starts one rank on each host.
pub(crate) fn start(hosts: &Cluster, scenario: &str, environment: &[(&str, &str)]) -> Vec<Rank> {
    let binary = std::env::current_exe().expect("this test's binary");
    let one = |rank: usize| {
        let mut child = hosts
            .command(rank, &binary)
            .args(["--exact", "ranks::rank_process", "--nocapture", "--test-threads=1"])
            .env(SCENARIO, scenario)
            .env("SERRIED_RANK", rank.to_string())
            .env("SERRIED_SIZE", hosts.hosts().to_string())
            .env("SERRIED_ROOT", format!("{}:{PORT}", hosts.address(0, 0)))
            .env("SERRIED_SILENCE", SILENCE.as_secs_f64().to_string())
            .env("SERRIED_INIT_TIMEOUT", "20")
            .env("SERRIED_TIMEOUT", "30")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Rank { child, lines }
    };
    (0..hosts.hosts()).map(one).collect()
}

/// Not a test by itself: the body of a rank's process, when started by [`start`].
#[test]
fn rank_process() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    let ended = match scenario.as_str() {
        "connect" => reach_sums_and_report(),
        _ => call_until_it_fails(),
    };
    if let Err(error) = ended {
        say(&format!("error {} {error}", monotonic_ms()));
    }
}

fn reach_sums_and_report() -> Result<()> {
    let config = Config::from_env()?;
    let comm = Communicator::from_env(&config)?;
    let ranks = comm.size() as f32;
    let sum = |count: usize| {
        let mut data = vec![comm.rank() as f32; count];
        comm.all_reduce(&mut data, Op::Sum)?;
        assert!(data.iter().all(|value| *value == ranks * (ranks - 1.0) / 2.0), "a wrong result");
        Ok(())
    };
    (0..LARGE_CALLS).try_for_each(|_| sum(LARGE))?;
    sum(1)?;
    say(&format!("traffic {} {} {}", sent_bytes(RAILS[0]), sent_bytes("lo"), connections().join(" ")));
    // Nobody leaves before all have looked.
    sum(2)
}

fn call_until_it_fails() -> Result<()> {
    let comm = Communicator::from_env(&Config::from_env()?)?;
    let mut data = vec![1.0f32; LARGE];
    for turn in 0u64.. {
        if turn == 10 {
            say("ready");
        }
        let count = if turn % 2 == 0 { LARGE } else { 1 };
        comm.all_reduce(&mut data[..count], Op::Max)?;
        assert!(data.iter().all(|value| *value == 1.0), "a wrong result");
    }
    Ok(())
}

/// The established connections of this network namespace, as `from>to`.
fn connections() -> Vec<String> {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("a table of connections");
    let established = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    established
        .filter(|fields| fields[3] == ESTABLISHED)
        .map(|fields| [fields[1], fields[2]].map(address).join(">"))
        .collect()
}

/// An address of that table, such as `0100007F:1F90`, without its port: hexadecimal digits of a number in the host's byte order.
fn address(text: &str) -> String {
    let number = text.split(':').next().and_then(|address| u32::from_str_radix(address, 16).ok());
    Ipv4Addr::from(number.expect("an address").to_ne_bytes()).to_string()
}

/// Bytes that have left by an interface of this namespace.
fn sent_bytes(interface: &str) -> u64 {
    let table = std::fs::read_to_string("/proc/self/net/dev").expect("a table of interfaces");
    let row = table.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
    // Eight numbers about receiving come first.
    let sent = row.and_then(|row| row.split_whitespace().nth(8)).expect("the interface is there");
    sent.parse().expect("a number")
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The test harness has printed the beginning of a line of its own.
    writeln!(out, "\n@{line}").and_then(|()| out.flush()).expect("the parent listens");
}

/// The time, by a clock that all processes of the machine share.
pub(crate) fn monotonic_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

impl Rank {
    /// Waits until it is in the middle of its calls.
    pub(crate) fn is_ready(&mut self) {
        self.hears("ready");
    }

    /// When it failed, and with what error.
    pub(crate) fn error(&mut self) -> (u64, String) {
        let line = self.hears("error");
        let (at, text) = line.split_once(' ').expect("a time and a text");
        (at.parse().expect("a number"), text.to_owned())
    }

    /// What it has said over the network after its calls.
    pub(crate) fn traffic(&mut self) -> Traffic {
        let line = self.hears("traffic");
        let mut words = line.split(' ');
        let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
        let (cable_bytes, loopback_bytes) = (number(), number());
        let pair = |word: &str| {
            let (from, to) = word.split_once('>')?;
            Some((from.parse().ok()?, to.parse().ok()?))
        };
        let connections = words.map(|word| pair(word).expect("two addresses")).collect();
        Traffic { connections, cable_bytes, loopback_bytes }
    }

    /// The rest of the next line that begins with `@word`; anything else is a failure.
    fn hears(&mut self, word: &str) -> String {
        for line in &mut self.lines {
            let line = line.expect("a rank's output is text");
            if let Some(rest) = line.strip_prefix('@') {
                let rest = rest.strip_prefix(word).unwrap_or_else(|| panic!("expected {word}, heard {rest}"));
                return rest.trim().to_owned();
            }
        }
        panic!("a rank ended without saying {word:?}");
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        // Whatever happened in the test, no rank outlives it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
