//! Who takes part and where: each rank's process, host and CPU, gathered so that rank 0 can print them.

use crate::perf::calls::{Calls, gather};
use rustix::process::getpid;
use rustix::system::uname;
use rustix::thread::{sched_getaffinity, sched_getcpu};
use serried::Result;

/// Bytes of a host's name that are kept: Linux allows 64.
const HOST_BYTES: usize = 64;

/// One rank as it presents itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Presence {
    /// Its process.
    pub(crate) pid: i32,
    /// The CPU it ran on when asked.
    pub(crate) cpu: u32,
    /// Whether it can run on that one only.
    pub(crate) hold: Hold,
    /// Its number among the ranks of its host.
    pub(crate) local_rank: u32,
    /// Its host.
    pub(crate) host: String,
}

/// Whether a process is held to one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// To one.
    Bound,
    /// The system may move it.
    Free,
}

impl Presence {
    /// This process.
    pub(crate) fn mine(local_rank: u32) -> Self {
        let bound = sched_getaffinity(None).is_ok_and(|cpus| cpus.count() == 1);
        Self {
            pid: getpid().as_raw_pid(),
            cpu: sched_getcpu() as u32,
            hold: if bound { Hold::Bound } else { Hold::Free },
            local_rank,
            host: uname().nodename().to_string_lossy().into_owned(),
        }
    }

    /// Every rank's, in order.
    pub(crate) fn all(&self, calls: &impl Calls) -> Result<Vec<Self>> {
        Ok(gather(calls, &self.to_bytes())?.iter().map(|bytes| Self::from_bytes(bytes)).collect())
    }

    /// The line of nccl-tests' list of devices; a rank's device is its CPU.
    pub(crate) fn line(&self, rank: usize) -> String {
        let Self { pid, cpu, local_rank, host, .. } = self;
        format!(
            "#  Rank {rank:>2} Group  0 Pid {pid:>6} on {host:>10} device {local_rank:>2} [cpu {cpu}] host memory\n"
        )
    }

    fn to_bytes(&self) -> Vec<u8> {
        let hold = u32::from(self.hold == Hold::Bound);
        let mut bytes = [self.pid as u32, self.cpu, hold, self.local_rank].map(u32::to_le_bytes).concat();
        bytes.extend(self.host.bytes().chain(std::iter::repeat(0)).take(HOST_BYTES));
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let (numbers, host) = bytes.split_at(16);
        let number = |at: usize| numbers[4 * at..][..4].iter().rev().fold(0, |sum, &byte| (sum << 8) | u32::from(byte));
        let host = String::from_utf8_lossy(host).trim_end_matches('\0').to_owned();
        let hold = if number(2) == 1 { Hold::Bound } else { Hold::Free };
        Self { pid: number(0) as i32, cpu: number(1), hold, local_rank: number(3), host }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presence_survives_the_way() {
        let mut presence = Presence::mine(3);
        assert_eq!(Presence::from_bytes(&presence.to_bytes()), presence);
        presence.host = "n1".to_owned();
        presence.pid = 4321;
        presence.cpu = 7;
        assert_eq!(presence.line(12), "#  Rank 12 Group  0 Pid   4321 on         n1 device  3 [cpu 7] host memory\n");
        presence.host = "x".repeat(100);
        assert_eq!(Presence::from_bytes(&presence.to_bytes()).host.len(), HOST_BYTES);
    }
}
