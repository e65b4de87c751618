//! Runs of the `serried` program on a cluster, and what came of them.

use serried_cluster::{Blueprint, Cluster, Ending};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// No run takes longer unless it hangs.
const HANG: Duration = Duration::from_secs(60);

/// What an interface sends at most that nobody uses: the kernel itself wants to see who is there, and rank 0 is looked for everywhere.
pub(crate) const CHATTER_BYTES: u64 = 16 << 10;

/// A cluster, and the right to use the machine.
pub(crate) struct Alone(
    pub(crate) Cluster,
    #[expect(dead_code, reason = "held, not looked at")] MutexGuard<'static, ()>,
);

impl Alone {
    pub(crate) fn build(blueprint: &Blueprint) -> Option<Self> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Self(blueprint.build_or_skip()?, lock))
    }

    /// Runs `serried` as every rank.
    pub(crate) fn run(&self, arguments: &str, environment: &[(&str, &str)]) -> Vec<Ending> {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        self.0.start(Path::new(env!("CARGO_BIN_EXE_serried")), &arguments, environment).end(HANG)
    }

    /// What rank 0 says of a run that must end well.
    pub(crate) fn text(&self, arguments: &str, environment: &[(&str, &str)]) -> String {
        let endings = self.run(arguments, environment);
        assert!(endings.iter().all(Ending::success), "{arguments}: {}", told(&endings));
        endings.into_iter().next().expect("a rank").text
    }

    /// Runs `serried perf`, whose results must be right; its table.
    pub(crate) fn table(&self, arguments: &str, environment: &[(&str, &str)]) -> String {
        let text = self.text(&format!("perf {arguments} -c 1"), environment);
        assert!(text.contains("# Out of bounds values : 0 OK"), "{arguments}: {text}");
        text
    }
}

/// How every rank ended, for a failure's message.
pub(crate) fn told(endings: &[Ending]) -> String {
    let one = |(rank, ending): (usize, &Ending)| {
        let status = ending.status.map_or_else(|| "still running".to_owned(), |status| status.to_string());
        format!("rank {rank}, after {:?}, {status}:\n{}", ending.after, ending.text)
    };
    endings.iter().enumerate().map(one).collect::<Vec<_>>().join("\n")
}

/// The rows of a table: bytes, and µs a call out of place.
pub(crate) fn rows(table: &str) -> Vec<(u64, f64)> {
    let rows = table.lines().filter(|line| line.starts_with(' '));
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[0].parse().expect("bytes"), words[5].parse().expect("a time"))
    };
    rows.map(row).collect()
}

/// Prints what was measured of an allreduce: whoever reads the test's output is told, and nothing is judged by it.
pub(crate) fn print(title: &str, table: &str) {
    let ranks = table.lines().filter(|line| line.starts_with("#  Rank ")).count() as f64;
    println!("{title}:");
    for (bytes, time_us) in rows(table) {
        // Finer than the table has it: a cable carries 0.125 GB/s at most.
        let bus_mb_s = bytes as f64 / time_us * 2.0 * (ranks - 1.0) / ranks;
        println!("  {bytes:>9} B {time_us:>11.1} us, busbw {bus_mb_s:>7.2} MB/s");
    }
}
