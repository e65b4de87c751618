//! What a call takes at least: the work of its busiest rank, of the cores that many ranks share, and the bytes of its busiest host, whatever waits for what. It takes a look at each step, and
//! spares running those that cannot be the best.

use super::super::network::Network;
use super::{Sizes, ranks_of_machines};
use crate::schedule::{Schedule, Step};

/// By how much an extrapolated price may be below its floor.
pub(in crate::tune) const FLOOR_OFF: f64 = 1.02;

/// A call's least time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::tune) struct Floor {
    /// No price is less of what is run to its end; of more slices than are run, by [`FLOOR_OFF`] at most.
    pub(in crate::tune) ns: f64,
    /// Of that, how long what the ranks of the busiest host share is busy with bytes, one way.
    pub(in crate::tune) wire_ns: f64,
}

/// The floor of a call by these programs.
pub(in crate::tune) fn floor<S: Schedule>(network: &Network, programs: &[S], sizes: Sizes) -> Floor {
    // The last may be a part of one.
    let slices = (sizes.bytes as f64 / sizes.slice_bytes.max(1) as f64).max(1.0);
    let (grouping, parts) = (&network.grouping, f64::from(programs[0].parts()));
    let chunk_bytes = sizes.bytes as f64 * f64::from(sizes.blocks) / parts;
    let hosts = grouping.hosts() as usize;
    let (mut busiest_ns, mut machines_ns) = (0.0, vec![0.0; network.cores.len()]);
    let (mut leaving, mut coming) = (vec![0.0; hosts], vec![0.0; hosts]);
    for (rank, program) in (0..).zip(programs) {
        let host = grouping.host_of(rank) as usize;
        let mut work_ns = 0.0;
        for step in (0..program.len()).map(|at| program.step(at)) {
            let bytes = chunk_bytes * f64::from(step.chunks().count);
            let (peer, fold_byte_ns) = match step {
                Step::Send { to, .. } => (Some(to), 0.0),
                Step::Recv { from, .. } => (Some(from), 0.0),
                Step::RecvReduce { from, .. } => (Some(from), network.fold_byte_ns),
                Step::ReduceOwn { .. } => (None, network.fold_byte_ns),
            };
            work_ns += bytes * fold_byte_ns;
            let Some(peer) = peer else { continue };
            let link = network.link(rank, peer);
            work_ns += slices * link.busy_ns + bytes * link.busy_byte_ns;
            if grouping.host_of(peer) as usize != host {
                let way = if let Step::Send { .. } = step { &mut leaving } else { &mut coming };
                way[host] += bytes * network.shared_byte_ns[host];
            }
        }
        busiest_ns = f64::max(busiest_ns, work_ns);
        machines_ns[network.machines[host] as usize] += work_ns;
    }
    let cores = network.cores.iter().zip(ranks_of_machines(network)).map(|(cores, ranks)| f64::from(ranks.min(*cores)));
    let machines = machines_ns.into_iter().zip(cores).map(|(work_ns, cores)| work_ns / cores.max(1.0));
    let wire_ns = leaving.into_iter().chain(coming).fold(0.0, f64::max);
    Floor { ns: machines.chain([wire_ns]).fold(busiest_ns, f64::max), wire_ns }
}
