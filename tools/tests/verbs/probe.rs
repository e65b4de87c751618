//! What `serried probe` says of devices, and of what keeps ranks from using them.

use crate::guest::{Guest, Ranks, Restored, Variables};
use crate::mixed::pairs;
use std::process::Command;

fn probe(variables: Variables<'_>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serried"));
    let output = command.args(["probe", "--here"]).envs(variables.iter().copied()).output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it says text")
}

/// Two ranks that share no memory.
const APART: [Variables<'_>; 2] = [&[("SERRIED_HOST_ID", "a")], &[("SERRIED_HOST_ID", "b")]];

#[test]
fn a_host_tells_of_its_devices_ports_and_addresses() {
    let Some(guest) = Guest::enter() else { return };
    let text = probe(&[]);
    for part in ["rxe0", "rxe1", "port 1", "RoCE v2", "10.1.0.1", "10.1.0.2", "ranks of two hosts      verbs"] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    let text = probe(&[("SERRIED_IB_GID_INDEX", "77")]);
    assert!(text.contains("there is no GID at index 77"), "{text}");
    let _restored = Restored(&guest, "1");
    guest.does("link", &["down", "1"]);
    let text = probe(&[]);
    assert!(text.contains("the port is down"), "{text}");
}

#[test]
fn ranks_that_may_lock_too_little_memory_take_tcp_and_say_why() {
    let Some(guest) = Guest::enter() else { return };
    let found = pairs(Ranks::start(&[&format!("{}/memlock", guest.0), "64"], &APART, "probe --json"));
    let [(_, transport, refused)] = &found[..] else { panic!("there is one pair: {found:?}") };
    assert!(transport == "tcp" && refused.contains("may lock 65536 bytes"), "{transport}, not {refused}");
    let found = pairs(Ranks::start(&[], &APART, "probe --json"));
    assert_eq!(found[0].1, "verbs", "without the limit: {found:?}");
}
