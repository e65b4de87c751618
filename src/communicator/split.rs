//! Communicators made of others: of some of their ranks, or of all once more.

use super::executor::Executor;
use super::inherited::Inherited;
use super::request::Request;
use super::{Communicator, Config};
use crate::bootstrap::{Control, UniqueId};
use crate::error::{Error, Result};
use crate::types::Call;

/// What each rank says of where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    color: Option<u32>,
    key: i64,
}

/// # Further communicators
///
/// Collective calls on a communicator, the *parent*, that make others out of its ranks. Each has a control plane, links and errors of its own: what breaks
/// one leaves the other whole. Devices are shared. All ranks of the parent take part, also those that are in none of the new ones; ranks that do different
/// things (a split and a subset, subsets of other ranks, some other call) get [`Error::Mismatch`].
///
/// Errors are those of the collectives and of [`create`](Self::create). Where the new communicator's settings are cancelled while ranks of the parent still
/// agree, the parent is aborted, since its other ranks wait for this one.
impl Communicator {
    /// Parts the ranks by `color`: ranks that give the same one are a new communicator, in the order of `key` and, where that is equal, of
    /// their ranks here. A rank that gives `None` is in none.
    pub fn split(&self, color: Option<u32>, key: i64) -> Result<Option<Self>> {
        self.split_with(color, key, &self.shared.config)
    }

    /// As [`split`](Self::split), with settings of its own; the ranks of a new communicator must have in common what those of any must.
    pub fn split_with(&self, color: Option<u32>, key: i64, config: &Config) -> Result<Option<Self>> {
        self.part(SPLIT, Wish { color, key }, config)
    }

    /// All ranks do the same `kind` of thing, which tells what each wishes.
    fn part(&self, kind: u64, wish: Wish, config: &Config) -> Result<Option<Self>> {
        self.queue.wait_until_idle()?;
        // Held until they have agreed, so that of two threads one comes after the other here as it does on other ranks.
        let mut executor = self.shared.executor();
        // Before the first exchange, which an abort from then on ends, too.
        let cancel = self.shared.offspring().clone();
        let mut is_due = true;
        let agreed = self.unless_cancelled(&config.control.cancel, || {
            is_due = false;
            self.agree(&mut executor, kind, wish, config)
        });
        let agreed = agreed.map_err(|error| match is_due {
            true => executor.refuse_to_agree(&self.shared.control, error),
            false => error,
        });
        let Some((id, members)) = agreed? else { return Ok(None) };
        let heritage = Inherited::from(&executor, &members, &self.shared.config, config, cancel.clone());
        drop(executor);
        let place = members.iter().position(|member| *member == self.rank()).unwrap_or_default() as u32;
        let size = members.len() as u32;
        let control = Control::join_while(&id, place, size, &config.control, || cancel.check(self.rank()))?;
        Self::over(control, self.local_rank, config, heritage).map(Some)
    }

    /// Where the ranks of the new communicator that this one is in meet, and which they are.
    fn agree(
        &self,
        executor: &mut Executor,
        kind: u64,
        wish: Wish,
        config: &Config,
    ) -> Result<Option<(UniqueId, Vec<u32>)>> {
        let control = &self.shared.control;
        config.check().map_err(|error| executor.refuse_to_agree(control, error))?;
        executor.collective(control, Request::agreeing(kind))?;
        let wishes = control.exchange(&wish.to_bytes())?;
        let wishes = wishes.iter().enumerate().map(|(rank, bytes)| Wish::from_bytes(rank, bytes));
        let wishes = wishes.collect::<Result<Vec<Wish>>>()?;
        let members = members(&wishes, wish.color);
        // The first member of each new communicator holds its rendezvous.
        let holds = members.first() == Some(&self.rank());
        let told = match holds.then(|| UniqueId::create_for_members(&config.control)) {
            None => String::new(),
            Some(Ok(id)) => id.to_string(),
            Some(Err(error)) => format!("{REFUSED}{error}"),
        };
        let told = control.exchange(told.as_bytes())?;
        let Some(first) = members.first() else { return Ok(None) };
        let said = String::from_utf8_lossy(&told[*first as usize]).into_owned();
        if let Some(reason) = said.strip_prefix(REFUSED) {
            let what = format!("rank {}: rank {first} could not hold the rendezvous of a split", self.rank());
            return Err(Error::System { what, reason: reason.to_owned() });
        }
        Ok(Some((said.parse()?, members)))
    }

    /// A communicator of the same ranks.
    pub fn duplicate(&self) -> Result<Self> {
        let wish = Wish { color: Some(0), key: i64::from(self.rank()) };
        let new = self.part(DUPLICATE, wish, &self.shared.config)?;
        Ok(new.expect("a rank with a color is in a communicator"))
    }

    /// A communicator of `ranks`, which get new numbers in that order; `None` on the others. All ranks of the parent give the same list.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if a rank is not there or is there twice.
    pub fn subset(&self, ranks: &[u32]) -> Result<Option<Self>> {
        let bad = |why: String| {
            let error = Error::InvalidArgument { what: format!("rank {}: subset: {why}", self.rank()) };
            self.shared.executor().refuse_to_agree(&self.shared.control, error)
        };
        for (index, rank) in ranks.iter().enumerate() {
            if *rank >= self.size() {
                return Err(bad(format!("there is no rank {rank}; ranks are 0 to {}", self.size() - 1)));
            }
            if ranks[..index].contains(rank) {
                return Err(bad(format!("rank {rank} is listed twice")));
            }
        }
        let place = ranks.iter().position(|rank| *rank == self.rank());
        let listed: Vec<usize> = ranks.iter().map(|rank| *rank as usize).collect();
        let wish = Wish { color: place.map(|_| 0), key: place.unwrap_or(0) as i64 };
        self.part(Call::uneven(&listed), wish, &self.shared.config)
    }
}

/// What ranks that split agree on; of a subset it is made of the list.
const SPLIT: u64 = 1;
/// Likewise for a duplicate.
const DUPLICATE: u64 = 2;

/// Begins what stands for a unique id where there is none.
const REFUSED: &str = "!";

/// The ranks of the communicator that `color` is of, in their new order.
fn members(wishes: &[Wish], color: Option<u32>) -> Vec<u32> {
    let mut members: Vec<u32> =
        (0..wishes.len() as u32).filter(|rank| color.is_some() && wishes[*rank as usize].color == color).collect();
    members.sort_by_key(|rank| wishes[*rank as usize].key);
    members
}

impl Wish {
    fn to_bytes(self) -> [u8; 16] {
        let color = self.color.map_or(u64::MAX, u64::from);
        let (color, key) = (color.to_le_bytes(), self.key.to_le_bytes());
        std::array::from_fn(|at| if at < 8 { color[at] } else { key[at - 8] })
    }

    fn from_bytes(rank: usize, bytes: &[u8]) -> Result<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let (Some(color), Some(key)) = (word(0), word(8)) else {
            let what = format!("rank {rank} takes part in a split with {} bytes where 16 are due", bytes.len());
            return Err(Error::InvalidArgument { what });
        };
        Ok(Self { color: u32::try_from(color).ok(), key: key.cast_signed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_in_the_order_of_key_and_rank() {
        let wish = |color, key| Wish { color, key };
        let wishes =
            [wish(Some(1), 5), wish(Some(0), 0), wish(Some(1), -3), wish(None, 0), wish(Some(1), 5), wish(Some(7), 0)];
        assert_eq!(members(&wishes, Some(1)), [2, 0, 4]);
        assert_eq!(members(&wishes, Some(0)), [1]);
        assert_eq!(members(&wishes, Some(9)), []);
        assert_eq!(members(&wishes, None), [], "who is in none has no company");
    }

    #[test]
    fn wishes_go_there_and_back() {
        for wish in [Wish { color: None, key: -1 }, Wish { color: Some(u32::MAX), key: i64::MIN }] {
            assert_eq!(Wish::from_bytes(0, &wish.to_bytes()).expect("they are its bytes"), wish);
        }
        assert!(Wish::from_bytes(0, &[0; 15]).is_err());
    }
}
