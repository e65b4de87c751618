//! Sleeping until one of many links can move on. Knows descriptors, not links.

use crate::error::{Error, Result};
use crate::transport::{Interest, Transport};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// How many descriptors one wake-up tells about. Nobody asks which they were: whoever wakes looks at all its links.
const EVENTS_MAX: usize = 8;

/// A place to sleep (an epoll instance). Descriptors stay registered from one sleep to the next; what a sleep costs is looking
/// through them, and a system call for each whose interest has changed.
///
/// Sleeping and being woken cost tens of microseconds: spin a little first.
#[derive(Debug)]
pub struct Sleep {
    epoll: OwnedFd,
    /// What is registered, by descriptor number.
    registered: Vec<Interest>,
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something can move.
    Ready,
    /// The time is over, or a signal came.
    Idle,
}

impl Sleep {
    /// A place to sleep.
    pub fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| refused("making an epoll", error))?;
        Ok(Self { epoll, registered: Vec::new() })
    }

    /// Makes the next sleeps end when `link` can move. Call it before every sleep: what a link waits for changes.
    pub fn watch(&mut self, link: &impl Transport) -> Result<()> {
        let mut result = Ok(());
        link.descriptors(&mut |descriptor, interest| {
            if let Err(error) = self.watch_descriptor(descriptor, interest) {
                result = Err(error);
            }
        });
        result
    }

    /// Makes the next sleeps end when this descriptor is ready. It must be given up by [`Interest::None`] before it is closed.
    pub fn watch_descriptor(&mut self, descriptor: BorrowedFd<'_>, interest: Interest) -> Result<()> {
        let number = index(descriptor.as_raw_fd());
        if self.registered.len() <= number {
            self.registered.resize(number + 1, Interest::None);
        }
        let before = self.registered[number];
        if before == interest {
            return Ok(());
        }
        let (data, flags) = (epoll::EventData::new_u64(0), flags(interest));
        let done = match (before, interest) {
            (_, Interest::None) => epoll::delete(&self.epoll, descriptor),
            (Interest::None, _) => epoll::add(&self.epoll, descriptor, data, flags),
            _ => epoll::modify(&self.epoll, descriptor, data, flags),
        };
        done.map_err(|error| refused("watching a socket", error))?;
        self.registered[number] = interest;
        Ok(())
    }

    /// Sleeps until something that is watched is ready, at most for `timeout`.
    pub fn sleep(&mut self, timeout: Duration) -> Result<Woken> {
        let timeout =
            Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: i64::from(i32::MAX) / 1000, tv_nsec: 0 });
        let mut events = [const { std::mem::MaybeUninit::uninit() }; EVENTS_MAX];
        match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Ok((ready, _)) => Ok(if ready.is_empty() { Woken::Idle } else { Woken::Ready }),
            Err(Errno::INTR) => Ok(Woken::Idle),
            Err(error) => Err(refused("sleeping", error)),
        }
    }
}

impl AsFd for Sleep {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    match interest {
        Interest::None => epoll::EventFlags::empty(),
        Interest::Read => epoll::EventFlags::IN,
        Interest::ReadWrite => epoll::EventFlags::IN | epoll::EventFlags::OUT,
    }
}

fn index(descriptor: RawFd) -> usize {
    usize::try_from(descriptor).expect("an open descriptor's number is not negative")
}

fn refused(what: &str, error: Errno) -> Error {
    Error::System { what: what.to_owned(), reason: std::io::Error::from(error).to_string() }
}
