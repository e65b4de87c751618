//! What goes to standard error: this program's own lines, and as much of the library's as SERRIED_LOG asks for, or else NCCL_DEBUG.

use std::io::{IsTerminal, Write, stderr};
use tracing_subscriber::EnvFilter;

/// Starts printing messages. An unreadable setting is one sentence.
pub(crate) fn start() -> Result<(), String> {
    let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let directives = directives(read("SERRIED_LOG"), read("NCCL_DEBUG"));
    let filter = EnvFilter::try_new(&directives).map_err(|why| format!("SERRIED_LOG={directives:?}: {why}"))?;
    let messages =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal());
    // A closed standard error must not end the run: the subscriber would print its complaint there, and panic.
    messages.with_target(false).log_internal_errors(false).init();
    Ok(())
}

/// Says one line on standard error in one piece, so that lines of several processes stay whole. Nobody may be listening.
pub(crate) fn say(line: &str) {
    let _ = stderr().lock().write_all(format!("serried: {line}\n").as_bytes());
}

/// SERRIED_LOG is tracing's own language (`info`, `serried=debug`); NCCL_DEBUG has NCCL's four words. Unasked, the library says
/// nothing: what ends a run is its error, which the program prints once.
fn directives(serried: Option<String>, nccl: Option<String>) -> String {
    let level = |word: String| match word.to_ascii_uppercase().as_str() {
        "WARN" => "warn",
        "INFO" => "info",
        "TRACE" => "trace",
        // VERSION asks for less than WARN; what is unknown to NCCL it takes for no wish at all.
        _ => "off",
    };
    serried.unwrap_or_else(|| nccl.map_or("off", level).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_setting_goes_before_nccls() {
        let directives =
            |serried: Option<&str>, nccl: Option<&str>| directives(serried.map(str::to_owned), nccl.map(str::to_owned));
        assert_eq!(directives(None, None), "off");
        assert_eq!(directives(None, Some("info")), "info");
        assert_eq!(directives(None, Some("TRACE")), "trace");
        assert_eq!(directives(None, Some("VERSION")), "off");
        assert_eq!(directives(None, Some("warn")), "warn");
        assert_eq!(directives(Some("serried=debug"), Some("TRACE")), "serried=debug");
    }
}
