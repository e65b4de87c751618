//! Every algorithm of every collective but the allreduce and hierarchies (which have tests of their own) is proven for every number of ranks up to 128, and costs what it says.

use serried::CollectiveKind;
use serried::schedule::proof::{Flaw, Goal, Summary, prove};
use serried::schedule::{Algorithm, Chunks, Grouping, Program, Schedule, Step};

/// Every number of ranks up to this is proven.
const EVERY_SIZE: u32 = 128;
/// Every root up to this number of ranks; beyond it some.
const EVERY_ROOT: u32 = 16;
/// And these: neighbours of powers of two, and numbers far from any.
const LARGE_SIZES: [u32; 6] = [129, 192, 255, 257, 500, 1000];

fn programs(kind: CollectiveKind, root: u32, algorithm: Algorithm, grouping: &Grouping) -> Vec<Program<'_>> {
    let program = |rank| Program::new(kind, root, algorithm, rank, grouping).expect("it serves the collective");
    (0..grouping.size()).map(program).collect()
}

fn roots(kind: CollectiveKind, size: u32) -> Vec<u32> {
    let mut roots: Vec<u32> = match (kind.has_root(), size) {
        (false, _) => vec![0],
        (true, ..=EVERY_ROOT) => (0..size).collect(),
        (true, _) => vec![0, 1, size / 2, size - 1],
    };
    roots.dedup();
    roots
}

/// Proves an algorithm for all sizes and roots, and checks what it costs.
fn prove_all(kind: CollectiveKind, algorithm: Algorithm, costs: impl Fn(u32, &Summary)) {
    // Where a rank sends as many messages as there are ranks, a thousand ranks send a million.
    let large = if algorithm == Algorithm::Direct { &LARGE_SIZES[..4] } else { &LARGE_SIZES };
    for size in (1..=EVERY_SIZE).chain(large.iter().copied()) {
        for root in roots(kind, size) {
            let grouping = Grouping::one_host(size);
            let programs = programs(kind, root, algorithm, &grouping);
            let goal = Goal::of(kind, root).expect("it is a collective");
            let credits = programs[0].credits();
            assert_eq!(credits, 1, "no transport promises more");
            let summary = prove(goal, &programs, credits)
                .unwrap_or_else(|flaw| panic!("{} by {algorithm} of {size}, root {root}: {flaw}", kind.name()));
            assert_eq!(summary.ranks, size);
            costs(size, &summary);
        }
    }
}

/// ⌈log2 size⌉.
fn rounds(size: u32) -> u32 {
    size.next_power_of_two().ilog2()
}

/// Messages, chunks sent and depth, the most of any rank.
fn costs(summary: &Summary) -> (u32, u64, u32) {
    (summary.messages, summary.chunks_sent, summary.depth)
}

#[test]
fn broadcast() {
    let kind = CollectiveKind::Broadcast;
    prove_all(kind, Algorithm::Direct, |n, summary| {
        assert_eq!(costs(summary), (n - 1, u64::from(n - 1), u32::from(n > 1)), "{n}");
    });
    prove_all(kind, Algorithm::Binomial, |n, summary| {
        assert_eq!(costs(summary), (rounds(n), rounds(n).into(), n.ilog2()), "{n}");
    });
    prove_all(kind, Algorithm::Chain, |n, summary| {
        assert_eq!(costs(summary), (u32::from(n > 1), u64::from(n > 1), n - 1), "{n}");
    });
    prove_all(kind, Algorithm::ScatterGather, |n, summary| {
        // The root gives away all but its own chunk, and then sends as everybody does.
        assert_eq!(summary.chunks_sent, 2 * u64::from(n - 1), "{n}");
        assert!(summary.messages < n + rounds(n) && summary.depth < n + rounds(n), "{n}: {:?}", costs(summary));
    });
}

#[test]
fn reduce() {
    let kind = CollectiveKind::Reduce;
    prove_all(kind, Algorithm::Direct, |n, summary| {
        let one = u32::from(n > 1);
        assert_eq!(costs(summary), (one, one.into(), one), "{n}");
        if n > 1 {
            let in_order = (1..n).fold("x0".to_string(), |sum, rank| format!("({sum}+x{rank})"));
            assert_eq!(summary.expression(0), in_order);
        }
    });
    prove_all(kind, Algorithm::Binomial, |n, summary| {
        assert_eq!((summary.messages, summary.depth), (u32::from(n > 1), n.ilog2()), "{n}");
        assert_eq!(summary.chunks_reduced, rounds(n).into(), "{n}");
    });
    prove_all(kind, Algorithm::Chain, |n, summary| {
        assert_eq!(costs(summary), (u32::from(n > 1), u64::from(n > 1), n - 1), "{n}");
    });
    prove_all(kind, Algorithm::ScatterGather, |n, summary| {
        // Half of everything may lie with one child of the root.
        assert!(summary.chunks_sent <= u64::from(n - 1) + u64::from(n / 2).max(1), "{n}: {:?}", costs(summary));
        assert!(summary.messages <= n && summary.depth < n + rounds(n), "{n}: {:?}", costs(summary));
    });
}

#[test]
fn reduce_scatter_and_all_gather() {
    for kind in [CollectiveKind::ReduceScatter, CollectiveKind::AllGather] {
        prove_all(kind, Algorithm::Direct, |n, summary| {
            assert_eq!(costs(summary), (n - 1, u64::from(n - 1), u32::from(n > 1)), "{n}");
        });
        prove_all(kind, Algorithm::Ring, |n, summary| {
            assert_eq!(costs(summary), (n - 1, u64::from(n - 1), n - 1), "{n}");
        });
        prove_all(kind, Algorithm::Nhr, |n, summary| {
            assert_eq!(costs(summary), (rounds(n), u64::from(n - 1), rounds(n)), "{n}");
        });
    }
    prove_all(CollectiveKind::Barrier, Algorithm::Nhr, |n, summary| assert_eq!(summary.depth, rounds(n), "{n}"));
    prove_all(CollectiveKind::Barrier, Algorithm::Direct, |n, summary| assert!(summary.depth <= 1, "{n}"));
}

#[test]
fn gather_and_scatter() {
    for kind in [CollectiveKind::Gather, CollectiveKind::Scatter] {
        prove_all(kind, Algorithm::Direct, |n, summary| assert_eq!(summary.depth, u32::from(n > 1), "{n}"));
        prove_all(kind, Algorithm::Binomial, |n, summary| {
            assert_eq!(summary.depth, n.ilog2(), "{n}");
            assert!(summary.chunks_sent < n.into() && summary.messages <= rounds(n), "{n}: {:?}", costs(summary));
        });
    }
}

#[test]
fn all_to_all() {
    prove_all(CollectiveKind::AllToAll, Algorithm::Direct, |n, summary| {
        assert_eq!((summary.messages, summary.chunks_sent), (n - 1, u64::from(n - 1)), "{n}");
    });
    prove_all(CollectiveKind::AllToAll, Algorithm::Bruck, |n, summary| {
        let bits: u32 = (1..n).map(u32::count_ones).sum();
        assert_eq!(summary.chunks_sent, bits.into(), "{n}: a block travels once for each bit of its distance");
        assert!(summary.messages <= 2 * rounds(n), "{n}: {} messages", summary.messages);
        assert!(!n.is_power_of_two() || summary.messages == rounds(n), "{n}: {} messages", summary.messages);
    });
}

/// A program of which one step is another.
struct Changed<'a> {
    program: &'a Program<'a>,
    at: u32,
    step: Option<Step>,
}

impl Schedule for Changed<'_> {
    fn parts(&self) -> u32 {
        self.program.parts()
    }

    fn len(&self) -> u32 {
        self.program.len()
    }

    fn step(&self, pc: u32) -> Step {
        self.step.filter(|_| pc == self.at).unwrap_or_else(|| self.program.step(pc))
    }

    fn keeps_own(&self) -> bool {
        self.program.keeps_own()
    }

    fn widest(&self) -> u32 {
        self.program.widest()
    }

    fn reduces(&self) -> bool {
        self.program.reduces()
    }
}

/// Every step a little wrong: another peer, another chunk, a receive that should reduce or the reverse, complete or not.
fn mutants(step: Step, size: u32, parts: u32) -> Vec<Step> {
    let other = |chunks: Chunks| {
        (chunks.count < parts).then(|| Chunks::strided(chunks.index(0, parts) + 1, chunks.stride, chunks.count))
    };
    let next = |rank: u32| (rank + 1) % size;
    let mut all = Vec::new();
    match step {
        Step::Send { to, chunks } => {
            all.push(Step::Send { to: next(to), chunks });
            all.extend(other(chunks).map(|chunks| Step::Send { to, chunks }));
        }
        Step::Recv { from, chunks } => {
            all.push(Step::Recv { from: next(from), chunks });
            all.push(Step::RecvReduce { from, chunks, complete: false });
            all.push(Step::RecvReduce { from, chunks, complete: true });
            all.extend(other(chunks).map(|chunks| Step::Recv { from, chunks }));
        }
        Step::RecvReduce { from, chunks, complete } => {
            all.push(Step::RecvReduce { from: next(from), chunks, complete });
            all.push(Step::RecvReduce { from, chunks, complete: !complete });
            all.push(Step::Recv { from, chunks });
            all.extend(other(chunks).map(|chunks| Step::RecvReduce { from, chunks, complete }));
        }
        Step::ReduceOwn { chunks, complete } => {
            all.push(Step::ReduceOwn { chunks, complete: !complete });
            all.push(Step::RecvReduce { from: 0, chunks, complete });
        }
    }
    all
}

#[test]
fn no_small_mistake_survives() {
    let mut tried = 0;
    let kinds = CollectiveKind::ALL.into_iter().filter(|kind| Goal::of(*kind, 0).is_some());
    for (kind, size) in kinds.flat_map(|kind| (2..=8).map(move |size| (kind, size))) {
        for &algorithm in Algorithm::serving(kind) {
            let root = if kind.has_root() { size / 2 } else { 0 };
            let goal = Goal::of(kind, root).expect("it is a collective");
            // Two on each host, and maybe one alone.
            let grouping = Grouping::new(&(0..size).map(|rank| rank / 2).collect::<Vec<_>>());
            let right = programs(kind, root, algorithm, &grouping);
            for (rank, program) in right.iter().enumerate() {
                for (at, step) in (0..program.len()).flat_map(|at| {
                    mutants(program.step(at), size, program.parts()).into_iter().map(move |step| (at, step))
                }) {
                    let change = |(number, program)| Changed { program, at, step: (number == rank).then_some(step) };
                    let wrong: Vec<_> = right.iter().enumerate().map(change).collect();
                    let flaw: Option<Flaw> = prove(goal, &wrong, 1).err();
                    assert!(
                        flaw.is_some(),
                        "{kind:?} by {algorithm} of {size}, rank {rank}: step {at} as {step:?} is not noticed"
                    );
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 5_000, "{tried}");
}
