//! `serried perf`: measures collectives as nccl-tests does, on host memory, and checks their results.
//!
//! Every rank runs this in step; rank 0 prints. What a row costs is measured in [`measure`]; here is only the order of things.

mod buffers;
mod calls;
mod data;
mod flags;
mod histogram;
mod measure;
mod progress;
mod ranks;
mod report;
mod sizes;
mod table;
mod timestamp;

pub(crate) use flags::{Flags, Plan, Start};

use crate::{launch, placement};
use calls::Calls;
use flags::{Bind, Calling};
use half::{bf16, f16};
use measure::{Bench, Measured, Place};
use progress::Progress;
use ranks::{Hold, Presence};
use report::{Report, Summary};
use serried::bootstrap::Launch;
use serried::{Communicator, Config, DataType, Error, Op};
use sizes::{Growth, short_size};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;
use table::{Half, Stamps, Work};

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

/// Runs `serried perf all_reduce`: as a rank, or as the launcher of ranks.
pub(crate) fn all_reduce(plan: &Plan) -> Result<ExitCode, Failure> {
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
    let file = open_outputs(plan)?;
    if plan.bind == Bind::Core && launched {
        // Before any thread is started, so that all of them stay on this CPU.
        let rank = std::env::var("SERRIED_RANK").ok().and_then(|rank| rank.parse().ok()).unwrap_or(0);
        placement::bind_to_core(rank).map_err(unbound)?;
    }
    let communicator = Communicator::from_env(&config)?;
    if plan.bind == Bind::Core && !launched {
        placement::bind_to_core(communicator.local_rank() as usize).map_err(unbound)?;
    }
    let run = Run::begin(&communicator, plan, file, communicator.local_rank(), least_bus_bw)?;
    run.go()
}

/// Starts ranks, once it is known that their results can be written.
fn launch(plan: &Plan, ranks: u32, config: &Config) -> Result<ExitCode, Failure> {
    let made = plan.json.as_deref().map(made).transpose()?;
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

/// On rank 0: the report's file, and the table's first lines printed, before the others are waited for. What cannot be written is
/// then said by the one process that knows.
fn open_outputs(plan: &Plan) -> Result<Option<(File, PathBuf)>, Failure> {
    if Launch::from_env()?.is_none_or(|place| place.rank != 0) {
        return Ok(None);
    }
    if let Some(name) = &plan.report_made {
        let file = File::options().write(true).open(name).map_err(|why| unwritable(name, &why))?;
        return Ok(Some((file, name.clone())));
    }
    let file = plan.json.as_deref().map(made).transpose()?;
    if plan.start == Start::Join {
        print(&settings(plan))?;
    }
    Ok(file)
}

fn made(path: &Path) -> Result<(File, PathBuf), Failure> {
    report::create(path).map_err(|why| unwritable(path, &why))
}

fn unbound(why: std::io::Error) -> Failure {
    Failure::System("this rank cannot be held to a core (--bind none does without)", why)
}

fn config(plan: &Plan) -> Result<Config, Error> {
    let mut config = Config::from_env()?;
    if let Some(transport) = plan.transport {
        config.transport = transport;
    }
    if let Some(algorithm) = plan.algorithm {
        config.algorithm = algorithm;
    }
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

/// One rank's run.
struct Run<'a, C> {
    calls: &'a C,
    plan: &'a Plan,
    least_bus_bw: Option<f64>,
    ranks: Vec<Presence>,
    report: Option<Report>,
    failed_halves: u64,
    bus_bw_sum: f64,
    halves: u64,
}

impl<'a, C: Calls> Run<'a, C> {
    /// Finds out who takes part, and prints everything else above the rows.
    fn begin(
        calls: &'a C,
        plan: &'a Plan,
        file: Option<(File, PathBuf)>,
        local_rank: u32,
        least_bus_bw: Option<f64>,
    ) -> Result<Self, Failure> {
        let ranks = Presence::mine(local_rank).all(calls)?;
        let mut run =
            Self { calls, plan, least_bus_bw, ranks, report: None, failed_halves: 0, bus_bw_sum: 0.0, halves: 0 };
        if calls.rank() == 0 {
            let cores = run.cores();
            let mut head = String::new();
            run.ranks.iter().enumerate().for_each(|(rank, presence)| head += &presence.line(rank));
            head += &format!("# cores: {cores}\n");
            if let Some((file, name)) = file {
                head += &format!("# Writing JSON output to {}\n", name.display());
                run.report = Some(Report::begin(file, plan, &run.ranks, &cores)?);
            }
            print(&(head + &table::header(plan.time, plan.stamps)))?;
        }
        Ok(run)
    }

    /// Goes through all rows, and prints everything below them.
    fn go(mut self) -> Result<ExitCode, Failure> {
        let outcome = self.rows();
        let bus_bw = if self.halves == 0 { 0.0 } else { self.bus_bw_sum / self.halves as f64 };
        let (failed_halves, least_bus_bw) = (self.failed_halves, self.least_bus_bw);
        let cores = if self.calls.rank() == 0 && outcome.is_ok() { self.cores() } else { "unknown".to_owned() };
        let error = outcome.as_ref().err().map(ToString::to_string);
        if let Some(report) = self.report.take() {
            let error = error.as_deref();
            report.end(Summary { failed_halves, bus_bw, least_bus_bw, cores: &cores, error })?;
        }
        outcome?;
        if self.calls.rank() == 0 {
            print(&format!("{}# cores: {cores}\n", table::footer(failed_halves, bus_bw, least_bus_bw)))?;
        }
        // Nobody leaves while rank 0 may still be measuring where the cores are.
        calls::barrier(self.calls)?;
        let fast_enough = least_bus_bw.is_none_or(|least| table::reaches(bus_bw, least));
        Ok(if failed_halves == 0 && fast_enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn rows(&mut self) -> Result<(), Failure> {
        let (calls, plan) = (self.calls, self.plan);
        let progress = Progress::new(calls.rank());
        let mut bench = Bench::new(calls, plan, &progress)?;
        let mut cycle = 0;
        while plan.cycles.is_none_or(|cycles| cycle < cycles) {
            for &data_type in &plan.data_types {
                for &op in &plan.ops {
                    for bytes in plan.sizes.iter() {
                        let count = bytes / data_type.size() as u64;
                        self.row(&mut bench, &progress, Work { count, data_type, op })?;
                    }
                }
            }
            cycle += 1;
        }
        Ok(())
    }

    fn row(&mut self, bench: &mut Bench<'_, C>, progress: &Progress, work: Work) -> Result<(), Failure> {
        let place = |place| {
            move || {
                let (size, data_type, op) = (short_size(work.bytes()), work.data_type, work.op);
                format!("{size} {data_type} {op} {place}")
            }
        };
        progress.row(place("out of place"));
        let out_of_place = measure_half(bench, Place::Out, work)?;
        progress.row(place("in place"));
        let in_place = measure_half(bench, Place::In, work)?.expect("every way of calling exists in place");
        for half in out_of_place.iter().chain([&in_place]).map(|measured| measured.half) {
            self.failed_halves += u64::from(half.wrong.is_some_and(|wrong| wrong > 0));
            self.bus_bw_sum += half.bus_bw;
            self.halves += 1;
        }
        progress.clear();
        if self.calls.rank() == 0 {
            let stamp = (self.plan.stamps == Stamps::With).then(SystemTime::now);
            let half = |measured: &Measured| -> Half { measured.half };
            let mut text = table::row(&work, out_of_place.as_ref().map(half).as_ref(), &in_place.half, stamp);
            text += &spreads(out_of_place.as_ref(), &in_place);
            print(&text)?;
        }
        if let Some(report) = &mut self.report {
            report.row(&work, out_of_place.as_ref(), &in_place)?;
        }
        Ok(())
    }

    /// How near the CPUs of ranks 0 and 1 are now, in words.
    fn cores(&self) -> String {
        let (Some(first), Some(second)) = (self.ranks.first(), self.ranks.get(1)) else {
            return "one rank alone".to_owned();
        };
        if first.host != second.host {
            return "ranks 0 and 1 are on different hosts".to_owned();
        }
        let nearness = placement::nearness(first.cpu as usize, second.cpu as usize);
        let free = first.hold == Hold::Free || second.hold == Hold::Free;
        format!("{nearness}{}", if free { ", but ranks are not bound to them" } else { "" })
    }
}

fn measure_half<C: Calls>(bench: &mut Bench<'_, C>, place: Place, work: Work) -> Result<Option<Measured>, Failure> {
    let (count, op): (usize, Op) = (work.count as usize, work.op);
    Ok(match work.data_type {
        DataType::I8 => bench.measure::<i8>(place, count, op),
        DataType::U8 => bench.measure::<u8>(place, count, op),
        DataType::I32 => bench.measure::<i32>(place, count, op),
        DataType::U32 => bench.measure::<u32>(place, count, op),
        DataType::I64 => bench.measure::<i64>(place, count, op),
        DataType::U64 => bench.measure::<u64>(place, count, op),
        DataType::F16 => bench.measure::<f16>(place, count, op),
        DataType::F32 => bench.measure::<f32>(place, count, op),
        DataType::F64 => bench.measure::<f64>(place, count, op),
        DataType::Bf16 => bench.measure::<bf16>(place, count, op),
    }?)
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
         # Collective test starting: all_reduce_perf\n\
         # nThread 1 nGpus 1 minBytes {} maxBytes {} step: {step}({unit}) warmup iters: {} iters: {iterations} agg iters: {aggregated} validation: {} graph: 0\n\
         #\n# Using devices\n",
        env!("CARGO_PKG_VERSION"),
        plan.sizes.first,
        plan.sizes.last,
        plan.warmup,
        plan.check,
    )
}

/// The line below a row that tells how single calls spread, if they were timed.
fn spreads(out_of_place: Option<&Measured>, in_place: &Measured) -> String {
    let halves = [("out-of-place", out_of_place), ("in-place", Some(in_place))];
    let told = halves.into_iter().filter_map(|(name, measured)| {
        let spread = measured?.spread?;
        let histogram::Spread { min_us, avg_us, p50_us, p99_us, max_us } = spread;
        Some(format!("{name} min {min_us:.2} avg {avg_us:.2} p50 {p50_us:.2} p99 {p99_us:.2} max {max_us:.2}"))
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { String::new() } else { format!("#   each iteration (us): {}\n", told.join("; ")) }
}

fn unwritable(path: &Path, why: &std::io::Error) -> Failure {
    Failure::Usage(format!("-J {}: {why}", path.display()))
}

/// Prints at once, since scripts read rows from a pipe as they come.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
