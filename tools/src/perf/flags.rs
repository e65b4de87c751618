//! The command line of `serried perf`, named as in nccl-tests, and the plan that it amounts to.
//!
//! Parsing only: nothing is opened, started or measured here.

use crate::launch::{MOST_LOCAL_RANKS, Ranks, parse_transport};
use crate::perf::buffers::Kind;
use crate::perf::calls::Average;
use crate::perf::collective::Collective;
use crate::perf::data::Reduction;
use crate::perf::sizes::{Growth, Sizes, parse_size};
use crate::perf::table::{Stamps, TimeColumn};
use crate::perf::variant::Variant;
use clap::{ArgAction, Args, ValueEnum};
use serried::schedule::Algorithm;
use serried::{DataType, TransportChoice};
use std::path::PathBuf;
use std::time::Duration;

/// The step of nccl-tests when sizes grow by addition.
const DEFAULT_STEP_BYTES: u64 = 1 << 20;

/// Flags of every collective's measurement.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    /// Smallest size in bytes; K, M and G are understood, and 0 is a size too.
    #[arg(short = 'b', long = "minbytes", value_name = "SIZE", default_value = "8", value_parser = parse_size, help_heading = "Sizes")]
    min_bytes: u64,
    /// Largest size in bytes.
    #[arg(short = 'e', long = "maxbytes", value_name = "SIZE", default_value = "128M", value_parser = parse_size, help_heading = "Sizes")]
    max_bytes: u64,
    /// Add this to go from one size to the next (instead of -f).
    #[arg(short = 'i', long = "stepbytes", value_name = "SIZE", value_parser = parse_size, help_heading = "Sizes")]
    step_bytes: Option<u64>,
    /// Multiply by this to go from one size to the next [default: 2].
    #[arg(short = 'f', long = "stepfactor", value_name = "FACTOR", help_heading = "Sizes")]
    step_factor: Option<u64>,

    /// Type of the elements: int8 uint8 int32 uint32 int64 uint64 half float double bfloat16 f8e4m3 f8e5m2, or all.
    #[arg(short = 'd', long = "datatype", value_name = "TYPE", default_value = "float", value_parser = parse_types, help_heading = "Operation")]
    data_types: Types,
    /// Operator: sum prod min max avg mulsum, or all; collectives that reduce nothing have none.
    #[arg(short = 'o', long = "op", value_name = "OP", default_value = "sum", value_parser = parse_ops, help_heading = "Operation")]
    reductions: Reductions,
    /// Root of a collective that has one: a rank, or all of them in turn.
    #[arg(short = 'r', long = "root", value_name = "RANK", default_value = "0", allow_hyphen_values = true, value_parser = parse_root, help_heading = "Operation")]
    root: Roots,

    /// Timed iterations a size; when absent, as many as fill 0.1 s, and at least 20.
    #[arg(short = 'n', long = "iters", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Measurement")]
    iterations: Option<u64>,
    /// Iterations before each timing that are not timed.
    #[arg(short = 'w', long = "warmup_iters", value_name = "COUNT", default_value_t = 1, help_heading = "Measurement")]
    warmup: u64,
    /// Calls started together in each iteration and then waited for (allreduce, in place).
    #[arg(short = 'm', long = "agg_iters", value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Measurement")]
    aggregate: u32,
    /// Times that the whole table is gone through; 0 is for ever.
    #[arg(short = 'N', long = "run_cycles", value_name = "COUNT", default_value_t = 1, help_heading = "Measurement")]
    cycles: u64,
    /// Which ranks' time is shown: 0 that of rank 0, 1 the mean, 2 the fastest rank's, 3 the slowest rank's.
    #[arg(short = 'a', long = "average", value_name = "0-3", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=3), help_heading = "Measurement")]
    average: u8,
    /// Checked calls a size and half of the row, besides the timed ones; 0 checks nothing.
    #[arg(short = 'c', long = "check", value_name = "COUNT", default_value_t = 1, help_heading = "Measurement")]
    check: u32,
    /// 1: each call returns when its result is there. 0: calls are started and waited for (allreduce, in place).
    #[arg(short = 'z', long = "blocking", value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1), help_heading = "Measurement")]
    blocking: u8,
    /// Memory of the buffers: 0 the process's own, 1 or 2 allocated by serried, which ranks of one host can map.
    #[arg(short = 'R', long = "local_register", value_name = "0-2", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2), help_heading = "Measurement")]
    register: u8,

    /// Show CPU time of the calling thread in the time column (bandwidths stay those of the wall clock).
    #[arg(short = 'C', long = "report_cputime", value_name = "0|1", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1), help_heading = "Report")]
    cpu_time: u8,
    /// End each row with the time of day, in UTC.
    #[arg(short = 'S', long = "report_timestamps", value_name = "0|1", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1), help_heading = "Report")]
    stamps: u8,
    /// Time each call by itself too, and print the spread over all ranks below each row.
    #[arg(short = 'I', long = "per_iter_timing", value_name = "0|1", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1), help_heading = "Report")]
    per_call: u8,
    /// Write settings, rows and summary to this file as JSON (a number is appended when it exists).
    #[arg(short = 'J', long = "output_file", value_name = "FILE", help_heading = "Report")]
    json: Option<PathBuf>,
    /// Draw the results on this page (HTML): curves of time and bandwidth, and all numbers.
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    html: Option<PathBuf>,

    /// Start this many ranks on this machine; without it, join the job that torchrun, mpirun or srun has started.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_LOCAL_RANKS)), help_heading = "Ranks")]
    ranks: Option<u32>,
    /// Let the ranks started here pretend to be on so many hosts, in blocks: those of one use shared memory, others talk as hosts do.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), requires = "ranks", help_heading = "Ranks")]
    hosts: Option<u32>,
    /// How ranks talk: auto, shm, tcp, verbs or shm+verbs; several, with commas between them, are measured in turn [default: what SERRIED_TRANSPORT says, or auto].
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = parse_transport, help_heading = "Ranks")]
    transport: Vec<TransportChoice>,
    /// Algorithm: auto, one or several of those the collective has, or all of them in turn [default: auto].
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Ranks")]
    algo: Vec<String>,
    /// Where ranks run: core puts rank i on the CPU number i modulo their number [default: core with --ranks, else none].
    #[arg(long, value_name = "PLACE", help_heading = "Ranks")]
    bind: Option<Bind>,
    /// Give up on a call after this many seconds; 0 is serried's default.
    #[arg(short = 'T', long, value_name = "SECONDS", default_value_t = 0, help_heading = "Ranks")]
    timeout: u64,

    /// Threads a process: 1.
    #[arg(short = 't', long = "nthreads", value_name = "1", default_value = "1", value_parser = only_one, hide = true)]
    threads: u8,
    /// Devices a thread: 1.
    #[arg(short = 'g', long = "ngpus", value_name = "1", default_value = "1", value_parser = only_one, hide = true)]
    devices: u8,
    /// CUDA graph launches: 0.
    #[arg(short = 'G', long = "cudagraph", value_name = "0", default_value = "0", value_parser = only_zero, hide = true)]
    graphs: u8,
    /// Parallel initialisation: 0 or 1, the same with one rank a process.
    #[arg(short = 'p', long = "parallel_init", value_name = "0|1", default_value = "0", hide = true, value_parser = clap::value_parser!(u8).range(0..=1))]
    parallel_init: u8,
    /// Set by the launcher for the ranks it starts: its process id.
    #[arg(long, value_name = "PID", hide = true, action = ArgAction::Set)]
    launched_by: Option<i32>,
    /// Set by the launcher: the file that it has made for the report.
    #[arg(long, value_name = "FILE", hide = true)]
    report_made: Option<PathBuf>,
}

type Types = Choice<DataType>;
type Reductions = Choice<Reduction>;

/// One thing or all of them.
#[derive(Clone, Debug)]
pub(crate) struct Choice<T>(pub(crate) Vec<T>);

/// `-r`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    /// This rank.
    One(u32),
    /// Every rank.
    All,
}

/// Where ranks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bind {
    /// Each rank on one CPU.
    Core,
    /// Where the system puts them.
    None,
}

/// Who starts the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// This process is to start these.
    Launch(Ranks),
    /// This process is a rank that the launcher with this process id has started.
    LaunchedBy(i32),
    /// This process is a rank that something else has started.
    Join,
}

/// How calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calling {
    /// Each returns when its result is there.
    Waiting,
    /// So many are started, then all are waited for.
    Started(u32),
}

/// What a run is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) collective: Collective,
    pub(crate) sizes: Sizes,
    pub(crate) data_types: Vec<DataType>,
    /// The one `None` where nothing is reduced.
    pub(crate) reductions: Vec<Reduction>,
    /// `None` where there is no root.
    pub(crate) roots: Option<Roots>,
    /// Timed iterations; `None` lets the time decide.
    pub(crate) iterations: Option<u64>,
    pub(crate) warmup: u64,
    pub(crate) calling: Calling,
    /// `None` is for ever.
    pub(crate) cycles: Option<u64>,
    pub(crate) average: Average,
    pub(crate) check: u32,
    pub(crate) memory: Kind,
    pub(crate) time: TimeColumn,
    pub(crate) stamps: Stamps,
    pub(crate) per_call: PerCall,
    pub(crate) json: Option<PathBuf>,
    pub(crate) html: Option<PathBuf>,
    /// The file that the launcher has made for it.
    pub(crate) report_made: Option<PathBuf>,
    pub(crate) start: Start,
    /// What is measured in turn, at least one.
    pub(crate) variants: Vec<Variant>,
    pub(crate) bind: Bind,
    pub(crate) timeout: Option<Duration>,
}

/// Whether each call is timed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PerCall {
    /// Only all of them together.
    Untimed,
    /// Each too.
    Timed,
}

impl Flags {
    /// The plan, or one sentence that says what does not go together.
    pub(crate) fn plan(self, collective: Collective) -> Result<Plan, String> {
        let growth = self.growth()?;
        let variants = self.variants(collective)?;
        if self.min_bytes > self.max_bytes {
            return Err(format!("-b {} is larger than -e {}", self.min_bytes, self.max_bytes));
        }
        let calling = match (self.blocking, self.aggregate) {
            (1, 1) => Calling::Waiting,
            (_, calls) if collective == Collective::AllReduce => Calling::Started(calls),
            _ => {
                return Err(format!(
                    "-m and -z 0 start calls in place, which is there for all_reduce, not for {}",
                    collective.name()
                ));
            }
        };
        let start = match (self.launched_by, self.ranks) {
            (Some(launcher), _) => Start::LaunchedBy(launcher),
            (None, Some(ranks)) => Start::Launch(Ranks::new(ranks, self.hosts)?),
            (None, None) => Start::Join,
        };
        let bind = self.bind.unwrap_or(if start == Start::Join { Bind::None } else { Bind::Core });
        let roots = collective.kind().has_root().then_some(self.root);
        if let (Start::Launch(ranks), Some(Roots::One(root))) = (start, roots)
            && root >= ranks.count
        {
            return Err(format!("-r {root}: there is no such rank among {}", ranks.count));
        }
        let reductions = if collective.kind().reduces() { self.reductions.0 } else { vec![Reduction::None] };
        Ok(Plan {
            collective,
            variants,
            roots,
            reductions,
            sizes: Sizes { first: self.min_bytes, last: self.max_bytes, growth },
            data_types: self.data_types.0,
            iterations: self.iterations,
            warmup: self.warmup,
            calling,
            cycles: (self.cycles > 0).then_some(self.cycles),
            average: [Average::Rank0, Average::Mean, Average::Min, Average::Max][usize::from(self.average)],
            check: self.check,
            memory: if self.register == 0 { Kind::Private } else { Kind::Mapped },
            time: if self.cpu_time == 0 { TimeColumn::Wall } else { TimeColumn::Cpu },
            stamps: if self.stamps == 0 { Stamps::Without } else { Stamps::With },
            per_call: if self.per_call == 0 { PerCall::Untimed } else { PerCall::Timed },
            json: self.json,
            html: self.html,
            report_made: self.report_made,
            start,
            bind,
            timeout: (self.timeout > 0).then(|| Duration::from_secs(self.timeout)),
        })
    }

    /// Every transport with every algorithm.
    fn variants(&self, collective: Collective) -> Result<Vec<Variant>, String> {
        let named = self.transport.iter().map(|transport| Some(*transport));
        let transports: Vec<_> = if self.transport.is_empty() { vec![None] } else { named.collect() };
        let mut algorithms = Vec::new();
        for name in &self.algo {
            algorithms.extend(named_algorithms(name, collective)?);
        }
        let algorithms = if self.algo.is_empty() { vec![None] } else { algorithms };
        let pairs =
            transports.iter().flat_map(|transport| algorithms.iter().map(move |algorithm| (transport, algorithm)));
        Ok(pairs.map(|(transport, algorithm)| Variant { transport: *transport, algorithm: *algorithm }).collect())
    }

    fn growth(&self) -> Result<Growth, String> {
        match (self.step_factor, self.step_bytes) {
            (Some(0), _) => Err("-f 0 would never come to an end: use 2 or more, or -i".to_owned()),
            (_, Some(0)) => Err("-i 0 would never come to an end: use 1 or more, or -f".to_owned()),
            (Some(factor @ 2..), Some(_)) => {
                Err(format!("-f {factor} and -i exclude each other: sizes grow one way or the other"))
            }
            (Some(factor @ 2..), None) => Ok(Growth::Factor(factor)),
            (Some(1) | None, Some(bytes)) => Ok(Growth::Bytes(bytes)),
            // nccl-tests takes a factor of 1 to mean that sizes grow by addition.
            (Some(1), None) => Ok(Growth::Bytes(DEFAULT_STEP_BYTES)),
            (None, None) => Ok(Growth::Factor(2)),
        }
    }
}

fn parse_types(text: &str) -> Result<Types, String> {
    if text == "all" {
        return Ok(Choice(DataType::ALL.to_vec()));
    }
    let named = DataType::ALL.into_iter().find(|data_type| data_type.name() == text);
    named.map(|data_type| Choice(vec![data_type])).ok_or_else(|| unknown("type", DataType::ALL.map(DataType::name)))
}

fn parse_ops(text: &str) -> Result<Reductions, String> {
    if text == "all" {
        return Ok(Choice(Reduction::ALL.to_vec()));
    }
    let named = Reduction::ALL.into_iter().find(|reduction| reduction.name() == text);
    named
        .map(|reduction| Choice(vec![reduction]))
        .ok_or_else(|| unknown("operator", Reduction::ALL.map(Reduction::name)))
}

/// nccl-tests' −1 is every rank.
fn parse_root(text: &str) -> Result<Roots, String> {
    if matches!(text, "all" | "-1") {
        return Ok(Roots::All);
    }
    text.parse().map(Roots::One).map_err(|_| "a rank's number, or all".to_owned())
}

fn unknown<const N: usize>(what: &str, names: [&str; N]) -> String {
    format!("no such {what}; there are {} and all", names.join(", "))
}

/// The algorithms that a name on the command line stands for; `None` is auto.
fn named_algorithms(name: &str, collective: Collective) -> Result<Vec<Option<Option<Algorithm>>>, String> {
    let there = Algorithm::serving(collective.kind());
    match name {
        // Messages have no algorithms: then all there is is auto.
        "all" if there.is_empty() => return Ok(vec![Some(None)]),
        "auto" => return Ok(vec![Some(None)]),
        "all" => return Ok(there.iter().map(|algorithm| Some(Some(*algorithm))).collect()),
        _ => {}
    }
    let named = there.iter().find(|algorithm| algorithm.name() == name);
    named.map(|algorithm| vec![Some(Some(*algorithm))]).ok_or_else(|| {
        let names: Vec<_> = there.iter().map(|algorithm| algorithm.name()).collect();
        format!(
            "--algo {name}: {} has no such algorithm; there are {}, auto and all",
            collective.name(),
            names.join(", ")
        )
    })
}

fn only_one(text: &str) -> Result<u8, String> {
    if text == "1" {
        Ok(1)
    } else {
        Err("here a process is one rank on host memory, so this can only be 1 (--ranks starts more)".to_owned())
    }
}

fn only_zero(text: &str) -> Result<u8, String> {
    if text == "0" { Ok(0) } else { Err("host memory has no such thing, so this can only be 0".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serried::Op;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let line = Line::try_parse_from(std::iter::once("perf").chain(line.split_whitespace()))
            .map_err(|why| why.to_string())?;
        line.flags.plan(Collective::AllReduce)
    }

    fn plan_of(collective: Collective, line: &str) -> Result<Plan, String> {
        let line = Line::try_parse_from(std::iter::once("perf").chain(line.split_whitespace()))
            .map_err(|why| why.to_string())?;
        line.flags.plan(collective)
    }

    #[test]
    fn nothing_given_is_the_documented_default() {
        let plan = plan("").expect("defaults go together");
        assert_eq!((plan.sizes.first, plan.sizes.last, plan.sizes.growth), (8, 128 << 20, Growth::Factor(2)));
        assert_eq!((plan.data_types, plan.reductions), (vec![DataType::F32], vec![Reduction::Op(Op::Sum)]));
        assert_eq!((plan.iterations, plan.warmup, plan.cycles, plan.check), (None, 1, Some(1), 1));
        assert_eq!((plan.calling, plan.average, plan.memory), (Calling::Waiting, Average::Mean, Kind::Private));
        assert_eq!((plan.start, plan.bind, plan.timeout), (Start::Join, Bind::None, None));
    }

    #[test]
    fn flags_of_nccl_tests_mean_what_they_mean_there() {
        let plan = plan("-b 0 -e 1G -i 64K -d all -o all -n 7 -w 0 -m 3 -N 0 -a 3 -c 2 -z 0 -T 9 -C 1 -S 1 -I 1 -R 2 -J x -g 1 -t 1").expect("valid");
        assert_eq!((plan.sizes.first, plan.sizes.last, plan.sizes.growth), (0, 1 << 30, Growth::Bytes(65_536)));
        assert_eq!((plan.data_types.len(), plan.reductions.len()), (12, 6));
        assert_eq!((plan.iterations, plan.warmup, plan.cycles, plan.check), (Some(7), 0, None, 2));
        assert_eq!((plan.calling, plan.average, plan.memory), (Calling::Started(3), Average::Max, Kind::Mapped));
        assert_eq!((plan.time, plan.stamps, plan.per_call), (TimeColumn::Cpu, Stamps::With, PerCall::Timed));
        assert_eq!((plan.timeout, plan.json), (Some(Duration::from_secs(9)), Some(PathBuf::from("x"))));
    }

    #[test]
    fn ranks_are_bound_when_they_are_started_here() {
        let launched = plan("--ranks 4 --transport shm --algo ring").expect("valid");
        assert_eq!((launched.start, launched.bind), (Start::Launch(Ranks { count: 4, hosts: None }), Bind::Core));
        assert_eq!(launched.variants.len(), 1);
        assert_eq!(launched.variants[0].name(), "ring over shm");
        assert_eq!(plan("--ranks 4 --bind none").expect("valid").bind, Bind::None);
        let pretended = plan("--ranks 4 --hosts 3").expect("valid").start;
        assert_eq!(pretended, Start::Launch(Ranks { count: 4, hosts: Some(3) }));
        assert_eq!(plan("--ranks 4 --launched-by 12").expect("valid").start, Start::LaunchedBy(12));
        assert!(matches!(plan("--algo auto").expect("valid").variants[0].algorithm, Some(None)));
    }

    #[test]
    fn a_collective_has_the_algorithms_operators_and_roots_that_are_its_own() {
        let broadcast = plan_of(Collective::Broadcast, "-r all -o all --algo all --transport shm,tcp").expect("valid");
        assert_eq!((broadcast.roots, broadcast.reductions), (Some(Roots::All), vec![Reduction::None]));
        assert_eq!(broadcast.variants.len(), 2 * Algorithm::serving(Collective::Broadcast.kind()).len());
        let gather = plan_of(Collective::AllGather, "-r 7 --ranks 2").expect("nccl-tests takes a root everywhere");
        assert_eq!(gather.roots, None);
        let why = plan_of(Collective::Scatter, "--ranks 2 -r 2").expect_err("ranks are 0 and 1");
        assert!(why.contains("no such rank"), "{why}");
        let why = plan_of(Collective::AllGather, "-m 2").expect_err("only allreduces are started");
        assert!(why.contains("all_gather"), "{why}");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (line, word) in [
            ("-b 2K -e 1K", "larger"),
            ("-f 0", "-f 0"),
            ("-i 0", "-i 0"),
            ("-f 2 -i 8", "exclude"),
            ("-g 2", "only be 1"),
            ("-t 4", "only be 1"),
            ("-G 1", "only be 0"),
            ("-r first", "a rank's number"),
            ("-d quad", "bfloat16"),
            ("-o median", "mulsum and all"),
            ("-n 0", "0 is not in 1.."),
            ("-m 0", "0 is not in 1..=1024"),
            ("-a 4", "4 is not in 0..=3"),
            ("--ranks 0", "0 is not in 1..=1024"),
            ("--ranks 2 --hosts 3", "more hosts"),
            ("--ranks 2 --hosts 0", "0 is not in 1.."),
            ("--hosts 2", "--ranks"),
            ("--transport pigeon", "expected auto, shm"),
            ("--algo pigeon", "auto and all"),
            ("--algo bruck", "all_reduce has no such algorithm"),
            ("-b twelve", "is not a size"),
        ] {
            let why = plan(line).expect_err(line);
            assert!(why.contains(word), "{line}: {why}");
        }
        assert_eq!(plan("-f 1").expect("valid").sizes.growth, Growth::Bytes(1 << 20));
    }
}
