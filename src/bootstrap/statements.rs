//! What ranks say they are doing when it takes long.
//!
//! A rank whose call has stalled states the call to all others, over the tree. Each rank gathers who states the same and passes on what it has
//! gathered, now and then, while it grows: what that costs does not grow with how many ranks stall. Two different statements about one
//! call number are what the stall is about; otherwise it is about the ranks that state nothing. What a statement says is the
//! caller's business.

use super::rank_set::RankSet;
use super::wire::{Decoder, Encoder, Nonsense};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A longer statement than any call needs is nonsense.
pub(super) const STATEMENT_BYTES_MAX: usize = 64;

/// Statements kept: a rank may be some dozens of calls ahead of one that it gives to. Older ones that were passed on are of calls that have ended.
const KEPT: usize = 64;

/// What `ranks` say of their call number `sequence`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) ranks: RankSet,
    pub(super) sequence: u64,
    pub(super) what: Vec<u8>,
}

impl Statement {
    fn is_about(&self, sequence: u64, what: &[u8]) -> bool {
        (self.sequence, &*self.what) == (sequence, what)
    }

    pub(super) fn encode(&self, encoder: Encoder) -> Encoder {
        self.ranks.encode(encoder.u64(self.sequence)).raw(&self.what)
    }

    pub(super) fn decode(fields: &mut Decoder<'_>) -> Result<Self, Nonsense> {
        let (sequence, ranks) = (fields.u64()?, RankSet::decode(fields)?);
        let what = fields.rest().to_vec();
        if what.len() > STATEMENT_BYTES_MAX {
            return Err(Nonsense("a statement longer than any"));
        }
        Ok(Self { ranks, sequence, what })
    }
}

/// The statements that this rank has heard, its own among them.
#[derive(Debug, Default)]
pub(super) struct Statements {
    any: AtomicBool,
    heard: Mutex<Vec<Heard>>,
}

#[derive(Debug)]
struct Heard {
    statement: Statement,
    /// It has grown since it was last passed on.
    news: bool,
}

impl Statements {
    /// Notes a statement; whether it says something new, so that there is something to pass on.
    pub(super) fn note(&self, statement: &Statement) -> bool {
        let mut heard = self.heard();
        let same = |other: &&mut Heard| other.statement.is_about(statement.sequence, &statement.what);
        if let Some(other) = heard.iter_mut().find(same) {
            let grown = other.statement.ranks.merge(&statement.ranks);
            other.news |= grown;
            return grown;
        }
        if heard.len() == KEPT {
            let sequence = |index: &usize| heard[*index].statement.sequence;
            // Who says much at once is waited for in the first of it.
            let Some(oldest) = (0..heard.len()).filter(|index| !heard[*index].news).min_by_key(sequence) else {
                return false;
            };
            if statement.sequence < sequence(&oldest) {
                return false;
            }
            heard.swap_remove(oldest);
        }
        heard.push(Heard { statement: statement.clone(), news: true });
        self.any.store(true, Ordering::Release);
        true
    }

    /// What has grown since this was last asked.
    pub(super) fn take_news(&self) -> Vec<Statement> {
        let mut heard = self.heard();
        heard.iter_mut().filter_map(|heard| std::mem::take(&mut heard.news).then(|| heard.statement.clone())).collect()
    }

    /// A rank that says something else of call number `sequence` than `what`, and its words. One load when nobody has said anything.
    #[inline]
    pub(super) fn contradiction(&self, sequence: u64, what: &[u8]) -> Option<(u32, Vec<u8>)> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let heard = self.heard();
        let other = heard.iter().map(|heard| &heard.statement).find(|o| o.sequence == sequence && o.what != what)?;
        Some((other.ranks.first()?, other.what.clone()))
    }

    /// What `rank` says of a call after number `sequence`, if it says anything.
    pub(super) fn later(&self, rank: u32, sequence: u64) -> Option<Vec<u8>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let heard = self.heard();
        let mut statements = heard.iter().map(|heard| &heard.statement);
        let later = statements.find(|said| said.sequence > sequence && said.ranks.contains(rank))?;
        Some(later.what.clone())
    }

    /// Who does not say `what` of call number `sequence`, if somebody does: `awaited` if it does not, else the lowest of `size` ranks that has not
    /// gone on to a later call.
    pub(super) fn absent(&self, sequence: u64, what: &[u8], size: u32, awaited: u32) -> Option<u32> {
        let heard = self.heard();
        let mut there = heard.iter().find(|heard| heard.statement.is_about(sequence, what))?.statement.ranks.clone();
        for later in heard.iter().filter(|heard| heard.statement.sequence > sequence) {
            there.merge(&later.statement.ranks);
        }
        if there.contains(awaited) { there.first_absent(size) } else { Some(awaited) }
    }

    fn heard(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(rank: u32, sequence: u64, what: &[u8]) -> Statement {
        Statement { ranks: RankSet::of(rank), sequence, what: what.to_vec() }
    }

    #[test]
    fn only_news_is_passed_on_and_only_the_same_call_is_compared() {
        let statements = Statements::default();
        assert_eq!((statements.contradiction(5, b"a"), statements.absent(5, b"a", 4, 0)), (None, None));
        assert!(statements.note(&statement(1, 5, b"a")));
        assert!(statements.note(&statement(2, 5, b"a")));
        assert!(!statements.note(&statement(1, 5, b"a")));
        let [both] = &statements.take_news()[..] else { panic!("both said the same") };
        assert!(!statements.note(both) && statements.take_news().is_empty());
        assert_eq!(statements.absent(5, b"a", 4, 1), Some(0), "the lowest, for 1 is there");
        assert_eq!(statements.absent(5, b"a", 4, 3), Some(3), "the one that is waited for");
        assert!(statements.note(&statement(0, 5, b"a")));
        assert_eq!((statements.absent(5, b"a", 4, 1), statements.absent(5, b"a", 3, 1)), (Some(3), None));
        assert_eq!(statements.contradiction(5, b"a"), None);
        assert!(statements.note(&statement(3, 6, b"b")));
        assert_eq!(statements.contradiction(5, b"a"), None);
        assert_eq!(statements.absent(5, b"a", 5, 3), Some(4), "3 is through with it");
        assert_eq!((statements.later(3, 5), statements.later(3, 6)), (Some(b"b".to_vec()), None));
        assert_eq!((statements.later(1, 5), statements.later(1, 4)), (None, Some(b"a".to_vec())));
        assert!(statements.note(&statement(4, 5, b"c")));
        assert_eq!(statements.contradiction(5, b"a"), Some((4, b"c".to_vec())));
        assert_eq!(statements.contradiction(5, b"c"), Some((0, b"a".to_vec())));
        for sequence in 100..200 {
            assert!(statements.note(&statement(1, sequence, b"a")));
            statements.take_news();
        }
        assert_eq!(statements.heard().len(), KEPT);
        assert_eq!(statements.contradiction(199, b"x"), Some((1, b"a".to_vec())));
        assert!(!statements.note(&statement(2, 100, b"b")), "old news does not drive out what is kept");
        assert_eq!(statements.contradiction(192, b"x"), Some((1, b"a".to_vec())));
    }

    #[test]
    fn of_much_that_is_said_at_once_the_first_is_passed_on() {
        let statements = Statements::default();
        assert!(statements.note(&statement(0, 1, b"a")) && statements.take_news().len() == 1);
        let noted = (10..210).filter(|sequence| statements.note(&statement(1, *sequence, b"a"))).count();
        let told = statements.take_news();
        assert_eq!((noted, told.len()), (KEPT, KEPT), "what was passed on makes room");
        assert!(told.iter().all(|said| (10..10 + KEPT as u64).contains(&said.sequence)));
        assert!(statements.note(&statement(1, 210, b"a")), "it goes on when they have been");
    }

    #[test]
    fn statements_go_there_and_back() {
        let said = statement(7, u64::MAX, &[1, 2, 3]);
        let body = said.encode(Encoder::fields()).into_fields();
        assert_eq!(Statement::decode(&mut Decoder::new(&body)), Ok(said));
        assert!(Statement::decode(&mut Decoder::new(&body[..11])).is_err());
        let long = statement(7, 1, &[0; STATEMENT_BYTES_MAX + 1]).encode(Encoder::fields()).into_fields();
        assert!(Statement::decode(&mut Decoder::new(&long)).is_err());
    }
}
