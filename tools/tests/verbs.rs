//! `serried perf` over real RoCE devices, good and bad: run in the guest of `tools/softroce`, whose cables and links the tests change. Elsewhere
//! each says that it is skipped. One test at a time: they share the devices.

use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// No run takes longer unless it hangs.
const HANG_SECONDS: &str = "90";

/// A link that goes down is an error within this time: a port may be down for 5 s before its links are given up, and the news travels.
const DOWN: Duration = Duration::from_secs(20);

/// The guest, which one test has at a time, and the folder of its commands.
struct Guest(String, #[expect(dead_code, reason = "held, not looked at")] MutexGuard<'static, ()>);

impl Guest {
    fn enter() -> Option<Self> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let Ok(folder) = std::env::var("SERRIED_SOFTROCE") else {
            println!("skipped: verbs: this is not the guest that has RoCE devices");
            return None;
        };
        Some(Self(folder, ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Runs one of the guest's commands.
    fn does(&self, command: &str, arguments: &[&str]) {
        let status = Command::new(format!("{}/{command}", self.0)).args(arguments).status().expect("it starts");
        assert!(status.success(), "{command} {arguments:?}: {status}");
    }
}

/// Puts a link and its cable right again, whatever the test came to.
struct Restored<'a>(&'a Guest, &'static str);

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let (folder, device) = (&self.0.0, self.1);
        // Both fail where there is nothing to put right.
        for arguments in [["link", "up", device].as_slice(), &["netem", device]] {
            let _ = Command::new(format!("{folder}/{}", arguments[0])).args(&arguments[1..]).output();
        }
    }
}

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
    for algorithm in ["direct", "twoshot", "ring", "tree", "doubling", "halving", "nhr"] {
        for (ranks, largest) in [(2, "1M"), (4, "256K"), (8, "16K")] {
            succeeds(&format!("--ranks {ranks} --algo {algorithm} -b 0 -e {largest} -f 64 -n 2"));
        }
    }
    succeeds("--ranks 3 -d all -o all -b 1000 -e 1000 -n 1");
    succeeds("--ranks 2 -b 4M -e 4M -n 1 -R 1");
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
fn a_link_that_goes_down_is_an_error_that_says_where_and_a_new_communicator_works() {
    let Some(guest) = Guest::enter() else { return };
    let _restored = Restored(&guest, "1");
    let command = &mut perf("--ranks 2 -b 64K -e 64K -n 1000000 -c 0");
    let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("timeout is there");
    wait_for_traffic(&running);
    let down = Instant::now();
    guest.does("link", &["down", "1"]);
    let (success, text) = said(running.wait_with_output().expect("it ends"));
    assert!(!success && down.elapsed() < DOWN, "after {:?}: {text}", down.elapsed());
    // It is the device that notices first, or the link's patience that ends.
    assert!(text.contains("the port is down") || text.contains("has had no link"), "{text}");
    for part in ["allreduce #", "lost its verbs link to rank", "rxe1 port 1"] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    guest.does("link", &["up", "1"]);
    succeeds("--ranks 2 -b 64 -e 64 -n 5");
}

/// Returns when the devices have carried so much that the ranks are in the middle of their calls.
fn wait_for_traffic(running: &Child) {
    let packets = || {
        let file = "/sys/class/infiniband/rxe1/ports/1/hw_counters/sent_pkts";
        let text = std::fs::read_to_string(file).expect("the device counts");
        text.trim().parse::<u64>().expect("a number")
    };
    let (before, began) = (packets(), Instant::now());
    while packets() < before + 2000 {
        assert!(began.elapsed() < Duration::from_secs(60), "no traffic by process {}", running.id());
        std::thread::yield_now();
    }
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
