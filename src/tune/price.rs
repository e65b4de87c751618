//! What a call takes, by its schedule: the programs of all ranks run in virtual time on a [`Network`], slices in flight and all.
//!
//! # What costs time
//!
//! * A rank has one thread, and a machine so many cores for the threads of its ranks. Sending and receiving a message keep them busy, each byte too, and folding a byte
//!   once more.
//! * Where there are more ranks than cores, a core takes some time to go from one rank to another.
//! * A message is on its way for the latency, and a link carries one byte after the other.
//! * What leaves a host goes through what its ranks share, and so does what comes to another.
//! * A lane has so many slots: a message waits until its sender knows that one of them is free again.
//!
//! A receiver takes a message as it comes, so its work overlaps the message's way, but for the last piece.

use super::network::Network;
use crate::schedule::{Schedule, Step};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// The size of a call and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the message, or of each block.
    pub bytes: usize,
    /// So many of them are in a slice.
    pub slice_bytes: usize,
    /// Slices in flight.
    pub lanes: usize,
    /// Into how many blocks of that size the schedule's parts are cut; 1 for a message.
    pub blocks: u32,
}

/// A predicted time, and where it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Price {
    /// Until the last rank is through.
    pub total_ns: f64,
    /// Of it, what remains without bytes: messages on their way, and the work at their ends.
    pub latency_ns: f64,
    /// What bytes add on links.
    pub bandwidth_ns: f64,
    /// What folding adds.
    pub reduction_ns: f64,
}

/// More slices are not run: once all lanes are full, each takes as long as the one before.
const SLICES_RUN: usize = 8;

/// A receiver's work on the last piece of a message cannot overlap its way.
const LAST_PIECE_BYTES: f64 = 16384.0;

/// What the `programs` of all ranks take for a call of these sizes.
pub fn price<S: Schedule>(network: &Network, programs: &[S], sizes: Sizes) -> Price {
    let total_ns = time(network, programs, sizes);
    let unfolded = time(&Network { fold_byte_ns: 0.0, ..network.clone() }, programs, sizes);
    let empty = time(network, programs, Sizes { bytes: 0, ..sizes });
    Price { total_ns, latency_ns: empty, bandwidth_ns: (unfolded - empty).max(0.0), reduction_ns: total_ns - unfolded }
}

/// The time alone.
pub fn time<S: Schedule>(network: &Network, programs: &[S], sizes: Sizes) -> f64 {
    let slices = sizes.bytes.div_ceil(sizes.slice_bytes.max(1)).max(1);
    let lanes = sizes.lanes.clamp(1, slices);
    let most = SLICES_RUN.next_multiple_of(2 * lanes);
    if slices <= most {
        return Run::new(network, programs, sizes, slices, lanes).finish();
    }
    // A steady stream: what a round of all lanes adds.
    let whole = Sizes { bytes: most * sizes.slice_bytes, ..sizes };
    let half = Sizes { bytes: most / 2 * sizes.slice_bytes, ..sizes };
    let all = Run::new(network, programs, whole, most, lanes).finish();
    let some = Run::new(network, programs, half, most / 2, lanes).finish();
    let rest = (sizes.bytes - whole.bytes) as f64 / (whole.bytes - half.bytes) as f64;
    all + rest * (all - some)
}

/// A rank's lane: where it is in its program.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    slice: usize,
    step: u32,
}

/// A message on its way, and when its first and last bytes arrive.
#[derive(Clone, Copy, Debug)]
struct Message {
    first_ns: f64,
    last_ns: f64,
}

/// One lane of one direction of a link.
#[derive(Clone, Debug, Default)]
struct Lane {
    messages: VecDeque<Message>,
    /// When slots that nobody fills are known to be free, in the order of that.
    free_ns: VecDeque<f64>,
    sender: Option<usize>,
    receiver: Option<usize>,
}

/// A core: when it is free, and whose thread it ran last.
#[derive(Clone, Copy, Debug, Default)]
struct Core {
    free_ns: f64,
    rank: Option<u32>,
}

/// An exchange of two ranks that share their cores with two others makes a core go from one to the other about so often.
const SWITCHES: f64 = 3.0;

struct Run<'a, S> {
    network: &'a Network,
    programs: &'a [S],
    sizes: Sizes,
    slices: usize,
    lanes: usize,
    cursors: Vec<Cursor>,
    /// When each rank's thread is free.
    thread_ns: Vec<f64>,
    /// By machine, what a core takes to go from one rank to another.
    switch_ns: Vec<f64>,
    /// Each machine's cores.
    cores: Vec<Vec<Core>>,
    /// When each link direction has carried its last byte.
    link_ns: Vec<f64>,
    /// When the last step so far was through.
    end_ns: f64,
    leaving_ns: Vec<f64>,
    coming_ns: Vec<f64>,
    /// By sender, receiver and lane.
    ways: Vec<Option<Lane>>,
    /// Who can go on, and when: the bits of a time, which are in its order, and the actor.
    ready: BinaryHeap<Reverse<(u64, usize)>>,
}

impl<'a, S: Schedule> Run<'a, S> {
    fn new(network: &'a Network, programs: &'a [S], sizes: Sizes, slices: usize, lanes: usize) -> Self {
        let (ranks, hosts) = (programs.len(), network.grouping.hosts() as usize);
        Self {
            network,
            programs,
            sizes,
            slices,
            lanes,
            cursors: (0..ranks * lanes).map(|actor| Cursor { slice: actor % lanes, step: 0 }).collect(),
            thread_ns: vec![0.0; ranks],
            switch_ns: switches(network),
            // More than a core a rank are idle.
            cores: network.cores.iter().map(|cores| vec![Core::default(); ranks.min(*cores as usize)]).collect(),
            link_ns: vec![0.0; ranks * ranks],
            end_ns: 0.0,
            leaving_ns: vec![0.0; hosts],
            coming_ns: vec![0.0; hosts],
            ways: vec![None; ranks * ranks * lanes],
            ready: (0..ranks * lanes).map(|actor| Reverse((0.0f64.to_bits(), actor))).collect(),
        }
    }

    fn finish(mut self) -> f64 {
        while let Some(Reverse((now, actor))) = self.ready.pop() {
            self.go(f64::from_bits(now), actor);
        }
        debug_assert!(self.cursors.iter().all(|cursor| cursor.slice >= self.slices), "every schedule ends");
        self.end_ns
    }

    /// Takes an actor's next step, if it can.
    fn go(&mut self, now: f64, actor: usize) {
        let (rank, lane) = ((actor / self.lanes) as u32, actor % self.lanes);
        let program = &self.programs[rank as usize];
        let cursor = self.cursors[actor];
        if cursor.slice >= self.slices {
            return;
        }
        if cursor.step == program.len() {
            self.cursors[actor] = Cursor { slice: cursor.slice + self.lanes, step: 0 };
            return self.again(now, actor);
        }
        if self.thread_ns[rank as usize] > now {
            return self.again(self.thread_ns[rank as usize], actor);
        }
        let step = program.step(cursor.step);
        let bytes = self.bytes(cursor.slice, step, program.parts());
        let done = match step {
            Step::Send { to, .. } => self.send(now, actor, (rank, to, lane), bytes),
            Step::Recv { from, .. } => self.receive(now, actor, (from, rank, lane), bytes, 0.0),
            Step::RecvReduce { from, .. } => {
                self.receive(now, actor, (from, rank, lane), bytes, self.network.fold_byte_ns)
            }
            Step::ReduceOwn { .. } => Some(self.work(rank, now, bytes * self.network.fold_byte_ns)),
        };
        if let Some(at) = done {
            self.cursors[actor].step += 1;
            self.end_ns = self.end_ns.max(at);
            self.again(at, actor);
        }
    }

    fn again(&mut self, at: f64, actor: usize) {
        self.ready.push(Reverse((at.to_bits(), actor)));
    }

    /// Bytes that a step moves.
    fn bytes(&self, slice: usize, step: Step, parts: u32) -> f64 {
        let Sizes { bytes, slice_bytes, blocks, .. } = self.sizes;
        let width = slice_bytes.min(bytes.saturating_sub(slice * slice_bytes)) as f64;
        width * f64::from(step.chunks().count) * f64::from(blocks) / f64::from(parts)
    }

    fn machine_of(&self, rank: u32) -> usize {
        self.network.machines[self.network.grouping.host_of(rank) as usize] as usize
    }

    /// Keeps a rank's thread busy, and gives when it is through.
    fn work(&mut self, rank: u32, from: f64, ns: f64) -> f64 {
        let machine = self.machine_of(rank);
        let (begin, switch_ns) = (self.thread_ns[rank as usize].max(from), self.switch_ns[machine]);
        let free = |core: &Core| {
            begin.max(core.free_ns) + if core.rank == Some(rank) || switch_ns == 0.0 { 0.0 } else { switch_ns }
        };
        let cores = self.cores[machine].iter_mut();
        let core = cores.min_by(|one, other| free(one).total_cmp(&free(other))).expect("a machine has cores");
        let done = free(core) + ns;
        *core = Core { free_ns: done, rank: Some(rank) };
        self.thread_ns[rank as usize] = done;
        done
    }

    /// The lane of a link direction.
    fn lane(&mut self, (from, to, lane): (u32, u32, usize)) -> &mut Lane {
        let at = (from as usize * self.programs.len() + to as usize) * self.lanes + lane;
        let slots = self.network.link(from, to).slots;
        self.ways[at].get_or_insert_with(|| Lane { free_ns: vec![0.0; slots as usize].into(), ..Lane::default() })
    }

    fn send(&mut self, now: f64, actor: usize, way: (u32, u32, usize), bytes: f64) -> Option<f64> {
        let (rank, to, _) = way;
        let link = *self.network.link(rank, to);
        let lane = self.lane(way);
        match lane.free_ns.front().copied() {
            None => {
                lane.sender = Some(actor);
                return None;
            }
            Some(free_ns) if free_ns > now => {
                self.again(free_ns, actor);
                return None;
            }
            Some(_) => lane.free_ns.pop_front(),
        };
        let done = self.work(rank, now, link.busy_ns + bytes * link.busy_byte_ns);
        let message = self.carry(rank, to, done - bytes * link.busy_byte_ns, bytes);
        let lane = self.lane(way);
        lane.messages.push_back(message);
        if let Some(receiver) = lane.receiver.take() {
            self.again(message.first_ns, receiver);
        }
        Some(done)
    }

    /// Brings a message from one rank to another.
    fn carry(&mut self, from: u32, to: u32, begin: f64, bytes: f64) -> Message {
        let link = *self.network.link(from, to);
        let (here, there) = (self.network.grouping.host_of(from) as usize, self.network.grouping.host_of(to) as usize);
        let way = (link.latency_ns - 2.0 * link.busy_ns).max(0.0);
        let carried = &mut self.link_ns[from as usize * self.programs.len() + to as usize];
        *carried = carried.max(begin) + bytes * link.byte_ns;
        let mut last = *carried;
        if here != there {
            let shared = |free: &mut f64, byte_ns: f64, last: f64| {
                *free = free.max(begin) + bytes * byte_ns;
                last.max(*free)
            };
            last = shared(&mut self.leaving_ns[here], self.network.shared_byte_ns[here], last);
            last = shared(&mut self.coming_ns[there], self.network.shared_byte_ns[there], last);
        }
        Message { first_ns: begin + way, last_ns: last + way }
    }

    fn receive(
        &mut self,
        now: f64,
        actor: usize,
        way: (u32, u32, usize),
        bytes: f64,
        fold_byte_ns: f64,
    ) -> Option<f64> {
        let (from, rank, _) = way;
        let lane = self.lane(way);
        let Some(message) = lane.messages.front().copied() else {
            lane.receiver = Some(actor);
            return None;
        };
        if message.first_ns > now {
            self.again(message.first_ns, actor);
            return None;
        }
        let link = *self.network.link(from, rank);
        let byte_ns = link.busy_byte_ns + fold_byte_ns;
        let done = self.work(rank, now, link.busy_ns + bytes * byte_ns);
        // The thread is free for other lanes while the rest of the message is on its way.
        let done = done.max(message.last_ns + bytes.min(LAST_PIECE_BYTES) * byte_ns);
        // The news that a slot is free comes as a message does.
        let free_ns = done + (link.latency_ns - 2.0 * link.busy_ns).max(0.0);
        let lane = self.lane(way);
        lane.messages.pop_front();
        lane.free_ns.push_back(free_ns);
        if let Some(sender) = lane.sender.take() {
            self.again(free_ns, sender);
        }
        Some(done)
    }
}

/// By machine, what a core takes to go from one rank to another: nothing where each has a core.
fn switches(network: &Network) -> Vec<f64> {
    let mut ranks = vec![0; network.cores.len()];
    for host in 0..network.grouping.hosts() {
        ranks[network.machines[host as usize] as usize] += network.grouping.members(host).len();
    }
    let each = ranks.into_iter().zip(&network.cores);
    each.map(|(ranks, cores)| if ranks > *cores as usize { network.crowded_ns / SWITCHES } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::network::{COSTS, LinkCost};
    use super::*;
    use crate::schedule::{Algorithm, Program};
    use crate::types::{CollectiveKind, Grouping};

    const LATENCY_NS: f64 = 10_000.0;
    const BYTE_NS: f64 = 8.0;

    /// Hosts of so many ranks, with one kind of link everywhere; what a host's ranks share is as fast as one link.
    fn network(sizes: &[u32]) -> Network {
        let hosts: Vec<u32> = (0..).zip(sizes).flat_map(|(host, size)| vec![host; *size as usize]).collect();
        let link = LinkCost { latency_ns: LATENCY_NS, busy_ns: 0.0, byte_ns: BYTE_NS, busy_byte_ns: 0.0, slots: 2 };
        Network {
            grouping: Grouping::new(&hosts),
            inside: LinkCost { latency_ns: 100.0, byte_ns: 0.01, ..link },
            between: link,
            shared_byte_ns: vec![BYTE_NS; sizes.len()],
            fold_byte_ns: 0.0,
            machines: vec![0; sizes.len()],
            cores: vec![64],
            crowded_ns: 0.0,
            calls: Vec::new(),
            room: Vec::new(),
        }
    }

    fn taken(network: &Network, kind: CollectiveKind, algorithm: Algorithm, sizes: Sizes) -> f64 {
        let program =
            |rank| Program::new(kind, 0, algorithm, rank, &network.grouping).expect("it serves the collective");
        let programs: Vec<_> = (0..network.grouping.size()).map(program).collect();
        time(network, &programs, sizes)
    }

    fn whole(bytes: usize) -> Sizes {
        Sizes { bytes, slice_bytes: bytes, lanes: 1, blocks: 1 }
    }

    #[track_caller]
    fn about(actual: f64, expected: f64) {
        assert!((actual / expected - 1.0).abs() < 0.02, "{actual} ns, not about {expected}");
    }

    #[test]
    fn a_ring_takes_what_its_formula_says() {
        for ranks in [2, 3, 4, 7, 16] {
            let (network, bytes) = (network(&vec![1; ranks]), 840 * 1024);
            let steps = 2.0 * (ranks as f64 - 1.0);
            let expected = steps * (LATENCY_NS + bytes as f64 / ranks as f64 * BYTE_NS);
            about(taken(&network, CollectiveKind::AllReduce, Algorithm::Ring, whole(bytes)), expected);
        }
    }

    #[test]
    fn doubling_of_nothing_takes_a_latency_a_round() {
        for (ranks, rounds) in [(2, 1.0), (4, 2.0), (8, 3.0), (32, 5.0)] {
            let time = taken(&network(&vec![1; ranks]), CollectiveKind::AllReduce, Algorithm::Doubling, whole(0));
            about(time, rounds * LATENCY_NS);
        }
    }

    #[test]
    fn slices_fill_a_chain() {
        let network = network(&[1; 8]);
        let bytes = 64 << 20;
        let alone = taken(&network, CollectiveKind::Broadcast, Algorithm::Chain, whole(bytes));
        about(alone, 7.0 * (LATENCY_NS + bytes as f64 * BYTE_NS));
        let sliced = Sizes { bytes, slice_bytes: 256 << 10, lanes: 2, blocks: 1 };
        let time = taken(&network, CollectiveKind::Broadcast, Algorithm::Chain, sliced);
        let floor = bytes as f64 * BYTE_NS;
        assert!(time > floor && time < 1.2 * floor, "{} of the floor", time / floor);
    }

    #[test]
    fn a_message_waits_until_its_sender_knows_of_a_free_slot() {
        // Slices of 8 µs one after the other on one lane, and 10 µs each way: the message, and the news that it was taken.
        let sizes = Sizes { bytes: 8_000, slice_bytes: 1_000, lanes: 1, blocks: 1 };
        let with = |slots| {
            let mut network = network(&[1, 1]);
            network.between.slots = slots;
            taken(&network, CollectiveKind::Broadcast, Algorithm::Chain, sizes)
        };
        about(with(1), 7.0 * 28_000.0 + 18_000.0);
        about(with(2), 3.0 * 28_000.0 + 26_000.0);
        about(with(8), 8.0 * 8_000.0 + LATENCY_NS);
    }

    #[test]
    fn more_ranks_than_cores_take_turns() {
        let mut network = network(&[4]);
        network.inside = LinkCost { latency_ns: 2_000.0, busy_ns: 1_000.0, byte_ns: 0.0, busy_byte_ns: 0.0, slots: 2 };
        let mut with = |cores, crowded_ns| {
            (network.cores, network.crowded_ns) = (vec![cores], crowded_ns);
            taken(&network, CollectiveKind::AllReduce, Algorithm::Doubling, whole(0))
        };
        // Two rounds of a message each way: 4 µs of work for each rank.
        about(with(4, 9_000.0), 4_000.0);
        about(with(1, 0.0), 16_000.0);
        assert!(with(1, 3_000.0) > 20_000.0, "going from one to the other takes time");
    }

    #[test]
    fn the_largest_numbers_end() {
        let mut network = network(&[2, 1]);
        for number in [0.0, *COSTS.end()] {
            let link =
                LinkCost { latency_ns: number, busy_ns: number / 2.0, byte_ns: number, busy_byte_ns: number, slots: 1 };
            (network.inside, network.between, network.shared_byte_ns) = (link, link, vec![number; 2]);
            for algorithm in Algorithm::serving(CollectiveKind::AllReduce) {
                let sizes = Sizes { bytes: 1 << 20, slice_bytes: 1 << 16, lanes: 2, blocks: 1 };
                assert!(taken(&network, CollectiveKind::AllReduce, *algorithm, sizes).is_finite());
            }
        }
    }

    #[test]
    fn ranks_of_a_host_share_its_way_out() {
        // Of two hosts of two, a ring takes each byte out of a host one and a half times, a hierarchy once.
        let (network, bytes) = (network(&[2, 2]), 8 << 20);
        let ring = taken(&network, CollectiveKind::AllReduce, Algorithm::Ring, whole(bytes));
        let hierarchy = taken(&network, CollectiveKind::AllReduce, Algorithm::Hierarchical, whole(bytes));
        about(ring, 1.5 * bytes as f64 * BYTE_NS);
        about(hierarchy, bytes as f64 * BYTE_NS);
    }

    #[test]
    fn what_a_price_is_made_of_adds_up() {
        let network = Network { fold_byte_ns: 1.0, ..network(&[1, 2, 3]) };
        for algorithm in Algorithm::serving(CollectiveKind::AllReduce) {
            let program = |rank| Program::new(CollectiveKind::AllReduce, 0, *algorithm, rank, &network.grouping);
            let programs: Vec<_> = (0..6).map(|rank| program(rank).expect("it serves the allreduce")).collect();
            let sizes = Sizes { bytes: 3 << 20, slice_bytes: 512 << 10, lanes: 2, blocks: 1 };
            let price = price(&network, &programs, sizes);
            about(price.latency_ns + price.bandwidth_ns + price.reduction_ns, price.total_ns);
            assert!(price.latency_ns > 0.0 && price.bandwidth_ns > 0.0 && price.reduction_ns >= 0.0, "{algorithm}");
            about(price.total_ns, time(&network, &programs, sizes));
        }
    }

    #[test]
    fn long_messages_take_as_long_as_running_every_slice() {
        let network = network(&[2, 1]);
        for algorithm in Algorithm::serving(CollectiveKind::AllReduce) {
            let program = |rank| Program::new(CollectiveKind::AllReduce, 0, *algorithm, rank, &network.grouping);
            let programs: Vec<_> = (0..3).map(|rank| program(rank).expect("it serves the allreduce")).collect();
            let sizes = Sizes { bytes: 64 * 32768, slice_bytes: 32768, lanes: 2, blocks: 1 };
            let all = Run::new(&network, &programs, sizes, 64, 2).finish();
            let extrapolated = time(&network, &programs, sizes);
            assert!((extrapolated / all - 1.0).abs() < 0.05, "{algorithm}: {extrapolated} for {all}");
        }
    }
}
