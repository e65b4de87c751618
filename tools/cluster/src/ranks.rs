//! Starts a program once for each rank, with the environment that torchrun would give it, and stays until all have ended.

use crate::cluster::Cluster;
use std::io::{PipeReader, Read, pipe};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Torch's own.
const MASTER_PORT: u16 = 29_500;

/// Beginnings of the names of variables that say how ranks behave.
const SETTINGS: [&str; 2] = ["SERRIED_", "NCCL_"];

/// What was measured on another cluster, whose hosts had the same addresses, says nothing of this one.
const ANEW: (&str, &str) = ("SERRIED_PROBE", "anew");

/// How long the last words of a killed rank may take.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Ranks that run, in order. They do not outlive this.
#[derive(Debug)]
pub struct Ranks {
    began: Instant,
    ranks: Vec<Rank>,
}

#[derive(Debug)]
struct Rank {
    child: Child,
    /// All that it says, once it says no more, and when that was.
    said: Receiver<(String, Instant)>,
}

/// How a rank ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// `None`: it still ran at the time limit, and was killed.
    pub status: Option<ExitStatus>,
    /// Its standard output and standard error.
    pub text: String,
    /// From the start of all ranks.
    pub after: Duration,
}

impl Ending {
    /// Whether it ended by itself, and well.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

impl Cluster {
    /// Starts a program on every host as often as the host has ranks, with these settings, and none from this process' environment.
    ///
    /// # Panics
    /// If the system cannot start processes.
    pub fn start(&self, program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ranks {
        let mut ranks = Ranks { began: Instant::now(), ranks: Vec::new() };
        let is_setting = |name: &str| SETTINGS.iter().any(|prefix| name.starts_with(prefix));
        let outer = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_str().is_some_and(is_setting));
        let outer: Vec<_> = outer.collect();
        for mut command in self.commands(program) {
            let (reader, writer) = pipe().expect("a pipe");
            let second = writer.try_clone().expect("a pipe's end");
            outer.iter().for_each(|name| _ = command.env_remove(name));
            command.args(arguments).env(ANEW.0, ANEW.1).envs(environment.iter().copied());
            command.stdin(Stdio::null()).stdout(writer).stderr(second);
            let child = command.spawn().expect("ip is there");
            ranks.ranks.push(Rank { child, said: hear(reader) });
        }
        ranks
    }

    /// For each rank, a command that runs a program as this rank, in this process' environment and what torchrun adds.
    pub fn commands(&self, program: &Path) -> Vec<Command> {
        let places = self.ranks.iter().enumerate().flat_map(|(host, &here)| (0..here).map(move |local| (host, local)));
        places.enumerate().map(|(rank, (host, local))| self.rank(program, rank, host, local)).collect()
    }

    fn rank(&self, program: &Path, rank: usize, host: usize, local: usize) -> Command {
        let mut command = self.command(host, program);
        let numbers = [
            ("RANK", rank),
            ("WORLD_SIZE", self.ranks.iter().sum()),
            ("LOCAL_RANK", local),
            ("LOCAL_WORLD_SIZE", self.ranks[host]),
            ("GROUP_RANK", host),
            ("GROUP_WORLD_SIZE", self.hosts()),
            ("MASTER_PORT", MASTER_PORT.into()),
        ];
        command.envs(numbers.map(|(name, number)| (name, number.to_string())));
        if std::env::var_os(ANEW.0).is_none() {
            command.env(ANEW.0, ANEW.1);
        }
        command.env("MASTER_ADDR", self.address(0, 0).to_string()).env("TORCHELASTIC_RUN_ID", "none");
        command
    }
}

impl Ranks {
    /// Waits until all have ended, but kills what still runs after `limit`.
    pub fn end(mut self, limit: Duration) -> Vec<Ending> {
        let began = self.began;
        let mut endings = Vec::new();
        for Rank { child, said } in &mut self.ranks {
            let left = limit.saturating_sub(began.elapsed());
            let in_time = said.recv_timeout(left).ok();
            // One that says no more is about to end, and this makes no difference to it; another would be waited for in vain.
            let _ = child.kill();
            let status = child.wait().ok().filter(|_| in_time.is_some());
            let (text, at) =
                in_time.or_else(|| said.recv_timeout(LAST_WORDS).ok()).unwrap_or((String::new(), began + limit));
            endings.push(Ending { status, text, after: at - began });
        }
        endings
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        for Rank { child, .. } in &mut self.ranks {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads to the end, so that nobody who writes is ever kept waiting.
fn hear(mut reader: PipeReader) -> Receiver<(String, Instant)> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = reader.read_to_end(&mut bytes);
        // Nobody may be waiting any more.
        let _ = sender.send((String::from_utf8_lossy(&bytes).into_owned(), Instant::now()));
    });
    receiver
}
