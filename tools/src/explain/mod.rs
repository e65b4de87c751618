//! `serried explain`: why a call runs as it does. For each size every way in which it could run, what it is predicted to take and of what that is made; and, if asked,
//! what each takes, and what the choice costs beside the best of them.

mod policies;
mod story;
mod text;
mod trial;

use crate::launch::{self, MOST_LOCAL_RANKS, Ranks, parse_transport};
use crate::perf::{Collective, Failure, parse_size};
use clap::{ArgAction, Args};
use serried::transport::tcp::TcpSettings;
use serried::tune::network::Network;
use serried::tune::{Candidates, Reach};
use serried::{Communicator, Config, TransportChoice};
use std::io::{Write, stdout};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use story::{Story, Way};

/// How the line of a saved network begins that says how many bytes a slot of its links holds; without it they are TCP's.
const SLOTS: &str = "slots of ";
const SLOT_BYTES: RangeInclusive<usize> = 4096..=1 << 30;

/// What `--help` tells besides the flags.
pub(crate) const LESSON: &str = "\
Examples:
  serried explain --ranks 4                          what an allreduce of four ranks on this machine is chosen by
  serried explain --ranks 4 --hosts 2 --measure      the same as if on two hosts; every way is run, and the choice judged
  serried explain broadcast --ranks 4 --transport tcp --all
  serried explain --ranks 16 --hosts 4 --save net.txt
  serried explain all_gather --network net.txt       without ranks: on a network that was saved, or written by hand
  mpirun -n 16 -H a:8,b:8 serried explain --measure

The columns, in microseconds:
  predicted     what the prices say, and of it
  latency       what its messages take without bytes, and waiting that outlasts the wire,
  bandwidth     what its bytes add on their way, and
  reduction     what reducing them adds
  measured      the median of several rounds, the slowest rank's (with --measure)
The way that is chosen has a star. Slices and lanes say how a message is cut: so many bytes at a time, so many at once on their way.

Regret is what a choice takes beyond the best of all ways, of the time of the best. Each half of the rounds says which is the best, and the other half
what it takes: a way that was fast by chance makes no regret (and may make it less than nothing). Beside it stand those of other tuners: this one without
measuring (SERRIED_PROBE=off), one that always takes the ring, and one that chooses between ring and tree by constants, as made for GPUs on a fast network.

Environment: as for the library; SERRIED_PROBE=anew measures the network again, SERRIED_ALGO narrows the ways.";

/// Flags of explain.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    /// all_reduce, reduce, reduce_scatter, broadcast, all_gather, gather, scatter, all_to_all or barrier.
    #[arg(default_value = "all_reduce", value_parser = collective)]
    collective: Collective,
    /// Start this many ranks on this machine; without it, join the job that torchrun, mpirun or srun has started.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(2..=i64::from(MOST_LOCAL_RANKS)))]
    ranks: Option<u32>,
    /// Let the ranks started here pretend to be on so many hosts, in blocks.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), requires = "ranks")]
    hosts: Option<u32>,
    /// How ranks talk: auto, shm, tcp, verbs or shm+verbs [default: what SERRIED_TRANSPORT says, or auto].
    #[arg(long, value_name = "KIND", value_parser = parse_transport)]
    transport: Option<TransportChoice>,
    /// The first size: of the message, or of all blocks.
    #[arg(short = 'b', long, value_name = "SIZE", default_value = "1K", value_parser = parse_size)]
    min: u64,
    /// The size that none exceeds; each is four times the one before.
    #[arg(short = 'e', long, value_name = "SIZE", default_value = "16M", value_parser = parse_size)]
    max: u64,
    /// Run every way, and judge the predictions and the choice.
    #[arg(long)]
    measure: bool,
    /// Show all ways rather than the best few of each size.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Explain on the network in this file, without ranks.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ranks", "measure", "save", "transport"])]
    network: Option<PathBuf>,
    /// Save the network that was measured.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Set by the launcher for the ranks it starts: its process id.
    #[arg(long, value_name = "PID", hide = true, action = ArgAction::Set)]
    launched_by: Option<i32>,
}

/// Runs `serried explain`: on a saved network, as a rank, or as the launcher of ranks.
pub(crate) fn explain(flags: &Flags) -> Result<ExitCode, Failure> {
    if let Some(launcher) = flags.launched_by {
        launch::tie_to(launcher).map_err(|error| Failure::System("tying to the launcher", error))?;
    }
    if flags.min > flags.max {
        return Err(Failure::Usage(format!("-b {} is above -e {}", flags.min, flags.max)));
    }
    let mut config = Config::from_env()?;
    config.transport = flags.transport.unwrap_or(config.transport);
    if let Some(file) = &flags.network {
        let story = Story::of(flags.collective, &saved(file, &config)?, flags.min, flags.max);
        print(flags, &story)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let (None, Some(ranks)) = (flags.launched_by, flags.ranks) {
        let ranks = Ranks::new(ranks, flags.hosts).map_err(Failure::Usage)?;
        return Ok(launch::launch(ranks, &[], &config)?);
    }
    as_rank(flags, &config)
}

fn as_rank(flags: &Flags, config: &Config) -> Result<ExitCode, Failure> {
    let communicator = Communicator::from_env(config)?;
    let Some(candidates) = communicator.candidates() else {
        let why = "nothing was measured here: that takes 2 to 64 ranks, SERRIED_PROBE other than off, and a choice that SERRIED_ALGO leaves";
        return Err(Failure::Usage(why.into()));
    };
    let mut story = Story::of(flags.collective, &candidates, flags.min, flags.max);
    let kind = flags.collective.kind();
    for index in 0..story.rows.len() {
        let own = story.block_bytes(story.rows[index].bytes);
        let choice = communicator.choice(kind, own)?;
        let row = &mut story.rows[index];
        row.chosen = row.place(Way { choice, price: candidates.predict(kind, own, &choice), measured: None });
    }
    if flags.measure {
        trial::run(&communicator, flags.collective, &mut story)?;
    }
    if communicator.rank() == 0 {
        if let Some(file) = &flags.save {
            let Candidates { network, reach: Reach::Room { slot_bytes } | Reach::Links { slot_bytes }, .. } =
                &candidates;
            std::fs::write(file, format!("{network}{SLOTS}{slot_bytes}\n")).map_err(Failure::Output)?;
        }
        print(flags, &story)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What choices are made among on the network in `file`.
fn saved(file: &PathBuf, config: &Config) -> Result<Candidates, Failure> {
    let usage = |why: String| Failure::Usage(format!("--network {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| usage(error.to_string()))?;
    let (slots, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with(SLOTS));
    let network: Network = lines.join("\n").parse().map_err(usage)?;
    if !(2..=serried::tune::RANKS_MOST).contains(&network.grouping.size()) {
        return Err(usage(format!("it has {} ranks; prices are computed for 2 to 64", network.grouping.size())));
    }
    let slot_bytes = match slots.first().and_then(|line| line.strip_prefix(SLOTS)) {
        Some(number) => number.trim().parse().ok().filter(|bytes| SLOT_BYTES.contains(bytes)),
        None => Some(TcpSettings::default().slot_bytes),
    };
    let slot_bytes = slot_bytes.ok_or_else(|| usage(format!("{SLOTS}is followed by bytes, from 4096 to 1 GiB")))?;
    let reach = if network.room.is_empty() { Reach::Links { slot_bytes } } else { Reach::Room { slot_bytes } };
    Ok(Candidates { network, reach, allowed: config.algorithms })
}

fn print(flags: &Flags, story: &Story) -> Result<(), Failure> {
    let text = if flags.json { format!("{:#}\n", story.json()) } else { text::story(story, flags.all) };
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

fn collective(text: &str) -> Result<Collective, String> {
    let with_algorithms = |one: &Collective| *one != Collective::SendRecv;
    Collective::named(text).filter(with_algorithms).ok_or_else(|| {
        let names: Vec<_> = Collective::ALL.into_iter().filter(with_algorithms).map(Collective::name).collect();
        format!("no such collective; there are {}", names.join(", "))
    })
}
