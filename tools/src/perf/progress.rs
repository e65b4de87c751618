//! One line on a terminal that says what a long row is doing. Off the terminal it does nothing.
//!
//! It is drawn between laps only: no thread ticks, so nothing runs beside what is being timed.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::RefCell;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

/// What is over sooner than this is not worth a line.
const WORTH_SECONDS: f64 = 0.3;

/// The line, on rank 0 of a run at a terminal.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    row: RefCell<String>,
}

impl Progress {
    /// A line on standard error for rank 0, if that is a terminal.
    pub(crate) fn new(rank: u32) -> Self {
        let shown = rank == 0 && stderr().is_terminal();
        let bar = shown.then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is well formed");
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
        });
        Self { bar, row: RefCell::default() }
    }

    /// Says which row comes next.
    pub(crate) fn row(&self, name: impl FnOnce() -> String) {
        if self.bar.is_some() {
            *self.row.borrow_mut() = name();
        }
    }

    /// Says what the row does next, and how long that takes.
    pub(crate) fn phase(&self, what: &str, seconds: f64) {
        if let Some(bar) = &self.bar
            && seconds >= WORTH_SECONDS
        {
            let about = Duration::from_secs_f64(seconds.min(1e9));
            bar.reset();
            bar.set_message(format!("{}: {what}, about {about:.1?}", self.row.borrow()));
            bar.tick();
        }
    }

    /// Takes the line away, so that a row of the table can be printed.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
