//! What a communicator that is made of another need not find out again.

use super::config::{Config, Probe};
use super::executor::Executor;
use super::meet::OwnRail;
use super::probe::cores;
use crate::bootstrap::Cancel;
use crate::tune::network::Network;

/// What a communicator gets from the one that it was made of, if it was.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// The RDMA port.
    pub(super) rail: Option<OwnRail>,
    /// What was measured, among the ranks that it has.
    network: Option<Network>,
    /// By which the parent ends the making.
    pub(super) cancel: Cancel,
}

impl Inherited {
    /// For a communicator that has ranks of its own, and finds everything out with them.
    pub(super) fn of_none(cancel: Cancel) -> Self {
        Self { cancel, ..Self::default() }
    }

    /// For a communicator of `ranks` of these, with `config` where these have `own`.
    pub(super) fn from(parent: &Executor, ranks: &[u32], own: &Config, config: &Config, cancel: Cancel) -> Self {
        // Another choice of devices, or of whether to use any, is another port.
        let same_port = config.verbs == own.verbs && config.transport == own.transport;
        let known = parent.tables().candidates().filter(|_| config.ways() == own.ways() && config.probe == Probe::Auto);
        Self {
            rail: same_port.then(|| parent.rail().clone()),
            network: known.map(|candidates| candidates.network.among(ranks)),
            cancel,
        }
    }

    /// The network, if it tells of the ways that these ranks take: all of them come to the same. It is not measured again then, let alone by several
    /// communicators at once.
    pub(super) fn network(self, executor: &Executor) -> Option<Network> {
        let network = self.network.filter(|network| network.grouping == *executor.grouping)?;
        let has_links = network.inside.latency_ns.max(network.between.latency_ns) > 0.0;
        let serves = if executor.has_room() { !network.room.is_empty() } else { has_links };
        let machines = executor.machines();
        let cores = cores(&network.grouping, &machines, executor.cards());
        serves.then_some(Network { machines, cores, ..network })
    }
}
