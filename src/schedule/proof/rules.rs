//! The rules that each step must keep by itself, whatever the other ranks do; and what the steps cost.

use super::Flaw;
use crate::schedule::{Schedule, Step};

/// What the programs cost, the most of any rank.
#[derive(Default)]
pub(super) struct Costs {
    pub(super) parts: u32,
    pub(super) steps: u32,
    pub(super) messages: u32,
    pub(super) chunks_sent: u64,
    pub(super) chunks_reduced: u64,
    widest: u32,
}

/// Checks all steps of all programs, each by itself.
pub(super) fn check<S: Schedule>(programs: &[S]) -> Result<Costs, Flaw> {
    let parts = programs.first().ok_or(Flaw::NoRanks)?.parts();
    // A slice of no steps still needs a slot's width to divide by, hence at least 1.
    let mut costs = Costs { parts, widest: 1, ..Costs::default() };
    let mut seen = vec![0; parts as usize];
    let mut stamp = 0;
    for (rank, program) in (0..).zip(programs) {
        if program.parts() != parts || parts == 0 {
            return Err(Flaw::Parts { rank, parts: program.parts(), expected: parts });
        }
        let mut own = Costs::default();
        let mut reads_own = false;
        for step in 0..program.len() {
            stamp += 1;
            let action = program.step(step);
            check_peer(rank, step, action, programs.len() as u32)?;
            let mut width = 0;
            for chunk in action.chunks().indices(parts) {
                let last = seen.get_mut(chunk as usize).ok_or(Flaw::NoChunk { rank, step, chunk })?;
                if std::mem::replace(last, stamp) == stamp {
                    return Err(Flaw::Repeated { rank, step, chunk });
                }
                width += 1;
            }
            if width == 0 {
                return Err(Flaw::Empty { rank, step });
            }
            own.widest = own.widest.max(width);
            match action {
                Step::Send { .. } => {
                    own.messages += 1;
                    own.chunks_sent += u64::from(width);
                }
                Step::RecvReduce { .. } => own.chunks_reduced += u64::from(width),
                Step::ReduceOwn { .. } if !program.keeps_own() => return Err(Flaw::NoCopy { rank, step }),
                Step::ReduceOwn { .. } => {
                    own.chunks_reduced += u64::from(width);
                    reads_own = true;
                }
                Step::Recv { .. } => {}
            }
        }
        if program.keeps_own() && !reads_own {
            return Err(Flaw::NeedlessCopy { rank });
        }
        costs.steps = costs.steps.max(program.len());
        costs.messages = costs.messages.max(own.messages);
        costs.chunks_sent = costs.chunks_sent.max(own.chunks_sent);
        costs.chunks_reduced = costs.chunks_reduced.max(own.chunks_reduced);
        costs.widest = costs.widest.max(own.widest);
    }
    for (rank, program) in (0..).zip(programs) {
        if program.widest() != costs.widest {
            return Err(Flaw::Widest { rank, widest: program.widest(), actual: costs.widest });
        }
    }
    Ok(costs)
}

fn check_peer(rank: u32, step: u32, action: Step, ranks: u32) -> Result<(), Flaw> {
    let peer = match action {
        Step::Send { to, .. } => to,
        Step::Recv { from, .. } | Step::RecvReduce { from, .. } => from,
        Step::ReduceOwn { .. } => return Ok(()),
    };
    if peer >= ranks {
        return Err(Flaw::NoPeer { rank, step, peer });
    }
    if peer == rank {
        return Err(Flaw::OwnPeer { rank, step });
    }
    Ok(())
}
