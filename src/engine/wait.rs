//! Waiting between polls: spin a little, give way, and sleep only after long.
//!
//! Waking a sleeper costs tens of microseconds, more than most calls take; a spinning rank that shares its core with what it waits for (another
//! rank, or the part of the system that carries a message) takes away just the time that one needs. So: a few passes at full
//! speed, then passes that yield, then sleep, on the sockets if there are any. Links of shared memory have nothing to sleep on, so
//! with them sleeps are short.

use super::{Engine, Progress, Stop, Watch, Work};
use crate::error::{Error, Result};
use crate::transport::{Interest, Link, Sleep, Transport};
use std::time::{Duration, Instant};

/// Passes at full speed: a rank that is a little late. A socket's pass is a system call or two, so this is some microseconds.
const SPINS: u32 = 10;

/// How long passes yield before a rank sleeps on descriptors: a few times what falling asleep and being woken costs.
const AWAKE: Duration = Duration::from_micros(100);

/// The same where some links must be polled, as they have nothing to sleep on.
const AWAKE_POLLED: Duration = Duration::from_millis(1);

/// Passes between two looks at the clock.
const PASSES_A_CLOCK: u32 = 8;

/// The longest sleep when sockets wake the sleeper: the watch wants to be asked.
const SLEEP: Duration = Duration::from_millis(50);

/// The longest sleep when some links must be polled.
const POLLED_SLEEP: Duration = Duration::from_millis(1);

/// How long a rank that leaves waits for peers that have not left: long enough for what a socket buffers to cross a slow network.
const PARTING: Duration = Duration::from_secs(3);

/// Drives jobs to their end on the caller's thread.
#[derive(Debug)]
pub struct Backoff {
    sleep: Sleep,
}

/// Why a driven job ended early.
#[derive(Debug)]
pub enum End {
    /// The engine stopped.
    Stop(Stop),
    /// The watch ended the wait.
    Watch(Error),
}

impl Backoff {
    /// # Errors
    /// [`Error::System`] if the system refuses a descriptor to sleep on.
    pub fn new() -> Result<Self> {
        Ok(Self { sleep: Sleep::new()? })
    }

    /// Polls `work` until it is done, or `watch` ends the wait.
    pub fn drive(
        &mut self,
        engine: &mut Engine<Link>,
        work: &mut impl Work<Link>,
        watch: &dyn Watch,
    ) -> Result<(), End> {
        let mut idle = 0;
        let mut since = None;
        loop {
            match work.poll(engine).map_err(End::Stop)? {
                Progress::Done => return Ok(()),
                Progress::Moved => {
                    (idle, since) = (0, None);
                    watch.moved();
                }
                Progress::Blocked if idle < SPINS => {
                    idle += 1;
                    std::hint::spin_loop();
                }
                Progress::Blocked => {
                    idle += 1;
                    std::thread::yield_now();
                    if idle % PASSES_A_CLOCK == 0 {
                        if let Some(call) = work.call() {
                            watch.check(&call, work.waits_for().unwrap_or(0)).map_err(End::Watch)?;
                        }
                        let since = *since.get_or_insert_with(Instant::now);
                        self.sleep_after(engine, since.elapsed())?;
                    }
                }
            }
        }
    }

    /// Ends the links so that what was sent still arrives: waits until the peers have come to the end of it too, but not for long, since a
    /// peer may go on without this rank.
    pub fn part(&mut self, engine: &mut Engine<Link>) {
        let deadline = Instant::now() + PARTING;
        engine.links_mut().for_each(Link::leave);
        // Every link is asked each time: asking is what empties it.
        while engine.links_mut().filter_map(|link| (!link.has_left()).then_some(())).count() > 0
            && Instant::now() < deadline
        {
            if engine.links().try_for_each(|link| self.sleep.watch(link)).is_err()
                || self.sleep.sleep(POLLED_SLEEP).is_err()
            {
                return;
            }
        }
    }

    /// Sleeps until a link has news, if the rank has been `awake` for long enough.
    fn sleep_after(&mut self, engine: &mut Engine<Link>, awake: Duration) -> Result<(), End> {
        if awake < AWAKE {
            return Ok(());
        }
        let mut polled = false;
        for link in engine.links() {
            let mut sockets = false;
            link.descriptors(&mut |_, interest| sockets |= interest != Interest::None);
            polled |= !sockets;
        }
        if polled && awake < AWAKE_POLLED || !engine.arm().map_err(End::Stop)? {
            return Ok(());
        }
        for link in engine.links() {
            self.sleep.watch(link).map_err(End::Watch)?;
        }
        self.sleep.sleep(if polled { POLLED_SLEEP } else { SLEEP }).map_err(End::Watch)?;
        Ok(())
    }
}
