//! The log: the library's events as lines like NCCL's, as far as `NCCL_DEBUG`, `NCCL_DEBUG_SUBSYS` and `NCCL_DEBUG_FILE` ask for them.
//!
//! What is said is said by `tracing` events, here and in the `serried` crate. This module only decides who hears it.

use crate::environment;
use crate::lines::{Line, subsystem};
use crate::names::own_name;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, set_global_default};
use tracing::{Event, Level, Metadata, Subscriber};

/// The words of `NCCL_DEBUG_SUBSYS`. What is said here belongs to one of them.
pub(crate) const SUBSYSTEMS: [&str; 16] = [
    "INIT",
    "COLL",
    "P2P",
    "SHM",
    "NET",
    "GRAPH",
    "TUNING",
    "ENV",
    "ALLOC",
    "CALL",
    "PROXY",
    "NVLS",
    "BOOTSTRAP",
    "REG",
    "PROFILE",
    "RAS",
];

/// Unasked, a line for each call is too much.
const NOT_BY_DEFAULT: [&str; 2] = ["COLL", "CALL"];

/// `NCCL_DEBUG`, in NCCL's order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Asked {
    Nothing = 0,
    Version = 1,
    Warnings = 2,
    Information = 3,
    Everything = 4,
}

static ASKED: AtomicU8 = AtomicU8::new(Asked::Nothing as u8);
static WANTED: AtomicU32 = AtomicU32::new(0);
/// Where lines go; the standard output if it is none.
static FILE: Mutex<Option<File>> = Mutex::new(None);

/// Listens from the first call on, as the environment asks.
pub(crate) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(listen);
}

fn listen() {
    let variable = |name| environment::variable(name).unwrap_or_default();
    let asked = match variable("NCCL_DEBUG").trim().to_ascii_uppercase().as_str() {
        "VERSION" => Asked::Version,
        "WARN" => Asked::Warnings,
        "INFO" | "ABORT" => Asked::Information,
        "TRACE" => Asked::Everything,
        _ => Asked::Nothing,
    };
    WANTED.store(wanted(&variable("NCCL_DEBUG_SUBSYS")), Ordering::Relaxed);
    // Nobody is left with an empty file who asked for no lines.
    let file = (asked > Asked::Version).then(|| open(variable("NCCL_DEBUG_FILE").trim())).flatten();
    *FILE.lock().unwrap_or_else(PoisonError::into_inner) = file;
    ASKED.store(asked as u8, Ordering::Relaxed);
    if asked > Asked::Nothing {
        // A Rust program that links this crate may listen already: then it hears everything.
        let _ = set_global_default(Lines);
        tracing::callsite::rebuild_interest_cache();
        say(&version());
    }
}

/// The line that tells which library it is.
pub(crate) fn version() -> String {
    const INTERFACE: i32 = crate::VERSION_CODE;
    let (major, minor, patch) = (INTERFACE / 10_000, INTERFACE / 100 % 100, INTERFACE % 100);
    format!("NCCL version {major}.{minor}.{patch} (serried {})", env!("CARGO_PKG_VERSION"))
}

/// The bit of each subsystem that is asked for: a comma list of their names or `ALL`; `^` in front excludes them.
fn wanted(text: &str) -> u32 {
    let bits = |names: &mut dyn Iterator<Item = &str>| {
        names.fold(0, |bits, name| match SUBSYSTEMS.iter().position(|known| known.eq_ignore_ascii_case(name.trim())) {
            Some(place) => bits | 1 << place,
            None if name.trim().eq_ignore_ascii_case("ALL") => u32::MAX,
            None => bits,
        })
    };
    let text = text.trim();
    match text.strip_prefix('^') {
        _ if text.is_empty() => !bits(&mut NOT_BY_DEFAULT.into_iter()),
        Some(without) => !bits(&mut without.split(',')),
        None => bits(&mut text.split(',')),
    }
}

/// The file of this name, with the host's name for `%h` and the process' number for `%p`.
fn open(name: &str) -> Option<File> {
    if name.is_empty() {
        return None;
    }
    let mut path = String::new();
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '%').1.then(|| letters.next()) {
            None => path.push(letter),
            Some(Some('h')) => path.push_str(&host()),
            Some(Some('p')) => path.push_str(&std::process::id().to_string()),
            Some(Some('%')) => path.push('%'),
            Some(other) => path.extend(['%'].into_iter().chain(other)),
        }
    }
    let opened = File::create(&path);
    if let Err(why) = &opened {
        complain(&format!("NCCL_DEBUG_FILE={path}: {why}; lines go to the standard output"));
    }
    opened.ok()
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().split('.').next().unwrap_or_default().to_owned()
}

/// A line on the standard error; nobody may be listening.
pub(crate) fn complain(text: &str) {
    let _ = std::io::stderr().write_all(format!("serried: {text}\n").as_bytes());
}

/// A warning that concerns whoever set the environment: heard on the standard error also where the log has no warnings.
pub(crate) fn warn_anyhow(text: &str) {
    if ASKED.load(Ordering::Relaxed) < Asked::Warnings as u8 {
        complain(text);
    } else {
        tracing::warn!(target: "ENV", "{text}");
    }
}

/// A line of its own, in one piece; nobody may be listening.
fn say(text: &str) {
    let line = format!("{}\n", text.trim_end());
    let _ = match &mut *FILE.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(file) => file.write_all(line.as_bytes()),
        None => std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush()),
    };
}

/// What hears the events. Spans say nothing of their own.
struct Lines;

impl Lines {
    fn most() -> LevelFilter {
        match ASKED.load(Ordering::Relaxed) {
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::TRACE,
            _ => LevelFilter::OFF,
        }
    }
}

impl Subscriber for Lines {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // What is asked for may change.
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(Self::most())
    }

    fn enabled(&self, what: &Metadata<'_>) -> bool {
        let subsystem = SUBSYSTEMS.iter().position(|name| *name == subsystem(what.target())).unwrap_or(0);
        *what.level() <= Self::most()
            && (*what.level() <= Level::WARN || WANTED.load(Ordering::Relaxed) & 1 << subsystem != 0)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let word = match *event.metadata().level() {
            Level::ERROR | Level::WARN => "WARN",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "TRACE",
        };
        // SAFETY: it asks nothing and cannot fail.
        let thread = unsafe { libc::gettid() };
        say(&format!("{}:{}:{thread} [0] NCCL {word} {}", host(), std::process::id(), Line::of(event)));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Reads again what `NCCL_DEBUG` and the variables beside it ask for.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn pncclResetDebugInit() {
    crate::boundary::guard("ncclResetDebugInit", || {
        start();
        listen();
        Ok(())
    });
}
own_name!(ncclResetDebugInit = pncclResetDebugInit());

/// As [`pncclResetDebugInit`]: a name that programs of some versions ask for.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn ncclResetDebugInitInternal() {
    pncclResetDebugInit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsystems_are_asked_for_by_name() {
        let has = |text: &str, name: &str| {
            let place = SUBSYSTEMS.iter().position(|known| *known == name).expect("it is one");
            wanted(text) & 1 << place != 0
        };
        assert!(has("", "INIT") && has("", "TUNING") && !has("", "COLL"));
        assert!(has("coll, net", "COLL") && has("COLL,NET", "NET") && !has("COLL,NET", "INIT"));
        assert!(!has("^NET", "NET") && has("^NET", "COLL"));
        assert!(has("ALL", "COLL") && !has("^ALL", "INIT"));
    }
}
