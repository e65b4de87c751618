//! The proof: a schedule's programs, one a rank, executed on symbols instead of numbers.
//!
//! A chunk's value is an expression: a tree of ⊕ whose leaves are (rank, chunk). ⊕ commutes, so a sum is an unordered
//! pair; it is not associative, so different trees are different values, as they are in floating point. [`prove`] runs
//! all programs to their end and checks that
//!
//! * every step is possible: peers and chunks exist, widths match, a chunk arrives as the chunk that it left as;
//! * nobody waits for ever at the given credits, and nothing is left over;
//! * every rank ends with what the [`Goal`] asks: each chunk reduced over every rank's contribution exactly once, by one expression, or the very input
//!   that it should be given; and no rank uses an input that it does not have;
//! * `complete` is set exactly where the last contribution comes in, and every result has passed it exactly once;
//! * `widest` and `keeps_own` say what is so.
//!
//! Time is that of [`super`]: a rank does one step at a time, and a `Send` is done when its message is in a slot of the
//! link. So when a later step writes a chunk, every message with that chunk in it has left already; there is no moment
//! at which a message could be read too late, and none is tried. What a slot holds stays what it was by the contract of
//! [`Transport::write`](crate::transport::Transport::write), not by this proof: a transport that read its sender's
//! memory after it had accepted the bytes would need another one.
//!
//! The ranks are a Kahn process network, slots and all: no step of another rank takes from a rank what it waits for or
//! changes what it finds, so one run speaks for all interleavings. It speaks for both places of the accumulator as well.
//! A step can tell them apart only by reading the own input of a chunk that is written, which only `ReduceOwn` does, and
//! that is allowed only to a program that keeps a copy.
//!
//! A message enters its slot whole here, and leaves it whole. An engine that moves it piece by piece needs no more room,
//! and how long that takes changes nothing about who can go on in the end.
//!
//! Nothing here is on a path of data; it allocates as it likes.

mod expression;
mod flaw;
mod goal;
mod machine;
mod rules;

pub use flaw::{Flaw, Waiting};
pub use goal::Goal;

use super::Schedule;
use expression::{Expression, Expressions};
use machine::Machine;

/// What a proven schedule costs.
#[derive(Debug)]
pub struct Summary {
    /// How many ranks.
    pub ranks: u32,
    /// Into how many chunks a slice is cut.
    pub parts: u32,
    /// The steps of the longest program.
    pub steps: u32,
    /// The most messages that one rank sends.
    pub messages: u32,
    /// The most chunks that one rank sends; divided by `parts`, how often the whole slice.
    pub chunks_sent: u64,
    /// The most chunks that one rank reduces.
    pub chunks_reduced: u64,
    /// The longest chain of messages that wait for one another, were there always a slot.
    pub depth: u32,
    results: Vec<Option<Expression>>,
    expressions: Expressions,
}

impl Summary {
    /// The expression that ranks end with for a chunk that is reduced, such as `((x0+x1)+x2)`. Of two operands the one that
    /// contains the lowest rank is written first.
    ///
    /// # Panics
    ///
    /// If there is no such chunk, or if nothing is reduced.
    pub fn expression(&self, chunk: u32) -> String {
        self.expressions.text(self.results[chunk as usize].expect("a chunk that is reduced"))
    }
}

/// Proves that these programs, one a rank in the order of ranks, reach `goal` and need no more than `credits`
/// slots a link direction; or finds the flaw.
pub fn prove<S: Schedule>(goal: Goal, programs: &[S], credits: u32) -> Result<Summary, Flaw> {
    let costs = rules::check(programs)?;
    let (ranks, parts) = (programs.len() as u32, costs.parts);
    if goal.is_of_blocks() && !parts.is_multiple_of(ranks) {
        return Err(Flaw::Blocks { ranks, parts });
    }
    let mut expressions = Expressions::new(ranks, parts);
    let mut machine = Machine::new(goal, programs, parts, credits, &mut expressions);
    let depth = machine.run()?;
    let results = machine.results()?;
    Ok(Summary {
        ranks,
        parts,
        steps: costs.steps,
        messages: costs.messages,
        chunks_sent: costs.chunks_sent,
        chunks_reduced: costs.chunks_reduced,
        depth,
        results,
        expressions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Chunks, Step};

    /// A program written down step by step.
    struct Listed {
        parts: u32,
        steps: Vec<Step>,
    }

    impl Schedule for Listed {
        fn parts(&self) -> u32 {
            self.parts
        }

        fn len(&self) -> u32 {
            self.steps.len() as u32
        }

        fn step(&self, pc: u32) -> Step {
            self.steps[pc as usize]
        }

        fn widest(&self) -> u32 {
            1
        }

        fn reduces(&self) -> bool {
            true
        }
    }

    fn send(to: u32, chunk: u32) -> Step {
        Step::Send { to, chunks: Chunks::one(chunk) }
    }

    fn reduce(from: u32, chunk: u32) -> Step {
        Step::RecvReduce { from, chunks: Chunks::one(chunk), complete: true }
    }

    fn listed<const N: usize>(parts: u32, programs: [&[Step]; N]) -> Vec<Listed> {
        programs.iter().map(|steps| Listed { parts, steps: steps.to_vec() }).collect()
    }

    #[test]
    fn an_exchange_is_an_allreduce_of_two() {
        let summary = prove(Goal::AllReduce, &listed(1, [&[send(1, 0), reduce(1, 0)], &[send(0, 0), reduce(0, 0)]]), 1)
            .expect("it is");
        assert_eq!(summary.expression(0), "(x0+x1)");
        assert_eq!((summary.steps, summary.messages, summary.depth), (2, 1, 1));
        assert_eq!((summary.chunks_sent, summary.chunks_reduced), (1, 1));
    }

    #[test]
    fn two_that_both_wait_first_wait_for_ever() {
        let flaw =
            prove(Goal::AllReduce, &listed(1, [&[reduce(1, 0), send(1, 0)], &[reduce(0, 0), send(0, 0)]]), 1).err();
        assert_eq!(flaw, Some(Flaw::Deadlock { rank: 0, step: 0, waiting: Waiting::Message { from: 1 } }));
        assert_eq!(
            flaw.map(|flaw| flaw.to_string()).as_deref(),
            Some("rank 0 waits for ever at step 0, for a message from rank 1")
        );
    }

    #[test]
    fn a_sender_without_a_slot_does_not_go_on() {
        // Each sends twice before it receives, so the second message needs a second slot.
        let program = |peer| [send(peer, 0), send(peer, 1), reduce(peer, 0), reduce(peer, 1)];
        let programs = listed(2, [&program(1), &program(0)]);
        let flaw = Flaw::Deadlock { rank: 0, step: 1, waiting: Waiting::Slot { to: 1 } };
        assert_eq!(prove(Goal::AllReduce, &programs, 1).err(), Some(flaw));
        assert_eq!(flaw.to_string(), "rank 0 waits for ever at step 1, for a free slot at rank 1");
        assert!(prove(Goal::AllReduce, &programs, 2).is_ok());
    }

    #[test]
    fn one_rank_that_receives_in_between_frees_the_other() {
        let (first, second) = (
            [send(1, 0), send(1, 1), reduce(1, 0), reduce(1, 1)],
            [send(0, 0), reduce(0, 0), send(0, 1), reduce(0, 1)],
        );
        assert!(prove(Goal::AllReduce, &listed(2, [&first, &second]), 1).is_ok());
    }

    #[test]
    fn the_own_input_is_read_again_only_from_a_copy() {
        let own = Step::ReduceOwn { chunks: Chunks::one(0), complete: true };
        let receive = Step::Recv { from: 1, chunks: Chunks::one(0) };
        let flaw =
            prove(Goal::AllReduce, &listed(1, [&[send(1, 0), receive, own], &[send(0, 0), reduce(0, 0)]]), 1).err();
        assert_eq!(flaw, Some(Flaw::NoCopy { rank: 0, step: 2 }));
    }

    #[test]
    fn a_result_that_depends_on_the_rank_is_found() {
        // Three ranks, each adds the others to its own in the order of the ring.
        let program = |rank: u32| {
            let (next, previous) = ((rank + 1) % 3, (rank + 2) % 3);
            let first = Step::RecvReduce { from: next, chunks: Chunks::one(0), complete: false };
            [send(next, 0), send(previous, 0), first, reduce(previous, 0)]
        };
        let flaw = prove(Goal::AllReduce, &listed(1, [&program(0), &program(1), &program(2)]), 1).err();
        assert_eq!(flaw, Some(Flaw::Disagreement { rank: 1, other: 0, chunk: 0 }));
    }

    #[test]
    fn messages_cross_on_a_link_in_one_order() {
        let flaw = prove(
            Goal::AllReduce,
            &listed(
                2,
                [
                    &[send(1, 0), send(1, 1), reduce(1, 0), reduce(1, 1)],
                    &[send(0, 0), send(0, 1), reduce(0, 1), reduce(0, 0)],
                ],
            ),
            2,
        )
        .err();
        assert_eq!(flaw, Some(Flaw::Crossed { rank: 1, step: 2, chunk: 1, from: 0, sent_step: 0, sent_chunk: 0 }));
    }

    #[test]
    fn no_ranks_at_all_prove_nothing() {
        assert_eq!(prove::<Listed>(Goal::AllReduce, &[], 1).err(), Some(Flaw::NoRanks));
    }
}
