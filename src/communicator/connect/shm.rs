//! Shared memory between two ranks: each side offers a region that the other may send into.

use super::super::links::{Refusal, SHM};
use super::Connector;
use crate::engine::copy;
use crate::error::Result;
use crate::transport::shm::{Card, Region, ShmLink};
use std::net::TcpStream;
use zerocopy::{FromZeros, IntoBytes};

impl Connector<'_> {
    /// Tries to share memory with the peer, who does the same at the other end; both come to the same end, or to the reason why not.
    pub(super) fn share_memory(&self, peer: u32, stream: &mut TcpStream) -> Result<Result<ShmLink, Refusal>> {
        let inbox = self.offer(peer);
        let mut theirs = Card::new_zeroed();
        let mine = inbox.as_ref().map_or_else(|_| Card::new_zeroed(), Region::card);
        self.say(stream, peer, mine.as_bytes())?;
        self.hear(stream, peer, theirs.as_mut_bytes())?;
        let link = match inbox {
            Ok(_) if theirs == Card::new_zeroed() => Err("it is offered none".to_owned()),
            Ok(inbox) => Region::open(&theirs)
                .and_then(|outbox| ShmLink::new(inbox, outbox, copy))
                .map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        let mut link = self.agree(SHM, peer, stream, link)?;
        if let Ok(link) = &mut link {
            link.close_descriptor();
        }
        Ok(link)
    }

    /// A region for the peer to send into, or why there is none.
    fn offer(&self, peer: u32) -> Result<Region, String> {
        let host = |rank: u32| &self.cards[rank as usize].host;
        if host(peer) != host(self.control.rank()) {
            return Err("the two are on different hosts".into());
        }
        ShmLink::inbox().map_err(|error| error.to_string())
    }
}
