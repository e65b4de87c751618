//! What whole calls take, over what their messages take that were measured by themselves.

use super::network::{cost, words};
use super::price::Price;
use crate::schedule::Algorithm;
use crate::types::CollectiveKind;

/// By how much longer calls take than their messages are priced at; 1 is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Longer {
    /// What it takes without bytes.
    pub latency: f64,
    /// What bytes add.
    pub byte: f64,
}

impl Longer {
    /// It takes what its messages do.
    pub const NOT: Self = Self { latency: 1.0, byte: 1.0 };

    /// What a call takes that is priced so.
    pub(super) fn time(self, Times { empty_ns, ns, wire_ns }: Times) -> f64 {
        self.latency_ns(empty_ns, wire_ns) + self.byte * (ns - empty_ns).max(0.0)
    }

    /// What it takes without bytes beyond its messages is waiting for threads. That goes on while bytes are on wires: only what outlasts them is added.
    fn latency_ns(self, empty_ns: f64, wire_ns: f64) -> f64 {
        let all_ns = self.latency * empty_ns;
        if self.latency > 1.0 { empty_ns.max(all_ns - wire_ns) } else { all_ns }
    }

    /// No more than [`time`](Self::time) gives for any that are no less, but as long on wires.
    pub(super) fn floor(self, Times { empty_ns, ns, wire_ns }: Times) -> f64 {
        let of = |latency: f64| {
            if latency < self.byte { latency * ns } else { latency * empty_ns + self.byte * (ns - empty_ns).max(0.0) }
        };
        if self.latency > 1.0 { of(1.0).max(of(self.latency) - wire_ns) } else { of(self.latency) }
    }

    /// The most that such a call may be priced at to take no longer than `limit_ns`. Where bytes add nothing, no price is too high: an infinite one times nothing would be no number.
    pub(super) fn within(self, empty_ns: f64, wire_ns: f64, limit_ns: f64) -> f64 {
        if self.byte > 0.0 {
            empty_ns + (limit_ns - self.latency_ns(empty_ns, wire_ns)) / self.byte
        } else {
            f64::INFINITY
        }
    }

    /// The latency with which a small call is predicted to take `measured_ns` that is priced so, but for as long as its bytes are on wires: a shaper lets so few pass at once, and the exact
    /// factor would jump where a call takes what its messages do.
    pub(crate) fn latency_of(self, measured_ns: f64, Times { empty_ns, ns, .. }: Times) -> f64 {
        ratio(measured_ns - self.byte * (ns - empty_ns).max(0.0), empty_ns)
    }

    /// What bytes have to be multiplied by for the same.
    pub(crate) fn byte_of(self, measured_ns: f64, Times { empty_ns, ns, wire_ns }: Times) -> f64 {
        ratio(measured_ns - self.latency_ns(empty_ns, wire_ns), ns - empty_ns)
    }

    pub(super) fn price(self, price: Price, wire_ns: f64) -> Price {
        let latency_ns = self.latency_ns(price.latency_ns, wire_ns);
        let (bandwidth_ns, reduction_ns) = (self.byte * price.bandwidth_ns, self.byte * price.reduction_ns);
        let total_ns = latency_ns + self.byte * (price.total_ns - price.latency_ns).max(0.0);
        Price { total_ns, latency_ns, bandwidth_ns, reduction_ns }
    }
}

/// What the messages of a call are priced at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Times {
    /// Without bytes.
    pub(crate) empty_ns: f64,
    /// With them.
    pub(crate) ns: f64,
    /// How long what the ranks of a host share is busy with bytes, one way: the busiest.
    pub(crate) wire_ns: f64,
}

/// No less than 0; 1 over nothing.
fn ratio(over: f64, under: f64) -> f64 {
    if under > 0.0 { (over / under).max(0.0) } else { 1.0 }
}

/// The same for all calls, and for the allreduces by those algorithms that were tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Calls {
    /// Allreduces by these.
    pub tried: Vec<(Algorithm, Longer)>,
    /// All others.
    pub others: Longer,
}

impl Calls {
    /// None was made.
    pub const NONE: Self = Self { tried: Vec::new(), others: Longer::NOT };

    /// By how much longer those calls take.
    pub fn of(&self, kind: CollectiveKind, algorithm: Algorithm) -> Longer {
        let known = self.tried.iter().find(|(one, _)| kind == CollectiveKind::AllReduce && *one == algorithm);
        known.map_or(self.others, |(_, longer)| *longer)
    }

    /// What is known of the allreduces by an algorithm, to be changed; until then they are as others.
    pub(crate) fn tried_mut(&mut self, algorithm: Algorithm) -> &mut Longer {
        let known = self.tried.iter().position(|(one, _)| *one == algorithm);
        let place = known.unwrap_or(self.tried.len());
        if known.is_none() {
            self.tried.push((algorithm, self.others));
        }
        &mut self.tried[place].1
    }

    /// Sets what bytes of all of them take.
    pub(crate) fn set_byte(&mut self, byte: f64) {
        let tried = self.tried.iter_mut().map(|(_, longer)| longer);
        tried.chain([&mut self.others]).for_each(|longer| longer.byte = byte);
    }

    /// A line each, none where nothing was tried.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        let others = (self.others != Longer::NOT).then_some((OTHERS, self.others));
        let tried = self.tried.iter().map(|(algorithm, longer)| (algorithm.name(), *longer));
        others
            .into_iter()
            .chain(tried)
            .map(|(name, Longer { latency, byte })| format!("call {name}{}", words([latency, byte])))
    }

    /// From such lines; the error says what is wrong with one.
    pub(super) fn parse(lines: &[&str]) -> Result<Self, String> {
        let mut calls = Self::NONE;
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, name, latency, byte] = words[..] else { return Err(format!("{line:?} is not of calls")) };
            let longer = Longer { latency: cost(latency)?, byte: cost(byte)? };
            if name == OTHERS {
                calls.others = longer;
            } else {
                let algorithm = Algorithm::parse(name).ok_or_else(|| format!("{name:?} is no algorithm"))?;
                *calls.tried_mut(algorithm) = longer;
            }
        }
        Ok(calls)
    }
}

const OTHERS: &str = "others";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_by_an_algorithm_take_longer_by_their_own() {
        let (tree, others) = (Longer { latency: 3.0, byte: 0.5 }, Longer { latency: 2.0, byte: 1.0 });
        let mut calls = Calls { others, ..Calls::NONE };
        assert_eq!(calls.of(CollectiveKind::AllReduce, Algorithm::Tree), others);
        *calls.tried_mut(Algorithm::Tree) = tree;
        assert_eq!(*calls.tried_mut(Algorithm::Ring), others, "until it is known");
        assert_eq!(calls.of(CollectiveKind::AllReduce, Algorithm::Tree), tree);
        assert_eq!(calls.of(CollectiveKind::Broadcast, Algorithm::Tree), others, "allreduces were tried");
        calls.set_byte(4.0);
        assert_eq!(calls.of(CollectiveKind::Gather, Algorithm::Direct), Longer { latency: 2.0, byte: 4.0 });
        assert_eq!(calls.of(CollectiveKind::AllReduce, Algorithm::Tree), Longer { latency: 3.0, byte: 4.0 });
    }

    #[test]
    fn what_a_call_takes_longer_it_waits_while_bytes_are_on_wires() {
        let (longer, shorter) = (Longer { latency: 3.0, byte: 0.5 }, Longer { latency: 0.5, byte: 2.0 });
        let times = |wire_ns| Times { empty_ns: 10.0, ns: 110.0, wire_ns };
        for (wire_ns, expected) in [(0.0, 80.0), (15.0, 65.0), (20.0, 60.0), (100.0, 60.0)] {
            assert_eq!(longer.time(times(wire_ns)), expected, "{wire_ns} ns on wires");
            assert_eq!(longer.within(10.0, wire_ns, expected), 110.0);
            assert_eq!(longer.byte_of(expected, times(wire_ns)), 0.5);
        }
        assert_eq!(longer.latency_of(80.0, times(0.0)), 3.0);
        assert_eq!(shorter.time(times(100.0)), 205.0, "it does not wait");
        assert_eq!(Longer::NOT.time(times(100.0)), 110.0);
        assert_eq!(Longer { byte: 0.0, ..longer }.within(10.0, 0.0, 80.0), f64::INFINITY, "bytes add nothing");
        // Whatever disturbed a call, no factor is below nothing, and none comes of nothing.
        assert_eq!((longer.latency_of(10.0, times(0.0)), longer.byte_of(10.0, times(0.0))), (0.0, 0.0));
        let nothing = Times { empty_ns: 0.0, ns: 0.0, wire_ns: 0.0 };
        assert_eq!((longer.latency_of(5.0, nothing), longer.byte_of(5.0, nothing)), (1.0, 1.0));
        let price = Price { total_ns: 110.0, latency_ns: 10.0, bandwidth_ns: 70.0, reduction_ns: 30.0 };
        let expected = Price { total_ns: 65.0, latency_ns: 15.0, bandwidth_ns: 35.0, reduction_ns: 15.0 };
        assert_eq!(longer.price(price, 15.0), expected);
        assert_eq!(Longer::NOT.price(price, 15.0), price);
    }

    #[test]
    fn a_floor_is_below_what_more_takes() {
        for longer in
            [(3.0, 0.5), (2.0, 5.0), (0.5, 3.0), (0.9, 0.1), (1.0, 1.0)].map(|(latency, byte)| Longer { latency, byte })
        {
            for wire_ns in [0.0, 15.0, 100.0] {
                let floor = longer.floor(Times { empty_ns: 10.0, ns: 110.0, wire_ns });
                assert!(floor > 0.0, "{longer:?}");
                for (empty_ns, ns) in [(10.0, 110.0), (110.0, 110.0), (60.0, 120.0), (1e3, 1e4)] {
                    let time = longer.time(Times { empty_ns, ns, wire_ns });
                    assert!(floor <= time, "{longer:?}, {wire_ns} on wires: {floor} and {time}");
                }
            }
        }
    }
}
