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

mod floor;

pub(super) use self::floor::{FLOOR_OFF, floor};
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
    /// Of it, what does not come of bytes: messages on their way, the work at their ends, and what ranks wait for each other beyond the time that bytes are on wires.
    pub latency_ns: f64,
    /// What bytes add on links.
    pub bandwidth_ns: f64,
    /// What folding adds.
    pub reduction_ns: f64,
}

/// More slices are not run than have so many steps on all ranks together, within limits: once all lanes are full, each takes as long as the one before. Chains, which fill late,
/// have few steps.
const STEPS_RUN: usize = 2048;
const SLICES_RUN: [usize; 2] = [4, 32];

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
    time_within(network, programs, sizes, f64::INFINITY)
}

/// The time alone; infinity as soon as it is seen to be more than `limit_ns`.
pub(super) fn time_within<S: Schedule>(network: &Network, programs: &[S], sizes: Sizes, limit_ns: f64) -> f64 {
    let slices = sizes.bytes.div_ceil(sizes.slice_bytes.max(1)).max(1);
    let lanes = sizes.lanes.clamp(1, slices);
    let steps: usize = programs.iter().map(|program| program.len() as usize).sum();
    let [few, many] = SLICES_RUN;
    let most = (STEPS_RUN / steps.max(1)).clamp(few, many).next_multiple_of(2 * lanes);
    if slices <= most {
        return Run::new(network, programs, sizes, slices, lanes).finish(limit_ns);
    }
    // A steady stream: what a round of all lanes adds.
    let whole = Sizes { bytes: most * sizes.slice_bytes, ..sizes };
    let half = Sizes { bytes: most / 2 * sizes.slice_bytes, ..sizes };
    let some = Run::new(network, programs, half, most / 2, lanes).finish(limit_ns);
    if !some.is_finite() {
        return some;
    }
    let all = Run::new(network, programs, whole, most, lanes).finish(limit_ns);
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
    /// Slots that were never filled.
    unused: u32,
    /// When others that nobody fills are known to be free, in the order of that.
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
    /// How many each of them has.
    steps: Vec<u32>,
    /// Into how many chunks a slice is cut.
    parts: f64,
    sizes: Sizes,
    slices: usize,
    lanes: usize,
    cursors: Vec<Cursor>,
    /// When each rank's thread is free.
    thread_ns: Vec<f64>,
    /// What a core takes to go from one rank to another.
    switch_ns: f64,
    /// The cores of each machine that has fewer than ranks.
    cores: Vec<Vec<Core>>,
    /// When each link direction has carried its last byte.
    link_ns: Vec<f64>,
    /// When the last step so far was through.
    end_ns: f64,
    leaving_ns: Vec<f64>,
    coming_ns: Vec<f64>,
    /// Which link directions are used: by sender and receiver, the place of the first lane, plus one.
    places: Vec<u32>,
    ways: Vec<Lane>,
    /// Who can go on, and when: the bits of a time, which are in its order, and the actor.
    ready: BinaryHeap<Reverse<(u64, usize)>>,
}

impl<'a, S: Schedule> Run<'a, S> {
    fn new(network: &'a Network, programs: &'a [S], sizes: Sizes, slices: usize, lanes: usize) -> Self {
        let (ranks, hosts) = (programs.len(), network.grouping.hosts() as usize);
        let scarce =
            |(cores, ranks): (&u32, u32)| vec![Core::default(); if ranks > *cores { *cores as usize } else { 0 }];
        Self {
            network,
            programs,
            steps: programs.iter().map(Schedule::len).collect(),
            parts: f64::from(programs[0].parts()),
            sizes,
            slices,
            lanes,
            cursors: (0..ranks * lanes).map(|actor| Cursor { slice: actor % lanes, step: 0 }).collect(),
            thread_ns: vec![0.0; ranks],
            switch_ns: network.crowded_ns / SWITCHES,
            cores: network.cores.iter().zip(ranks_of_machines(network)).map(scarce).collect(),
            link_ns: vec![0.0; ranks * ranks],
            end_ns: 0.0,
            leaving_ns: vec![0.0; hosts],
            coming_ns: vec![0.0; hosts],
            places: vec![0; ranks * ranks],
            ways: Vec::new(),
            ready: (0..ranks * lanes).map(|actor| Reverse((0.0f64.to_bits(), actor))).collect(),
        }
    }

    fn finish(mut self, limit_ns: f64) -> f64 {
        while let Some(Reverse((mut now, actor))) = self.ready.pop() {
            while let Some(at) = self.go(f64::from_bits(now), actor) {
                now = at.to_bits();
                if self.ready.peek().is_some_and(|Reverse(first)| *first < (now, actor)) {
                    self.again(at, actor);
                    break;
                }
            }
            if self.end_ns > limit_ns {
                return f64::INFINITY;
            }
        }
        debug_assert!(self.cursors.iter().all(|cursor| cursor.slice >= self.slices), "every schedule ends");
        self.end_ns
    }

    /// Takes an actor's next step, if it can; gives when it can go on, unless somebody else wakes it.
    fn go(&mut self, now: f64, actor: usize) -> Option<f64> {
        let (rank, lane) = ((actor / self.lanes) as u32, actor % self.lanes);
        let program = &self.programs[rank as usize];
        let cursor = self.cursors[actor];
        if cursor.slice >= self.slices {
            return None;
        }
        if cursor.step == self.steps[rank as usize] {
            self.cursors[actor] = Cursor { slice: cursor.slice + self.lanes, step: 0 };
            return Some(now);
        }
        if self.thread_ns[rank as usize] > now {
            return Some(self.thread_ns[rank as usize]);
        }
        let step = program.step(cursor.step);
        let bytes = self.bytes(cursor.slice, step);
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
        }
        done
    }

    fn again(&mut self, at: f64, actor: usize) {
        self.ready.push(Reverse((at.to_bits(), actor)));
    }

    /// Bytes that a step moves.
    fn bytes(&self, slice: usize, step: Step) -> f64 {
        let Sizes { bytes, slice_bytes, blocks, .. } = self.sizes;
        let width = slice_bytes.min(bytes.saturating_sub(slice * slice_bytes)) as f64;
        width * f64::from(step.chunks().count) * f64::from(blocks) / self.parts
    }

    fn machine_of(&self, rank: u32) -> usize {
        self.network.machines[self.network.grouping.host_of(rank) as usize] as usize
    }

    /// Keeps a rank's thread busy, and gives when it is through.
    fn work(&mut self, rank: u32, from: f64, ns: f64) -> f64 {
        let begin = self.thread_ns[rank as usize].max(from);
        let (machine, switch_ns) = (self.machine_of(rank), self.switch_ns);
        let free = |core: &Core| begin.max(core.free_ns) + if core.rank == Some(rank) { 0.0 } else { switch_ns };
        let cores = self.cores[machine].iter_mut();
        let done = match cores.min_by(|one, other| free(one).total_cmp(&free(other))) {
            // Each rank has a core of its own.
            None => begin + ns,
            Some(core) => {
                let done = free(core) + ns;
                *core = Core { free_ns: done, rank: Some(rank) };
                done
            }
        };
        self.thread_ns[rank as usize] = done;
        done
    }

    /// The lane of a link direction.
    fn lane(&mut self, (from, to, lane): (u32, u32, usize)) -> &mut Lane {
        let place = &mut self.places[from as usize * self.programs.len() + to as usize];
        if *place == 0 {
            let unused = self.network.link(from, to).slots;
            *place = self.ways.len() as u32 + 1;
            self.ways.resize(self.ways.len() + self.lanes, Lane { unused, ..Lane::default() });
        }
        &mut self.ways[*place as usize - 1 + lane]
    }

    fn send(&mut self, now: f64, actor: usize, way: (u32, u32, usize), bytes: f64) -> Option<f64> {
        let (rank, to, _) = way;
        let link = *self.network.link(rank, to);
        let lane = self.lane(way);
        match lane.free_ns.front().copied() {
            _ if lane.unused > 0 => lane.unused -= 1,
            None => {
                lane.sender = Some(actor);
                return None;
            }
            Some(free_ns) if free_ns > now => {
                self.again(free_ns, actor);
                return None;
            }
            Some(_) => drop(lane.free_ns.pop_front()),
        }
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

/// By machine, how many ranks it has.
fn ranks_of_machines(network: &Network) -> Vec<u32> {
    let mut ranks = vec![0; network.cores.len()];
    for host in 0..network.grouping.hosts() {
        ranks[network.machines[host as usize] as usize] += network.grouping.members(host).len() as u32;
    }
    ranks
}

#[cfg(test)]
mod tests;
