//! What a rank has not seen the end of. Where a call has a root, a rank may want nothing of others: it says that it came, goes on to the next call, and looks only
//! later, for several turns at once, whether all came to the same one: with those tags in one line, that is one line from each other core for eight calls.

use super::layout::{AHEAD_TURNS, LEADS, TURNS_A_LINE, came_at};
use super::wait::Awaited;
use super::{Room, Scene};
use crate::engine::Watch;
use crate::reduce::kernels;
use crate::types::{DataType, Op};
use crate::{Call, Result};
use std::sync::atomic::Ordering;

/// Turns, and pieces of a carried call, whose ends this rank has not seen.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// The tags of the turns that were not all seen, by turn modulo their number.
    tags: [u64; LEADS],
    /// The calls of these, to say what ranks disagree about.
    calls: [Option<Call>; LEADS],
    /// How many turns.
    count: u32,
    /// The last call whose pieces this rank gave without seeing them taken, and the number of its last piece.
    pieces: Option<(Call, u32)>,
}

impl Room {
    /// Says that this rank has come to the turn, and remembers that it has not seen the others do so.
    #[inline]
    pub(super) fn come(&mut self, call: &Call, tag: u64) {
        self.regions[self.me].word(came_at(self.turn)).store(tag, Ordering::Release);
        self.unseen.tags[self.turn as usize % LEADS] = tag;
        self.unseen.calls[self.turn as usize % LEADS] = Some(*call);
        self.unseen.count += 1;
    }

    /// Remembers that pieces were given whose taking was not seen.
    pub(super) fn leave_pieces(&mut self, call: &Call, number: u32) {
        self.unseen.pieces = Some((*call, number));
    }

    /// This rank has seen what another shows in this turn: its slot's tag says what its word of the turn would, that it has come to this call and ended all turns before. If
    /// there is no third, nothing is left to look for, unless of the turns before: the calls that the two made then may differ.
    #[inline]
    pub(super) fn saw_one(&mut self) {
        if self.size() == 2 && self.unseen.count == 1 {
            self.unseen.count = 0;
        }
    }

    /// Everybody has come to this rank's call: nothing of earlier ones is unseen.
    #[inline]
    pub(super) fn saw_everybody(&mut self) {
        self.unseen.pieces = None;
    }

    /// Sees so many of the unseen turns that the next one has a slot of its own: those that have their tags in one line.
    #[inline]
    pub(super) fn settle_for_lead(&mut self, watch: &dyn Watch) -> Result<()> {
        if self.unseen.count < LEADS as u32 - 1 {
            return Ok(());
        }
        self.see_turns(TURNS_A_LINE - self.first_unseen() % TURNS_A_LINE, watch)
    }

    /// Sees all unseen turns: whoever shows something where all take part may write over what was shown in the last.
    #[inline]
    pub(super) fn settle_turns(&mut self, watch: &dyn Watch) -> Result<()> {
        if self.unseen.count == 0 { Ok(()) } else { self.see_turns(self.unseen.count, watch) }
    }

    /// Sees everything: whoever fills slots of the ring may write over what others still read.
    pub(super) fn settle(&mut self, watch: &dyn Watch) -> Result<()> {
        self.settle_turns(watch)?;
        let Some((call, number)) = self.unseen.pieces else { return Ok(()) };
        self.wait_until_taken(&scene_of(&call, watch), number)?;
        self.unseen.pieces = None;
        Ok(())
    }

    /// Whether nobody reads the slot that is asked for ahead: the turn after the one that last used it is seen.
    #[inline]
    pub(super) fn is_free_ahead(&self) -> bool {
        self.unseen.count < LEADS as u32 - AHEAD_TURNS
    }

    #[inline]
    fn first_unseen(&self) -> u32 {
        self.turn.wrapping_sub(self.unseen.count).wrapping_add(1)
    }

    /// Sees the first `count` of the unseen turns.
    fn see_turns(&mut self, count: u32, watch: &dyn Watch) -> Result<()> {
        for _ in 0..count {
            let turn = self.first_unseen();
            let place = turn as usize % LEADS;
            let tag = self.unseen.tags[place];
            // A peer that is further on has left the tag of another turn there since; it has seen this rank's tag of the turn then, and found no mismatch.
            let awaited = |peer| Awaited { peer, region: peer, at: came_at(turn), flag: tag, or_later: true };
            // They are there as a rule, and a call is then nothing to wait for.
            if !self.have_all_arrived(awaited) {
                let call = self.unseen.calls[place].expect("a turn that was left");
                self.wait_for_others(&scene_of(&call, watch), awaited)?;
            }
            self.unseen.count -= 1;
        }
        Ok(())
    }
}

fn scene_of<'a>(call: &'a Call, watch: &'a dyn Watch) -> Scene<'a> {
    Scene { call, fingerprint: call.fingerprint(), kernels: kernels(DataType::U8, Op::Max), watch }
}
