//! The launcher: no rank outlives it, and what a rank ends with is told.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RANKS: usize = 3;
/// Everything waited for here takes milliseconds; the limit is for machines that are busy.
const LIMIT: Duration = Duration::from_secs(30);

/// A run for ever, with its ranks.
struct Running {
    launcher: Child,
    /// Each rank's process, by rank, and what becomes readable when it ends.
    ranks: Vec<(Pid, OwnedFd)>,
    _rows: BufReader<std::process::ChildStdout>,
}

impl Running {
    /// Returns once rows are being printed.
    fn start() -> Self {
        let mut launcher = Command::new(env!("CARGO_BIN_EXE_serried"))
            .args(["perf", "all_reduce", "--ranks", &RANKS.to_string(), "-N", "0", "-e", "8", "-n", "10"])
            .env_remove("SERRIED_LOG")
            .env_remove("NCCL_DEBUG")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let mut rows = BufReader::new(launcher.stdout.take().expect("it is piped"));
        let mut ranks = Vec::new();
        let mut line = String::new();
        while rows.read_line(&mut line).expect("rank 0 writes text") > 0 && !line.starts_with(' ') {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["#", "Rank", _, "Group", _, "Pid", pid, ..] = words[..] {
                let pid = Pid::from_raw(pid.parse().expect("a process id")).expect("a process id");
                ranks.push((pid, pidfd_open(pid, PidfdFlags::empty()).expect("the rank is alive")));
            }
            line.clear();
        }
        assert!(line.starts_with(' ') && ranks.len() == RANKS, "no row came: {line:?}, {ranks:?}");
        Self { launcher, ranks, _rows: rows }
    }

    fn launcher(&self) -> Pid {
        Pid::from_child(&self.launcher)
    }

    fn assert_all_gone(&self) {
        let end = Instant::now() + LIMIT;
        for (rank, (pid, ended)) in self.ranks.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let ready = poll(&mut [PollFd::new(ended, PollFlags::IN)], Some(&left)).expect("poll takes a pidfd");
            assert_eq!(ready, 1, "rank {rank}, process {pid:?}, is still there");
        }
    }

    /// How the launcher ended, and what it and its ranks said.
    fn end(mut self) -> (std::process::ExitStatus, String) {
        let mut said = String::new();
        let mut stderr = self.launcher.stderr.take().expect("it is piped");
        stderr.read_to_string(&mut said).expect("ranks write text");
        (self.launcher.wait().expect("it is our child"), said)
    }
}

/// Whether a signal is ignored here, and so by what is started here: a shell does that with SIGINT for background jobs.
fn ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("Linux tells it");
    u64::from_str_radix(mask.trim(), 16).expect("a mask") & (1 << (signal.as_raw() - 1)) != 0
}

#[test]
fn no_rank_outlives_its_launcher() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL].into_iter().filter(|&signal| !ignored(signal)) {
        let running = Running::start();
        kill_process(running.launcher(), signal).expect("the launcher is alive");
        running.assert_all_gone();
        let (status, _) = running.end();
        assert_eq!(status.signal(), Some(signal.as_raw()), "the launcher tells a shell what ended it");
    }
}

#[test]
fn a_killed_rank_is_named_and_ends_the_run() {
    for victim in [0, RANKS - 1] {
        let running = Running::start();
        let start = Instant::now();
        kill_process(running.ranks[victim].0, Signal::KILL).expect("the rank is alive");
        running.assert_all_gone();
        let (status, said) = running.end();
        assert!(start.elapsed() < LIMIT);
        assert_eq!(status.code(), Some(128 + 9), "{said}");
        let named = said.matches(&format!("rank {victim} was killed by signal 9")).count();
        assert_eq!(named, 1, "{said}");
        let errors = |rank: usize| {
            let prefix = format!("[rank {rank}] ");
            let by_rank_0 = |line: &str| !line.starts_with("[rank ") && !line.contains("killed by");
            said.lines().filter(|line| line.starts_with(&prefix) || (rank == 0 && by_rank_0(line))).count()
        };
        for survivor in (0..RANKS).filter(|&rank| rank != victim) {
            assert_eq!(errors(survivor), 1, "rank {survivor} says once what it saw:\n{said}");
        }
        assert!(said.lines().all(|line| line.contains("serried: ")) && !said.contains('\x1b'), "{said}");
    }
}

#[test]
fn a_stopped_rank_does_not_keep_the_others_alive_after_the_launcher() {
    let running = Running::start();
    kill_process(running.ranks[1].0, Signal::STOP).expect("the rank is alive");
    kill_process(running.launcher(), Signal::KILL).expect("the launcher is alive");
    running.assert_all_gone();
}

#[test]
fn a_rank_without_its_launcher_does_not_start() {
    let orphan = Command::new(env!("CARGO_BIN_EXE_serried"))
        .args(["perf", "all_reduce", "--launched-by", "1"])
        .output()
        .expect("the program was built");
    assert_eq!(orphan.status.code(), Some(1));
    let said = String::from_utf8_lossy(&orphan.stderr);
    assert_eq!(said, "serried: this rank cannot start: the launcher has ended\n");
}
