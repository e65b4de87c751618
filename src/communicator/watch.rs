//! What a waiting call asks: has a rank failed, has the operation's time run out?

use crate::bootstrap::Control;
use crate::engine::Watch;
use crate::error::{Cause, Error, Operation, Result};
use crate::types::Call;
use std::cell::Cell;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// After so long a rank tells the others what it is in: far beyond any healthy wait between ranks that are there, short to a user.
const STALLED: Duration = Duration::from_millis(500);

/// So long after a peer has left, nothing having come from it, the end of its stream is not waited for any more.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The watch over one call. Its clock starts with the first question, so that a call that never waits reads no clock.
pub(super) struct CallWatch<'a> {
    control: &'a Control,
    timeout: Duration,
    /// Peers, by rank, whose link is a stream: what they sent before they left may still be on its way, and the stream's end will tell, if it comes.
    streams: &'a [bool],
    began: Cell<Option<Instant>>,
    /// The call was stated to the others.
    stated: Cell<bool>,
    /// A peer that was found to have left, and when, if nothing has moved since.
    gone: Cell<Option<(u32, Instant)>>,
}

impl<'a> CallWatch<'a> {
    pub(super) fn new(control: &'a Control, timeout: Duration, streams: &'a [bool]) -> Self {
        Self { control, timeout, streams, began: Cell::new(None), stated: Cell::new(false), gone: Cell::new(None) }
    }

    /// An error if the job has failed, `peer` has left, or `operation` has waited too long for it.
    pub(super) fn ask(&self, operation: Operation, peer: u32) -> Result<()> {
        let rank = self.control.rank();
        if let Some(failure) = self.control.verdict() {
            return Err(failure.error(rank, operation));
        }
        if self.control.any_left() && self.control.left(peer) {
            let by_stream = self.streams.get(peer as usize).is_some_and(|stream| *stream);
            match self.gone.get().filter(|(who, _)| *who == peer) {
                None => self.gone.set(Some((peer, Instant::now()))),
                // What it gave before it left has arrived by now, or all that ever will.
                Some((_, since)) if !by_stream || since.elapsed() > LAST_WORDS => {
                    return Err(Error::Peer { rank, peer, operation, cause: Cause::Left });
                }
                Some(_) => {}
            }
        }
        let now = Instant::now();
        let began = self.began.get().unwrap_or(now);
        self.began.set(Some(began));
        if let Operation::Call(ours) = operation {
            self.compare(ours, now.duration_since(began))?;
        }
        if now.duration_since(began) > self.timeout {
            // The peer may itself wait for the one that does not come.
            let absent = |call: Call| self.control.absent(call.sequence, call.as_bytes(), peer);
            let peer = if let Operation::Call(ours) = operation { absent(ours).unwrap_or(peer) } else { peer };
            return Err(Error::Timeout { rank, operation, peer, after: self.timeout });
        }
        Ok(())
    }
}

impl CallWatch<'_> {
    /// Ranks that never meet in a message (their algorithms differ, or one still connects) find out over the control plane.
    fn compare(&self, ours: Call, waited: Duration) -> Result<()> {
        let what = ours.as_bytes();
        if waited > STALLED && !self.stated.replace(true) {
            self.control.state(ours.sequence, what);
        }
        match self.control.contradiction(ours.sequence, what) {
            None => Ok(()),
            Some((peer, what)) => match Call::read_from_bytes(&what) {
                Ok(theirs) => Err(Error::Mismatch { rank: self.control.rank(), ours, peer, theirs }),
                Err(_) => Ok(()),
            },
        }
    }
}

impl Watch for CallWatch<'_> {
    fn check(&self, call: &Call, peer: u32) -> Result<()> {
        self.ask(Operation::Call(*call), peer)
    }

    fn moved(&self) {
        self.gone.set(None);
    }
}
