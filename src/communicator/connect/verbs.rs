//! RDMA verbs between two ranks: both ends are made, connected and tried before they are trusted.

use super::super::links::{Refusal, VERBS};
use super::{ASK, Connector};
use crate::engine::Watch;
use crate::error::Result;
use crate::transport::Sleep;
use crate::transport::Transport;
use crate::transport::verbs::{Card, Rail, VerbsLink};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::{FromZeros, IntoBytes};

/// How long two ends may take to meet. A lost packet is sent again after the device's timeout, 4 s unless set otherwise; a way that does not
/// exist takes the device half a minute to give up.
const MEETING: Duration = Duration::from_secs(10);

impl Connector<'_> {
    /// Tries to reach the peer by RDMA, who does the same at the other end; both come to the same end, or to the reason why not.
    pub(super) fn use_verbs(&self, peer: u32, stream: &mut TcpStream) -> Result<Result<VerbsLink, Refusal>> {
        // The cards of both say who has a port, so nobody waits for the other to talk of it.
        let there = self.cards[peer as usize].rail.is_empty().then(|| "it has no RDMA port".to_owned());
        let rail = match self.rail {
            Ok(rail) if there.is_none() => rail,
            rail => return Ok(Err(Refusal { transport: VERBS, here: rail.err().map(str::to_owned), there })),
        };
        let link = self.try_verbs(rail, peer, stream)?;
        if let Err(refusal) = &link {
            let why = refusal.words(peer);
            tracing::warn!(peer, why, "RDMA to this peer was tried, and does not work");
        }
        Ok(link)
    }

    fn try_verbs(&self, rail: &Arc<Rail>, peer: u32, stream: &mut TcpStream) -> Result<Result<VerbsLink, Refusal>> {
        let link = VerbsLink::create(rail).map_err(|error| error.to_string());
        let mut theirs = Card::new_zeroed();
        let mine = link.as_ref().map_or_else(|_| Card::new_zeroed(), VerbsLink::card);
        self.say(stream, peer, mine.as_bytes())?;
        self.hear(stream, peer, theirs.as_mut_bytes())?;
        let connected = link.and_then(|mut link| match link.refuses(&theirs) {
            Some(why) => Err(why),
            None => link.connect(&theirs).map(|()| link).map_err(|error| error.to_string()),
        });
        // Whoever is not connected yet would not hear a greeting.
        let mut link = match self.agree(VERBS, peer, stream, connected)? {
            Ok(link) => link,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let met = self.meet(peer, &mut link)?;
        self.agree(VERBS, peer, stream, met.map(|()| link))
    }

    /// Waits until both ends have met, or there is a reason why they do not.
    fn meet(&self, peer: u32, link: &mut VerbsLink) -> Result<Result<(), String>> {
        let mut sleep = Sleep::new()?;
        // Ranks take their peers in ascending order, so a pair may come after as many vain meetings as its two ranks have peers.
        let patience = MEETING.min(self.timeout / (2 * self.control.size()));
        let deadline = Instant::now() + patience;
        if let Err(fault) = link.greet() {
            return Ok(Err(fault.to_string()));
        }
        loop {
            match link.has_met() {
                Ok(true) => return Ok(Ok(())),
                Ok(false) => {}
                Err(fault) => return Ok(Err(fault.to_string())),
            }
            self.watch.check(&self.call, peer)?;
            if Instant::now() > deadline {
                return Ok(Err(format!("nothing came through within {patience:?}")));
            }
            if link.arm().is_ok_and(|still| still) {
                sleep.watch(link)?;
                sleep.sleep(ASK)?;
            }
        }
    }
}
