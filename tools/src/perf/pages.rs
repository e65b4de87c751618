//! What a run's page shows: the rows, gathered into curves, and the limit that they are to be seen against.

use crate::perf::calls::{Average, agree, barrier};
use crate::perf::flags::Plan;
use crate::perf::measure::Measured;
use crate::perf::page::{Curve, Limit, Page, Point};
use crate::perf::ranks::Presence;
use crate::perf::table::Work;
use crate::perf::variant::Variant;
use serried::{Communicator, Result};
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

/// Bytes of the copy that the limit is measured with: far more than any cache holds.
const COPY_BYTES: usize = 64 << 20;
/// So many copies; the fastest counts.
const COPIES: u32 = 4;

/// The curves of a run, on rank 0.
pub(crate) struct Pages {
    file: File,
    curves: Vec<Curve>,
}

impl Pages {
    /// Nothing yet; it will be written to `file`.
    pub(crate) fn new(file: File) -> Self {
        Self { file, curves: Vec::new() }
    }

    /// Adds a row to the curves that it belongs to.
    pub(crate) fn row(&mut self, variant: &Variant, work: &Work, halves: [Option<&Measured>; 2]) {
        for (place, measured) in ["out of place", "in place"].into_iter().zip(halves) {
            let Some(measured) = measured else { continue };
            let root = work.root.map_or_else(String::new, |root| format!(", root {root}"));
            let reduction = if work.collective.kind().reduces() { work.reduction.name() } else { "" };
            let what = [work.data_type.name(), reduction].join(" ");
            let name = format!("{}, {}{root}, {place}", variant.name(), what.trim_end());
            let half = &measured.half;
            let point = Point { bytes: work.bytes(), time_us: half.time_us, bus_bw: half.bus_bw, wrong: half.wrong };
            match self.curves.iter_mut().find(|curve| curve.name == name) {
                Some(curve) => curve.points.push(point),
                None => self.curves.push(Curve { name, points: vec![point] }),
            }
        }
    }

    /// What plain copies by all ranks at once reach, in GB/s of the slowest; every rank calls it.
    pub(crate) fn limit(communicator: &Communicator) -> Result<Limit> {
        let (from, mut to) = (vec![1_u8; COPY_BYTES], vec![0_u8; COPY_BYTES]);
        let mut best = f64::MAX;
        for _ in 0..COPIES {
            barrier(communicator)?;
            let began = Instant::now();
            black_box(&mut to[..]).copy_from_slice(black_box(&from));
            best = best.min(began.elapsed().as_secs_f64());
        }
        let gb_s = agree(communicator, COPY_BYTES as f64 / best / 1e9, Average::Min)?;
        Ok(Limit { name: "a plain copy of 64 MiB by every rank at once".to_owned(), gb_s })
    }

    /// Writes the page, of ranks on so many hosts.
    pub(crate) fn write(
        mut self,
        plan: &Plan,
        hosts: u32,
        ranks: &[Presence],
        cores: &str,
        limit: Option<Limit>,
        error: Option<&str>,
    ) -> std::io::Result<()> {
        let mut facts = vec![
            ("serried".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("ranks".to_owned(), ranks.len().to_string()),
            ("hosts".to_owned(), hosts.to_string()),
            ("cores".to_owned(), cores.to_owned()),
            ("instruction set".to_owned(), serried::reduce::instruction_set().to_owned()),
            ("command".to_owned(), std::env::args().skip(1).collect::<Vec<_>>().join(" ")),
        ];
        facts.extend(error.map(|error| ("ended by".to_owned(), error.to_owned())));
        let title = format!("serried perf {}, {} ranks", plan.collective.name(), ranks.len());
        let page = Page { title: &title, facts: &facts, curves: &self.curves, limit };
        self.file.write_all(page.html().as_bytes())?;
        self.file.flush()
    }
}
