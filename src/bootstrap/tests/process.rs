//! Real processes: one is killed, one is stopped and goes on.
//!
//! The test program runs itself again as the other rank; in that role the "test" below is the rank.

use super::*;
use crate::bootstrap::UniqueId;
use crate::error::Cause;
use rustix::process::{Pid, Signal, kill_process};
use std::io::BufRead;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const ID: &str = "SERRIED_TEST_RANK_ONE";

#[test]
fn be_rank_one_if_asked() {
    let Ok(text) = std::env::var(ID) else { return };
    let id: UniqueId = text.parse().expect("an id");
    let control = Control::join(&id, 1, 2, &brisk()).expect("a communicator");
    let (tell, told) = std::sync::mpsc::channel();
    control.subscribe(move |failure| drop(tell.send(failure.clone())));
    println!("joined");
    let failure = told.recv_timeout(HANG).expect("a verdict");
    println!("verdict {} {:?}", failure.peer, failure.cause);
    control.leave();
}

fn brisk() -> Settings {
    let mut settings = loopback();
    settings.silence = Duration::from_secs(1);
    settings
}

fn rank_one() -> (Control, Child, impl Iterator<Item = String>) {
    let id = UniqueId::create(&brisk()).expect("an id");
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args(["--exact", "bootstrap::tests::process::be_rank_one_if_asked", "--nocapture"])
        .env(ID, id.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let control = Control::join(&id, 0, 2, &brisk()).expect("a communicator");
    let mut lines = std::io::BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("joined")));
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
