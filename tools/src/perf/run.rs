//! One rank's run: every row of every variant, and what is printed and written about them.

use crate::perf::Failure;
use crate::perf::calls::{self, Calls};
use crate::perf::collective::Place;
use crate::perf::data::Reduction;
use crate::perf::flags::{Plan, Roots};
use crate::perf::histogram::Spread;
use crate::perf::measure::{Bench, Measured};
use crate::perf::outputs::{Outputs, print};
use crate::perf::pages::Pages;
use crate::perf::progress::Progress;
use crate::perf::ranks::{Hold, Presence};
use crate::perf::report::{Report, Summary};
use crate::perf::sizes::short_size;
use crate::perf::table::{self, Half, Stamps, Work};
use crate::perf::variant::Variant;
use crate::placement;
use half::{bf16, f16};
use serried::{Communicator, Config, DataType, F8E4M3, F8E5M2};
use std::process::ExitCode;
use std::time::SystemTime;

/// One rank's run.
pub(crate) struct Run<'a> {
    base: &'a Communicator,
    plan: &'a Plan,
    least_bus_bw: Option<f64>,
    ranks: Vec<Presence>,
    report: Option<Report>,
    pages: Option<Pages>,
    failed_halves: u64,
    bus_bw_sum: f64,
    halves: u64,
}

impl<'a> Run<'a> {
    /// Finds out who takes part, and prints everything else above the rows.
    pub(crate) fn begin(
        base: &'a Communicator,
        plan: &'a Plan,
        outputs: Outputs,
        least_bus_bw: Option<f64>,
    ) -> Result<Self, Failure> {
        if let Some(Roots::One(root)) = plan.roots
            && root >= base.size()
        {
            return Err(Failure::Usage(format!("-r {root}: there is no such rank among {}", base.size())));
        }
        let ranks = Presence::mine(base.local_rank()).all(base)?;
        let (report, pages) = (None, outputs.page.map(Pages::new));
        let mut run =
            Self { base, plan, least_bus_bw, ranks, report, pages, failed_halves: 0, bus_bw_sum: 0.0, halves: 0 };
        if base.rank() == 0 {
            let cores = run.cores();
            let mut head = String::new();
            run.ranks.iter().enumerate().for_each(|(rank, presence)| head += &presence.line(rank));
            head += &format!("# cores: {cores}\n");
            if let Some((file, name)) = outputs.report {
                head += &format!("# Writing JSON output to {}\n", name.display());
                run.report = Some(Report::begin(file, plan, &run.ranks, &cores)?);
            }
            print(&(head + &table::header(plan.time, plan.stamps)))?;
        }
        Ok(run)
    }

    /// Goes through all rows, and prints everything below them. `config` is that of the communicator.
    pub(crate) fn go(mut self, config: &Config) -> Result<ExitCode, Failure> {
        let outcome = self.variants(config);
        let bus_bw = if self.halves == 0 { 0.0 } else { self.bus_bw_sum / self.halves as f64 };
        let (failed_halves, least_bus_bw) = (self.failed_halves, self.least_bus_bw);
        let cores = if self.base.rank() == 0 && outcome.is_ok() { self.cores() } else { "unknown".to_owned() };
        let error = outcome.as_ref().err().map(ToString::to_string);
        if let Some(report) = self.report.take() {
            let error = error.as_deref();
            report.end(Summary { failed_halves, bus_bw, least_bus_bw, cores: &cores, error })?;
        }
        let limit = outcome.as_ref().ok().filter(|()| self.plan.html.is_some());
        let limit = limit.map(|()| Pages::limit(self.base)).transpose()?;
        if let Some(pages) = self.pages.take() {
            pages.write(self.plan, self.base.hosts(), &self.ranks, &cores, limit, error.as_deref())?;
        }
        outcome?;
        if self.base.rank() == 0 {
            print(&format!("{}# cores: {cores}\n", table::footer(failed_halves, bus_bw, least_bus_bw)))?;
        }
        // Nobody leaves while rank 0 may still be measuring where the cores are.
        calls::barrier(self.base)?;
        let fast_enough = least_bus_bw.is_none_or(|least| table::reaches(bus_bw, least));
        Ok(if failed_halves == 0 && fast_enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn variants(&mut self, config: &Config) -> Result<(), Failure> {
        let [first, others @ ..] = &self.plan.variants[..] else { return Ok(()) };
        self.title(first)?;
        self.rows(self.base, first)?;
        for variant in others {
            self.title(variant)?;
            // Everybody is in it, in the order that there is.
            let key = i64::from(self.base.rank());
            let communicator = self.base.split_with(Some(0), key, &variant.config(config))?;
            if let Some(communicator) = communicator {
                self.rows(&communicator, variant)?;
            }
        }
        Ok(())
    }

    /// The line above the rows of one variant of several.
    fn title(&self, variant: &Variant) -> Result<(), Failure> {
        match self.plan.variants.len() {
            2.. if self.base.rank() == 0 => print(&format!("# {}:\n", variant.name())),
            _ => Ok(()),
        }
    }

    fn rows(&mut self, calls: &Communicator, variant: &Variant) -> Result<(), Failure> {
        let plan = self.plan;
        let progress = Progress::new(calls.rank());
        let mut bench = Bench::new(calls, plan, &progress)?;
        let mut cycle = 0;
        while plan.cycles.is_none_or(|cycles| cycle < cycles) {
            for &data_type in &plan.data_types {
                for &reduction in &plan.reductions {
                    for work in self.sizes(data_type, reduction) {
                        self.row(&mut bench, &progress, variant, work)?;
                    }
                }
            }
            cycle += 1;
        }
        Ok(())
    }

    /// The rows of one type and reduction: every root of every size.
    fn sizes(&self, data_type: DataType, reduction: Reduction) -> Vec<Work> {
        let (collective, ranks) = (self.plan.collective, self.base.size());
        let roots: Vec<Option<u32>> = match self.plan.roots {
            None => vec![None],
            Some(Roots::One(root)) => vec![Some(root)],
            Some(Roots::All) => (0..ranks).map(Some).collect(),
        };
        let work = move |bytes| {
            let count = collective.count(bytes, data_type.size(), ranks);
            move |root| Work { collective, count, ranks, data_type, reduction, root }
        };
        self.plan.sizes.iter().flat_map(|bytes| roots.iter().copied().map(work(bytes))).collect()
    }

    fn row<C: Calls>(
        &mut self,
        bench: &mut Bench<'_, C>,
        progress: &Progress,
        variant: &Variant,
        work: Work,
    ) -> Result<(), Failure> {
        let place = |place| {
            move || {
                let (size, data_type, reduction) = (short_size(work.bytes()), work.data_type, work.reduction.name());
                format!("{size} {data_type} {reduction} {place}")
            }
        };
        progress.row(place("out of place"));
        let out_of_place = measure_half(bench, Place::Out, &work)?;
        progress.row(place("in place"));
        let in_place = measure_half(bench, Place::In, &work)?;
        let halves = [out_of_place.as_ref(), in_place.as_ref()];
        for half in halves.into_iter().flatten().map(|measured| measured.half) {
            self.failed_halves += u64::from(half.wrong.is_some_and(|wrong| wrong > 0));
            self.bus_bw_sum += half.bus_bw;
            self.halves += 1;
        }
        progress.clear();
        if self.base.rank() == 0 {
            let stamp = (self.plan.stamps == Stamps::With).then(SystemTime::now);
            let shown: [Option<&Half>; 2] = halves.map(|measured| measured.map(|measured| &measured.half));
            print(&(table::row(&work, shown, stamp) + &spreads(halves)))?;
        }
        if let Some(report) = &mut self.report {
            report.row(variant, &work, halves)?;
        }
        if let Some(pages) = &mut self.pages {
            pages.row(variant, &work, halves);
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

fn measure_half<C: Calls>(bench: &mut Bench<'_, C>, place: Place, work: &Work) -> Result<Option<Measured>, Failure> {
    Ok(match work.data_type {
        DataType::I8 => bench.measure::<i8>(place, work),
        DataType::U8 => bench.measure::<u8>(place, work),
        DataType::I32 => bench.measure::<i32>(place, work),
        DataType::U32 => bench.measure::<u32>(place, work),
        DataType::I64 => bench.measure::<i64>(place, work),
        DataType::U64 => bench.measure::<u64>(place, work),
        DataType::F16 => bench.measure::<f16>(place, work),
        DataType::F32 => bench.measure::<f32>(place, work),
        DataType::F64 => bench.measure::<f64>(place, work),
        DataType::Bf16 => bench.measure::<bf16>(place, work),
        DataType::F8E4M3 => bench.measure::<F8E4M3>(place, work),
        DataType::F8E5M2 => bench.measure::<F8E5M2>(place, work),
    }?)
}

/// The line below a row that tells how single calls spread, if they were timed.
fn spreads(halves: [Option<&Measured>; 2]) -> String {
    let told = ["out-of-place", "in-place"].into_iter().zip(halves).filter_map(|(name, measured)| {
        let Spread { min_us, avg_us, p50_us, p99_us, max_us } = measured?.spread?;
        Some(format!("{name} min {min_us:.2} avg {avg_us:.2} p50 {p50_us:.2} p99 {p99_us:.2} max {max_us:.2}"))
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { String::new() } else { format!("#   each iteration (us): {}\n", told.join("; ")) }
}
