//! Which process a rank is, and how another process on its host learns that it has ended.
//!
//! The end of a process closes its connections only if no child that it forked still holds them. The kernel tells of the end itself.

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;

/// A process, as those see it who share its process namespace. It means something on its own host alone (see
/// [`HostId`](super::HostId)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessId {
    /// The namespace in which the number counts.
    pub(crate) namespace: u64,
    /// When it started, by the kernel's clock: numbers are given out again.
    pub(crate) started: u64,
    /// Its number.
    pub(crate) number: u32,
}

impl ProcessId {
    /// This process; a forked child is another. `None` where the system does not tell.
    pub(crate) fn here() -> Option<Self> {
        let number = std::process::id();
        let namespace = namespace()?;
        let (seen, started) = stat("self")?;
        // A /proc of another namespace would give other numbers.
        (seen == number).then_some(Self { namespace, started, number })
    }

    /// A descriptor that becomes readable when the process has ended. `None` if this is no process that can be told apart from here, or this
    /// one itself, or the system refuses.
    pub(crate) fn watch(self) -> Option<OwnedFd> {
        if self.number == std::process::id() || namespace()? != self.namespace {
            return None;
        }
        let pid = Pid::from_raw(i32::try_from(self.number).ok()?)?;
        let watched = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at after opening: what it shows is what is watched.
        let (_, started) = stat(&self.number.to_string())?;
        (started == self.started).then_some(watched)
    }
}

/// The number that the kernel gives to this process' namespace, as in `pid:[4026531836]`.
fn namespace() -> Option<u64> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

/// Number and start of a process.
fn stat(process: &str) -> Option<(u32, u64)> {
    /// The start's place among the fields after the name, which may itself hold blanks and parentheses.
    const STARTED: usize = 19;
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let number = text.split(' ').next()?.parse().ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some((number, fields.split(' ').nth(STARTED)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn only_another_process_that_is_the_one_meant_is_watched() {
        let here = ProcessId::here().expect("this process");
        assert_eq!(Some(here), ProcessId::here());
        assert!(here.watch().is_none(), "itself");
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("a process");
        let (number, started) = stat(&child.id().to_string()).expect("its state");
        let meant = ProcessId { number, started, ..here };
        assert!(meant.watch().is_some());
        assert!(ProcessId { started: started + 1, ..meant }.watch().is_none(), "a number given out again");
        assert!(ProcessId { namespace: here.namespace + 1, ..meant }.watch().is_none(), "another namespace");
        drop(child.stdin.take());
        child.wait().expect("its end");
        assert!(meant.watch().is_none(), "gone");
    }
}
