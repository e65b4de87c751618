//! `serried perf`: measures collectives as nccl-tests does, on host memory, and checks their results.
//!
//! Every rank runs this in step; rank 0 prints. What a row costs is measured in [`measure`]; here is only the order of things.

pub(crate) mod buffers;
pub(crate) mod calls;
pub(crate) mod collective;
pub(crate) mod data;
mod flags;
mod histogram;
mod measure;
mod outputs;
mod page;
mod pages;
mod progress;
mod ranks;
mod report;
mod run;
mod samples;
mod sizes;
mod table;
mod task;
mod timestamp;
mod variant;

pub(crate) use collective::Collective;
pub(crate) use flags::{Flags, Plan, Start};
pub(crate) use page::{STYLE as PAGE_STYLE, escape};
pub(crate) use sizes::{parse_size, short_size};

use crate::launch::{self, Ranks};
use crate::placement;
use flags::{Bind, Calling};
use outputs::{Outputs, made, page, print};
use run::Run;
use serried::{Communicator, Config, Error};
use sizes::Growth;
use std::ffi::OsString;
use std::process::ExitCode;

/// What keeps a run from its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The settings make no sense: exit status 2.
    Usage(String),
    /// The library reported an error.
    Library(Error),
    /// The output cannot be written.
    Output(std::io::Error),
    /// The system refused something else: what, and why.
    System(&'static str, std::io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Setting { .. } => Self::Usage(error.to_string()),
            error => Self::Library(error),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usage(why) => f.write_str(why),
            Self::Library(error) => error.fmt(f),
            Self::Output(error) => write!(f, "the results cannot be written: {error}"),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

/// Runs `serried perf` on one collective: as a rank, or as the launcher of ranks.
pub(crate) fn perf(plan: &Plan) -> Result<ExitCode, Failure> {
    if let Start::LaunchedBy(launcher) = plan.start {
        launch::tie_to(launcher).map_err(|why| Failure::System("this rank cannot start", why))?;
    }
    let config = config(plan)?;
    // A bad setting is found here once, rather than by every rank.
    let least_bus_bw = least_bus_bw()?;
    if let Start::Launch(ranks) = plan.start {
        return launch(plan, ranks, &config);
    }
    let launched = matches!(plan.start, Start::LaunchedBy(_));
    let outputs = Outputs::open(plan)?;
    if plan.bind == Bind::Core && launched {
        // Before any thread is started, so that all of them stay on this CPU.
        let rank = std::env::var("SERRIED_RANK").ok().and_then(|rank| rank.parse().ok()).unwrap_or(0);
        placement::bind_to_core(rank).map_err(unbound)?;
    }
    let communicator = Communicator::from_env(&config)?;
    if plan.bind == Bind::Core && !launched {
        placement::bind_to_core(communicator.local_rank() as usize).map_err(unbound)?;
    }
    let run = Run::begin(&communicator, plan, outputs, least_bus_bw)?;
    run.go(&config)
}

/// Starts ranks, once it is known that their results can be written.
fn launch(plan: &Plan, ranks: Ranks, config: &Config) -> Result<ExitCode, Failure> {
    let made = plan.json.as_deref().map(made).transpose()?;
    plan.html.as_deref().map(page).transpose()?;
    let more: Vec<OsString> =
        made.iter().flat_map(|(_, name)| ["--report-made".into(), name.clone().into_os_string()]).collect();
    let ended = print(&settings(plan)).and_then(|()| Ok(launch::launch(ranks, &more, config)?));
    if let Some((file, name)) = made
        && file.metadata().is_ok_and(|file| file.len() == 0)
    {
        // No rank came so far as to begin it.
        let _ = std::fs::remove_file(name);
    }
    ended
}

fn unbound(why: std::io::Error) -> Failure {
    Failure::System("this rank cannot be held to a core (--bind none does without)", why)
}

fn config(plan: &Plan) -> Result<Config, Error> {
    let mut config = plan.variants[0].config(&Config::from_env()?);
    if let Some(timeout) = plan.timeout {
        config.timeout = timeout;
    }
    Ok(config)
}

/// NCCL_TESTS_MIN_BW: a run below nine tenths of it fails.
fn least_bus_bw() -> Result<Option<f64>, Failure> {
    const NAME: &str = "NCCL_TESTS_MIN_BW";
    let Some(text) = std::env::var(NAME).ok().filter(|text| !text.is_empty()) else { return Ok(None) };
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.map(Some).ok_or_else(|| Failure::Usage(format!("{NAME}={text:?}: write GB/s as a number")))
}

/// The lines that tell the settings, as nccl-tests words them.
fn settings(plan: &Plan) -> String {
    let (step, unit) = match plan.sizes.growth {
        Growth::Factor(factor) => (factor, "factor"),
        Growth::Bytes(bytes) => (bytes, "bytes"),
    };
    let iterations = plan.iterations.map_or_else(|| "auto".to_owned(), |iterations| iterations.to_string());
    let (calling, aggregated) = match plan.calling {
        Calling::Waiting => ("each call waits for its result".to_owned(), 1),
        Calling::Started(calls) => (format!("{calls} calls are started, then waited for"), calls),
    };
    let bind = if plan.bind == Bind::Core { "core" } else { "none" };
    let memory = match plan.memory {
        buffers::Kind::Private => "private",
        buffers::Kind::Mapped => "from serried",
    };
    format!(
        "# serried {}: memory {memory}; bind {bind}; {calling}\n\
         # Collective test starting: {}_perf\n\
         # nThread 1 nGpus 1 minBytes {} maxBytes {} step: {step}({unit}) warmup iters: {} iters: {iterations} agg iters: {aggregated} validation: {} graph: 0\n\
         #\n# Using devices\n",
        env!("CARGO_PKG_VERSION"),
        plan.collective.name(),
        plan.sizes.first,
        plan.sizes.last,
        plan.warmup,
        plan.check,
    )
}
