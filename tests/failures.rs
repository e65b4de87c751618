//! What happens when a rank dies, stops or disagrees in the middle of a call: real processes, every transport.
//!
//! The test binary starts itself as the ranks: each runs the test `rank_process` with the scenario in its environment, and reports by lines
//! on its output. `SERRIED_TEST_REPEAT` repeats each scenario (CI runs them 50 times).

use serried::{Communicator, Config, Op, TransportChoice, UniqueId};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const SCENARIO: &str = "SERRIED_TEST_SCENARIO";
const COUNT: &str = "SERRIED_TEST_COUNT";
const TRANSPORT: &str = "SERRIED_TEST_TRANSPORT";

/// No case takes longer to its ranks' being in the middle of their calls, nor from there to their end, unless something hangs.
const HANG: Duration = Duration::from_secs(40);

/// The silence after which a stopped rank counts as lost, in these tests.
const SILENCE: Duration = Duration::from_millis(1500);

fn repeats() -> u32 {
    std::env::var("SERRIED_TEST_REPEAT").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

// ---- The ranks' side ----

/// Not a test by itself: the body of a rank's process, when started by one of the tests below.
#[test]
fn rank_process() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    let count: usize = std::env::var(COUNT).expect("set by the parent").parse().expect("a number");
    let mut config = Config::from_env().expect("the parent sets a sound environment");
    config.transport = std::env::var(TRANSPORT).expect("set by the parent").parse().expect("a transport");
    config.control.silence = SILENCE;
    config.timeout = Duration::from_secs(30);
    let comm = Communicator::from_env(&config).expect("all ranks come");
    let odd = comm.rank() + 1 == comm.size();
    let mut data = vec![1.0f32; count + 1];
    let blocks = if OTHERS.contains(&scenario.as_str()) { comm.size() as usize } else { 0 };
    let mut all = vec![1.0f32; count * blocks];
    for turn in 0u64.. {
        if turn == 10 {
            say("ready");
        }
        let result = match scenario.as_str() {
            "count" if odd && turn == 20 => comm.all_reduce(&mut data[..=count], Op::Max),
            "type" if odd && turn == 20 => comm.all_reduce(&mut vec![1i32; count], Op::Max),
            "op" if odd && turn == 20 => comm.all_reduce(&mut data[..count], Op::Min),
            "ahead" if odd && turn == 20 => comm.all_reduce(&mut [1u8; 5], Op::Max),
            "leave" if odd && turn == 20 => {
                drop(comm);
                say("left");
                return;
            }
            "broadcast" => comm.broadcast(&mut data[..count], 0),
            "all_gather" => comm.all_gather(&data[..count], &mut all),
            "reduce_scatter" => comm.reduce_scatter(&all, &mut data[..count], Op::Max),
            _ => comm.all_reduce(&mut data[..count], Op::Max),
        };
        if let Err(error) = result {
            say(&format!("error {} {error}", monotonic_ms()));
            let again = comm.all_reduce(&mut data[..count], Op::Max).expect_err("a broken communicator stays broken");
            assert_eq!(again.to_string(), error.to_string());
            return;
        }
        assert!(data[..count].iter().all(|value| *value == 1.0), "a wrong result");
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The test harness has printed the beginning of a line of its own.
    writeln!(out, "\n@{line}").and_then(|()| out.flush()).expect("the parent listens");
}

fn monotonic_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

// ---- The parent's side ----

/// One run of a scenario.
struct Case {
    scenario: &'static str,
    transport: &'static str,
    ranks: u32,
    count: usize,
    repeat: u32,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scenario, transport, ranks, count, repeat } = self;
        write!(f, "{scenario}, {transport}, {ranks} ranks, {count} elements, repeat {repeat}")
    }
}

struct Rank {
    /// The case and the rank, for what a failure says.
    name: String,
    child: Child,
    /// What it prints, by a thread that reads the pipe, so that waiting for a line can end without one.
    lines: Receiver<String>,
    /// When a rank that has not spoken hangs.
    deadline: Instant,
}

impl Rank {
    /// The next line that begins with `@`; none when the rank has closed its output.
    fn line(&mut self) -> Option<String> {
        loop {
            match self.lines.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match line.strip_prefix('@') {
                    Some(rest) => return Some(rest.to_owned()),
                    None => continue,
                },
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("{}: it hangs: nothing more after {HANG:?}", self.name),
            }
        }
    }

    /// The rest of the next line, which begins with `@word`.
    fn hears(&mut self, word: &str) -> String {
        let name = &self.name.clone();
        let line = self.line().unwrap_or_else(|| panic!("{name}: it ended without saying {word:?}"));
        line.strip_prefix(word).unwrap_or_else(|| panic!("{name}: {line:?} where {word:?} was due")).trim().to_owned()
    }

    /// Its process says no more and ends, with every assertion of [`rank_process`] held.
    fn ends_well(&mut self) {
        let more = self.line();
        assert!(more.is_none(), "{}: {more:?} after its last word", self.name);
        // Its output is closed, so it is at its very end.
        let status = self.child.wait().expect("the child is ours");
        assert!(status.success(), "{}: {status}", self.name);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the child is there");
    }

    /// When it failed, and with what error.
    fn error(&mut self) -> (u64, String) {
        let line = self.hears("error");
        let (at, text) = line.split_once(' ').expect("a time and a text");
        (at.parse().expect("a number"), text.to_owned())
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        // Whatever happened in the test, no rank outlives it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(case: &Case) -> Vec<Rank> {
    let id = UniqueId::create(&Config::default().control).expect("a rendezvous").to_string();
    let deadline = Instant::now() + HANG;
    let one = |rank: u32| {
        let mut child = Command::new(std::env::current_exe().expect("this test's binary"))
            .args(["--exact", "rank_process", "--nocapture", "--test-threads=1"])
            .env(SCENARIO, case.scenario)
            .env(COUNT, case.count.to_string())
            .env(TRANSPORT, case.transport)
            .env("SERRIED_RANK", rank.to_string())
            .env("SERRIED_SIZE", case.ranks.to_string())
            .env("SERRIED_ID", &id)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        // It ends with the pipe, which the child's end closes at the latest.
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Rank { name: format!("{case}, rank {rank}"), child, lines, deadline }
    };
    (0..case.ranks).map(one).collect()
}

/// The transports, and the ranks and elements, that every scenario is run with. An emulated machine with RoCE devices is there for those, and slow.
fn cases() -> (&'static [&'static str], [(u32, usize); 4]) {
    match std::env::var_os("SERRIED_SOFTROCE") {
        None => (&["shm", "tcp"], [(2, 2), (2, 100_000), (3, 1_000), (4, 3_000_000)]),
        Some(_) => (&["verbs"], [(2, 2), (2, 100_000), (3, 1_000), (4, 100_000)]),
    }
}

/// Runs `body` for every transport, number of ranks and size, as often as asked, and fails if any run hangs.
fn each_case(scenario: &'static str, body: impl Fn(&mut Vec<Rank>, &Case)) {
    for repeat in 0..repeats() {
        let (transports, sizes) = cases();
        for transport in transports {
            for (ranks, count) in sizes {
                run(&Case { scenario, transport, ranks, count, repeat }, &body);
            }
        }
    }
}

/// The other collectives, by their names as scenarios: in turns, carried and read where ranks share memory.
const OTHERS: [&str; 3] = ["broadcast", "all_gather", "reduce_scatter"];

/// Runs `body` for every other collective, as [`each_case`], with one size that is large.
fn each_other_collective(body: impl Fn(&mut Vec<Rank>, &Case)) {
    for repeat in 0..repeats() {
        for transport in cases().0 {
            for scenario in OTHERS {
                run(&Case { scenario, transport, ranks: 3, count: 60_000, repeat }, &body);
            }
        }
    }
}

/// As [`each_case`], all at once: for scenarios that mostly wait.
fn cases_at_once(scenario: &'static str, body: impl Fn(&mut Vec<Rank>, &Case) + Sync) {
    for repeat in 0..repeats() {
        let (transports, sizes) = cases();
        std::thread::scope(|scope| {
            for transport in transports {
                for (ranks, count) in sizes {
                    let body = &body;
                    scope.spawn(move || run(&Case { scenario, transport, ranks, count, repeat }, body));
                }
            }
        });
    }
}

fn run(case: &Case, body: &impl Fn(&mut Vec<Rank>, &Case)) {
    let mut started = start(case);
    for rank in &mut started {
        rank.hears("ready");
    }
    // A loaded machine may have taken long to come here; that says nothing about what follows.
    let deadline = Instant::now() + HANG;
    started.iter_mut().for_each(|rank| rank.deadline = deadline);
    body(&mut started, case);
}

#[test]
fn a_killed_rank_is_named_by_all_others_within_a_second() {
    each_case("kill", |ranks, case| {
        let victim = ranks.len() - 1;
        let killed_ms = monotonic_ms();
        ranks[victim].signal(rustix::process::Signal::KILL);
        for rank in &mut ranks[..victim] {
            let (failed_ms, error) = rank.error();
            assert!(error.contains(&format!("rank {victim} died")), "{case}: {error}");
            assert!(error.contains("allreduce #"), "{case}: {error}");
            assert!(failed_ms - killed_ms < 1000, "{case}: {} ms", failed_ms - killed_ms);
            rank.ends_well();
        }
    });
}

#[test]
fn every_collective_names_a_rank_that_is_killed() {
    each_other_collective(|ranks, case| {
        let killed_ms = monotonic_ms();
        ranks[2].signal(rustix::process::Signal::KILL);
        for rank in &mut ranks[..2] {
            let (failed_ms, error) = rank.error();
            assert!(
                error.contains("rank 2 died") && error.contains(&format!("{} #", case.scenario)),
                "{case}: {error}"
            );
            assert!(failed_ms - killed_ms < 1000, "{case}: {} ms", failed_ms - killed_ms);
            rank.ends_well();
        }
    });
}

#[test]
fn the_death_of_rank_0_is_no_different() {
    each_case("kill", |ranks, case| {
        let killed_ms = monotonic_ms();
        ranks[0].signal(rustix::process::Signal::KILL);
        for rank in &mut ranks[1..] {
            let (failed_ms, error) = rank.error();
            assert!(error.contains("rank 0 died") && error.contains("allreduce #"), "{case}: {error}");
            assert!(failed_ms - killed_ms < 1000, "{case}: {} ms", failed_ms - killed_ms);
            rank.ends_well();
        }
    });
}

#[test]
fn a_stopped_rank_is_named_after_the_silence_and_learns_of_it_when_it_goes_on() {
    cases_at_once("stop", |ranks, case| {
        let victim = ranks.len() - 1;
        let stopped_ms = monotonic_ms();
        ranks[victim].signal(rustix::process::Signal::STOP);
        for rank in &mut ranks[..victim] {
            let (failed_ms, error) = rank.error();
            assert!(error.contains(&format!("rank {victim} was silent")), "{case}: {error}");
            assert!(error.contains("allreduce #"), "{case}: {error}");
            let after = Duration::from_millis(failed_ms - stopped_ms);
            assert!(after < SILENCE * 3, "{case}: {after:?}");
            rank.ends_well();
        }
        ranks[victim].signal(rustix::process::Signal::CONT);
        let (_, error) = ranks[victim].error();
        assert!(error.contains("allreduce #"), "{case}: {error}");
        ranks[victim].ends_well();
    });
}

/// Every rank's error names the call of most ranks and the odd one of the last rank, as `calls` gives them for a count.
fn both_are_named(scenario: &'static str, calls: fn(usize) -> [String; 2]) {
    each_case(scenario, |ranks, case| {
        let last = ranks.len() - 1;
        let [ours, odd] = calls(case.count).map(|call| format!("called allreduce #21 of {call}, by "));
        let odd = format!("rank {last} {odd}");
        for rank in ranks.iter_mut() {
            let (_, error) = rank.error();
            assert!(error.contains(&ours), "{case}: no {ours:?} in: {error}");
            assert!(error.contains(&odd), "{case}: no {odd:?} in: {error}");
            rank.ends_well();
        }
    });
}

#[test]
fn another_count_is_an_error_that_names_both_calls() {
    both_are_named("count", |count| [format!("{count} float, max"), format!("{} float, max", count + 1)]);
}

#[test]
fn another_type_is_an_error_that_names_both_calls() {
    both_are_named("type", |count| [format!("{count} float, max"), format!("{count} int32, max")]);
}

#[test]
fn another_operator_is_an_error_that_names_both_calls() {
    both_are_named("op", |count| [format!("{count} float, max"), format!("{count} float, min")]);
}

#[test]
fn a_call_of_quite_another_size_and_type_is_an_error_that_names_both_calls() {
    both_are_named("ahead", |count| [format!("{count} float, max"), "5 uint8, max".into()]);
}

#[test]
fn a_rank_that_leaves_early_is_named() {
    each_case("leave", |ranks, case| {
        let last = ranks.len() - 1;
        for rank in &mut ranks[..last] {
            let (_, error) = rank.error();
            assert!(error.contains(&format!("rank {last} left")), "{case}: {error}");
            rank.ends_well();
        }
        ranks[last].hears("left");
        ranks[last].ends_well();
    });
}

#[test]
fn transports_are_known_by_name() {
    use TransportChoice::{Auto, Shm, Tcp, Verbs};
    for (name, choice) in [("auto", Auto), ("shm", Shm), ("tcp", Tcp), ("verbs", Verbs)] {
        assert_eq!(name.parse::<TransportChoice>().expect("a known name"), choice);
    }
    assert!("pigeon".parse::<TransportChoice>().is_err());
}
