//! `serried perf` over devices that are well, over bad cables, and with settings and limits that cannot work.

use crate::guest::{Guest, HANG_SECONDS, Restored};
use std::process::{Command, Output, Stdio};

fn perf(arguments: &str) -> Command {
    perf_over("verbs", arguments)
}

fn perf_over(transport: &str, arguments: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args([HANG_SECONDS, env!("CARGO_BIN_EXE_serried"), "perf", "all_reduce", "--transport", transport]);
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> (bool, String) {
    said(command.output().expect("timeout is there"))
}

fn said(Output { status, stdout, stderr }: Output) -> (bool, String) {
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert_ne!(status.code(), Some(124), "it hangs: {text}");
    (status.success(), text)
}

fn succeeds(arguments: &str) {
    let (success, text) = output(&mut perf(arguments));
    assert!(success && text.contains("# Out of bounds values : 0 OK"), "{arguments}: {text}");
}

fn fails_with(command: &mut Command, parts: &[&str]) {
    let (success, text) = output(command);
    assert!(!success, "{text}");
    parts.iter().for_each(|part| assert!(text.contains(part), "no {part:?} in: {text}"));
}

#[test]
fn two_four_and_eight_ranks_are_right_by_every_algorithm() {
    let Some(_guest) = Guest::enter() else { return };
    for (ranks, largest) in [(2, "1M"), (4, "256K"), (8, "16K")] {
        succeeds(&format!("--ranks {ranks} --algo all -b 0 -e {largest} -f 64 -n 2"));
    }
    succeeds("--ranks 3 -d all -o all -b 1000 -e 1000 -n 1");
    succeeds("--ranks 2 -b 4M -e 4M -n 1 -R 1");
}

#[test]
fn ranks_that_pretend_to_be_on_two_hosts_talk_over_the_devices() {
    let Some(_guest) = Guest::enter() else { return };
    let mut probe = Command::new("timeout");
    probe.args([HANG_SECONDS, env!("CARGO_BIN_EXE_serried"), "probe", "--ranks", "3", "--hosts", "2"]);
    let (success, text) = output(&mut probe);
    assert!(success && text.contains("shm: 1 pair") && text.contains("verbs: 2 pairs"), "{text}");
    let (success, text) = output(&mut perf_over("auto", "--ranks 3 --hosts 2 -b 65548 -e 65548 -n 1"));
    assert!(success && text.contains("# Out of bounds values : 0 OK"), "{text}");
}

#[test]
fn loss_and_delay_change_no_result() {
    let Some(guest) = Guest::enter() else { return };
    let _restored = [Restored(&guest, "0"), Restored(&guest, "1")];
    for device in ["0", "1"] {
        guest.does("netem", &[device, "loss", "1%", "delay", "5ms"]);
    }
    // Sent again after 4 ms rather than 4 s.
    let (success, text) = output(perf("--ranks 2 -b 64 -e 256K -f 64 -n 3").env("SERRIED_IB_TIMEOUT", "12"));
    assert!(success && text.contains("# Out of bounds values : 0 OK"), "{text}");
}

#[test]
fn what_cannot_work_is_said_clearly() {
    let Some(guest) = Guest::enter() else { return };
    let tiny = "--ranks 2 -b 8 -e 8 -n 1";
    fails_with(
        perf(tiny).env("SERRIED_IB_GID_INDEX", "77"),
        &["rxe0 port 1: there is no GID at index 77", "there are: "],
    );
    fails_with(perf(tiny).env("SERRIED_IB_HCA", "mlx5_0"), &["verbs cannot be used", "SERRIED_IB_HCA"]);

    let mut limited = Command::new(format!("{}/memlock", guest.0));
    let unlimited = perf(tiny);
    limited.arg("64").arg(unlimited.get_program()).args(unlimited.get_args());
    fails_with(&mut limited, &["this process may lock 65536 bytes", "ulimit -l", "rank 0", "rank 1"]);

    let _restored = [Restored(&guest, "0"), Restored(&guest, "1")];
    guest.does("link", &["down", "0", "1"]);
    fails_with(&mut perf(tiny), &["rxe0 port 1: the port is down", "rxe1 port 1: the port is down"]);
}

#[test]
fn where_verbs_cannot_be_used_ranks_take_another_way() {
    let Some(_guest) = Guest::enter() else { return };
    let mut command = perf_over("auto", "--ranks 2 -b 8 -e 8 -n 1");
    let (success, text) = output(command.env("SERRIED_IB_GID_INDEX", "77").env("SERRIED_LOG", "info"));
    assert!(success && text.contains("no RDMA") && text.contains("there is no GID at index 77"), "{text}");
}
