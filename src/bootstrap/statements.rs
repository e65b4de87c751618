//! What ranks say they are doing when it takes long.
//!
//! A rank whose call has stalled states the call to all others, over the tree. Each rank passes on only what it has not heard
//! before, whoever said it: when all are in the same call, one statement goes once over each edge, however many ranks stall. Two different statements about one
//! call number are what the stall is about. What a statement says is the caller's business.

use super::wire::{Decoder, Encoder, Nonsense};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A longer statement than any call needs is nonsense.
pub(super) const STATEMENT_BYTES_MAX: usize = 64;

/// Statements kept; older ones are of calls that have ended.
const KEPT: usize = 8;

/// What `rank` says of its call number `sequence`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) rank: u32,
    pub(super) sequence: u64,
    pub(super) what: Vec<u8>,
}

impl Statement {
    pub(super) fn encode(&self, encoder: Encoder) -> Encoder {
        encoder.u32(self.rank).u64(self.sequence).raw(&self.what)
    }

    pub(super) fn decode(fields: &mut Decoder<'_>) -> Result<Self, Nonsense> {
        let (rank, sequence, what) = (fields.u32()?, fields.u64()?, fields.rest().to_vec());
        if what.len() > STATEMENT_BYTES_MAX {
            return Err(Nonsense("a statement longer than any"));
        }
        Ok(Self { rank, sequence, what })
    }
}

/// The statements that this rank has heard, its own among them.
#[derive(Debug, Default)]
pub(super) struct Statements {
    any: AtomicBool,
    heard: Mutex<Vec<Statement>>,
}

impl Statements {
    /// Notes a statement; whether it says something new, and so is to be passed on.
    pub(super) fn note(&self, statement: &Statement) -> bool {
        let mut heard = self.heard();
        let same = |other: &Statement| (other.sequence, &other.what) == (statement.sequence, &statement.what);
        if heard.iter().any(same) {
            return false;
        }
        if heard.len() == KEPT {
            let oldest = heard.iter().enumerate().min_by_key(|(_, other)| other.sequence).map_or(0, |(index, _)| index);
            heard.swap_remove(oldest);
        }
        heard.push(statement.clone());
        self.any.store(true, Ordering::Release);
        true
    }

    /// A rank that says something else of call number `sequence` than `what`, and its words. One load when nobody has said anything.
    #[inline]
    pub(super) fn contradiction(&self, sequence: u64, what: &[u8]) -> Option<(u32, Vec<u8>)> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let other = |other: &&Statement| other.sequence == sequence && other.what != what;
        self.heard().iter().find(other).map(|other| (other.rank, other.what.clone()))
    }

    fn heard(&self) -> MutexGuard<'_, Vec<Statement>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(rank: u32, sequence: u64, what: &[u8]) -> Statement {
        Statement { rank, sequence, what: what.to_vec() }
    }

    #[test]
    fn only_news_is_passed_on_and_only_the_same_call_is_compared() {
        let statements = Statements::default();
        assert_eq!(statements.contradiction(5, b"a"), None);
        assert!(statements.note(&statement(1, 5, b"a")));
        assert!(!statements.note(&statement(2, 5, b"a")));
        assert_eq!(statements.contradiction(5, b"a"), None);
        assert!(statements.note(&statement(3, 6, b"b")));
        assert_eq!(statements.contradiction(5, b"a"), None);
        assert!(statements.note(&statement(4, 5, b"c")));
        assert_eq!(statements.contradiction(5, b"a"), Some((4, b"c".to_vec())));
        assert_eq!(statements.contradiction(5, b"c"), Some((1, b"a".to_vec())));
        for sequence in 100..200 {
            assert!(statements.note(&statement(1, sequence, b"a")));
        }
        assert_eq!(statements.heard().len(), KEPT);
        assert_eq!(statements.contradiction(199, b"x"), Some((1, b"a".to_vec())));
    }

    #[test]
    fn statements_go_there_and_back() {
        let said = statement(7, u64::MAX, &[1, 2, 3]);
        let body = said.encode(Encoder::fields()).into_fields();
        assert_eq!(Statement::decode(&mut Decoder::new(&body)), Ok(said));
        assert!(Statement::decode(&mut Decoder::new(&body[..11])).is_err());
        assert!(Statement::decode(&mut Decoder::new(&[0; 12 + STATEMENT_BYTES_MAX + 1])).is_err());
    }
}
