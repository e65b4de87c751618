//! Going on with other ranks: without some, also after they or others have failed, or with new ones.

use super::inherited::Inherited;
use super::{Communicator, Config};
use crate::bootstrap::{Control, UniqueId};
use crate::error::{Error, Operation, Result};
use std::io::{Read, Write};
use std::time::Instant;

/// Tags of links are small; these have the highest bit.
const TAGS: u32 = 1 << 31;

impl Communicator {
    /// A communicator of the ranks in `staying`, which alone call it, all with the same list; they get new numbers in that order. It needs nothing of the other
    /// ranks, and this communicator may be broken: it stays as it is, and its links are not used.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the list has a rank that is not there, one twice, or not this one. [`Error::Missing`] if ranks of the list do not
    /// come within `config.control.init_timeout`, [`Error::Peer`] if one cannot be reached.
    pub fn survivors(&self, staying: &[u32], config: &Config) -> Result<Self> {
        config.check()?;
        let place = self.place_among(staying)?;
        let cancel = self.shared.offspring().clone();
        let goes_on = || config.control.cancel.check(self.rank()).and_then(|()| cancel.check(self.rank()));
        // FNV-1a, by words: a list has a tag of its own, the same on all ranks.
        let hash = |hash: u32, rank: &u32| (hash ^ rank).wrapping_mul(0x0100_0193);
        let tag = TAGS | staying.iter().fold(0x811c_9dc5, hash);
        // The id goes from rank to rank along a binary tree.
        let id = match place {
            0 => UniqueId::create_for_members(&config.control)?,
            _ => self.hear_id((staying[(place - 1) / 2], tag), staying.len(), config, goes_on)?,
        };
        for below in [2 * place + 1, 2 * place + 2].into_iter().filter_map(|below| staying.get(below)) {
            let addresses = self.shared.executor().addresses(*below);
            let mut stream = self.shared.control.dial_anyhow(*below, &addresses, tag, goes_on)?;
            stream.write_all(&id.to_bytes()).map_err(|error| self.lost(*below, &error))?;
        }
        let control = Control::join_while(&id, place as u32, staying.len() as u32, &config.control, goes_on)?;
        let heritage = Inherited::from(&self.shared.executor(), staying, &self.shared.config, config, cancel.clone());
        Self::over(control, self.local_rank(), config, heritage)
    }

    /// A communicator of this one's ranks, by their numbers, and of new ones, which [`create`](Self::create) it with the same id and size and the
    /// numbers that follow. This one stays as it is.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `size` is not more than this one's; the error that broke this one, if it is broken; otherwise as of [`create`](Self::create).
    pub fn grow(&self, id: &UniqueId, size: u32, config: &Config) -> Result<Self> {
        let (rank, old) = (self.rank(), self.size());
        if size <= old {
            let what = format!("rank {rank}: grow: of {size} ranks, {old} are here already");
            return Err(Error::InvalidArgument { what });
        }
        let cancel = self.shared.offspring().clone();
        if let Some(failure) = self.shared.control.verdict() {
            return Err(failure.error(rank, Operation::Init));
        }
        let control = Control::join_while(id, rank, size, &config.control, || cancel.check(rank))?;
        Self::over(control, self.local_rank(), config, Inherited::of_none(cancel))
    }

    fn place_among(&self, staying: &[u32]) -> Result<usize> {
        let (rank, size) = (self.rank(), self.size());
        let bad = |why: String| Error::InvalidArgument { what: format!("rank {rank}: survivors: {why}") };
        if let Some(stranger) = staying.iter().find(|rank| **rank >= size) {
            return Err(bad(format!("there is no rank {stranger}; ranks are 0 to {}", size - 1)));
        }
        let mut sorted = staying.to_vec();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(bad(format!("rank {} is listed twice", pair[0])));
        }
        staying.iter().position(|stays| *stays == rank).ok_or_else(|| bad("this rank is not listed".into()))
    }

    /// The id, from the rank above.
    fn hear_id(
        &self,
        (above, tag): (u32, u32),
        size: usize,
        config: &Config,
        goes_on: impl Fn() -> Result<()>,
    ) -> Result<UniqueId> {
        let (begun, after) = (Instant::now(), config.control.init_timeout);
        let missing = || Error::Missing { rank: self.rank(), size: size as u32, missing: vec![above], after };
        let in_time = || if begun.elapsed() < after { goes_on() } else { Err(missing()) };
        let mut stream = self.shared.control.accept_anyhow(above, tag, in_time)?;
        let mut bytes = [0; UniqueId::SIZE];
        // It is on its way already.
        let heard = stream.set_read_timeout(Some(after)).and_then(|()| stream.read_exact(&mut bytes));
        heard.map_err(|error| self.lost(above, &error))?;
        UniqueId::from_bytes(&bytes)
    }

    fn lost(&self, peer: u32, error: &std::io::Error) -> Error {
        let rank = self.rank();
        let cause = crate::Cause::Link { with: rank, transport: "tcp".into(), reason: error.to_string() };
        Error::Peer { rank, peer, operation: Operation::Connect, cause }
    }
}
