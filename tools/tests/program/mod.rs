//! The `serried` program as a user runs it.

use std::process::{Command, Output};

/// A subcommand with its arguments, which ends after so many seconds at the latest.
pub(crate) fn serried(seconds: u32, subcommand: &str, arguments: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args([&seconds.to_string(), env!("CARGO_BIN_EXE_serried"), subcommand]).args(arguments.split_whitespace());
    command
}

/// Its exit status, what it printed, and what it complained of.
pub(crate) fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("timeout is there");
    let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (status.code(), out, err)
}
