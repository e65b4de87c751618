//! Takes namespaces away with their processes, whatever becomes of the process that made them.
//!
//! A shell waits for the end of a pipe that only the maker holds. The pipe ends when the maker lets go of it, panics or is killed; then
//! the shell removes everything. Should the shell be killed as well, the next cluster removes what carries the number of a process that
//! is gone.

use crate::system::ip;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What the names of all namespaces begin with; the number of the process that made them follows.
pub(crate) const PREFIX: &str = "serried";

/// Ignores what ends the maker's process group, and waits for none of its steps for ever. It looks again after it has killed: until the
/// last process is gone, one may have started another.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
read -r _
for namespace; do
    looks=200
    while [ $((looks -= 1)) -gt 0 ] && processes=$(timeout -s KILL 10 ip netns pids "$namespace") && [ -n "$processes" ]; do
        kill -KILL $processes
    done
    timeout -s KILL 10 ip netns del "$namespace"
done
"#;

/// Whoever holds it keeps its namespaces alive.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    /// Watches over namespaces that are to be made, so that none is ever without a guard.
    pub(crate) fn over(namespaces: &[String]) -> Result<Self, String> {
        start(namespaces, Stdio::piped()).map(Self)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Each of its steps has a time limit.
        let _ = self.0.wait();
    }
}

/// Takes away what was left by processes that are gone, if their guards are gone too.
pub(crate) fn remove_orphans() {
    let list = ip("netns list").unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split(' ').next());
    let orphans: Vec<String> = names.filter(|name| is_orphan(name)).map(str::to_owned).collect();
    if !orphans.is_empty()
        && let Ok(mut remover) = start(&orphans, Stdio::null())
    {
        let _ = remover.wait();
    }
}

fn is_orphan(name: &str) -> bool {
    let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-')?.split('-').next());
    maker.is_some_and(|maker| maker.parse::<u32>().is_ok() && !Path::new("/proc").join(maker).exists())
}

fn start(namespaces: &[String], until: Stdio) -> Result<Child, String> {
    Command::new("sh")
        .args(["-c", SCRIPT, "guard"])
        .args(namespaces)
        .stdin(until)
        // A test's output must end with the test.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("sh: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_is_known_by_its_name() {
        let mine = std::process::id();
        assert!(!is_orphan(&format!("{PREFIX}-{mine}-0-switch")));
        // Above what the kernel gives out.
        assert!(is_orphan(&format!("{PREFIX}-4194305-0-2")));
        for strange in ["", "serried", "serried-", "serried-x-0-1", "serriedx-4194305-0-1", "blue"] {
            assert!(!is_orphan(strange), "{strange}");
        }
    }
}
