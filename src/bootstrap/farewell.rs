//! How a rank leaves the control tree without cutting it for those who stay.
//!
//! Usually all leave together. So a rank that leaves first says so to all, and waits a moment for those below it to be gone: leaves go first,
//! the top last, and no connection is made for it. If some stay, it hands them over: its goodbye names its heir (the rank
//! above it, or for the top the first of those below), they attach there, and release it. Each step has a deadline, since the
//! process may be about to end; if it ends half way, nobody takes that for a death, and an orphan that finds no heir becomes the top of its part.
//!
//! Why not let orphans be: a failure that only they see would never reach the rest.

use super::endpoint::Endpoint;
use super::member::Member;
use super::message::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// How long a rank that leaves waits for those below to leave too.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long handing over may take, on either side: a few handshakes.
const HANDING_OVER: Duration = Duration::from_secs(2);

/// How long a goodbye may take to go out.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A leave that is under way.
pub(super) struct Farewell {
    /// Dropped when it is over.
    _done: Option<oneshot::Sender<()>>,
    /// Until when the present phase may last.
    pub(super) until: Instant,
    pub(super) handing_over: bool,
}

impl Member {
    /// Begins to leave.
    pub(super) fn leave(&mut self, done: Option<oneshot::Sender<()>>) {
        let joined = self.formed.is_none();
        self.note_left(self.place.rank);
        self.pass_on();
        self.place.claims.close();
        // A job that never formed, or that failed, has nothing to hand over.
        let patience = if joined && self.fallen.is_none() { PATIENCE } else { Duration::ZERO };
        self.farewell = Some(Farewell { _done: done, until: Instant::now() + patience, handing_over: !joined });
    }

    /// Whether nothing is left to do here.
    pub(super) fn may_depart(&self) -> bool {
        let over = |farewell: &Farewell| {
            let given_up = farewell.handing_over && farewell.until <= Instant::now();
            self.fallen.is_some() || self.below().next().is_none() || given_up
        };
        self.farewell.as_ref().is_some_and(over)
    }

    /// The patience with those below is over, perhaps: hands them over.
    pub(super) fn part(&mut self) {
        let Some(farewell) = &mut self.farewell else { return };
        if !farewell.handing_over && farewell.until <= Instant::now() {
            (farewell.handing_over, farewell.until) = (true, Instant::now() + HANDING_OVER);
            self.hand_over();
        }
    }

    /// Tells those below where to go. May be said again when that changes.
    pub(super) fn hand_over(&self) {
        let first = || {
            let known = self.below().filter_map(|peer| Some((peer, self.edges.get(&peer)?.endpoint.clone()?)));
            // Rather one that stays; one that leaves hands on what it is given.
            known.min_by_key(|(peer, _)| (self.place.news.left(*peer), *peer))
        };
        let heir = self.above.clone().or_else(first);
        for peer in self.below() {
            let heir = heir.clone().filter(|(rank, _)| *rank != peer);
            self.edges[&peer].say(&Message::Goodbye { heir });
        }
    }

    /// A peer said goodbye.
    pub(super) fn part_from(&mut self, peer: u32, heir: Option<(u32, Endpoint)>) {
        self.note_left(peer);
        if let Some(formed) = self.formed.take() {
            let failure = super::Failure { peer, cause: crate::Cause::Left, reporter: self.place.rank };
            // Nobody listens any more if joining failed otherwise.
            let _ = formed.send(Err(failure));
        }
        let was_above = self.above.as_ref().is_some_and(|(rank, _)| *rank == peer) || self.former == Some(peer);
        if !was_above {
            self.edges.remove(&peer);
            return;
        }
        let before = self.above.as_ref().map(|(rank, _)| *rank);
        self.former = Some(peer);
        self.above = heir.filter(|(rank, _)| *rank != self.place.rank && *rank < self.place.size);
        match &self.above {
            // Said again: the dial is on its way.
            Some((rank, _)) if before == Some(*rank) && !self.edges.contains_key(rank) => {}
            Some((rank, _)) if !self.edges.contains_key(rank) => self.climb(Instant::now() + HANDING_OVER),
            _ => self.release_former(),
        }
        if self.farewell.as_ref().is_some_and(|farewell| farewell.handing_over) {
            self.hand_over();
        }
    }

    /// This rank has found its place: its former one is not needed any more.
    pub(super) fn release_former(&mut self) {
        if let Some(edge) = self.former.take().and_then(|rank| self.edges.remove(&rank)) {
            edge.say(&Message::Released);
        }
    }

    /// The last words to all that are still there, and the verdict if it has not been pronounced yet.
    pub(super) async fn say_goodbye(mut self) {
        self.pass_on();
        let (written, mut all_written) = mpsc::channel(1);
        let frame: Arc<[u8]> = Message::Goodbye { heir: None }.frame().into();
        for edge in self.edges.values() {
            edge.send(Arc::clone(&frame), Some(written.clone()));
        }
        drop(written);
        // Ends when the last edge has written. What a stopped peer does not take is lost on it anyway.
        let _ = timeout(LAST_WORDS, all_written.recv()).await;
        if let Some(failure) = self.fallen.take() {
            self.place.news.pronounce(failure);
        }
        self.place.news.unsubscribe_all();
    }
}
