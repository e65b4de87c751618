//! Starts ranks of this program on this machine and stays with them until the last has ended.
//!
//! No rank outlives its launcher, however that ends: each asks the kernel to be killed with its parent. So the launcher
//! handles no signals; what ends it ends them all. It knows nothing of what the ranks do.

use crate::logging::say;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getppid, pidfd_open, set_parent_process_death_signal};
use serried::{Config, TransportChoice, UniqueId};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Error, Result, Write, stderr};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// After one rank has failed, the others have this long to say what they saw.
const GRACE_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// After one rank has ended well, the others have this long to end too.
const GRACE_AFTER_SUCCESS: Duration = Duration::from_secs(30);
/// How long the last lines of ended ranks are waited for.
const LAST_LINES: Duration = Duration::from_secs(1);

/// More ranks than this on one machine are a slip of the keyboard.
pub(crate) const MOST_LOCAL_RANKS: u32 = 1024;

/// A transport's name on the command line.
pub(crate) fn parse_transport(text: &str) -> std::result::Result<TransportChoice, String> {
    text.parse().map_err(|_| "expected auto, shm, tcp, verbs or shm+verbs".to_owned())
}

/// Ties this rank's life to the launcher's. Call it first: before this, a rank could be left behind.
pub(crate) fn tie_to(launcher: i32) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The launcher may have ended before the kernel knew of the wish.
    if getppid().map(Pid::as_raw_pid) != Some(launcher) {
        return Err(Error::other("the launcher has ended"));
    }
    Ok(())
}

/// The ranks to start on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ranks {
    /// How many.
    pub(crate) count: u32,
    /// The hosts that they pretend to be on, in blocks that differ by one rank at most; `None`: on the one they are on. CPUs and devices
    /// stay those of this machine, which its ranks share by their numbers.
    pub(crate) hosts: Option<u32>,
}

impl Ranks {
    /// The ranks, or one sentence that says why they cannot be on so many hosts.
    pub(crate) fn new(count: u32, hosts: Option<u32>) -> std::result::Result<Self, String> {
        match hosts {
            Some(hosts) if hosts > count => {
                Err(format!("--hosts {hosts}: {count} ranks cannot be on more hosts than that"))
            }
            _ => Ok(Self { count, hosts }),
        }
    }

    /// What a rank calls its host.
    fn host(self, rank: u32) -> Option<String> {
        let block = |hosts| u64::from(rank) * u64::from(hosts) / u64::from(self.count);
        self.hosts.map(|hosts| format!("host {}", block(hosts)))
    }
}

/// Starts processes of this program with the same arguments and `more`, and ends with the worst of their exit statuses.
pub(crate) fn launch(
    ranks: Ranks,
    more: &[OsString],
    config: &Config,
) -> std::result::Result<ExitCode, serried::Error> {
    // The root of the rendezvous lives in this process.
    let id = UniqueId::create(&config.control)?;
    let system = |reason: Error| serried::Error::System {
        what: format!("starting {} ranks", ranks.count),
        reason: reason.to_string(),
    };
    let mut crew = Crew::start(ranks, more, &id.to_string()).map_err(system)?;
    let worst = crew.attend().map_err(system)?;
    Ok(ExitCode::from(worst))
}

/// The ranks that were started.
struct Crew {
    members: Vec<Member>,
    pumps: Vec<mpsc::Receiver<()>>,
}

struct Member {
    rank: u32,
    child: Child,
    /// Readable once the process has ended.
    pidfd: OwnedFd,
    ended: Option<ExitStatus>,
}

impl Crew {
    fn start(ranks: Ranks, more: &[OsString], id: &str) -> Result<Self> {
        let program = std::env::current_exe()?;
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        let mut crew = Self { members: Vec::new(), pumps: Vec::new() };
        for rank in 0..ranks.count {
            let first = rank == 0;
            let mut child = Command::new(&program)
                .args(&arguments)
                .args(more)
                .arg("--launched-by")
                .arg(std::process::id().to_string())
                .env("SERRIED_RANK", rank.to_string())
                .env("SERRIED_SIZE", ranks.count.to_string())
                .env("SERRIED_ID", id)
                .envs(ranks.host(rank).map(|host| ("SERRIED_HOST_ID", host)))
                .stdin(Stdio::null())
                .stdout(if first { Stdio::inherit() } else { Stdio::null() })
                .stderr(if first { Stdio::inherit() } else { Stdio::piped() })
                .spawn()?;
            if let Some(lines) = child.stderr.take() {
                crew.pumps.push(pump(rank, lines)?);
            }
            let pidfd = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
                Ok(pidfd) => pidfd,
                Err(error) => {
                    end(&mut child);
                    return Err(error.into());
                }
            };
            crew.members.push(Member { rank, child, pidfd, ended: None });
        }
        Ok(crew)
    }

    /// Waits until all have ended, ends those that linger after another has, and says what was unusual.
    fn attend(&mut self) -> Result<u8> {
        let mut worst = 0;
        let mut deadline: Option<Instant> = None;
        while self.members.iter().any(|member| member.ended.is_none()) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                worst = worst.max(self.end_lingering());
                break;
            }
            for (rank, status) in self.wait(left)? {
                let failed = !status.success();
                worst = worst.max(code(status));
                if let Some(signal) = status.signal() {
                    say(&format!("rank {rank} was killed by signal {signal}"));
                }
                let grace = if failed { GRACE_AFTER_FAILURE } else { GRACE_AFTER_SUCCESS };
                let latest = Instant::now() + grace;
                deadline = Some(deadline.map_or(latest, |deadline| deadline.min(latest)));
            }
        }
        let last_lines = Instant::now() + LAST_LINES;
        for pump in &self.pumps {
            let _ = pump.recv_timeout(last_lines.saturating_duration_since(Instant::now()));
        }
        Ok(worst)
    }

    /// Those that have ended since the last look, once there are some or `timeout` has passed.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<Vec<(u32, ExitStatus)>> {
        let timeout =
            timeout.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
        let running = self.members.iter().filter(|member| member.ended.is_none());
        let mut ends: Vec<PollFd<'_>> = running.map(|member| PollFd::new(&member.pidfd, PollFlags::IN)).collect();
        match poll(&mut ends, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut news = Vec::new();
        for member in self.members.iter_mut().filter(|member| member.ended.is_none()) {
            if let Some(status) = member.child.try_wait()? {
                member.ended = Some(status);
                news.push((member.rank, status));
            }
        }
        Ok(news)
    }

    /// Ends those that still run, and says so.
    fn end_lingering(&mut self) -> u8 {
        for member in self.members.iter_mut().filter(|member| member.ended.is_none()) {
            say(&format!("rank {} still ran after another had ended, and was stopped", member.rank));
            end(&mut member.child);
        }
        1
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in self.members.iter_mut().filter(|member| member.ended.is_none()) {
            end(&mut member.child);
        }
    }
}

/// Kills a child and takes leave of it; one that has ended already is no error.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// What a shell would report.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// Passes a rank's error lines on with its number before each; the receiver hears when there are no more.
fn pump(rank: u32, lines: ChildStderr) -> Result<mpsc::Receiver<()>> {
    let (done, at_end) = mpsc::channel();
    std::thread::Builder::new().name(format!("stderr of rank {rank}")).spawn(move || {
        let mut lines = BufReader::new(lines);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let whole =
                [format!("[rank {rank}] ").as_bytes(), line.strip_suffix(b"\n").unwrap_or(&line), b"\n"].concat();
            // Nobody may be listening any more: the rank must not stall for that.
            let _ = stderr().lock().write_all(&whole);
            line.clear();
        }
        let _ = done.send(());
    })?;
    Ok(at_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_blocks_as_even_as_they_can_be() {
        for count in 1..=20u32 {
            for hosts in 1..=count {
                let ranks = Ranks::new(count, Some(hosts)).expect("a rank for each host");
                let names: Vec<_> = (0..count).map(|rank| ranks.host(rank).expect("a host")).collect();
                let blocks: Vec<_> = names.chunk_by(|one, next| one == next).map(<[_]>::len).collect();
                let (least, most) = (count / hosts, count.div_ceil(hosts));
                assert_eq!(blocks.len(), hosts as usize, "{names:?}");
                assert!(blocks.iter().all(|&ranks| (least..=most).contains(&(ranks as u32))), "{names:?}");
                // Blocks of one name lie together.
                assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), hosts as usize);
            }
            assert!(Ranks::new(count, Some(count + 1)).is_err());
            assert_eq!(Ranks::new(count, None).map(|ranks| ranks.host(0)), Ok(None));
        }
    }
}
