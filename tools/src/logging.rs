//! Where the library's messages go: standard error, as much as SERRIED_LOG asks for, or else NCCL_DEBUG.

use std::io::stderr;
use tracing_subscriber::EnvFilter;

/// Starts printing messages. An unreadable setting is one sentence.
pub(crate) fn start() -> Result<(), String> {
    let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let directives = directives(read("SERRIED_LOG"), read("NCCL_DEBUG"));
    let filter = EnvFilter::try_new(&directives).map_err(|why| format!("SERRIED_LOG={directives:?}: {why}"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_target(false).init();
    Ok(())
}

/// SERRIED_LOG is tracing's own language (`info`, `serried=debug`); NCCL_DEBUG has NCCL's four words.
fn directives(serried: Option<String>, nccl: Option<String>) -> String {
    let level = |word: String| match word.to_ascii_uppercase().as_str() {
        "INFO" => "info",
        "TRACE" => "trace",
        // VERSION asks for less than WARN; what is unknown to NCCL it takes for no wish at all.
        _ => "warn",
    };
    serried.unwrap_or_else(|| nccl.map_or("warn", level).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_setting_goes_before_nccls() {
        let directives =
            |serried: Option<&str>, nccl: Option<&str>| directives(serried.map(str::to_owned), nccl.map(str::to_owned));
        assert_eq!(directives(None, None), "warn");
        assert_eq!(directives(None, Some("info")), "info");
        assert_eq!(directives(None, Some("TRACE")), "trace");
        assert_eq!(directives(None, Some("VERSION")), "warn");
        assert_eq!(directives(Some("serried=debug"), Some("TRACE")), "serried=debug");
    }
}
