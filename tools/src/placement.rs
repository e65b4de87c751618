//! Where ranks run: binding a process to a CPU, and how near two CPUs are, told by how long a cache line travels.
//!
//! A virtual machine's CPUs may be moved about under it, and times change several-fold when they are: a timing without
//! its placement cannot be compared.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The measurement goes on for this long, and the fastest round counts: a disturbed round is only slower.
const MEASURED: Duration = Duration::from_millis(10);
/// It is given up after this long, when one of the CPUs is busy with something else.
const GIVEN_UP: Duration = Duration::from_millis(20);
/// Turns there and back in a round: 30 to 130 µs.
const TURNS: u32 = 256;
/// Below this many nanoseconds one way, two CPUs are threads of one core.
const SMT_BELOW_NS: f64 = 38.0;
/// Below this, they share a cache; above, the line crosses between caches.
const NEAR_BELOW_NS: f64 = 120.0;
/// Written instead of a turn's number when it is over.
const OVER: u32 = u32::MAX;

/// The CPUs that this process may run on.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect()
}

/// Binds this thread, and the threads that it starts from now on, to the allowed CPU number `index` modulo their number.
pub(crate) fn bind_to_core(index: usize) -> std::io::Result<()> {
    let allowed = allowed_cpus();
    let cpu = *allowed.get(index % allowed.len().max(1)).ok_or_else(|| std::io::Error::other("no CPU is allowed"))?;
    bind(cpu)
}

fn bind(cpu: usize) -> std::io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    Ok(sched_setaffinity(None, &cpus)?)
}

/// How near two CPUs are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Nearness {
    /// They are the same one.
    Same,
    /// A cache line takes so many nanoseconds from one to the other.
    Apart(f64),
    /// It could not be measured.
    Unknown,
}

impl std::fmt::Display for Nearness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Same => f.write_str("ONE (both ranks on the same CPU)"),
            Self::Unknown => f.write_str("unknown (a CPU was busy or not allowed)"),
            Self::Apart(ns) => write!(f, "{} ({ns:.0} ns a cache line one way)", class(ns)),
        }
    }
}

fn class(ns: f64) -> &'static str {
    match ns {
        ns if ns < SMT_BELOW_NS => "SMT",
        ns if ns < NEAR_BELOW_NS => "NEAR",
        _ => "FAR",
    }
}

/// Measures how near two CPUs are, with a thread on each that hand a number to and fro.
pub(crate) fn nearness(here: usize, there: usize) -> Nearness {
    if here == there {
        return Nearness::Same;
    }
    let (ping, pong) = (Line::default(), Line::default());
    let best = std::thread::scope(|scope| {
        let answering = scope.spawn(|| match bind(there) {
            Ok(()) => answer(&ping, &pong),
            Err(_) => pong.0.store(OVER, Ordering::Release),
        });
        let asking = scope.spawn(|| {
            let best = bind(here).ok().and_then(|()| ask(&ping, &pong));
            ping.0.store(OVER, Ordering::Release);
            best
        });
        let best = asking.join().ok().flatten();
        answering.join().ok().and(best)
    });
    best.map_or(Nearness::Unknown, Nearness::Apart)
}

/// One number on cache lines of its own: 128 bytes, since CPUs fetch lines in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU32);

/// The fastest round's nanoseconds one way. The spinning is bare, without a pause: the line's travel alone is wanted.
fn ask(ping: &Line, pong: &Line) -> Option<f64> {
    let start = Instant::now();
    let mut best = None;
    let mut turn = 0;
    while start.elapsed() < MEASURED {
        let round = Instant::now();
        for _ in 0..TURNS {
            turn += 1;
            ping.0.store(turn, Ordering::Release);
            let mut looks = 0_u32;
            loop {
                match pong.0.load(Ordering::Acquire) {
                    answer if answer == turn => break,
                    OVER => return None,
                    _ => looks = looks.wrapping_add(1),
                }
                if looks.is_multiple_of(4096) && start.elapsed() > GIVEN_UP {
                    return best;
                }
            }
        }
        let ns = round.elapsed().as_nanos() as f64 / f64::from(2 * TURNS);
        best = Some(best.map_or(ns, |best: f64| best.min(ns)));
    }
    best
}

fn answer(ping: &Line, pong: &Line) {
    let mut seen = 0;
    loop {
        match ping.0.load(Ordering::Acquire) {
            OVER => return,
            turn if turn != seen => {
                seen = turn;
                pong.0.store(turn, Ordering::Release);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_comparison() {
        assert_eq!(
            [25.0, 37.9, 38.0, 57.0, 119.9, 120.0, 250.0].map(class),
            ["SMT", "SMT", "NEAR", "NEAR", "NEAR", "FAR", "FAR"]
        );
        assert_eq!(Nearness::Apart(57.4).to_string(), "NEAR (57 ns a cache line one way)");
    }

    #[test]
    fn two_cpus_are_measured_in_bounded_time() {
        let cpus = allowed_cpus();
        assert_eq!(nearness(cpus[0], cpus[0]), Nearness::Same);
        let start = Instant::now();
        if let [here, there, ..] = cpus[..]
            && let Nearness::Apart(ns) = nearness(here, there)
        {
            assert!((1.0..1e6).contains(&ns), "{ns}");
        }
        assert_eq!(nearness(cpus[0], CpuSet::MAX_CPU - 1), Nearness::Unknown, "a CPU that is not there");
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn binding_wraps_around_the_allowed_cpus() {
        let allowed = allowed_cpus();
        let bound = std::thread::spawn(move || {
            bind_to_core(allowed.len() + 1).expect("some CPU is allowed");
            (allowed, allowed_cpus())
        });
        let (allowed, bound) = bound.join().expect("no panic");
        assert_eq!(bound, [allowed[1 % allowed.len()]]);
    }
}
