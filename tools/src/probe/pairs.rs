//! What each pair of ranks uses, put together from what both say, and pairs that are alike put into one group. Pure.

use super::cover::Pair;
use std::collections::{BTreeMap, BTreeSet};

/// What one rank says of its link to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Said {
    /// The transport's name.
    pub(super) transport: String,
    /// What carries it at this rank's end; empty for shared memory.
    pub(super) end: String,
    /// Transports that were refused, and what this rank had against them, if it had.
    pub(super) refused: Vec<(String, Option<String>)>,
}

/// Why a transport is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) transport: String,
    pub(super) why: String,
    /// The ranks that said so.
    pub(super) ranks: BTreeSet<u32>,
}

/// Pairs that use the same for the same reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) transport: String,
    pub(super) reasons: Vec<Reason>,
    pub(super) pairs: BTreeSet<Pair>,
}

/// Why the two ranks of a pair use nothing better, from what each said of the other. What both say is said once.
pub(super) fn reasons(pair: Pair, said: [&Said; 2]) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    let by_transport = said[0].refused.iter().map(|(transport, _)| transport);
    for transport in by_transport {
        for (rank, said) in [(pair.0, said[0]), (pair.1, said[1])] {
            let whys = said.refused.iter().filter(|(name, _)| name == transport);
            for why in whys.filter_map(|(_, why)| why.as_ref()) {
                match reasons.iter_mut().find(|reason| reason.transport == *transport && alike(&reason.why, why)) {
                    Some(reason) => drop(reason.ranks.insert(rank)),
                    None => reasons.push(Reason {
                        transport: transport.clone(),
                        why: why.clone(),
                        ranks: BTreeSet::from([rank]),
                    }),
                }
            }
        }
    }
    reasons
}

/// Groups of pairs, the order of transports as in `order`, larger groups first.
pub(super) fn group(pairs: impl IntoIterator<Item = (Pair, String, Vec<Reason>)>, order: &[&str]) -> Vec<Group> {
    let mut groups: BTreeMap<(String, BTreeSet<(String, String)>), Group> = BTreeMap::new();
    for (pair, transport, reasons) in pairs {
        let key = reasons.iter().map(|reason| (reason.transport.clone(), unnumbered(&reason.why))).collect();
        let group = groups.entry((transport.clone(), key)).or_insert_with(|| Group {
            transport,
            reasons: reasons.clone(),
            pairs: BTreeSet::new(),
        });
        group.pairs.insert(pair);
        for reason in reasons {
            let same = |known: &&mut Reason| known.transport == reason.transport && alike(&known.why, &reason.why);
            if let Some(known) = group.reasons.iter_mut().find(same) {
                known.ranks.extend(reason.ranks);
            }
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    let place = |group: &Group| order.iter().position(|name| *name == group.transport);
    groups.sort_by_key(|group| (place(group), std::cmp::Reverse(group.pairs.len())));
    groups
}

fn alike(one: &str, other: &str) -> bool {
    one == other || unnumbered(one) == unnumbered(other)
}

/// A reason without the numbers of ranks and processes in it: these differ from pair to pair where the reason is one.
fn unnumbered(why: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in why.split(' ') {
        let number = word.starts_with(|first: char| first.is_ascii_digit());
        let numbers = matches!(words.last(), Some(&("rank" | "process")));
        words.push(if number && numbers { "#" } else { word });
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(transport: &str, refused: &[(&str, Option<&str>)]) -> Said {
        let refused = refused.iter().map(|(name, why)| (name.to_string(), why.map(str::to_owned))).collect();
        Said { transport: transport.into(), end: String::new(), refused }
    }

    #[test]
    fn what_both_say_is_said_once_and_by_both() {
        let apart = Some("the two are on different hosts");
        let one = said("tcp", &[("shm", apart), ("verbs", None)]);
        let other = said("tcp", &[("shm", apart), ("verbs", Some("libibverbs is missing"))]);
        let reasons = reasons((2, 5), [&one, &other]);
        assert_eq!(reasons.len(), 2);
        assert_eq!((reasons[0].transport.as_str(), &reasons[0].ranks), ("shm", &BTreeSet::from([2, 5])));
        assert_eq!((reasons[1].transport.as_str(), &reasons[1].ranks), ("verbs", &BTreeSet::from([5])));
    }

    #[test]
    fn a_thousand_pairs_with_one_reason_are_one_group() {
        let pairs = (0..46u32).flat_map(|a| (a + 1..46).map(move |b| (a, b)));
        let with_reason = |(a, b): Pair| {
            let why =
                |peer: u32| Some(format!("cannot open the shared memory of process {}: no such file", 4000 + peer));
            let refused = |peer| vec![("shm".to_owned(), why(peer))];
            let [one, other] = [b, a].map(|peer| Said { refused: refused(peer), ..said("tcp", &[]) });
            ((a, b), "tcp".to_owned(), reasons((a, b), [&one, &other]))
        };
        let groups = group(pairs.map(with_reason), &["shm", "verbs", "tcp"]);
        assert_eq!((groups.len(), groups[0].pairs.len(), groups[0].reasons.len()), (1, 1035, 1));
        assert_eq!(groups[0].reasons[0].ranks.len(), 46);
    }

    #[test]
    fn other_reasons_and_other_transports_are_other_groups_best_first() {
        let why = |why: &str| vec![Reason { transport: "verbs".into(), why: why.into(), ranks: BTreeSet::from([1]) }];
        let pair = |a, b, transport: &str, reasons| ((a, b), transport.to_owned(), reasons);
        let pairs = [
            pair(0, 1, "tcp", why("no device")),
            pair(0, 2, "shm", Vec::new()),
            pair(0, 3, "tcp", why("the port rxe0 is down")),
            pair(1, 2, "tcp", why("the port rxe0 is down")),
            pair(1, 3, "tcp", why("the port rxe1 is down")),
        ];
        let groups = group(pairs, &["shm", "verbs", "tcp"]);
        let told: Vec<_> = groups.iter().map(|group| (group.transport.as_str(), group.pairs.len())).collect();
        assert_eq!(told, [("shm", 1), ("tcp", 2), ("tcp", 1), ("tcp", 1)]);
        assert_eq!(groups[1].pairs, BTreeSet::from([(0, 3), (1, 2)]));
    }
}
