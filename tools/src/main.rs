//! The `serried` program: the command line, and what comes of it. Each tool has a module of its own.

mod explain;
mod launch;
mod logging;
mod perf;
mod placement;
mod probe;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Exit status for a command line or setting that makes no sense.
const USAGE: u8 = 2;

/// serried's tools: measure collective communication on these machines, and tell how ranks on them talk.
#[derive(Parser)]
#[command(name = "serried", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand)]
enum Tool {
    /// Measure a collective's time and bandwidth, and check its results; flags and table as in nccl-tests.
    #[command(arg_required_else_help = true, after_long_help = LESSON, after_help = "--help tells more: examples, and what the columns mean.")]
    Perf {
        /// all_reduce, reduce, reduce_scatter, broadcast, all_gather, gather, scatter, all_to_all, sendrecv or barrier; nccl-tests' names will do.
        #[arg(value_parser = parse_collective)]
        collective: perf::Collective,
        #[command(flatten)]
        flags: Box<perf::Flags>,
    },
    /// Tell what this host has for ranks to talk by, or how the ranks of a job talk to each other, and why not better.
    #[command(after_long_help = probe::LESSON, after_help = "--help tells more: examples, and what it ends with.")]
    Probe(probe::Flags),
    /// Tell why a collective runs as it does: what every way of running it is predicted to take, and what it takes.
    #[command(after_long_help = explain::LESSON, after_help = "--help tells more: examples, and what the columns mean.")]
    Explain(explain::Flags),
}

const LESSON: &str = "\
Examples:
  serried perf all_reduce --ranks 4                         four ranks on this machine, 8 bytes to 128 MiB
  serried perf all_reduce --ranks 2 --transport tcp -b 1M   two ranks over TCP on the loopback, from 1 MiB
  serried perf all_reduce --ranks 2 -d all -o all -e 1M     every type with every operator, checked
  serried perf all_reduce --ranks 4 --hosts 2               as if on two hosts: shared memory in each, the loopback between them
  mpirun -n 16 -H a:8,b:8 serried perf all_reduce -e 1G     sixteen ranks on two hosts
  torchrun --no-python --nproc-per-node 4 serried perf all_reduce
  serried perf broadcast --ranks 4 -r all -c 2              every root, each size checked twice
  serried perf all_gather --ranks 4 --algo all --transport shm,tcp --html all_gather.html
                                                            every algorithm over two transports, drawn on a page

The columns, for the out-of-place half and then the in-place half of each row:
  size          the message in bytes, whole elements; of reduce_scatter, all_gather, gather, scatter and all_to_all all
                blocks together, which are whole elements (nccl-tests rounds blocks of some down to 16 bytes)
  count         elements of the message, or of a block
  type, redop   the elements' type and the operator
  root          -1 where there is none
  time          microseconds a call (-a says whose; -C 1 shows CPU time)
  algbw         size over time, in 1e9 bytes a second
  busbw         algbw times 2(n-1)/n for n ranks (all_reduce), (n-1)/n (where blocks are moved) or 1 (reduce, broadcast,
                sendrecv): what the links carry. It can be compared between numbers of ranks, and with the speed of a
                network card
  #wrong        wrong elements over all ranks, bytes written past the end, and inputs that were changed;
                N/A when not checked (-c 0)

How to choose:
  Latency is the time column at 8 bytes; bandwidth is busbw where it no longer grows with size.
  '# cores' tells how near the CPUs of ranks 0 and 1 are (SMT, NEAR or FAR), before the rows and after them. Small messages are
  several times faster near than far: compare only runs that say the same.
  More ranks than CPUs work, but measure the scheduler too.
  -R 1 takes buffers from the library, which ranks of one host read in place; the default is what a program's own memory gets.
  -m 8 starts eight calls before it waits for them, as training does with gradients; then only the in-place half exists.
  Without -n each size runs for 0.1 s and at least 20 iterations.

Exit status: 0 when all results are right, 1 when one is wrong, when a rank fails, or when the average bus bandwidth
is below 0.9 of NCCL_TESTS_MIN_BW; 2 when the command line or a setting makes no sense.

Environment: SERRIED_* sets the library (SERRIED_TRANSPORT, SERRIED_ALGO, SERRIED_TIMEOUT, SERRIED_SOCKET_IFNAME ...);
SERRIED_LOG (as in warn, info, serried=debug) or NCCL_DEBUG (WARN, INFO, TRACE) what it says on standard error.";

fn main() -> ExitCode {
    let tool = match CommandLine::try_parse() {
        Ok(line) => line.tool,
        Err(error) => return refuse(&error),
    };
    if let Err(why) = logging::start() {
        return complain(&why, USAGE);
    }
    match tool {
        Tool::Perf { collective, flags } => perf(collective, *flags),
        Tool::Explain(flags) => end(explain::explain(&flags)),
        Tool::Probe(flags) => match probe::probe(&flags) {
            Ok(status) => status,
            Err(failure @ probe::Failure::Usage(_)) => complain(&failure.to_string(), USAGE),
            Err(failure) => complain(&failure.to_string(), 1),
        },
    }
}

fn parse_collective(text: &str) -> Result<perf::Collective, String> {
    perf::Collective::named(text).ok_or_else(|| {
        let names: Vec<_> = perf::Collective::ALL.into_iter().map(perf::Collective::name).collect();
        format!("no such collective; there are {}", names.join(", "))
    })
}

fn perf(collective: perf::Collective, flags: perf::Flags) -> ExitCode {
    let plan = match flags.plan(collective) {
        Ok(plan) => plan,
        Err(why) => return complain(&why, USAGE),
    };
    end(perf::perf(&plan))
}

fn end(ended: Result<ExitCode, perf::Failure>) -> ExitCode {
    match ended {
        Ok(status) => status,
        Err(failure @ perf::Failure::Usage(_)) => complain(&failure.to_string(), USAGE),
        Err(failure) => complain(&failure.to_string(), 1),
    }
}

fn complain(why: &str, status: u8) -> ExitCode {
    logging::say(why);
    ExitCode::from(status)
}

/// Prints help and version as they are, and an error as one sentence: its first paragraph on one line.
fn refuse(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A closed standard output is no reason to fail here.
        let _ = error.print();
        return ExitCode::from(if asked { 0 } else { USAGE });
    }
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let sentence = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    complain(&format!("{} (--help tells more)", sentence.trim_start_matches("error: ")), USAGE)
}
