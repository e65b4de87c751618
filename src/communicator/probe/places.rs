//! On which processors ranks run while they measure.
//!
//! A rank that wakes another may pull it to its own processor, and one that was just started may still be on another's. Of four ranks on two processors three are
//! then on one: calls take up to twice as long, until the system evens that out, a tenth of a second later. What is measured would be either of the two.

use crate::bootstrap::Control;
use crate::communicator::card::Card;
use crate::error::{Error, Result};
use crate::topology;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::io;

/// The processors that this rank and some others may run on.
#[derive(Debug)]
pub(super) struct Places {
    rank: u32,
    /// It and the others.
    alike: Vec<u32>,
    /// Those processors, ascending; none where there is nobody to share them with, or the system does not tell.
    processors: Vec<Processor>,
}

#[derive(Clone, Copy, Debug)]
struct Processor {
    number: u32,
    /// The first of those on the same core.
    core: u32,
}

impl Places {
    pub(super) fn of(rank: u32, cards: &[Card]) -> Self {
        let own = &cards[rank as usize];
        let is_alike = |card: &Card| card.machine == own.machine && card.processors == own.processors;
        let alike: Vec<u32> = (0..).zip(cards).filter(|(_, card)| is_alike(card)).map(|(rank, _)| rank).collect();
        let allowed = sched_getaffinity(None).ok().filter(|_| alike.len() > 1);
        let numbers =
            allowed.into_iter().flat_map(|set| (0..CpuSet::MAX_CPU).filter(move |number| set.is_set(*number)));
        let processors = numbers.map(|number| number as u32);
        let processors = processors.map(|number| Processor { number, core: topology::core_of(number) });
        Self { rank, alike, processors: processors.collect() }
    }

    /// Spreads those ranks that are `awake` over the processors that they may run on, while others sleep; the system may move them again at any time. All ranks call it, and begin together what
    /// comes next.
    ///
    /// # Errors
    /// As the exchange that it makes.
    pub(super) fn settle(&self, control: &Control, awake: impl Fn(u32) -> bool) -> Result<()> {
        let told = control.exchange(&(sched_getcpu() as u32).to_le_bytes())?;
        let place = |rank: u32| {
            let place = <[u8; 4]>::try_from(told[rank as usize].as_slice()).map(u32::from_le_bytes);
            let what = || format!("rank {}: measuring the network: rank {rank} told of an odd processor", self.rank);
            let odd = |_| Error::InvalidArgument { what: what() };
            Ok((rank, place.map_err(odd)?))
        };
        let awake = self.alike.iter().copied().filter(|rank| awake(*rank));
        let (ranks, places): (Vec<u32>, Vec<u32>) = awake.map(place).collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let Some(own) = ranks.iter().position(|rank| *rank == self.rank) else { return Ok(()) };
        let to = spread(places, &self.processors)[own];
        // Who woke this rank may have pulled it elsewhere.
        if to != sched_getcpu() as u32 && self.processors.iter().any(|processor| processor.number == to) {
            go_to(to);
        }
        Ok(())
    }
}

/// Where each should go, for none of the `processors` to have two more than another. As few go as can be, to cores where as few are as can be.
fn spread(mut places: Vec<u32>, processors: &[Processor]) -> Vec<u32> {
    let core_of = |place: &u32| match processors.binary_search_by_key(place, |one| one.number) {
        Ok(at) => processors[at].core,
        Err(_) => *place,
    };
    loop {
        let on = |one: &Processor| places.iter().filter(|place| **place == one.number).count();
        let loads: Vec<usize> = processors.iter().map(on).collect();
        let (Some(least), Some(most)) = (loads.iter().min(), loads.iter().max()) else { return places };
        if *most < least + 2 {
            return places;
        }
        let of_load = |wanted: usize| processors.iter().zip(&loads).filter(move |(_, load)| **load == wanted);
        let is_fullest = |place: &u32| of_load(*most).any(|(one, _)| one.number == *place);
        let mover = places.iter().rposition(is_fullest).expect("so many are there");
        let cores: Vec<u32> = places.iter().map(core_of).collect();
        let on_core = |core: u32| cores.iter().filter(|one| **one == core).count();
        let (to, _) = of_load(*least).min_by_key(|(one, _)| on_core(one.core)).expect("one has the least");
        places[mover] = to.number;
    }
}

/// Moves this thread to a processor, from where it may go to any that it could. Where the system does not let it, it stays. (Its affinity is one that was set from then on: a group's
/// processors that are added later are not among it.)
fn go_to(processor: u32) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    if bind_to(processor).is_ok() {
        let back = sched_setaffinity(None, &allowed).or_else(|_| sched_setaffinity(None, &allowed));
        if let Err(error) = back {
            tracing::warn!(processor, %error, "this thread stays on one processor");
        }
    }
}

fn bind_to(processor: u32) -> io::Result<()> {
    let mut there = CpuSet::new();
    there.set(processor as usize);
    Ok(sched_setaffinity(None, &there)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_few_as_can_be_go_until_none_has_two_more_than_another() {
        let one_each = |numbers: &[u32]| -> Vec<Processor> {
            numbers.iter().map(|number| Processor { number: *number, core: *number }).collect()
        };
        for (places, processors, expected) in [
            (&[0, 0, 0, 1][..], &[0, 1][..], &[0, 0, 1, 1][..]),
            (&[0, 1, 1, 0], &[0, 1], &[0, 1, 1, 0]),
            (&[1, 1, 1, 1], &[0, 1], &[1, 1, 0, 0]),
            (&[0, 0, 1, 1, 2], &[0, 1, 2, 3], &[0, 0, 1, 3, 2]),
            (&[5, 5, 5], &[3, 5], &[5, 5, 3]),
            // One that is elsewhere by now.
            (&[9, 0, 0], &[0, 1], &[9, 0, 1]),
            (&[0, 0], &[], &[0, 0]),
        ] {
            assert_eq!(spread(places.to_vec(), &one_each(processors)), expected, "{places:?} on {processors:?}");
        }
        // Processors 0 and 2 are of one core, and 1 and 3 of another.
        let two_each: Vec<_> = (0..4).map(|number| Processor { number, core: number % 2 }).collect();
        assert_eq!(spread(vec![1, 1], &two_each), [1, 0]);
        assert_eq!(spread(vec![0, 0], &two_each), [0, 1]);
        assert_eq!(spread(vec![2, 2, 2], &two_each), [2, 3, 1]);
    }

    #[test]
    fn a_thread_that_goes_may_go_on_to_where_it_could() {
        let allowed = sched_getaffinity(None).expect("the system tells");
        let find = |is_wanted: &dyn Fn(usize) -> bool| (0..CpuSet::MAX_CPU).rfind(|one| is_wanted(*one));
        let last = find(&|one| allowed.is_set(one)).expect("it runs somewhere") as u32;
        bind_to(last).expect("it may run there");
        assert_eq!(sched_getcpu() as u32, last);
        sched_setaffinity(None, &allowed).expect("as before");
        go_to(last);
        assert_eq!(sched_getaffinity(None), Ok(allowed));
        if let Some(other) = find(&|one| !allowed.is_set(one)) {
            go_to(other as u32);
            assert_eq!(sched_getaffinity(None), Ok(allowed), "as before, wherever that is");
        }
    }
}
