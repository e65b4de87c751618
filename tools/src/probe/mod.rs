//! `serried probe`: what this host has, and how the ranks of a job talk to each other and why not better.
//!
//! Alone it looks at this host and opens no connection. As ranks of a job it joins them, connects every pair, measures each, and rank 0 tells of all.

mod cover;
mod heat;
mod host;
mod job;
mod measured;
mod network;
mod pairs;
mod text;
mod ways;

pub(crate) use text::columns;

use crate::launch::{self, MOST_LOCAL_RANKS, Ranks, parse_transport};
use clap::{ArgAction, Args};
use host::Host;
use serde_json::json;
use serried::bootstrap::Launch;
use serried::{Config, Error, TransportChoice};
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

/// The version of the JSON's shape.
const VERSION: u32 = 1;

/// What `--help` tells besides the flags.
pub(crate) const LESSON: &str = "\
Examples:
  serried probe                                what this host has, and what pairs of ranks would use
  serried probe --ranks 4                      four ranks on this machine: what each pair uses, its latency and bandwidth
  serried probe --ranks 8 --html pairs.html    the same, and drawn as heat maps
  serried probe --ranks 4 --hosts 2            the same, as if they were on two hosts
  serried probe --ranks 2 --transport verbs    whether two ranks can use RDMA here, and if not, why
  mpirun -n 16 -H a:8,b:8 serried probe        what each pair of a job uses; in a job's environment the ranks join
  serried probe --here                         only this host, also in a job's environment

Exit status: 0 when all is told; 1 when ranks do not come or the transport asked for cannot be used; 2 when the command line or a
setting makes no sense.

Environment: as for the library (SERRIED_TRANSPORT, SERRIED_IB_HCA, SERRIED_IB_GID_INDEX, SERRIED_SOCKET_IFNAME ...), so that what it
says is what a job with these settings gets.";

/// Flags of the probe.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    /// Start this many ranks on this machine; without it, join the job that torchrun, mpirun or srun has started, or look at this host alone.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_LOCAL_RANKS)))]
    ranks: Option<u32>,
    /// Let the ranks started here pretend to be on so many hosts, in blocks.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), requires = "ranks")]
    hosts: Option<u32>,
    /// How ranks talk: auto, shm, tcp, verbs or shm+verbs [default: what SERRIED_TRANSPORT says, or auto].
    #[arg(long, value_name = "KIND", value_parser = parse_transport)]
    transport: Option<TransportChoice>,
    /// Only look at this host, whatever the environment says.
    #[arg(long, conflicts_with = "ranks")]
    here: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// As ranks, draw what was measured between all pairs as a page in this file.
    #[arg(long, value_name = "FILE", conflicts_with = "here")]
    html: Option<PathBuf>,
    /// As ranks, measure nothing: only connect. Pairs of more than 16 ranks are measured only for --html.
    #[arg(long, conflicts_with_all = ["html", "here"])]
    quick: bool,
    /// Set by the launcher for the ranks it starts: its process id.
    #[arg(long, value_name = "PID", hide = true, action = ArgAction::Set)]
    launched_by: Option<i32>,
}

/// What keeps the probe from its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The settings make no sense: exit status 2.
    Usage(String),
    /// Ranks did not come, or cannot talk as they must.
    Library(Error),
    /// The system refused something else.
    System(std::io::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usage(why) => f.write_str(why),
            Self::Library(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
        }
    }
}

/// Runs `serried probe`: on this host, as a rank, or as the launcher of ranks.
pub(crate) fn probe(flags: &Flags) -> Result<ExitCode, Failure> {
    if let Some(launcher) = flags.launched_by {
        launch::tie_to(launcher).map_err(Failure::System)?;
    }
    let usage = |error: Error| Failure::Usage(error.to_string());
    let mut config = Config::from_env().map_err(usage)?;
    config.transport = flags.transport.unwrap_or(config.transport);
    if let (None, Some(ranks)) = (flags.launched_by, flags.ranks) {
        let ranks = Ranks::new(ranks, flags.hosts).map_err(Failure::Usage)?;
        return launch::launch(ranks, &[], &config).map_err(Failure::Library);
    }
    let is_rank = !flags.here && Launch::from_env().map_err(usage)?.is_some();
    if flags.html.is_some() && !is_rank {
        return Err(Failure::Usage(
            "--html draws pairs of ranks, and there are none: say --ranks, or start it as a job".into(),
        ));
    }
    let host = Host::look(&config);
    if is_rank {
        return job::report(host, &config, flags);
    }
    let ways = ways::both(&host, config.transport);
    print(&if flags.json {
        let ways: Vec<_> = ways.iter().map(ways::Way::json).collect();
        let version = env!("CARGO_PKG_VERSION");
        format!("{:#}\n", json!({ "version": VERSION, "serried_version": version, "host": host.json(), "pairs": ways }))
    } else {
        text::host(&host) + "\n" + &text::ways(&ways)
    })?;
    // What two ranks of one host cannot use, no two ranks can.
    Ok(if ways[0].transport.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::System)
}
