//! Messages whose links are not there yet. A collective's ranks all connect for it, in an order that they share; of messages a peer may come to its end whenever its
//! program does. So each new link is made on a thread of its own, and messages go as soon as their own link is there: none waits for another's.

use super::executor::Executor;
use super::links::LinkReport;
use crate::bootstrap::Control;
use crate::engine::{Batch, Engine, Progress, Stop, Work};
use crate::error::{Error, Result};
use crate::transport::{Fault, Link};
use crate::types::Call;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a look for new links lasts when nothing else moves.
const LOOK: Duration = Duration::from_millis(1);

/// A new link to a peer, or why there is none.
type Arrival = (u32, Result<(Link, LinkReport)>);

/// A batch, and the links that are being made for it.
struct Arrivals<'a> {
    batch: Batch<'a>,
    arriving: Receiver<Arrival>,
    missing: usize,
    reports: Vec<LinkReport>,
    failed: Option<Error>,
}

impl Executor {
    /// Makes the links to `peers`, and runs the batch meanwhile.
    pub(super) fn drive_arriving(
        &mut self,
        control: &Control,
        call: Call,
        batch: Batch<'_>,
        peers: &[u32],
    ) -> Result<()> {
        let maker = self.link_maker();
        // What they are is not known yet; as streams they get time for their last words.
        peers.iter().for_each(|peer| self.take_for_stream(*peer));
        std::thread::scope(|scope| {
            let (arrive, arriving) = channel();
            for peer in peers.iter().copied() {
                let (arrive, maker) = (arrive.clone(), &maker);
                let connect = move || {
                    let made = maker.connector(control, call).connect(&[peer]);
                    let made = made.map(|mut links| links.pop().expect("one link for one peer"));
                    // Nobody listens any more once the messages have failed.
                    let _ = arrive.send((peer, made));
                };
                let thread = std::thread::Builder::new().name("serried-connect".into()).spawn_scoped(scope, connect);
                if let Err(error) = thread {
                    let what = format!("rank {}: starting a thread that connects to rank {peer}", self.rank);
                    return Err(self.fail(control, Error::System { what, reason: error.to_string() }));
                }
            }
            let mut work = Arrivals { batch, arriving, missing: peers.len(), reports: Vec::new(), failed: None };
            let driven = self.drive(control, call, &mut work);
            work.reports.into_iter().for_each(|report| self.note_link(report));
            // A failure is told here, where it also ends the threads.
            driven.map_err(|error| self.fail(control, work.failed.unwrap_or(error)))
        })
    }
}

impl Arrivals<'_> {
    fn admit(&mut self, engine: &mut Engine<Link>, (peer, made): Arrival) -> Result<(), Stop> {
        self.missing -= 1;
        match made {
            Ok((link, report)) => {
                engine.connect(peer, link);
                self.reports.push(report);
                Ok(())
            }
            Err(error) => {
                let fault = Fault::Nonsense(error.to_string());
                self.failed.get_or_insert(error);
                Err(Stop::Fault { peer, transport: "new", fault })
            }
        }
    }
}

impl Work<Link> for Arrivals<'_> {
    fn poll(&mut self, engine: &mut Engine<Link>) -> Result<Progress, Stop> {
        while let Ok(arrival) = self.arriving.try_recv() {
            self.admit(engine, arrival)?;
        }
        let progress = self.batch.poll(engine)?;
        if self.missing > 0
            && progress == Progress::Blocked
            && let Ok(arrival) = self.arriving.recv_timeout(LOOK)
        {
            self.admit(engine, arrival)?;
            return Ok(Progress::Moved);
        }
        Ok(progress)
    }

    fn call(&self) -> Option<Call> {
        Work::<Link>::call(&self.batch)
    }

    fn waits_for(&self) -> Option<u32> {
        Work::<Link>::waits_for(&self.batch)
    }
}
