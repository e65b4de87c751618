//! What ranks say they are doing when it takes long.
//!
//! A rank whose call has stalled states the call to all others, over the tree. Each rank gathers who states the same and passes on what it has
//! gathered, now and then, while it grows: what that costs does not grow with how many ranks stall. Two different statements about one
//! call number are what the stall is about; otherwise it is about the ranks that state nothing. What a statement says is the
//! caller's business.

use super::rank_set::RankSet;
use super::wire::{Decoder, Encoder, Nonsense};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A longer statement than any call needs is nonsense.
pub(super) const STATEMENT_BYTES_MAX: usize = 64;

/// Statements kept. Who says more at once, before that is passed on, is waited for in the first of it; and of what was passed on, the oldest are of calls that have ended,
/// unless some rank is that late.
const KEPT: usize = 4096;

/// What `ranks` say of their call number `sequence`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) ranks: RankSet,
    pub(super) sequence: u64,
    pub(super) what: Vec<u8>,
}

impl Statement {
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
    heard: Mutex<BTreeMap<About, Heard>>,
}

/// The number of a call, and what is said of it.
type About = (u64, Vec<u8>);

#[derive(Debug)]
struct Heard {
    /// Who says it.
    ranks: RankSet,
    /// It has grown since it was last passed on.
    news: bool,
}

impl Statements {
    /// Notes a statement; whether it says something new, so that there is something to pass on.
    pub(super) fn note(&self, statement: &Statement) -> bool {
        let mut heard = self.heard();
        let about = (statement.sequence, statement.what.clone());
        if let Some(same) = heard.get_mut(&about) {
            let grown = same.ranks.merge(&statement.ranks);
            same.news |= grown;
            return grown;
        }
        if heard.len() == KEPT {
            let oldest = heard.iter().find(|(_, heard)| !heard.news).map(|(about, _)| about.clone());
            let Some(oldest) = oldest.filter(|oldest| oldest.0 <= statement.sequence) else { return false };
            heard.remove(&oldest);
        }
        heard.insert(about, Heard { ranks: statement.ranks.clone(), news: true });
        self.any.store(true, Ordering::Release);
        true
    }

    /// What has grown since this was last asked.
    pub(super) fn take_news(&self) -> Vec<Statement> {
        let mut heard = self.heard();
        let news = |((sequence, what), heard): (&About, &mut Heard)| {
            let statement = || Statement { ranks: heard.ranks.clone(), sequence: *sequence, what: what.clone() };
            std::mem::take(&mut heard.news).then(statement)
        };
        heard.iter_mut().filter_map(news).collect()
    }

    /// A rank that says something else of call number `sequence` than `what`, and its words. One load when nobody has said anything.
    #[inline]
    pub(super) fn contradiction(&self, sequence: u64, what: &[u8]) -> Option<(u32, Vec<u8>)> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let heard = self.heard();
        let mut said = since(&heard, sequence).take_while(|(about, _)| about.0 == sequence);
        let ((_, theirs), other) = said.find(|(about, _)| about.1 != what)?;
        Some((other.ranks.first()?, theirs.clone()))
    }

    /// What `rank` says of a call after number `sequence`, if it says anything.
    pub(super) fn later(&self, rank: u32, sequence: u64) -> Option<Vec<u8>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let heard = self.heard();
        let mut later = since(&heard, sequence.checked_add(1)?);
        later.find(|(_, heard)| heard.ranks.contains(rank)).map(|((_, what), _)| what.clone())
    }

    /// Who does not say `what` of call number `sequence`, if somebody does: `awaited` if it does not, else the lowest of `size` ranks that has not
    /// gone on to a later call.
    pub(super) fn absent(&self, sequence: u64, what: &[u8], size: u32, awaited: u32) -> Option<u32> {
        let heard = self.heard();
        let mut there = heard.get(&(sequence, what.to_vec()))?.ranks.clone();
        for (_, later) in since(&heard, sequence).filter(|(about, _)| about.0 > sequence) {
            there.merge(&later.ranks);
        }
        if there.contains(awaited) { there.first_absent(size) } else { Some(awaited) }
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<About, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of call number `sequence` and later ones, in their order.
fn since(heard: &BTreeMap<About, Heard>, sequence: u64) -> impl Iterator<Item = (&About, &Heard)> {
    heard.range((sequence, Vec::new())..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

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
    }

    #[test]
    fn what_was_passed_on_makes_room_for_later_calls_and_nothing_else_does() {
        let statements = Statements::default();
        let said = |sequences: Range<u64>| {
            sequences.filter(|sequence| statements.note(&statement(1, *sequence, b"a"))).count()
        };
        let kept = KEPT as u64;
        assert!(statements.note(&statement(0, 1, b"a")) && statements.take_news().len() == 1);
        // All that is said at once, and more.
        assert_eq!(said(10..10 + 2 * kept), KEPT);
        let told: Vec<u64> = statements.take_news().iter().map(|said| said.sequence).collect();
        assert!(told.into_iter().eq(10..10 + kept), "the first of it is passed on");
        assert!(!statements.note(&statement(2, 9, b"b")), "old news does not drive out what is kept");
        assert_eq!(said(10 + kept..12 + kept), 2);
        assert_eq!((said(10..11), statements.heard().len()), (0, KEPT));
        assert_eq!(statements.contradiction(11 + kept, b"x"), Some((1, b"a".to_vec())));
        assert_eq!((statements.contradiction(11, b"x"), statements.contradiction(12, b"x").is_some()), (None, true));
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
