//! Hierarchical schedules are proven for every division of few ranks into hosts, and for a sample of those of every larger number; and between hosts they move
//! what they say.

use serried::CollectiveKind;
use serried::engine::Layout;
use serried::schedule::proof::{Goal, Summary, prove};
use serried::schedule::rails::Turns;
use serried::schedule::{Algorithm, AllReduce, Grouping, Program, Schedule, Step, chain, hierarchy, nhr};
use std::collections::VecDeque;

/// Every division of so many ranks into hosts, in the order of their numbers, is proven.
const EVERY_DIVISION: u32 = 12;
/// With every root up to so many ranks, beyond it with some.
const EVERY_ROOT: u32 = 8;
/// Every number of ranks up to this is sampled.
const LARGEST: u32 = 64;
/// How often, for each of two ways to draw.
const DRAWN: u32 = 6;

/// The collectives and algorithms that know of hosts.
fn served() -> impl Iterator<Item = (CollectiveKind, Algorithm)> {
    let by = |kind: CollectiveKind| {
        let algorithms = Algorithm::serving(kind).iter().copied();
        let of_hosts = |algorithm: &Algorithm| matches!(algorithm, Algorithm::Hierarchical | Algorithm::Leaders);
        algorithms.filter(of_hosts).map(move |algorithm| (kind, algorithm))
    };
    CollectiveKind::ALL.into_iter().flat_map(by)
}

/// A small seeded source.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % limit
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.below(at as u32 + 1) as usize);
        }
    }
}

/// The hosts of ranks that are numbered host by host, if a set bit begins one.
fn division(size: u32, begins: u32) -> Vec<u32> {
    let host = |host: &mut u32, rank: u32| {
        *host += begins >> rank & 1;
        Some(*host)
    };
    (0..size).scan(0, host).collect()
}

/// What ranks send to other hosts.
struct Crossing {
    /// In chunks, by rank.
    sent: Vec<u64>,
    received: Vec<u64>,
    messages: Vec<u32>,
    /// The longest chain of such messages that wait for one another.
    depth: u32,
}

impl Crossing {
    /// Runs programs that are proven to end, with as many slots as they like.
    fn of<S: Schedule>(programs: &[S], grouping: &Grouping) -> Self {
        let size = programs.len();
        let (mut sent, mut received, mut messages) = (vec![0; size], vec![0; size], vec![0; size]);
        let mut links = vec![VecDeque::new(); size * size];
        let link = |from: u32, to: u32| from as usize * size + to as usize;
        let (mut at, mut depths) = (vec![0; size], vec![0; size]);
        let mut left: u32 = programs.iter().map(Schedule::len).sum();
        while left > 0 {
            for (rank, program) in (0..).zip(programs) {
                let me = rank as usize;
                while at[me] < program.len() {
                    let step = program.step(at[me]);
                    let width = u64::from(step.chunks().count);
                    match step {
                        Step::Send { to, .. } => {
                            let crosses = grouping.host_of(rank) != grouping.host_of(to);
                            links[link(rank, to)].push_back(depths[me] + u32::from(crosses));
                            sent[me] += if crosses { width } else { 0 };
                            messages[me] += u32::from(crosses);
                        }
                        Step::Recv { from, .. } | Step::RecvReduce { from, .. } => {
                            let Some(depth) = links[link(from, rank)].pop_front() else { break };
                            depths[me] = depths[me].max(depth);
                            let crosses = grouping.host_of(rank) != grouping.host_of(from);
                            received[me] += if crosses { width } else { 0 };
                        }
                        Step::ReduceOwn { .. } => {}
                    }
                    at[me] += 1;
                    left -= 1;
                }
            }
        }
        Self { sent, received, messages, depth: depths.into_iter().max().unwrap_or(0) }
    }

    fn of_host(by_rank: &[u64], grouping: &Grouping, host: u32) -> u64 {
        grouping.members(host).iter().map(|rank| by_rank[*rank as usize]).sum()
    }
}

/// ⌈log2 n⌉.
fn rounds(n: u32) -> u32 {
    n.next_power_of_two().ilog2()
}

/// Proves one program set, and that it moves between hosts what it should.
fn examine(kind: CollectiveKind, algorithm: Algorithm, root: u32, grouping: &Grouping) {
    let label = || format!("{} by {algorithm}, root {root}, {grouping:?}", kind.name());
    let program = |rank| Program::new(kind, root, algorithm, rank, grouping).expect("it serves");
    let programs: Vec<_> = (0..grouping.size()).map(program).collect();
    assert_eq!(programs[0].credits(), 1, "{}: no transport promises more", label());
    let goal = Goal::of(kind, root).expect("it is a collective");
    let summary = prove(goal, &programs, 1).unwrap_or_else(|flaw| panic!("{}: {flaw}", label()));
    let crossing = Crossing::of(&programs, grouping);
    match algorithm {
        Algorithm::Leaders => leaders_cross(kind, root, grouping, &crossing, &label),
        _ => hierarchy_crosses(kind, root, grouping, summary.parts.into(), &crossing, &label),
    }
}

fn hierarchy_crosses(
    kind: CollectiveKind,
    root: u32,
    grouping: &Grouping,
    parts: u64,
    crossing: &Crossing,
    label: &impl Fn() -> String,
) {
    let hosts = u64::from(grouping.hosts());
    let size = u64::from(grouping.size());
    let smallest = u64::from(grouping.smallest());
    let ranks_of = |host: u32| grouping.members(host % grouping.hosts()).len() as u64;
    for host in 0..grouping.hosts() {
        let sent = Crossing::of_host(&crossing.sent, grouping, host);
        let received = Crossing::of_host(&crossing.received, grouping, host);
        let is_first = host == grouping.host_of(root);
        let is_last = (host + 1) % grouping.hosts() == grouping.host_of(root);
        let ends = [u64::from(!is_last) * parts, u64::from(!is_first) * parts];
        let block = parts / size;
        let due = match kind {
            CollectiveKind::AllReduce => [2 * (hosts - 1) * parts / hosts; 2],
            CollectiveKind::Broadcast => ends,
            CollectiveKind::Reduce => [ends[1], ends[0]],
            CollectiveKind::AllGather => [size - ranks_of(host + 1), size - ranks_of(host)].map(|count| count * block),
            _ => [size - ranks_of(host), size - ranks_of(host + grouping.hosts() - 1)].map(|count| count * block),
        };
        // One host alone has nobody to send to.
        assert_eq!([sent, received], if hosts > 1 { due } else { [0, 0] }, "{}: host {host}", label());
        // Every rank carries its share of the smallest host's; of blocks, which are not cut to measure, up to a block a host more.
        let more = if kind.is_of_blocks() { hosts * block } else { 0 };
        for rank in grouping.members(host) {
            let carried = crossing.sent[*rank as usize];
            assert!((carried.saturating_sub(more)) * smallest <= sent, "{}: {carried} of {sent}", label());
        }
    }
}

fn leaders_cross(
    kind: CollectiveKind,
    root: u32,
    grouping: &Grouping,
    crossing: &Crossing,
    label: &impl Fn() -> String,
) {
    let hosts = grouping.hosts();
    let rounds = rounds(hosts);
    let extra = u32::from(!hosts.is_power_of_two());
    let (least, deepest, most) = match kind {
        CollectiveKind::AllReduce => (hosts.ilog2(), rounds + extra, hosts.ilog2() + extra),
        CollectiveKind::Broadcast => (hosts.ilog2(), hosts.ilog2(), rounds),
        CollectiveKind::Reduce => (hosts.ilog2(), hosts.ilog2(), 1),
        // Blocks are messages of their own if those of a host are not neighbours.
        _ if !grouping.is_by_host() => (rounds, u32::MAX, rounds * grouping.size()),
        _ => (rounds, rounds, rounds),
    };
    assert!((least..=deepest).contains(&crossing.depth), "{}: {} deep", label(), crossing.depth);
    assert!(crossing.messages.iter().all(|messages| *messages <= most), "{}", label());
    for host in 0..hosts {
        let leads =
            |rank: u32| if host == grouping.host_of(root) { rank == root } else { grouping.place_of(rank) == 0 };
        let mut others = grouping.members(host).iter().filter(|rank| !leads(**rank));
        assert!(others.all(|rank| crossing.messages[*rank as usize] == 0), "{}", label());
        let elsewhere = u64::from(grouping.size()) - grouping.members(host).len() as u64;
        match kind {
            CollectiveKind::AllGather => {
                assert_eq!(Crossing::of_host(&crossing.received, grouping, host), elsewhere, "{}", label());
            }
            CollectiveKind::ReduceScatter => {
                assert_eq!(Crossing::of_host(&crossing.sent, grouping, host), elsewhere, "{}", label());
            }
            _ => {}
        }
    }
}

/// Every root, or the first, the last and one between.
fn roots(kind: CollectiveKind, size: u32, random: &mut Random) -> Vec<u32> {
    let mut roots = match (kind.has_root(), size) {
        (false, _) => vec![0],
        (true, ..=EVERY_ROOT) => (0..size).collect(),
        (true, _) => vec![0, random.below(size), size - 1],
    };
    roots.dedup();
    roots
}

fn examine_all(grouping: &Grouping, random: &mut Random) -> usize {
    let mut proven = 0;
    for (kind, algorithm) in served() {
        for root in roots(kind, grouping.size(), random) {
            examine(kind, algorithm, root, grouping);
            proven += 1;
        }
    }
    proven
}

#[test]
fn every_division_of_few_ranks() {
    let (mut random, mut proven, mut divisions) = (Random(1), 0, 0);
    for size in 1..=EVERY_DIVISION {
        // The lowest bit would begin a host before the first rank.
        for begins in (0..1 << size).step_by(2) {
            proven += examine_all(&Grouping::new(&division(size, begins)), &mut random);
            divisions += 1;
        }
    }
    assert_eq!(divisions, (1 << EVERY_DIVISION) - 1);
    println!("{divisions} groupings, {proven} proofs");
}

#[test]
fn ranks_that_are_numbered_crosswise() {
    let (mut random, mut proven) = (Random(2), 0);
    for size in 3..=EVERY_DIVISION {
        for begins in (0..1 << size).step_by(2) {
            let mut hosts = division(size, begins);
            random.shuffle(&mut hosts);
            // Roots are the same for every numbering, up to their place.
            for (kind, algorithm) in served() {
                examine(kind, algorithm, if kind.has_root() { random.below(size) } else { 0 }, &Grouping::new(&hosts));
                proven += 1;
            }
        }
    }
    println!("{proven} proofs");
}

#[test]
fn hosts_of_one_size() {
    let (mut random, mut proven) = (Random(3), 0);
    for size in EVERY_DIVISION + 1..=LARGEST {
        for ranks_per_host in (1..=size).filter(|ranks| size.is_multiple_of(*ranks)) {
            let by_host = Grouping::new(&(0..size).map(|rank| rank / ranks_per_host).collect::<Vec<_>>());
            let round_robin = Grouping::new(&(0..size).map(|rank| rank % (size / ranks_per_host)).collect::<Vec<_>>());
            for grouping in [by_host, round_robin] {
                proven += examine_all(&grouping, &mut random);
            }
        }
    }
    println!("{proven} proofs");
}

/// So many ranks on at most so many hosts, each of any size; half of them numbered host by host.
fn drawn(random: &mut Random, size: u32, hosts: u32) -> Grouping {
    let mut of_ranks: Vec<_> = (0..size).map(|_| random.below(hosts)).collect();
    if random.below(2) == 0 {
        of_ranks.sort_unstable();
    }
    Grouping::new(&of_ranks)
}

/// So many ranks on hosts of one, two or three; half of them numbered host by host.
fn small_hosts(random: &mut Random, size: u32) -> Grouping {
    let hosts = std::iter::successors(Some(0), |host| Some(host + 1));
    let mut of_ranks: Vec<u32> =
        hosts.flat_map(|host| vec![host; 1 + random.below(3) as usize]).take(size as usize).collect();
    if random.below(2) == 0 {
        random.shuffle(&mut of_ranks);
    }
    Grouping::new(&of_ranks)
}

#[test]
fn hosts_of_any_sizes() {
    let (mut random, mut proven) = (Random(4), 0);
    for size in 1..=LARGEST {
        for _ in 0..DRAWN {
            let hosts = 1 + random.below(size);
            for grouping in [drawn(&mut random, size, hosts), small_hosts(&mut random, size)] {
                for (kind, algorithm) in served() {
                    let root = if kind.has_root() { random.below(size) } else { 0 };
                    examine(kind, algorithm, root, &grouping);
                    proven += 1;
                }
            }
        }
    }
    println!("{proven} proofs");
}

#[test]
fn hosts_that_differ_much() {
    // One alone and many together, both ways round.
    let mut random = Random(5);
    for (few, many) in [(1, 7), (1, 8), (1, 9), (1, 40), (2, 17), (3, 50), (7, 8), (8, 9), (31, 33)] {
        for sizes in [vec![few, many], vec![many, few], vec![few, many, few], vec![many, few, many]] {
            let hosts: Vec<_> =
                (0..).zip(sizes).flat_map(|(host, size)| vec![host; size as usize]).collect::<Vec<u32>>();
            examine_all(&Grouping::new(&hosts), &mut random);
        }
    }
}

#[test]
fn the_slice_is_not_cut_without_end() {
    // 7 and 8 have no common multiple below 56.
    let hosts: Vec<_> = (0..15).map(|rank| rank / 8).collect();
    let grouping = Grouping::new(&hosts);
    let parts = |kind| Program::new(kind, 0, Algorithm::Hierarchical, 0, &grouping).expect("it serves").parts();
    assert_eq!(parts(CollectiveKind::AllReduce), 14 * 2, "of each shard two chunks");
    assert_eq!(parts(CollectiveKind::Broadcast), 14);
    assert_eq!(parts(CollectiveKind::AllGather), 15 * 2, "of each block two");
    let lopsided = Grouping::new(&(0..101).map(|rank| u32::from(rank > 0)).collect::<Vec<_>>());
    let program = Program::new(CollectiveKind::AllReduce, 0, Algorithm::Hierarchical, 0, &lopsided).expect("it serves");
    assert_eq!(program.parts(), 8 * 2);
}

#[test]
fn a_rank_of_equal_hosts_is_on_one_rail_and_goes_round_it_in_few_steps() {
    for (hosts, ranks_per_host) in (1..=16).flat_map(|hosts| (1..=4).map(move |ranks| (hosts, ranks))) {
        let grouping =
            Grouping::new(&(0..hosts * ranks_per_host).map(|rank| rank / ranks_per_host).collect::<Vec<_>>());
        let crossing = |kind| {
            let program = |rank| Program::new(kind, 0, Algorithm::Hierarchical, rank, &grouping).expect("it serves");
            Crossing::of(&(0..grouping.size()).map(program).collect::<Vec<_>>(), &grouping)
        };
        let all_reduce = crossing(CollectiveKind::AllReduce);
        assert_eq!(all_reduce.depth, 2 * rounds(hosts));
        assert!(all_reduce.messages.iter().all(|messages| *messages == 2 * rounds(hosts)));
        assert!(all_reduce.sent.iter().all(|sent| *sent == u64::from(2 * (hosts - 1))), "chunks of a K-th of a shard");
        for kind in [CollectiveKind::AllGather, CollectiveKind::ReduceScatter, CollectiveKind::Broadcast] {
            assert_eq!(crossing(kind).depth, hosts - 1, "{kind:?}");
        }
    }
}

#[test]
fn any_allreduce_between_hosts() {
    let mut random = Random(6);
    for _ in 0..400 {
        let size = 1 + random.below(32);
        let hosts = 1 + random.below(size);
        let grouping = drawn(&mut random, size, hosts);
        for (algorithm, turns) in [
            (Algorithm::Ring, Turns::Exchange),
            (Algorithm::Ring, Turns::Program),
            (Algorithm::Nhr, Turns::Program),
            (Algorithm::Halving, Turns::Program),
            (Algorithm::Doubling, Turns::Program),
            (Algorithm::Tree, Turns::Program),
        ] {
            let between = |host, hosts| AllReduce::new(algorithm, host, hosts);
            let program = |rank| hierarchy::all_reduce(&grouping, rank, turns, between);
            let programs: Vec<_> = (0..grouping.size()).map(program).collect();
            if let Err(flaw) = prove(Goal::AllReduce, &programs, 1) {
                panic!("{algorithm} between hosts, {turns:?}, {grouping:?}: {flaw}");
            }
        }
    }
}

/// What is proven of three levels: that what crosses between racks is what two levels, of racks, would send.
fn racks_send<S: Schedule>(goal: Goal, programs: &[S], in_racks: &Grouping, due: impl Fn(&Summary, u32) -> u64) {
    let summary = prove(goal, programs, 1).unwrap_or_else(|flaw| panic!("{goal:?}, {in_racks:?}: {flaw}"));
    let crossing = Crossing::of(programs, in_racks);
    for rack in 0..in_racks.hosts() {
        let sent = Crossing::of_host(&crossing.sent, in_racks, rack);
        assert_eq!(sent, due(&summary, rack), "{goal:?}, rack {rack} of {in_racks:?}");
    }
}

#[test]
fn three_levels_are_two_twice() {
    let mut random = Random(7);
    for _ in 0..300 {
        let size = 1 + random.below(48);
        let most = 1 + random.below(size);
        let hosts = drawn(&mut random, size, most);
        let racks = Grouping::new(&(0..hosts.hosts()).map(|_| random.below(4)).collect::<Vec<_>>());
        let rack_of = |rank| racks.host_of(hosts.host_of(rank));
        let in_racks = Grouping::new(&(0..size).map(rack_of).collect::<Vec<_>>());
        let count = u64::from(racks.hosts());

        let among_racks = |host, _| hierarchy::all_reduce(&racks, host, Turns::Exchange, nhr::all_reduce);
        let program = |rank| hierarchy::all_reduce(&hosts, rank, Turns::Program, among_racks);
        let programs: Vec<_> = (0..size).map(program).collect();
        let all_reduced = |summary: &Summary, _| 2 * (count - 1) * u64::from(summary.parts) / count;
        racks_send(Goal::AllReduce, &programs, &in_racks, all_reduced);

        let root = random.below(size);
        let end = |rack| u64::from(rack != in_racks.host_of(root));
        let among_racks = |root, host, _| hierarchy::broadcast(&racks, root, host, chain::Broadcast::new);
        let programs: Vec<_> = (0..size).map(|rank| hierarchy::broadcast(&hosts, root, rank, among_racks)).collect();
        let onward = |summary: &Summary, rack| end((rack + 1) % racks.hosts()) * u64::from(summary.parts);
        racks_send(Goal::Broadcast { root }, &programs, &in_racks, onward);

        let among_racks = |root, host, _| hierarchy::reduce(&racks, root, host, chain::Reduce::new);
        let programs: Vec<_> = (0..size).map(|rank| hierarchy::reduce(&hosts, root, rank, among_racks)).collect();
        racks_send(Goal::Reduce { root }, &programs, &in_racks, |summary, rack| end(rack) * u64::from(summary.parts));
    }
}

/// The bytes that each host sends to others in an allreduce of so many elements of four bytes, in several slices.
fn bytes_between_hosts(algorithm: Algorithm, grouping: &Grouping, elements: usize) -> Vec<u64> {
    let layout = Layout::message(elements, 4, elements * 4 / 3);
    let mut bytes = vec![0; grouping.hosts() as usize];
    for rank in 0..grouping.size() {
        let program = Program::new(CollectiveKind::AllReduce, 0, algorithm, rank, grouping).expect("it serves");
        for step in (0..program.len()).map(|pc| program.step(pc)) {
            if let Step::Send { to, chunks } = step
                && grouping.host_of(to) != grouping.host_of(rank)
            {
                let sent = (0..layout.slices()).map(|slice| layout.sent(slice, chunks, program.parts()));
                bytes[grouping.host_of(rank) as usize] += sent.sum::<u64>();
            }
        }
    }
    bytes
}

#[test]
fn two_hosts_send_each_other_the_message_once() {
    const ELEMENTS: usize = 324_000;
    let message = 4 * ELEMENTS as u64;
    let two_by_two = Grouping::new(&[0, 0, 1, 1]);
    assert_eq!(bytes_between_hosts(Algorithm::Hierarchical, &two_by_two, ELEMENTS), [message; 2]);
    // A ring is blind to hosts: half as much again, or three times as much where each of its links leads to another host.
    assert_eq!(bytes_between_hosts(Algorithm::Ring, &two_by_two, ELEMENTS), [message * 3 / 2; 2]);
    assert_eq!(bytes_between_hosts(Algorithm::Ring, &Grouping::new(&[0, 1, 0, 1]), ELEMENTS), [message * 3; 2]);
    let crosswise = Grouping::new(&[0, 1, 0, 1]);
    assert_eq!(bytes_between_hosts(Algorithm::Hierarchical, &crosswise, ELEMENTS), [message; 2]);
    // An odd number of elements is no more.
    assert_eq!(bytes_between_hosts(Algorithm::Hierarchical, &two_by_two, 100_003), [400_012; 2]);
    // Whatever the sizes of hosts.
    let one_two_three = Grouping::new(&[0, 1, 1, 2, 2, 2]);
    assert_eq!(bytes_between_hosts(Algorithm::Hierarchical, &one_two_three, ELEMENTS), [message * 4 / 3; 3]);
}
