//! The collective exchange of a few bytes a rank: gathered up the tree, spread down it. Bookkeeping alone; no I/O.
//!
//! A contribution is written as an *entry*: rank, length, bytes. What goes up an edge are the entries of all ranks below it; what
//! comes down are those of all ranks, forwarded as they are.

use super::message::ROUND_HEAD;
use super::wire::{Decoder, Encoder, FRAME_MAX, Nonsense};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The most bytes that a rank may contribute: it is for addresses and such, not for data.
const CONTRIBUTION_MAX: usize = 64 << 10;

/// Rank and length in front of each contribution.
const ENTRY_HEAD: usize = 8;

/// How many exchanges a rank below can be ahead of this one: it cannot end one in which this rank has no part yet.
const AHEAD: u32 = 1;

pub(super) type Reply = oneshot::Sender<Result<Vec<Vec<u8>>>>;

/// The exchanges of one rank that have not ended, by their number.
#[derive(Default)]
pub(super) struct Exchanges {
    /// The first that has not ended.
    current: u32,
    /// The next that this rank will begin.
    next: u32,
    rounds: BTreeMap<u32, Round>,
}

#[derive(Default)]
struct Round {
    mine: Option<(Vec<u8>, Reply, Instant)>,
    below: BTreeMap<u32, Vec<u8>>,
    sent_up: bool,
}

/// The most bytes that each of `size` ranks may contribute: all contributions together have to fit one frame.
pub(super) fn contribution_max(size: u32) -> usize {
    CONTRIBUTION_MAX.min(((FRAME_MAX - ROUND_HEAD) / size.max(1) as usize).saturating_sub(ENTRY_HEAD))
}

impl Exchanges {
    /// This rank begins its next exchange; the number of that.
    pub(super) fn begin(&mut self, rank: u32, mine: &[u8], reply: Reply, deadline: Instant) -> u32 {
        let round = self.next;
        self.next = round.wrapping_add(1);
        let entry = Encoder::fields().u32(rank).bytes(mine).into_fields();
        self.rounds.entry(round).or_default().mine = Some((entry, reply, deadline));
        round
    }

    /// Entries came from a rank below.
    pub(super) fn gathered(&mut self, round: u32, child: u32, entries: Vec<u8>) -> Result<(), Nonsense> {
        if round.wrapping_sub(self.current) > AHEAD {
            return Err(Nonsense("a contribution to an exchange that nobody runs"));
        }
        let below = &mut self.rounds.entry(round).or_default().below;
        match below.insert(child, entries) {
            None => Ok(()),
            Some(_) => Err(Nonsense("a second contribution to one exchange")),
        }
    }

    /// The entries to pass on, once: when this rank and all of its `children` have contributed.
    pub(super) fn ready(&mut self, round: u32, mut children: impl Iterator<Item = u32>) -> Option<Vec<u8>> {
        let state = self.rounds.get_mut(&round)?;
        let (mine, ..) = state.mine.as_ref()?;
        if state.sent_up || !children.all(|child| state.below.contains_key(&child)) {
            return None;
        }
        state.sent_up = true;
        let mut entries = mine.clone();
        for (_, below) in std::mem::take(&mut state.below) {
            entries.extend_from_slice(&below);
        }
        Some(entries)
    }

    /// All entries are known: ends the exchange.
    pub(super) fn end(&mut self, round: u32, size: u32, entries: &[u8]) -> Result<(), Nonsense> {
        let state = self.rounds.get(&round).filter(|state| round == self.current && state.sent_up);
        state.ok_or(Nonsense("the end of an exchange that nobody runs"))?;
        let parsed = parse(entries, size)?;
        self.current = round.wrapping_add(1);
        if let Some((_, reply, _)) = self.rounds.remove(&round).and_then(|state| state.mine) {
            // Nobody waits any more if the caller gave up.
            let _ = reply.send(Ok(parsed));
        }
        Ok(())
    }

    /// Fails those whose deadline has passed. The error gets the rank waited for: the first of `children` that has not contributed,
    /// otherwise the one above.
    pub(super) fn expire(&mut self, now: Instant, children: &[u32], above: u32, error: impl Fn(u32) -> Error) {
        for state in self.rounds.values_mut() {
            if let Some((_, reply, _)) = state.mine.take_if(|(_, _, deadline)| *deadline <= now) {
                let late = if state.sent_up { None } else { children.iter().find(|c| !state.below.contains_key(c)) };
                let _ = reply.send(Err(error(late.copied().unwrap_or(above))));
            }
        }
    }

    /// Fails everything that this rank waits for.
    pub(super) fn fail(&mut self, error: &Error) {
        for state in std::mem::take(&mut self.rounds).into_values() {
            if let Some((_, reply, _)) = state.mine {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

fn parse(entries: &[u8], size: u32) -> Result<Vec<Vec<u8>>, Nonsense> {
    const TWICE: Nonsense = Nonsense("an exchange that lacks a rank or has one twice");
    // One entry takes at least its head, so what came bounds what is reserved.
    if entries.len() / ENTRY_HEAD < size as usize {
        return Err(TWICE);
    }
    let mut all: Vec<Option<Vec<u8>>> = vec![None; size as usize];
    let mut fields = Decoder::new(entries);
    for _ in 0..size {
        let rank = fields.u32()? as usize;
        let place = all.get_mut(rank).filter(|place| place.is_none()).ok_or(TWICE)?;
        *place = Some(fields.bytes()?.to_vec());
    }
    fields.end()?;
    all.into_iter().collect::<Option<_>>().ok_or(TWICE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(rank: u32, bytes: &[u8]) -> Vec<u8> {
        Encoder::fields().u32(rank).bytes(bytes).into_fields()
    }

    #[test]
    fn a_round_goes_up_once_all_below_have_come() {
        let mut exchanges = Exchanges::default();
        let (reply, mut got) = oneshot::channel();
        let round = exchanges.begin(0, b"zero", reply, Instant::now());
        assert_eq!(exchanges.ready(round, [1, 2].into_iter()), None);
        exchanges.gathered(0, 2, entry(2, b"")).expect("a contribution");
        exchanges.gathered(1, 2, entry(2, b"ahead")).expect("a contribution to the next");
        assert_eq!(exchanges.ready(round, [1, 2].into_iter()), None);
        exchanges.gathered(0, 1, entry(1, b"one")).expect("a contribution");
        let entries = exchanges.ready(round, [1, 2].into_iter()).expect("all came");
        assert_eq!(exchanges.ready(round, [1, 2].into_iter()), None, "only once");
        exchanges.end(round, 3, &entries).expect("an end");
        assert_eq!(got.try_recv().expect("a reply").expect("a result"), [&b"zero"[..], b"one", b""]);
    }

    #[test]
    fn nonsense_is_refused() {
        let mut exchanges = Exchanges::default();
        assert!(exchanges.gathered(2, 1, vec![]).is_err(), "too far ahead");
        assert!(exchanges.gathered(u32::MAX, 1, vec![]).is_err(), "behind");
        assert!(exchanges.end(0, 1, &[]).is_err(), "not begun");
        exchanges.gathered(0, 1, vec![]).expect("a contribution");
        assert!(exchanges.gathered(0, 1, vec![]).is_err(), "twice");
        let (one, two) = (entry(1, b"a"), entry(0, b"b"));
        assert!(parse(&[one.clone(), two.clone()].concat(), 2).is_ok());
        for bad in [vec![], one.clone(), [one.clone(), one.clone()].concat(), [one, two.clone(), two].concat()] {
            assert!(parse(&bad, 2).is_err());
        }
        assert!(parse(&entry(9, b""), 1).is_err());
        assert!(parse(&[0; 10], u32::MAX).is_err());
    }

    #[test]
    fn who_is_late_is_named() {
        let mut exchanges = Exchanges::default();
        let (reply, mut got) = oneshot::channel();
        let now = Instant::now();
        exchanges.begin(0, b"", reply, now);
        exchanges.gathered(0, 1, vec![]).expect("a contribution");
        exchanges.expire(now, &[1, 2], 7, |peer| Error::InvalidArgument { what: peer.to_string() });
        assert_eq!(got.try_recv().expect("a reply").expect_err("late").to_string(), "2");
        assert!(exchanges.rounds[&0].mine.is_none());
    }

    #[test]
    fn contributions_fit_a_frame() {
        for size in [1, 1000, 4096, 100_000, 1 << 20] {
            let all = (contribution_max(size) + ENTRY_HEAD) * size as usize + ROUND_HEAD;
            assert!(all <= FRAME_MAX && contribution_max(size) >= 128, "{size}");
        }
    }
}
