//! What the links of a communicator cost, as they were measured. Nanoseconds and bytes.
//!
//! A network is kept and told as text, a line each:
//!
//! ```text
//! serried network 1
//! hosts 0 0 1 1                          of each rank
//! inside 900 300 0.11 0.09 1             latency, busy, a byte on the way, busy with a byte, slots
//! between 14000 5000 8.3 0.4 2
//! shared 8.4 8.4                         by host, a byte through what its ranks share
//! fold 0.07                              reducing a byte
//! machines 0 1                           by host, on which it is
//! cores 8 8                              of each machine
//! crowded 6000                           what ranks wait longer for a message where they are more than cores
//! call others 1.5 1.1                    what calls took, over what the lines above make of latencies and of bytes
//! call tree 1.25 0.9                     and of them, allreduces by an algorithm
//! reads 65536 2097152 0 0                where all ranks share a host's memory: the blocks that one rank is to take, and the broadcasts, in bytes, which are read from where they lie
//! room direct 8:330 32768:9100           what calls of so many bytes took in shared memory, where all ranks share a host
//! ```

use super::calls::Calls;
use crate::schedule::Algorithm;
use crate::types::{Grouping, Reads};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A kind of link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkCost {
    /// From when a rank begins to send a message of a few bytes until its receiver has it.
    pub latency_ns: f64,
    /// Of that, what either end's thread is busy.
    pub busy_ns: f64,
    /// A byte on the way, one message after the other in one direction.
    pub byte_ns: f64,
    /// What either end's thread is busy with a byte.
    pub busy_byte_ns: f64,
    /// Slots a lane has.
    pub slots: u32,
}

/// More than any transport has.
pub(crate) const SLOTS_MOST: u32 = 64;

/// No such link.
impl Default for LinkCost {
    fn default() -> Self {
        Self { latency_ns: 0.0, busy_ns: 0.0, byte_ns: 0.0, busy_byte_ns: 0.0, slots: 1 }
    }
}

/// What an allreduce by one algorithm took in memory that all ranks share, by its bytes, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Bytes, and nanoseconds.
    pub points: Vec<(usize, f64)>,
}

/// The links between the ranks of a communicator.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Which ranks share a host.
    pub grouping: Grouping,
    /// Links between ranks of one host.
    pub inside: LinkCost,
    /// Links between ranks of different hosts.
    pub between: LinkCost,
    /// By host, a byte that leaves it or comes to it, whichever of its ranks sends or receives: they share its network interfaces.
    pub shared_byte_ns: Vec<f64>,
    /// Reducing a byte that has arrived.
    pub fold_byte_ns: f64,
    /// By host, the machine that it is on: several, if they are containers, or pretended.
    pub machines: Vec<u32>,
    /// By machine, the processors that ranks can run on.
    pub cores: Vec<u32>,
    /// On a machine with more ranks than cores, what a rank waits longer for a message, since others run meanwhile.
    pub crowded_ns: f64,
    /// What calls took, over what all the above makes of them.
    pub calls: Calls,
    /// Where all ranks share a host's memory, what is read from where it lies, if that was measured.
    pub reads: Option<Reads>,
    /// Where all ranks share a host's memory and allreduces run there, what they take; empty elsewhere.
    pub room: Vec<Curve>,
}

impl Network {
    /// Nothing is known of it but who is where.
    pub fn unknown(grouping: Grouping) -> Self {
        let hosts = grouping.hosts() as usize;
        Self {
            grouping,
            inside: LinkCost::default(),
            between: LinkCost::default(),
            shared_byte_ns: vec![0.0; hosts],
            fold_byte_ns: 0.0,
            machines: vec![0; hosts],
            cores: vec![1],
            crowded_ns: 0.0,
            calls: Calls::NONE,
            reads: None,
            room: Vec::new(),
        }
    }

    /// The same network among some of its ranks, in this order; on which processors they run is to be seen anew.
    pub fn among(&self, ranks: &[u32]) -> Self {
        let hosts: Vec<u32> = ranks.iter().map(|rank| self.grouping.host_of(*rank)).collect();
        let grouping = Grouping::new(&hosts);
        let is_whole = ranks.len() == self.grouping.size() as usize;
        let shared = |host| self.shared_byte_ns[hosts[grouping.members(host)[0] as usize] as usize];
        Self {
            inside: self.inside,
            between: self.between,
            shared_byte_ns: (0..grouping.hosts()).map(shared).collect(),
            fold_byte_ns: self.fold_byte_ns,
            crowded_ns: self.crowded_ns,
            // A call by the same algorithm is another among fewer ranks.
            calls: if is_whole { self.calls.clone() } else { Calls { others: self.calls.others, ..Calls::NONE } },
            reads: self.reads.clone().filter(|_| is_whole),
            room: if is_whole { self.room.clone() } else { Vec::new() },
            ..Self::unknown(grouping.clone())
        }
    }

    /// What the link between two ranks costs.
    pub fn link(&self, one: u32, other: u32) -> &LinkCost {
        if self.grouping.host_of(one) == self.grouping.host_of(other) { &self.inside } else { &self.between }
    }
}

impl Curve {
    /// What was measured, by bytes, ascending. What disturbed a small call shows in larger ones that took less: no call takes longer than a larger one.
    pub fn measured(algorithm: Algorithm, mut points: Vec<(usize, f64)>) -> Self {
        let mut least = f64::INFINITY;
        for (_, ns) in points.iter_mut().rev() {
            least = least.min(*ns);
            *ns = least;
        }
        Self { algorithm, points }
    }

    /// What a call of `bytes` takes: between two points in proportion; below the first, as that.
    pub fn at(&self, bytes: usize) -> f64 {
        let after = self.points.partition_point(|(size, _)| *size < bytes);
        match (self.points.get(after.wrapping_sub(1)), self.points.get(after)) {
            (Some((low, low_ns)), Some((high, high_ns))) => {
                low_ns + (high_ns - low_ns) * (bytes - low) as f64 / (high - low) as f64
            }
            (None, Some(first)) => first.1,
            (Some(last), None) => self.beyond(after, *last, bytes),
            (None, None) => 0.0,
        }
    }

    /// Beyond the last point a byte takes what it does between the last two, and half of what it does up to the last at least: the two may have
    /// been disturbed.
    fn beyond(&self, points: usize, (last, last_ns): (usize, f64), bytes: usize) -> f64 {
        let mean = last_ns / last.max(1) as f64;
        let slope = match points.checked_sub(2).map(|before| self.points[before]) {
            Some((before, before_ns)) => ((last_ns - before_ns) / (last - before) as f64).max(mean / 2.0),
            None => mean,
        };
        last_ns + slope * (bytes - last) as f64
    }
}

const HEADING: &str = "serried network 1";

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADING}\nhosts{}", words((0..self.grouping.size()).map(|rank| self.grouping.host_of(rank))))?;
        for (name, LinkCost { latency_ns, busy_ns, byte_ns, busy_byte_ns, slots }) in
            [("inside", self.inside), ("between", self.between)]
        {
            writeln!(f, "{name} {latency_ns} {busy_ns} {byte_ns} {busy_byte_ns} {slots}")?;
        }
        writeln!(f, "shared{}\nfold {}", words(&self.shared_byte_ns), self.fold_byte_ns)?;
        writeln!(f, "machines{}\ncores{}", words(&self.machines), words(&self.cores))?;
        writeln!(f, "crowded {}", self.crowded_ns)?;
        self.calls.lines().try_for_each(|line| writeln!(f, "{line}"))?;
        if let Some(Reads { blocks, broadcast }) = &self.reads {
            writeln!(f, "reads {} {} {} {}", blocks.start, blocks.end, broadcast.start, broadcast.end)?;
        }
        for Curve { algorithm, points } in &self.room {
            writeln!(f, "room {algorithm}{}", words(points.iter().map(|(bytes, ns)| format!("{bytes}:{ns}"))))?;
        }
        Ok(())
    }
}

pub(super) fn words(all: impl IntoIterator<Item = impl fmt::Display>) -> String {
    all.into_iter().map(|one| format!(" {one}")).collect()
}

/// From its text; the error says what is wrong with it.
impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADING) {
            return Err(format!("its first line is not {HEADING:?}"));
        }
        let mut line = |name: &str| {
            let line = lines.next().unwrap_or_default();
            let rest = line.strip_prefix(name).map(str::split_whitespace);
            rest.ok_or_else(|| format!("{line:?} stands where {name:?} belongs"))
        };
        let hosts: Vec<u32> = line("hosts")?.map(number).collect::<Result<_, _>>()?;
        if hosts.is_empty() {
            return Err("it has no ranks".to_owned());
        }
        let grouping = Grouping::new(&hosts);
        let (inside, between) = (link(line("inside")?)?, link(line("between")?)?);
        let shared_byte_ns: Vec<f64> = line("shared")?.map(cost).collect::<Result<_, _>>()?;
        if shared_byte_ns.len() != grouping.hosts() as usize {
            return Err(format!("it has {} hosts, and what {} share", grouping.hosts(), shared_byte_ns.len()));
        }
        let fold_byte_ns = line("fold")?.next().map_or_else(|| Err("nothing of folding".to_owned()), cost)?;
        let machines: Vec<u32> = line("machines")?.map(number).collect::<Result<_, _>>()?;
        let cores: Vec<u32> = line("cores")?.map(number).collect::<Result<_, _>>()?;
        let known = |machine: &u32| cores.get(*machine as usize).is_some_and(|cores| *cores > 0);
        if machines.len() != grouping.hosts() as usize || !machines.iter().all(known) {
            return Err(format!("its {} hosts are not all on machines with cores", grouping.hosts()));
        }
        let crowded_ns = line("crowded")?.next().map_or_else(|| Err("nothing of crowds".to_owned()), cost)?;
        let (calls, rooms): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("call "));
        let calls = Calls::parse(&calls)?;
        let (lines_of_reads, rooms): (Vec<&str>, Vec<&str>) =
            rooms.into_iter().partition(|line| line.starts_with("reads "));
        let reads = lines_of_reads.first().map(|line| reads(line)).transpose()?;
        let room = rooms.into_iter().map(curve).collect::<Result<_, _>>()?;
        let known = Self { inside, between, shared_byte_ns, fold_byte_ns, ..Self::unknown(grouping) };
        Ok(Self { machines, cores, crowded_ns, calls, reads, room, ..known })
    }
}

fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{word:?} is no number"))
}

/// Nanoseconds that a message or a byte may take: beyond it, sums of them would no longer be numbers.
pub(crate) const COSTS: RangeInclusive<f64> = 0.0..=1e12;

pub(super) fn cost(word: &str) -> Result<f64, String> {
    let cost: f64 = number(word)?;
    if COSTS.contains(&cost) { Ok(cost) } else { Err(format!("{word:?} is no cost")) }
}

fn link<'a>(words: impl Iterator<Item = &'a str>) -> Result<LinkCost, String> {
    let words: Vec<&str> = words.collect();
    let [latency_ns, busy_ns, byte_ns, busy_byte_ns, slots] = words[..] else {
        return Err(format!("a link has {} numbers, not 5", words.len()));
    };
    let is_sound = |slots: &u32| (1..=SLOTS_MOST).contains(slots);
    let slots = number(slots).ok().filter(is_sound).ok_or_else(|| format!("{slots:?} is no number of slots"))?;
    Ok(LinkCost {
        latency_ns: cost(latency_ns)?,
        busy_ns: cost(busy_ns)?,
        byte_ns: cost(byte_ns)?,
        busy_byte_ns: cost(busy_byte_ns)?,
        slots,
    })
}

fn reads(line: &str) -> Result<Reads, String> {
    let numbers: Vec<usize> = line.split_whitespace().skip(1).map(number).collect::<Result<_, _>>()?;
    let [first, end, first_broadcast, end_broadcast] = numbers[..] else {
        return Err(format!("{line:?} is not of what is read"));
    };
    Ok(Reads { blocks: first..end, broadcast: first_broadcast..end_broadcast })
}

fn curve(line: &str) -> Result<Curve, String> {
    let mut words = line.split_whitespace();
    let odd = || format!("{line:?} is no curve of a room");
    let algorithm = words.next().filter(|word| *word == "room").and_then(|_| words.next()).and_then(Algorithm::parse);
    let algorithm = algorithm.ok_or_else(odd)?;
    let point = |word: &str| -> Result<(usize, f64), String> {
        let (bytes, ns) = word.split_once(':').ok_or_else(odd)?;
        Ok((number(bytes)?, cost(ns)?))
    };
    let points: Vec<_> = words.map(point).collect::<Result<_, _>>()?;
    if points.is_empty() || !points.is_sorted_by(|one, next| one.0 < next.0) {
        return Err(odd());
    }
    Ok(Curve { algorithm, points })
}

#[cfg(test)]
mod tests {
    use super::super::calls::Longer;
    use super::*;

    fn network() -> Network {
        Network {
            grouping: Grouping::new(&[0, 0, 1]),
            inside: LinkCost { latency_ns: 812.5, busy_ns: 100.0, byte_ns: 0.1, busy_byte_ns: 1.0 / 3.0, slots: 1 },
            between: LinkCost { latency_ns: 14e3, busy_ns: 5e3, byte_ns: 8.3, busy_byte_ns: 0.4, slots: 2 },
            shared_byte_ns: vec![8.25, 80.0],
            fold_byte_ns: 0.07,
            machines: vec![0, 1],
            cores: vec![8, 4],
            crowded_ns: 6e3,
            calls: Calls {
                tried: vec![(Algorithm::Tree, Longer { latency: 1.25, byte: 0.5 })],
                others: Longer { latency: 1.5, byte: 1.0 },
            },
            reads: Some(Reads { blocks: 65_536..262_144, broadcast: 1 << 20..usize::MAX }),
            room: vec![Curve { algorithm: Algorithm::TwoShot, points: vec![(8, 400.0), (4096, 1000.5)] }],
        }
    }

    #[test]
    fn some_ranks_have_their_part_of_it() {
        let part = network().among(&[2, 0]);
        assert_eq!((&part.grouping, &part.shared_byte_ns), (&Grouping::new(&[0, 1]), &vec![80.0, 8.25]));
        assert_eq!((part.between, part.calls.tried.len(), part.room.len()), (network().between, 0, 0));
        assert_eq!(part.calls.others, network().calls.others);
        assert_eq!(part.reads, None);
        let all = network().among(&[1, 0, 2]);
        assert_eq!((all.calls, all.reads, all.room), (network().calls, network().reads, network().room));
    }

    #[test]
    fn its_text_says_all_of_it() {
        let text = network().to_string();
        assert_eq!(text.parse(), Ok(network()), "{text}");
        assert!(text.starts_with("serried network 1\nhosts 0 0 1\ninside 812.5 100 0.1 0.333"), "{text}");
    }

    #[test]
    fn a_text_that_is_none_says_why() {
        let text = network().to_string();
        for (from, to, why) in [
            ("network 1", "network 2", "its first line"),
            ("hosts 0 0 1", "hosts", "no ranks"),
            ("hosts 0 0 1", "hosts 0 x 1", "\"x\" is no number"),
            ("hosts 0 0 1", "hosts 0 0 0", "it has 1 hosts, and what 2 share"),
            ("812.5", "NaN", "\"NaN\" is no cost"),
            ("812.5", "-1", "\"-1\" is no cost"),
            ("812.5", "1e13", "\"1e13\" is no cost"),
            ("812.5 ", "", "a link has 4 numbers"),
            ("0.4 2", "0.4 0", "\"0\" is no number of slots"),
            ("0.4 2", "0.4 4000000000", "is no number of slots"),
            ("between", "betwixt", "stands where \"between\" belongs"),
            ("fold 0.07", "fold", "nothing of folding"),
            ("machines 0 1", "machines 0 2", "not all on machines"),
            ("cores 8 4", "cores 8 0", "not all on machines"),
            ("call tree 1.25 0.5", "call tree 1.25", "not of calls"),
            ("call others 1.5 1", "call others 1.5 1 1", "not of calls"),
            ("call tree 1.25 0.5", "call tree 1.25 x", "\"x\" is no number"),
            ("call tree", "call bush", "\"bush\" is no algorithm"),
            ("reads 65536 262144 1048576", "reads 65536 262144", "not of what is read"),
            ("reads 65536", "reads x", "is no number"),
            ("room twoshot", "room rung", "no curve"),
            ("8:400", "9000:400", "no curve"),
        ] {
            let broken = text.replace(from, to);
            assert_ne!(broken, text, "{from}");
            let error = broken.parse::<Network>().expect_err(to);
            assert!(error.contains(why), "{to}: {error}");
        }
    }

    #[test]
    fn a_curve_goes_on_between_its_points_and_beyond() {
        let curve = Curve { algorithm: Algorithm::Direct, points: vec![(8, 100.0), (108, 200.0), (208, 400.0)] };
        for (bytes, expected) in [(0, 100.0), (8, 100.0), (58, 150.0), (108, 200.0), (158, 300.0), (308, 600.0)] {
            assert_eq!(curve.at(bytes), expected, "{bytes}");
        }
    }
}
