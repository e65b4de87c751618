//! Where results go besides the table: files that are opened before anything is measured, so that what cannot be written is said first.

use crate::perf::flags::{Plan, Start};
use crate::perf::{Failure, report, settings};
use serried::bootstrap::Launch;
use std::fs::File;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

/// The files of rank 0.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    /// The JSON report's, and its name.
    pub(crate) report: Option<(File, PathBuf)>,
    /// The page's.
    pub(crate) page: Option<File>,
}

impl Outputs {
    /// On rank 0: the files, and the table's first lines printed, before the others are waited for. What cannot be written is then said by the one
    /// process that knows.
    pub(crate) fn open(plan: &Plan) -> Result<Self, Failure> {
        if Launch::from_env()?.is_none_or(|place| place.rank != 0) {
            return Ok(Self::default());
        }
        let page = plan.html.as_deref().map(page).transpose()?;
        if let Some(name) = &plan.report_made {
            let file = File::options().write(true).open(name).map_err(|why| unwritable("-J", name, &why))?;
            return Ok(Self { report: Some((file, name.clone())), page });
        }
        let report = plan.json.as_deref().map(made).transpose()?;
        if plan.start == Start::Join {
            print(&settings(plan))?;
        }
        Ok(Self { report, page })
    }
}

/// The report's file, which is new.
pub(crate) fn made(path: &Path) -> Result<(File, PathBuf), Failure> {
    report::create(path).map_err(|why| unwritable("-J", path, &why))
}

/// The page's file, empty.
pub(crate) fn page(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|why| unwritable("--html", path, &why))
}

fn unwritable(flag: &str, path: &Path, why: &std::io::Error) -> Failure {
    Failure::Usage(format!("{flag} {}: {why}", path.display()))
}

/// Prints at once, since scripts read rows from a pipe as they come.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
