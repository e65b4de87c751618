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

    /// What is wrong with the port or its device, if it is too wrong to go on. A port without a link is borne for a while: it may come back.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.look();
        let down = trouble.down_since.map(|since| since.elapsed()).filter(|down| *down > DOWN_MAX);
        trouble
            .fatal
            .clone()
            .or_else(|| down.map(|down| format!("{self} has had no link for {:.0} s (port error)", down.as_secs_f64())))
    }

    /// What is wrong with them at all, to be said along with something that failed.
    pub(super) fn trouble_so_far(&self) -> Option<String> {
        if let Some(fatal) = &self.look().fatal {
            return Some(fatal.clone());
        }
        // The event may be later than its consequences.
        let state = self.domain.context().port(self.selection.port).ok()?.state;
        (state != PortState::Active).then(|| format!("the port is {state}"))
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
        let of_this_port = matches!(event.subject, Subject::Port(port) if port == self.selection.port);
        match event.kind {
            EventKind::PortError if of_this_port => {
                trouble.down_since.get_or_insert_with(Instant::now);
            }
            EventKind::PortActive if of_this_port => trouble.down_since = None,
            EventKind::GidChange if of_this_port => {
                if let Some(why) = self.address_is_gone() {
                    trouble.fatal.get_or_insert(why);
                }
            }
            // A queue pair's own end shows in its completions, with a reason.
            EventKind::DeviceFatal | EventKind::CompletionQueueError => {
                trouble.fatal.get_or_insert(format!("{}: {event}", self.selection.device));
            }
            _ => {}
        }
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

impl std::fmt::Display for Rail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} port {}", self.selection.device, self.selection.port)
    }
}
