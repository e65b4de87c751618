//! A rail: an open port of a device, and what has happened to it. All links of a process share it.

use super::choice::Selection;
use super::settings::VerbsSettings;
use super::sys::{
    Addressing, AsyncEvent, Context, EventKind, Failure, PinnedRange, PortState, ProtectionDomain, Subject,
};
use crate::error::Result as Outcome;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a port may be down before its links are given up. Cables are pulled and switches start again in less; the device tries again all
/// the while.
const DOWN_MAX: Duration = Duration::from_secs(5);

/// An open port.
#[derive(Debug)]
pub struct Rail {
    domain: Arc<ProtectionDomain>,
    selection: Selection,
    settings: VerbsSettings,
    trouble: Mutex<Trouble>,
    pinned: Mutex<Vec<(u64, Arc<PinnedRange>)>>,
}

#[derive(Debug, Default)]
struct Trouble {
    /// What ended the rail.
    fatal: Option<String>,
    down_since: Option<Instant>,
    /// Since when the address that packets come from has not been at its place.
    astray_since: Option<Instant>,
}

impl Rail {
    /// Opens a port that was chosen.
    ///
    /// # Errors
    /// As the device says.
    pub fn open(selection: Selection, settings: VerbsSettings) -> Outcome<Arc<Self>> {
        let context = Context::open(&selection.device)?;
        let domain = ProtectionDomain::create(&context)?;
        Ok(Arc::new(Self { domain, selection, settings, trouble: Mutex::default(), pinned: Mutex::default() }))
    }

    /// The port, and its address.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// How its connections run.
    pub(super) fn settings(&self) -> &VerbsSettings {
        &self.settings
    }

    /// What regions and queue pairs are made in.
    pub(super) fn domain(&self) -> &Arc<ProtectionDomain> {
        &self.domain
    }

    /// Tells the device of memory that links may send from: `bytes` bytes from `start` on, which the caller knows by `identity`. What it has
    /// been told once it remembers by that, never by the address.
    ///
    /// # Errors
    /// As the device says: [`Failure::LockedMemory`] if the process may not lock so much.
    pub fn pin(&self, identity: u64, start: NonNull<u8>, bytes: usize) -> Result<Arc<PinnedRange>, Failure> {
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, range)) = pinned.iter().find(|(known, _)| *known == identity) {
            return Ok(range.clone());
        }
        let range = Arc::new(PinnedRange::register_for_reading(&self.domain, start, bytes)?);
        pinned.push((identity, range.clone()));
        Ok(range)
    }

    /// Lets the device forget what no longer is what it was.
    pub fn unpin(&self, still_is: impl Fn(u64) -> bool) {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).retain(|(identity, _)| still_is(*identity));
    }

    /// Readable when [`Self::trouble`] has something to look at.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.domain.context().async_descriptor()
    }

    /// What is wrong with the port or its device, if it is too wrong to go on. A port without a link or without its address is borne for a while: both
    /// may come back.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.look();
        let lasts = |since: Option<Instant>| since.map(|since| since.elapsed()).filter(|lasted| *lasted > DOWN_MAX);
        let down = || {
            lasts(trouble.down_since)
                .map(|down| format!("{self} has had no link for {:.0} s (port error)", down.as_secs_f64()))
        };
        let astray = || lasts(trouble.astray_since).and_then(|_| self.address_is_gone());
        trouble.fatal.clone().or_else(down).or_else(astray)
    }

    /// What is wrong with them at all, to be said along with something that failed.
    pub(super) fn trouble_so_far(&self) -> Option<String> {
        if let Some(fatal) = &self.look().fatal {
            return Some(fatal.clone());
        }
        // The event may be later than its consequences.
        let state = self.domain.context().port(self.selection.port).ok()?.state;
        if state != PortState::Active {
            return Some(format!("the port is {state}"));
        }
        self.address_is_gone()
    }

    /// Takes what the device has to tell.
    fn look(&self) -> MutexGuard<'_, Trouble> {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.domain.context().next_event() {
                Ok(None) => return trouble,
                Ok(Some(event)) => self.note(&mut trouble, event),
                Err(failure) => {
                    trouble.fatal.get_or_insert(failure.to_string());
                    return trouble;
                }
            }
        }
    }

    fn note(&self, trouble: &mut Trouble, event: AsyncEvent) {
        tracing::warn!(rail = %self, %event, "a device's event");
        trouble.note(event, &self.selection, || self.address_is_gone().is_some());
    }

    /// Whether the address that packets come from is no longer at its index, in words.
    fn address_is_gone(&self) -> Option<String> {
        let Selection { gid, addressing: Addressing::Gid { index }, .. } = &self.selection else { return None };
        let table = self.domain.context().gid_table(self.selection.port).ok()?;
        let now = table.iter().find(|entry| entry.index == u32::from(*index)).map(|entry| entry.gid);
        // A link that goes down takes the addresses with it for as long: that is for `down_since` to judge.
        let is_up =
            || self.domain.context().port(self.selection.port).is_ok_and(|port| port.state == PortState::Active);
        (now != Some(*gid) && is_up()).then(|| {
            let now = now.map_or("nothing".to_owned(), |gid| gid.address().to_string());
            format!("{self}: its address {} at index {index} has changed to {now}", gid.address())
        })
    }
}

impl Trouble {
    /// Takes an event in, for what concerns this port; `is_astray` tells whether its address is not at its place now.
    fn note(&mut self, event: AsyncEvent, selection: &Selection, is_astray: impl FnOnce() -> bool) {
        let of_this_port = matches!(event.subject, Subject::Port(port) if port == selection.port);
        match event.kind {
            EventKind::PortError if of_this_port => {
                self.down_since.get_or_insert_with(Instant::now);
            }
            EventKind::PortActive if of_this_port => {
                self.down_since = None;
                // While the link was down nothing could be said of the address.
                if is_astray() {
                    self.astray_since.get_or_insert_with(Instant::now);
                }
            }
            EventKind::GidChange if of_this_port && is_astray() => {
                self.astray_since.get_or_insert_with(Instant::now);
            }
            EventKind::GidChange if of_this_port => self.astray_since = None,
            // A queue pair's own end shows in its completions, with a reason.
            EventKind::DeviceFatal | EventKind::CompletionQueueError => {
                self.fatal.get_or_insert(format!("{}: {event}", selection.device));
            }
            _ => {}
        }
    }
}

impl std::fmt::Display for Rail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} port {}", self.selection.device, self.selection.port)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sys::{Gid, LinkLayer, Mtu};
    use super::*;

    fn selection() -> Selection {
        Selection {
            device: "mlx5_0".into(),
            port: 2,
            link_layer: LinkLayer::Ethernet,
            addressing: Addressing::Gid { index: 3 },
            gid: Gid([0; 16]),
            lid: 0,
            mtu: Mtu::B1024,
            megabits: None,
        }
    }

    fn noted(events: &[(EventKind, Subject)], is_astray: bool) -> Trouble {
        let mut trouble = Trouble::default();
        for &(kind, subject) in events {
            trouble.note(AsyncEvent { kind, subject }, &selection(), || is_astray);
        }
        trouble
    }

    #[test]
    fn what_ends_a_device_names_it() {
        for kind in [EventKind::DeviceFatal, EventKind::CompletionQueueError] {
            let fatal = noted(&[(kind, Subject::Device)], false).fatal.expect("it ends the rail");
            assert!(fatal.starts_with("mlx5_0: ") && fatal.len() > "mlx5_0: ".len(), "{fatal}");
        }
        let others = [
            (EventKind::QueuePairFatal, Subject::QueuePair(7)),
            (EventKind::LidChange, Subject::Port(2)),
            (EventKind::Other(99), Subject::Device),
        ];
        let trouble = noted(&others, true);
        assert!(trouble.fatal.is_none() && trouble.down_since.is_none() && trouble.astray_since.is_none());
    }

    #[test]
    fn a_port_and_an_address_may_come_back_and_other_ports_do_not_matter() {
        let down = (EventKind::PortError, Subject::Port(2));
        let up = (EventKind::PortActive, Subject::Port(2));
        assert!(noted(&[down], false).down_since.is_some());
        assert!(noted(&[down, up], false).down_since.is_none());
        assert!(noted(&[down, up], true).astray_since.is_some(), "it has come back without its address");
        assert!(noted(&[(EventKind::PortError, Subject::Port(1))], false).down_since.is_none());
        assert!(noted(&[down, (EventKind::PortActive, Subject::Port(1))], false).down_since.is_some());
        let gone = noted(&[(EventKind::GidChange, Subject::Port(2))], true);
        assert!(gone.astray_since.is_some() && gone.fatal.is_none(), "it may be put there again at once");
        let mut back = gone;
        back.note(AsyncEvent { kind: EventKind::GidChange, subject: Subject::Port(2) }, &selection(), || false);
        assert!(back.astray_since.is_none());
    }
}
