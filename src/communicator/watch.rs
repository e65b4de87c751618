//! What a waiting call asks: has a rank failed, has the operation's time run out?

use crate::bootstrap::Control;
use crate::engine::Watch;
use crate::error::{Cause, Error, Operation, Result};
use crate::types::{Call, CollectiveKind};
use std::cell::Cell;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// After so long a rank tells the others what it is in: far beyond any healthy wait between ranks that are there, short to a user.
const STALLED: Duration = Duration::from_millis(500);

/// So long after a peer has left, nothing having moved on any link, the end of its stream is not waited for any more.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Such a part of the operation timeout without a byte of a message from a peer that is in another call means that none will come.
const QUIET: u32 = 20;

/// The watch over one call. Its clock starts with the first question, so that a call that never waits reads no clock.
pub(super) struct CallWatch<'a> {
    control: &'a Control,
    timeout: Duration,
    /// Peers, by rank, whose link is a stream: what they sent before they left may still be on its way, and the stream's end will tell, if it comes.
    streams: &'a [bool],
    /// Collective calls that this rank has made.
    collectives: u64,
    began: Cell<Option<Instant>>,
    /// When it was first asked after something had moved.
    quiet_since: Cell<Option<Instant>>,
    /// The call was stated to the others.
    stated: Cell<bool>,
    /// A peer that was found to have left, and when, if nothing has moved since.
    gone: Cell<Option<(u32, Instant)>>,
}

impl<'a> CallWatch<'a> {
    pub(super) fn new(control: &'a Control, timeout: Duration, streams: &'a [bool], collectives: u64) -> Self {
        Self {
            control,
            timeout,
            streams,
            collectives,
            began: Cell::new(None),
            quiet_since: Cell::new(None),
            stated: Cell::new(false),
            gone: Cell::new(None),
        }
    }

    /// The same watch that states nothing to others: for calls whose numbers come again.
    pub(super) fn silent(self) -> Self {
        self.stated.set(true);
        self
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
            let waited = now.duration_since(began);
            match ours.kind() {
                Some(CollectiveKind::Send) => self.look_for_collective(ours, peer, now)?,
                _ => self.compare(ours, waited)?,
            }
        }
        if now.duration_since(began) > self.timeout {
            // The peer may itself wait for the one that does not come.
            let peer = match operation {
                Operation::Call(ours) if self.stated.get() => {
                    self.control.absent(ours.sequence, ours.as_bytes(), peer).unwrap_or(peer)
                }
                _ => peer,
            };
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

impl CallWatch<'_> {
    /// A peer that waits for this rank in a collective call sends and receives nothing before it. What it sent before may be long on its way, but not
    /// without anything of it arriving.
    fn look_for_collective(&self, ours: Call, peer: u32, now: Instant) -> Result<()> {
        let since = self.quiet_since.get().unwrap_or(now);
        self.quiet_since.set(Some(since));
        if now.duration_since(since) < STALLED.max(self.timeout / QUIET) {
            return Ok(());
        }
        let theirs = self.control.later(peer, self.collectives).and_then(|what| Call::read_from_bytes(&what).ok());
        match theirs {
            None => Ok(()),
            Some(theirs) => Err(Error::Mismatch { rank: self.control.rank(), ours, peer, theirs }),
        }
    }
}

impl Watch for CallWatch<'_> {
    fn check(&self, call: &Call, peer: u32) -> Result<()> {
        self.ask(Operation::Call(*call), peer)
    }

    fn moved(&self) {
        self.quiet_since.set(None);
        self.gone.set(None);
    }
}
