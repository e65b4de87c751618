//! The run as JSON, in a shape close to nccl-tests' `-J`: written row by row, so that an interrupted run keeps its rows.
//!
//! The environment is left out on purpose: it holds the job's secret.

use crate::perf::flags::{Calling, Plan};
use crate::perf::histogram::Spread;
use crate::perf::measure::Measured;
use crate::perf::ranks::Presence;
use crate::perf::sizes::Growth;
use crate::perf::table::{TimeColumn, Work, reaches};
use crate::perf::timestamp::utc;
use crate::perf::variant::Variant;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The version of the shape.
const VERSION: u32 = 1;
/// So many files of one name are enough.
const MOST_FILES: u32 = 10_000;

/// A JSON document that is being written.
#[derive(Debug)]
pub(crate) struct Report<W = File> {
    out: W,
    rows: u64,
    time: TimeColumn,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary<'a> {
    /// Halves of rows with wrong elements.
    pub(crate) failed_halves: u64,
    /// The mean bus bandwidth over all halves.
    pub(crate) bus_bw: f64,
    /// What it must reach nine tenths of.
    pub(crate) least_bus_bw: Option<f64>,
    /// How near the cores of ranks 0 and 1 were at the end.
    pub(crate) cores: &'a str,
    /// What ended the run before its time.
    pub(crate) error: Option<&'a str>,
}

/// Creates the file, or one with the first free number appended: earlier results are never written over.
pub(crate) fn create(path: &Path) -> Result<(File, PathBuf)> {
    let names = std::iter::once(path.to_owned()).chain((0..MOST_FILES).map(|number| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }));
    for name in names {
        match File::create_new(&name) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => return other.map(|file| (file, name)),
        }
    }
    Err(Error::from(ErrorKind::AlreadyExists))
}

impl<W: Write> Report<W> {
    /// Begins the document with the settings and the ranks.
    pub(crate) fn begin(mut out: W, plan: &Plan, ranks: &[Presence], cores: &str) -> Result<Self> {
        let arguments: Vec<String> = std::env::args().collect();
        writeln!(out, "{{\n\"version\": {VERSION},\n\"serried_version\": \"{}\",", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "\"start_time\": \"{}\",\n\"args\": {},", utc(SystemTime::now()), json!(arguments))?;
        writeln!(out, "\"config\": {},\n\"cores\": {},\n\"results\": [", config(plan, ranks), json!(cores))?;
        Ok(Self { out, rows: 0, time: plan.time })
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, variant: &Variant, work: &Work, halves: [Option<&Measured>; 2]) -> Result<()> {
        let half = |measured: Option<&Measured>| measured.map_or(Value::Null, |measured| self.half(measured));
        let row = json!({
            "size": work.bytes(),
            "count": work.count,
            "type": work.data_type.name(),
            "redop": work.reduction.name(),
            "root": work.root_number(),
            "algorithm": variant.algorithm(),
            "transport": variant.transport(),
            "out_of_place": half(halves[0]),
            "in_place": half(halves[1]),
            "timestamp": utc(SystemTime::now()),
        });
        let comma = if self.rows == 0 { "" } else { ",\n" };
        self.rows += 1;
        write!(self.out, "{comma}{row}")?;
        self.out.flush()
    }

    /// Ends the document.
    pub(crate) fn end(mut self, summary: Summary<'_>) -> Result<()> {
        let Summary { failed_halves, bus_bw, least_bus_bw, cores, error } = summary;
        let bus_bw_okay = least_bus_bw.map_or(json!("unchecked"), |least| json!(reaches(bus_bw, least)));
        let bounds = json!({ "count": failed_halves, "okay": failed_halves == 0 });
        let bandwidth = json!({ "bandwidth": bus_bw, "okay": bus_bw_okay });
        let errors: Vec<&str> = error.into_iter().collect();
        writeln!(self.out, "\n],\n\"out_of_bounds\": {bounds},\n\"average_bus_bandwidth\": {bandwidth},")?;
        writeln!(self.out, "\"cores_at_end\": {},\n\"errors\": {},", json!(cores), json!(errors))?;
        writeln!(self.out, "\"end_time\": \"{}\"\n}}", utc(SystemTime::now()))?;
        self.out.flush()
    }

    fn half(&self, measured: &Measured) -> Value {
        let time = if self.time == TimeColumn::Wall { "time" } else { "cpu_time" };
        json!({
            time: measured.half.time_us,
            "alg_bw": measured.half.alg_bw,
            "bus_bw": measured.half.bus_bw,
            "nwrong": measured.half.wrong,
            "iterations": measured.iterations,
            "per_call_us": measured.spread.map(|Spread { min_us, avg_us, p50_us, p99_us, max_us }| {
                json!({ "min": min_us, "avg": avg_us, "p50": p50_us, "p99": p99_us, "max": max_us })
            }),
        })
    }
}

fn config(plan: &Plan, ranks: &[Presence]) -> Value {
    let (step_factor, step_bytes) = match plan.sizes.growth {
        Growth::Factor(factor) => (Some(factor), None),
        Growth::Bytes(bytes) => (None, Some(bytes)),
    };
    let (started, aggregated) = match plan.calling {
        Calling::Waiting => (false, 1),
        Calling::Started(calls) => (true, calls),
    };
    let devices: Vec<Value> = ranks
        .iter()
        .enumerate()
        .map(|(rank, Presence { pid, cpu, local_rank, host, .. })| {
            json!({ "rank": rank, "group": 0, "pid": pid, "hostname": host, "device": local_rank, "cpu": cpu })
        })
        .collect();
    json!({
        "collective": plan.collective.name(),
        "nthreads": 1,
        "ngpus": 1,
        "minimum_bytes": plan.sizes.first,
        "maximum_bytes": plan.sizes.last,
        "step_factor": step_factor,
        "step_bytes": step_bytes,
        "warmup_iters": plan.warmup,
        "iterations": plan.iterations,
        "aggregated_iterations": aggregated,
        "blocking_collectives": !started,
        "validation": plan.check,
        "devices": devices,
    })
}
