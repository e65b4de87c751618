//! Nothing of a cluster outlives its process, however that ends: this test binary is started again, builds one, and is ended.

use serried_cluster::Blueprint;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const SCENARIO: &str = "SERRIED_TEST_SCENARIO";

/// Longer than a program on a host would run by itself is no answer.
const RUNS_SECONDS: &str = "600";

/// Everything here takes a second; the limit is for machines that are busy.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn nothing_outlives_a_process_that_panics_or_is_killed() {
    if Blueprint::new(&[1]).build_or_skip().is_none() {
        return;
    }
    for ending in ["leaves", "panics", "TERM", "KILL"] {
        let mut maker = Command::new(std::env::current_exe().expect("this test's binary"))
            .args(["--exact", "maker_process", "--nocapture", "--test-threads=1"])
            .env(SCENARIO, ending)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A panic that is meant is no news.
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(maker.stdout.take().expect("it is piped"));
        let mut line = String::new();
        while !line.starts_with("@standing") {
            line.clear();
            assert!(lines.read_line(&mut line).expect("text") > 0, "{ending}: no cluster came");
        }
        let prefix = format!("serried-{}-", maker.id());
        assert_eq!(namespaces(&prefix).len(), 3, "{ending}: two hosts and a switch");
        if ending.chars().all(char::is_uppercase) {
            signal(ending, maker.id());
        } else {
            drop(maker.stdin.take());
        }
        assert_ends(lines, ending);
        assert!(!maker.wait().expect("it is our child").success() || ending == "leaves", "{ending}");
        assert_gone(&prefix, ending);
    }
}

#[test]
fn what_a_process_left_that_is_gone_is_removed_by_the_next_cluster() {
    if Blueprint::new(&[1]).build_or_skip().is_none() {
        return;
    }
    // It lives until all stands: clusters that others build meanwhile take away what seems to be left.
    let mut maker = Command::new("cat").stdin(Stdio::piped()).spawn().expect("it is there");
    let prefix = format!("serried-{}-", maker.id());
    let name = format!("{prefix}0-0");
    assert!(Command::new("ip").args(["netns", "add", &name]).status().expect("ip is there").success());
    let mut program = sleeper(Command::new("ip").args(["netns", "exec", &name, "sleep"]).stdout(Stdio::piped()));
    let output = program.stdout.take().expect("it is piped");
    // `ip` is in the namespace once its process is the program.
    let began = Instant::now();
    while std::fs::read_to_string(format!("/proc/{}/comm", program.id())).is_ok_and(|name| name != "sleep\n") {
        assert!(began.elapsed() < LIMIT, "it does not start");
        std::thread::yield_now();
    }
    // Its input ends, and so does it.
    maker.wait().expect("it is our child");
    let cluster = Blueprint::new(&[1]).build().expect("there was one before");
    assert_gone(&prefix, "an orphan");
    assert_ends(BufReader::new(output), "an orphan");
    program.wait().expect("it is our child");
    drop(cluster);
    assert_gone(&format!("serried-{}-", std::process::id()), "this process");
}

/// Not a test by itself: the process that makes a cluster, and ends in one way or another.
#[test]
fn maker_process() {
    let Ok(ending) = std::env::var(SCENARIO) else { return };
    let cluster = Blueprint::new(&[1, 1]).build().expect("the parent has built one");
    let mut command = cluster.command(1, Path::new("sleep"));
    let mut program = sleeper(&mut command);
    let mut out = std::io::stdout().lock();
    // The test harness has printed the beginning of a line of its own.
    writeln!(out, "\n@standing").and_then(|()| out.flush()).expect("the parent listens");
    let _ = std::io::stdin().read(&mut [0]);
    assert_ne!(ending, "panics", "as it should, with process {} still running", program.id());
    drop(cluster);
    assert!(!program.wait().expect("it is our child").success(), "it is stopped with its host");
}

/// Runs a program that holds the standard output open for long.
fn sleeper(command: &mut Command) -> Child {
    command.arg(RUNS_SECONDS).stdin(Stdio::null()).spawn().expect("ip is there")
}

fn signal(name: &str, process: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status();
    assert!(sent.expect("sh is there").success());
}

/// All that could write there have ended.
fn assert_ends(mut output: impl Read + Send + 'static, label: &str) {
    let (sender, end) = channel();
    std::thread::spawn(move || sender.send(output.read_to_end(&mut Vec::new()).is_ok()));
    assert_eq!(end.recv_timeout(LIMIT), Ok(true), "{label}: something still runs");
}

fn assert_gone(prefix: &str, label: &str) {
    let began = Instant::now();
    while !namespaces(prefix).is_empty() {
        assert!(began.elapsed() < LIMIT, "{label}: there are still {:?}", namespaces(prefix));
    }
}

fn namespaces(prefix: &str) -> Vec<String> {
    let output = Command::new("ip").args(["netns", "list"]).output().expect("ip is there");
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    list.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
}
