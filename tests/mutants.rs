//! The proof is worth what it catches: every small change to every program must be found, or be shown to change
//! nothing.

use serried::CollectiveKind;
use serried::schedule::proof::{Flaw, Goal, prove};
use serried::schedule::{Algorithm, AllReduce, Chunks, Grouping, Program, Schedule, Step};
use std::collections::BTreeMap;

const SIZES: std::ops::RangeInclusive<u32> = 2..=9;

/// A program, one thing in it changed.
#[derive(Clone)]
struct Mutant<S> {
    original: S,
    change: Change,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    None,
    /// This step is left out.
    Drop(u32),
    /// This step is done twice.
    Repeat(u32),
    /// This step and the next one change places.
    Swap(u32),
    /// This step is another one.
    Replace(u32, Step),
    /// `keeps_own` says the opposite.
    KeepsOwn,
    /// `widest` is wrong by this much.
    Widest(i32),
}

impl<S: Schedule> Schedule for Mutant<S> {
    fn parts(&self) -> u32 {
        self.original.parts()
    }

    fn len(&self) -> u32 {
        match self.change {
            Change::Drop(_) => self.original.len() - 1,
            Change::Repeat(_) => self.original.len() + 1,
            _ => self.original.len(),
        }
    }

    fn step(&self, pc: u32) -> Step {
        match self.change {
            Change::Drop(at) if pc >= at => self.original.step(pc + 1),
            Change::Repeat(at) if pc > at => self.original.step(pc - 1),
            Change::Swap(at) if pc == at => self.original.step(pc + 1),
            Change::Swap(at) if pc == at + 1 => self.original.step(pc - 1),
            Change::Replace(at, step) if pc == at => step,
            _ => self.original.step(pc),
        }
    }

    fn keeps_own(&self) -> bool {
        self.original.keeps_own() != matches!(self.change, Change::KeepsOwn)
    }

    fn widest(&self) -> u32 {
        match self.change {
            Change::Widest(by) => self.original.widest().saturating_add_signed(by),
            _ => self.original.widest(),
        }
    }

    fn credits(&self) -> u32 {
        self.original.credits()
    }

    fn reduces(&self) -> bool {
        self.original.reduces()
    }
}

/// The changes of one program that are no identities, by kind.
fn changes(program: &impl Schedule, size: u32) -> Vec<(&'static str, Change)> {
    let mut changes =
        vec![("keeps_own", Change::KeepsOwn), ("widest", Change::Widest(1)), ("widest", Change::Widest(-1))];
    for at in 0..program.len() {
        changes.extend([("dropped", Change::Drop(at)), ("repeated", Change::Repeat(at))]);
        if at + 1 < program.len() {
            changes.push(("swapped", Change::Swap(at)));
        }
        let step = program.step(at);
        let replaced = |kind, step| (kind, Change::Replace(at, step));
        changes.extend(other_kinds(step).into_iter().map(|step| replaced("kind", step)));
        changes.extend(other_flags(step).into_iter().map(|step| replaced("complete", step)));
        // One too far, to see that ranks that are not there are found as well.
        changes.extend((0..=size).filter_map(|peer| with_peer(step, peer)).map(|step| replaced("peer", step)));
        for chunks in other_chunks(step.chunks(), program.parts()) {
            changes.push(replaced("chunks", with_chunks(step, chunks)));
        }
    }
    changes
}

fn other_kinds(step: Step) -> Vec<Step> {
    match step {
        Step::Send { to, chunks } => vec![Step::Recv { from: to, chunks }],
        Step::Recv { from, chunks } => vec![
            Step::RecvReduce { from, chunks, complete: false },
            Step::RecvReduce { from, chunks, complete: true },
            Step::Send { to: from, chunks },
        ],
        Step::RecvReduce { from, chunks, .. } => vec![Step::Recv { from, chunks }, Step::Send { to: from, chunks }],
        Step::ReduceOwn { .. } => vec![],
    }
}

fn other_flags(step: Step) -> Option<Step> {
    match step {
        Step::RecvReduce { from, chunks, complete } => Some(Step::RecvReduce { from, chunks, complete: !complete }),
        Step::ReduceOwn { chunks, complete } => Some(Step::ReduceOwn { chunks, complete: !complete }),
        Step::Send { .. } | Step::Recv { .. } => None,
    }
}

/// The step with another peer; nothing if it is the same or there is none.
fn with_peer(step: Step, peer: u32) -> Option<Step> {
    let changed = match step {
        Step::Send { chunks, .. } => Step::Send { to: peer, chunks },
        Step::Recv { chunks, .. } => Step::Recv { from: peer, chunks },
        Step::RecvReduce { chunks, complete, .. } => Step::RecvReduce { from: peer, chunks, complete },
        Step::ReduceOwn { .. } => step,
    };
    (changed != step).then_some(changed)
}

fn with_chunks(step: Step, chunks: Chunks) -> Step {
    match step {
        Step::Send { to, .. } => Step::Send { to, chunks },
        Step::Recv { from, .. } => Step::Recv { from, chunks },
        Step::RecvReduce { from, complete, .. } => Step::RecvReduce { from, chunks, complete },
        Step::ReduceOwn { complete, .. } => Step::ReduceOwn { chunks, complete },
    }
}

/// Off by one either way, one more, one less; those that name the same chunks in the same order are no change.
fn other_chunks(chunks: Chunks, parts: u32) -> Vec<Chunks> {
    let Chunks { first, count, .. } = chunks;
    let moved = |first, count| {
        let mut moved = chunks;
        (moved.first, moved.count) = (first, count);
        moved
    };
    let others =
        [moved(first + 1, count), moved(first + parts - 1, count), moved(first, count + 1), moved(first, count - 1)];
    let list = |chunks: Chunks| chunks.indices(parts).collect::<Vec<_>>();
    others.into_iter().filter(|&other| list(other) != list(chunks)).collect()
}

/// Whether two neighbouring steps may change places by the rules of a process network: they use different ends of
/// links, and neither writes what the other reads or writes.
fn independent(a: Step, b: Step, parts: u32) -> bool {
    let end = |step| match step {
        Step::Send { to, .. } => Some((to, true)),
        Step::Recv { from, .. } | Step::RecvReduce { from, .. } => Some((from, false)),
        Step::ReduceOwn { .. } => None,
    };
    let same_end = end(a).is_some() && end(a) == end(b);
    let both_read = matches!((a, b), (Step::Send { .. }, Step::Send { .. }));
    let overlap = a.chunks().indices(parts).any(|chunk| b.chunks().indices(parts).any(|other| other == chunk));
    !same_end && (both_read || !overlap)
}

/// Whether both steps add to what a chunk holds, so that changing their places changes the order of a sum and not its
/// terms.
fn both_accumulate(a: Step, b: Step) -> bool {
    let accumulates = |step| matches!(step, Step::RecvReduce { .. } | Step::ReduceOwn { .. });
    accumulates(a) && accumulates(b)
}

/// What became of the mutants.
#[derive(Default)]
struct Tally {
    caught: BTreeMap<&'static str, u32>,
    /// Swaps of independent steps: the same result, or a deadlock.
    harmless: u32,
    /// Swaps that made another order of a sum that a single rank evaluates for all.
    reordered: u32,
}

impl Tally {
    /// Proves every mutant of one set of programs.
    fn examine<S: Schedule + Clone>(&mut self, name: &str, goal: Goal, programs: &[S]) {
        let size = programs.len() as u32;
        let mut mutants: Vec<_> =
            programs.iter().map(|original| Mutant { original: original.clone(), change: Change::None }).collect();
        let credits = programs[0].credits();
        let sound = prove(goal, &mutants, credits).expect("the programs are right before they are changed");
        assert!(prove(goal, &mutants, credits - 1).is_err(), "{name} of {size} needs {credits} credits");
        // A broadcast has none.
        let reduces = programs[0].reduces();
        let expressions = |summary: &serried::schedule::proof::Summary| {
            (0..if reduces { summary.parts } else { 0 }).map(|chunk| summary.expression(chunk)).collect::<Vec<_>>()
        };

        for rank in 0..size {
            let program = &programs[rank as usize];
            for (kind, change) in changes(program, size) {
                mutants[rank as usize].change = change;
                let outcome = prove(goal, &mutants, credits);
                if let Change::Swap(at) = change {
                    let (a, b) = (program.step(at), program.step(at + 1));
                    if independent(a, b, program.parts()) {
                        match outcome {
                            Ok(summary) => assert_eq!(expressions(&summary), expressions(&sound), "{name} of {size}"),
                            Err(flaw) => assert!(matches!(flaw, Flaw::Deadlock { .. }), "{name} of {size}: {flaw}"),
                        }
                        self.harmless += 1;
                        continue;
                    }
                    if let Ok(summary) = &outcome
                        && both_accumulate(a, b)
                    {
                        assert_ne!(expressions(summary), expressions(&sound), "{name} of {size}");
                        self.reordered += 1;
                        continue;
                    }
                }
                assert!(outcome.is_err(), "{name} of {size}, rank {rank}: not caught: {change:?}");
                *self.caught.entry(kind).or_default() += 1;
            }
            mutants[rank as usize].change = Change::None;
        }
    }

    fn report(&self, name: &str) {
        println!(
            "{name}: caught {:?}, {} harmless swaps, {} reordered sums",
            self.caught, self.harmless, self.reordered
        );
    }

    fn all_caught(&self) -> u32 {
        self.caught.values().sum()
    }
}

#[test]
fn every_mutant_of_every_algorithm_is_caught() {
    let mut all = 0;
    for algorithm in AllReduce::ALGORITHMS {
        let mut tally = Tally::default();
        let mut steps = 0;
        for size in SIZES {
            let programs: Vec<_> = (0..size).map(|rank| AllReduce::new(algorithm, rank, size)).collect();
            steps += programs.iter().map(Schedule::len).sum::<u32>();
            tally.examine(algorithm.name(), Goal::AllReduce, &programs);
        }
        tally.report(algorithm.name());
        // Nothing is left out: each step was dropped, repeated, sent astray, made another kind.
        assert_eq!(tally.caught["dropped"], steps, "{algorithm}");
        assert_eq!(tally.caught["repeated"], steps, "{algorithm}");
        for kind in ["keeps_own", "widest", "swapped", "kind", "complete", "peer", "chunks"] {
            assert!(tally.caught.get(kind).is_some_and(|&caught| caught > 0), "{algorithm}: no mutant of kind {kind}");
        }
        // An order of a sum can only change unnoticed where one rank evaluates it for all.
        let evaluated_by_all = matches!(algorithm, Algorithm::Direct | Algorithm::Doubling);
        assert!(!evaluated_by_all || tally.reordered == 0, "{algorithm}: {} reordered sums", tally.reordered);
        all += tally.all_caught();
    }
    assert!(all > 20_000, "only {all} mutants");
}

/// Hosts of the same size, of different ones, of one rank, and numbered crosswise.
const HOSTS: [&[u32]; 7] = [
    &[0, 0, 1, 1],
    &[0, 1, 1],
    &[0, 1, 2],
    &[0, 0, 0, 1, 1],
    &[0, 1, 1, 2, 2, 2],
    &[0, 1, 0, 2, 1, 1],
    &[0, 1, 1, 1, 0],
];

#[test]
fn every_mutant_of_a_hierarchy_is_caught() {
    let mut all = 0;
    for algorithm in [Algorithm::Hierarchical, Algorithm::Leaders] {
        let kinds = CollectiveKind::ALL.into_iter().filter(|kind| Algorithm::serving(*kind).contains(&algorithm));
        for kind in kinds {
            let name = format!("{} by {algorithm}", kind.name());
            let mut tally = Tally::default();
            for grouping in HOSTS.map(Grouping::new) {
                let size = grouping.size();
                for root in if kind.has_root() { vec![0, size - 1] } else { vec![0] } {
                    let goal = Goal::of(kind, root).expect("it is a collective");
                    let program = |rank| Program::new(kind, root, algorithm, rank, &grouping).expect("it serves");
                    tally.examine(&name, goal, &(0..size).map(program).collect::<Vec<_>>());
                }
            }
            tally.report(&name);
            all += tally.all_caught();
        }
    }
    assert!(all > 20_000, "only {all} mutants");
}
