//! Real processes: one is killed, one is stopped and goes on.
//!
//! The test program runs itself again as the other rank; in that role the "test" below is the rank.

use super::*;
use crate::bootstrap::UniqueId;
use crate::error::Cause;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open};
use std::io::BufRead;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const ID: &str = "SERRIED_TEST_RANK_ONE";

/// Whether rank one has children that hold its connections.
const CHILDREN: &str = "SERRIED_TEST_CHILDREN";

#[test]
fn be_rank_one_if_asked() {
    let Ok(text) = std::env::var(ID) else { return };
    let id: UniqueId = text.parse().expect("an id");
    let control = Control::join(&id, 1, 2, &brisk()).expect("a communicator");
    let (tell, told) = std::sync::mpsc::channel();
    control.subscribe(move |failure| drop(tell.send(failure.clone())));
    if std::env::var_os(CHILDREN).is_some() {
        println!("children {:?}", children_that_hold_the_connections());
    }
    println!("joined");
    let failure = told.recv_timeout(HANG).expect("a verdict");
    println!("verdict {} {:?}", failure.peer, failure.cause);
    control.leave();
}

/// Starts a sleeping process for each socket of this one, which keeps it open, and returns their numbers.
fn children_that_hold_the_connections() -> Vec<u32> {
    let this = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).expect("this process");
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("descriptors").map_while(Result::ok);
    let sockets: Vec<i32> = descriptors
        .filter(|d| std::fs::read_link(d.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:")))
        .filter_map(|d| d.file_name().to_str()?.parse().ok())
        .collect();
    let hold = |socket: i32| {
        let socket = pidfd_getfd(&this, socket, PidfdGetfdFlags::empty()).expect("the same socket");
        let mut sleep = Command::new("sleep");
        sleep.arg(HANG.as_secs().to_string()).stdin(socket).stdout(Stdio::null()).stderr(Stdio::null());
        sleep.spawn().expect("a process").id()
    };
    sockets.into_iter().map(hold).collect()
}

fn brisk() -> Settings {
    let mut settings = loopback();
    settings.silence = Duration::from_secs(1);
    settings
}

fn rank_one() -> (Control, Child, impl Iterator<Item = String>) {
    let (control, child, mut lines) = rank_one_with(&[]);
    assert!(lines.any(|line| line.ends_with("joined")));
    (control, child, lines)
}

fn rank_one_with(variables: &[(&str, &str)]) -> (Control, Child, impl Iterator<Item = String> + use<>) {
    let id = UniqueId::create(&brisk()).expect("an id");
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args(["--exact", "bootstrap::tests::process::be_rank_one_if_asked", "--nocapture"])
        .env(ID, id.to_string())
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let control = Control::join(&id, 0, 2, &brisk()).expect("a communicator");
    let lines = std::io::BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    (control, child, lines)
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("a signal");
}

fn wait(control: &Control) -> (Failure, Duration) {
    let (tell, told) = std::sync::mpsc::channel();
    let begun = Instant::now();
    control.subscribe(move |failure| drop(tell.send(failure.clone())));
    let failure = told.recv_timeout(HANG).expect("a verdict");
    (failure, begun.elapsed())
}

#[test]
fn a_killed_process_is_dead_not_silent() {
    let (control, mut child, _lines) = rank_one();
    signal(&child, Signal::KILL);
    let (failure, after) = wait(&control);
    println!("a killed process was known dead after {after:?}");
    assert_eq!((failure.peer, failure.cause), (1, Cause::Died));
    child.wait().expect("its end");
    control.leave();
}

#[test]
fn a_killed_process_is_dead_though_its_children_hold_its_connections() {
    let (control, mut child, mut lines) = rank_one_with(&[(CHILDREN, "1")]);
    let numbers = lines.find_map(|line| Some(line.split_once("children [")?.1.trim_end_matches(']').to_owned()));
    assert!(lines.any(|line| line.ends_with("joined")));
    signal(&child, Signal::KILL);
    let (failure, after) = wait(&control);
    for number in numbers.expect("children").split(", ") {
        let pid = number.parse().ok().and_then(Pid::from_raw).expect("a process id");
        // Had it ended before, the connection would have, too.
        kill_process(pid, Signal::KILL).expect("a child that still holds a connection");
    }
    println!("a killed process with children was known dead after {after:?}");
    assert_eq!((failure.peer, failure.cause), (1, Cause::Died));
    child.wait().expect("its end");
    control.leave();
}

#[test]
fn a_stopped_process_is_silent_and_learns_of_it() {
    let (control, mut child, mut lines) = rank_one();
    signal(&child, Signal::STOP);
    let (failure, _) = wait(&control);
    assert_eq!((failure.peer, &failure.cause), (1, &Cause::Silent(brisk().silence)));
    signal(&child, Signal::CONT);
    let learned = lines.find(|line| line.starts_with("verdict")).expect("it learns");
    assert!(learned.starts_with("verdict 1 Silent"), "{learned}");
    child.wait().expect("its end");
    control.leave();
}
