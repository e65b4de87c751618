//! Runs the programs of iproute2.

use std::process::{Command, Stdio};

/// Runs `ip`; what it printed, or why it failed.
pub(crate) fn ip(line: &str) -> Result<String, String> {
    run("ip", line)
}

/// Runs a program with these arguments, which contain no spaces; what it printed, or why it failed.
pub(crate) fn run(program: &str, line: &str) -> Result<String, String> {
    let output = Command::new(program).args(line.split_whitespace()).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{program} {line}: {}", text(&output.stderr)))
    }
}
