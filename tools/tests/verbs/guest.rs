//! The guest of `tools/softroce` and its commands; and ranks as processes of their own.

use serried::UniqueId;
use serried::bootstrap::Settings;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// No run takes longer unless it hangs.
pub(crate) const HANG_SECONDS: &str = "90";

/// The guest, which one test has at a time, and the folder of its commands.
pub(crate) struct Guest(
    pub(crate) String,
    #[expect(dead_code, reason = "held, not looked at")] MutexGuard<'static, ()>,
);

impl Guest {
    pub(crate) fn enter() -> Option<Self> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let Ok(folder) = std::env::var("SERRIED_SOFTROCE") else {
            println!("skipped: verbs: this is not the guest that has RoCE devices");
            return None;
        };
        Some(Self(folder, ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// For tests that also run elsewhere.
    pub(crate) fn alone() -> Option<Self> {
        std::env::var_os("SERRIED_SOFTROCE").and_then(|_| Self::enter())
    }

    /// Runs one of the guest's commands.
    pub(crate) fn does(&self, command: &str, arguments: &[&str]) {
        let status = Command::new(format!("{}/{command}", self.0)).args(arguments).status().expect("it starts");
        assert!(status.success(), "{command} {arguments:?}: {status}");
    }
}

/// Puts a link and its cable right again, whatever the test came to.
pub(crate) struct Restored<'a>(pub(crate) &'a Guest, pub(crate) &'static str);

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let (folder, device) = (&self.0.0, self.1);
        // Both fail where there is nothing to put right.
        for arguments in [["link", "up", device].as_slice(), &["netem", device]] {
            let _ = Command::new(format!("{folder}/{}", arguments[0])).args(&arguments[1..]).output();
        }
    }
}

/// A rank's variables besides those that every rank has.
pub(crate) type Variables<'a> = &'a [(&'a str, &'a str)];

/// How a rank ended: whether it succeeded, and what it said.
pub(crate) type Ending = (bool, String);

/// Ranks that run, each a process with settings of its own. They do not outlive this.
pub(crate) struct Ranks(Vec<Option<Child>>);

impl Ranks {
    /// Starts `serried` with these arguments once for each rank, behind a command if there is one.
    pub(crate) fn start(before: &[&str], variables: &[Variables<'_>], arguments: &str) -> Self {
        let id = UniqueId::create(&Settings::default()).expect("a rendezvous").to_string();
        let size = variables.len().to_string();
        let start = |(rank, own): (usize, &Variables<'_>)| {
            let mut command = Command::new("timeout");
            command.arg(HANG_SECONDS).args(before).arg(env!("CARGO_BIN_EXE_serried"));
            command.args(arguments.split_whitespace()).envs(own.iter().copied());
            let names = ["SERRIED_RANK", "SERRIED_SIZE", "SERRIED_ID"];
            command.envs(names.into_iter().zip([&rank.to_string(), &size, &id]));
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            Some(command.spawn().expect("timeout is there"))
        };
        Self(variables.iter().enumerate().map(start).collect())
    }

    /// Waits until all have ended.
    pub(crate) fn end(mut self) -> Vec<Ending> {
        let end = |child: Child| {
            let output = child.wait_with_output().expect("it ends");
            let text =
                [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            (output.status, text)
        };
        let threads: Vec<_> =
            self.0.iter_mut().filter_map(Option::take).map(|child| std::thread::spawn(move || end(child))).collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("it was read")).collect();
        assert!(ended.iter().all(|(status, _)| status.code() != Some(124)), "one hangs: {ended:?}");
        ended.into_iter().map(|(status, text)| (status.success(), text)).collect()
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        for child in self.0.iter_mut().flatten() {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Returns when the devices have carried so much that the ranks are in the middle of their calls.
pub(crate) fn wait_for_traffic() {
    let packets = || {
        let file = "/sys/class/infiniband/rxe1/ports/1/hw_counters/sent_pkts";
        let text = std::fs::read_to_string(file).expect("the device counts");
        text.trim().parse::<u64>().expect("a number")
    };
    let (before, began) = (packets(), Instant::now());
    while packets() < before + 2000 {
        assert!(began.elapsed() < Duration::from_secs(60), "no traffic");
        std::thread::yield_now();
    }
}
