//! Which algorithms may run: the grammar of `SERRIED_ALGO`, which is that of `NCCL_ALGO`.
//!
//! ```text
//! ring                                   whatever a ring serves goes by it, the rest as is best
//! ring,tree                              the best of these
//! ^ring                                  anything but that
//! allreduce:ring,tree;broadcast:^chain   for each collective its own
//! ring;broadcast:binomial                the first for all, but for those that are named
//! auto                                   anything
//! ```

use super::IN_ROOM;
use crate::schedule::Algorithm;
use crate::types::CollectiveKind;
use std::fmt;

/// Collectives that have algorithms: those with the numbers from 1 on.
const KINDS: [CollectiveKind; 9] = [
    CollectiveKind::AllReduce,
    CollectiveKind::Reduce,
    CollectiveKind::ReduceScatter,
    CollectiveKind::Broadcast,
    CollectiveKind::AllGather,
    CollectiveKind::Gather,
    CollectiveKind::Scatter,
    CollectiveKind::AllToAll,
    CollectiveKind::Barrier,
];

/// For every collective the algorithms that may run; at least one of those that serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// By the collective's number less one, a bit by each algorithm's number.
    sets: [u16; KINDS.len()],
}

/// Any algorithm.
impl Default for Allowed {
    fn default() -> Self {
        Self { sets: KINDS.map(serving) }
    }
}

/// Only this one, for every collective that it serves.
impl From<Algorithm> for Allowed {
    fn from(algorithm: Algorithm) -> Self {
        Self { sets: KINDS.map(|kind| narrowed(kind, bit(algorithm))) }
    }
}

impl Allowed {
    /// Reads the grammar above, without regard to case, blanks and underscores.
    ///
    /// # Errors
    /// Says in words what cannot be understood, or cannot be honoured: an algorithm that does not serve the collective that it is named for, a collective for which nothing
    /// is left.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut allowed = Self::default();
        let mut named = 0u16;
        for (place, entry) in text.split(';').enumerate() {
            match entry.split_once(':') {
                None if place == 0 => allowed = Self::parse_for_all(entry)?,
                None => {
                    return Err(format!("{:?} names no collective: only the first entry may be for all", entry.trim()));
                }
                Some((collective, names)) => {
                    let kind = kind_of(collective)?;
                    let place = kind as usize - 1;
                    if named & 1 << place != 0 {
                        return Err(format!("{} is there twice", kind.name()));
                    }
                    named |= 1 << place;
                    allowed.sets[place] = Names::parse(names)?.for_one(kind)?;
                }
            }
        }
        Ok(allowed)
    }

    fn parse_for_all(entry: &str) -> Result<Self, String> {
        if plain(entry) == "auto" {
            return Ok(Self::default());
        }
        let names = Names::parse(entry)?;
        let mut sets = [0; KINDS.len()];
        for (set, kind) in sets.iter_mut().zip(KINDS) {
            *set = if names.but { names.for_one(kind)? } else { narrowed(kind, names.set) };
        }
        Ok(Self { sets })
    }

    /// Whether `algorithm` may run for `kind`, which it serves.
    pub fn allows(&self, kind: CollectiveKind, algorithm: Algorithm) -> bool {
        self.set(kind) & bit(algorithm) != 0
    }

    /// Those that may run for `kind`, in the order of their numbers.
    pub fn of(&self, kind: CollectiveKind) -> impl Iterator<Item = Algorithm> + use<> {
        let set = self.set(kind);
        Algorithm::serving(kind).iter().copied().filter(move |algorithm| set & bit(*algorithm) != 0)
    }

    /// Whether nothing is left to choose.
    pub fn is_fixed(&self, kind: CollectiveKind) -> bool {
        self.set(kind).count_ones() == 1
    }

    /// Whether what memory that all ranks share does may run, for every collective.
    pub fn fits_room(&self) -> bool {
        let direct =
            KINDS.into_iter().all(|kind| kind == CollectiveKind::AllReduce || self.allows(kind, Algorithm::Direct));
        direct && IN_ROOM.into_iter().any(|algorithm| self.allows(CollectiveKind::AllReduce, algorithm))
    }

    fn set(&self, kind: CollectiveKind) -> u16 {
        self.sets.get((kind as usize).wrapping_sub(1)).copied().unwrap_or(0)
    }
}

/// In the same grammar: one algorithm by its name, otherwise each collective that not everything is allowed for by itself.
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(only) = Algorithm::ALL.into_iter().find(|only| Self::from(*only) == *self) {
            return f.write_str(only.name());
        }
        let narrow = KINDS.into_iter().filter(|kind| self.set(*kind) != serving(*kind));
        let entry = |kind| {
            let names: Vec<_> = self.of(kind).map(Algorithm::name).collect();
            format!("{}:{}", kind.name(), names.join(","))
        };
        let entries: Vec<_> = narrow.map(entry).collect();
        f.write_str(if entries.is_empty() { "auto".into() } else { entries.join(";") }.as_str())
    }
}

/// A list of algorithms in an entry.
struct Names {
    set: u16,
    /// All but these.
    but: bool,
}

impl Names {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (but, list) = text.strip_prefix('^').map_or((false, text), |rest| (true, rest));
        let known = || Algorithm::ALL.map(Algorithm::name).join(", ");
        let set = list.split(',').try_fold(0, |set, name| {
            let algorithm = Algorithm::parse(&plain(name));
            algorithm.map(|algorithm| set | bit(algorithm)).ok_or_else(|| match name.trim() {
                "" => format!("an algorithm is missing in {text:?}; there are {}", known()),
                name => format!("there is no algorithm {name:?}; there are {}", known()),
            })
        })?;
        Ok(Self { set, but })
    }

    /// What they leave of those that serve `kind`.
    fn for_one(&self, kind: CollectiveKind) -> Result<u16, String> {
        let serving = serving(kind);
        if !self.but && self.set & !serving != 0 {
            let odd = Algorithm::ALL.into_iter().filter(|one| self.set & !serving & bit(*one) != 0);
            let odd: Vec<_> = odd.map(Algorithm::name).collect();
            return Err(format!("{} has no algorithm {}; it has {}", kind.name(), odd.join(" or "), names_of(kind)));
        }
        let left = serving & if self.but { !self.set } else { self.set };
        if left == 0 {
            Err(format!("nothing is left for {}, which has {}", kind.name(), names_of(kind)))
        } else {
            Ok(left)
        }
    }
}

/// Of those that serve `kind` the ones in `set`, or all if there are none.
fn narrowed(kind: CollectiveKind, set: u16) -> u16 {
    let serving = serving(kind);
    if serving & set == 0 { serving } else { serving & set }
}

fn serving(kind: CollectiveKind) -> u16 {
    Algorithm::serving(kind).iter().fold(0, |set, algorithm| set | bit(*algorithm))
}

const fn bit(algorithm: Algorithm) -> u16 {
    1 << algorithm as u8
}

fn names_of(kind: CollectiveKind) -> String {
    Algorithm::serving(kind).iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ")
}

fn kind_of(text: &str) -> Result<CollectiveKind, String> {
    let kind = KINDS.into_iter().find(|kind| plain(kind.name()) == plain(text));
    let known = || KINDS.map(CollectiveKind::name).join(", ");
    kind.ok_or_else(|| format!("there is no collective {:?} with algorithms; there are {}", text.trim(), known()))
}

/// Without what does not matter.
fn plain(text: &str) -> String {
    text.chars().filter(|one| !one.is_whitespace() && *one != '_').collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, kind: CollectiveKind) -> String {
        let allowed = Allowed::parse(text).expect(text);
        allowed.of(kind).map(Algorithm::name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_grammar_says_what_may_run() {
        for (text, kind, expected) in [
            ("ring", CollectiveKind::AllReduce, "ring"),
            ("ring", CollectiveKind::Broadcast, "direct binomial chain scattergather hierarchical leaders"),
            ("Ring, TREE", CollectiveKind::AllReduce, "ring tree"),
            ("ring,tree", CollectiveKind::AllGather, "ring"),
            ("^ring,nhr", CollectiveKind::AllGather, "direct hierarchical leaders"),
            ("allreduce:ring;all_gather:^ring", CollectiveKind::AllReduce, "ring"),
            ("allreduce:ring;all_gather:^ring", CollectiveKind::AllGather, "direct nhr hierarchical leaders"),
            ("allreduce:ring;all_gather:^ring", CollectiveKind::Gather, "direct binomial"),
            ("ring;AllGather:nhr", CollectiveKind::AllGather, "nhr"),
            ("auto;alltoall:bruck", CollectiveKind::AllToAll, "bruck"),
        ] {
            assert_eq!(names(text, kind), expected, "{text} for {}", kind.name());
        }
        assert_eq!(Allowed::parse("auto"), Ok(Allowed::default()));
        assert_eq!(Allowed::parse("ring"), Ok(Algorithm::Ring.into()));
    }

    #[test]
    fn what_cannot_be_honoured_is_an_error() {
        for (text, why) in [
            ("rung", "there is no algorithm \"rung\""),
            ("", "an algorithm is missing"),
            ("ring,", "an algorithm is missing"),
            ("allreduce:", "an algorithm is missing"),
            ("broadcast:ring", "broadcast has no algorithm ring; it has direct, binomial"),
            ("gather:^direct,binomial", "nothing is left for gather"),
            ("^direct,nhr,leaders", "nothing is left for barrier"),
            ("allreduce:ring;tree", "only the first entry may be for all"),
            ("allreduce:ring;all_reduce:tree", "allreduce is there twice"),
            ("send:ring", "there is no collective \"send\" with algorithms"),
            ("allreduce:ring;", "only the first entry"),
        ] {
            let error = Allowed::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn it_prints_as_it_is_read() {
        for text in ["auto", "ring", "^ring", "allreduce:ring,tree;broadcast:^chain", "bruck;barrier:direct"] {
            let allowed = Allowed::parse(text).expect(text);
            assert_eq!(Allowed::parse(&allowed.to_string()), Ok(allowed), "{allowed}");
        }
        assert_eq!(Allowed::default().to_string(), "auto");
        assert_eq!(Allowed::from(Algorithm::Bruck).to_string(), "bruck");
    }
}
