//! How the ranks of a communicator come to know their network and what is best on it: from rank 0's disk, or by measuring and pricing.

mod calibrate;
mod compute;
mod links;
mod numbers;
mod pair;
mod places;
mod room;
mod saved;

use self::calibrate::calibrate;
pub(super) use self::compute::cores;
use self::links::measure_links;
use self::places::Places;
use self::room::measure_room;
use self::saved::Saved;
use super::config::{Config, Probe};
use super::executor::Executor;
use super::inherited::Inherited;
use crate::bootstrap::Control;
use crate::error::{Error, Result};
use crate::tune::network::Network;
use crate::tune::{Candidates, Choice, Measured, Reach};
use crate::types::CollectiveKind;
use std::time::{Duration, Instant};

/// How long links and then whole calls over them are measured, of up to two to the power of `DOUBLINGS` ranks, and in proportion of more: with the last round of calls and with pricing that is a tenth of a second. Links
/// are measured even if that takes longer.
const MEASURING: Duration = Duration::from_millis(70);
const DOUBLINGS: u32 = 4;

/// What the ranks know then, all of them the same; all of them call this before anything else.
///
/// # Errors
/// As the calls that measuring makes.
pub(super) fn network(
    executor: &mut Executor,
    control: &Control,
    config: &Config,
    reach: Reach,
    parent: Inherited,
) -> Result<Option<Measured>> {
    let asked = |network| Candidates { network, reach, allowed: config.algorithms };
    let unknown = asked(Network::unknown((*executor.grouping).clone()));
    if unknown.cells().is_empty() {
        return Ok(None);
    }
    if let Some(network) = parent.network(executor) {
        let candidates = asked(network);
        return Ok(Some(Measured { best: best(&candidates, control)?, candidates }));
    }
    let saved = (control.rank() == 0).then(|| Saved::of(executor.cards(), config)).flatten();
    let known = saved.as_ref().filter(|_| config.probe == Probe::Auto);
    let known = known.and_then(|saved| saved.read(config.probe_age, &unknown));
    let told = control.exchange(known.map(|known| known.to_string()).unwrap_or_default().as_bytes())?;
    if !told[0].is_empty() {
        let text = String::from_utf8_lossy(&told[0]);
        let odd = |why| Error::InvalidArgument { what: format!("rank 0 told of an odd network: {why}") };
        return Measured::parse(&text, &unknown).map(Some).map_err(odd);
    }
    executor.begin_measuring();
    let began = Instant::now();
    let places = Places::of(control.rank(), executor.cards());
    let candidates = if executor.has_room() {
        asked(measure_room(executor, control, &places)?)
    } else {
        let links = measure_links(executor, control, &places)?;
        tracing::debug!(after = ?began.elapsed(), "the links are measured");
        calibrate(executor, control, &places, asked(links), began + time_for(control.size()))?
    };
    tracing::debug!(after = ?began.elapsed(), "calls are measured");
    // Before what follows is told, so that nobody's first call comes earlier.
    executor.forget_calls();
    let measured = Measured { best: best(&candidates, control)?, candidates };
    tracing::debug!(%measured, after = ?began.elapsed(), "measured and priced");
    saved.inspect(|saved| saved.write(&measured, config.probe_age));
    Ok(Some(measured))
}

/// How long so many ranks may take.
fn time_for(ranks: u32) -> Duration {
    MEASURING * ranks.next_power_of_two().ilog2().max(DOUBLINGS) / DOUBLINGS
}

/// The best for every cell: each rank prices its share, and tells the others.
fn best(candidates: &Candidates, control: &Control) -> Result<Vec<Choice>> {
    let (rank, size) = (control.rank() as usize, control.size() as usize);
    let cells = candidates.cells();
    let mine = cells.iter().skip(rank).step_by(size).filter_map(|(kind, bytes)| candidates.best(*kind, *bytes));
    let mine: Vec<String> = mine.map(|choice| choice.to_string()).collect();
    let told = control.exchange(mine.join(" ").as_bytes())?;
    let odd = |rank: usize, why| Error::InvalidArgument { what: format!("rank {rank} told of odd choices: {why}") };
    let shares = told.iter().enumerate().map(|(rank, bytes)| {
        Measured::choices(&String::from_utf8_lossy(bytes)).map(Vec::into_iter).map_err(|why| odd(rank, why))
    });
    let mut shares = shares.collect::<Result<Vec<_>>>()?;
    // What comes from a peer is not trusted to be anything that can run.
    let next = |(cell, (kind, _)): (usize, &(CollectiveKind, usize))| {
        let choice = shares[cell % size].next().filter(|choice| candidates.can_run(*kind, choice));
        choice.ok_or_else(|| odd(cell % size, format!("none that can run for {}", kind.name())))
    };
    cells.iter().enumerate().map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_ranks_may_measure_longer_by_their_doublings() {
        for (ranks, part) in [(2, 4), (16, 4), (17, 5), (32, 5), (64, 6)] {
            assert_eq!(time_for(ranks), MEASURING * part / 4, "{ranks} ranks");
        }
    }
}
