//! What can go wrong between this process and a device, and how libibverbs says it.

use super::Unavailable;
use crate::error::Error;
use rustix::io::Errno;
use std::ffi::c_int;

/// Why a device did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// There are no verbs in this process at all.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// No device has this name.
    #[error("there is no device {name}; there are: {}", there_are.join(", "))]
    NoDevice {
        /// The name asked for.
        name: String,
        /// Those there are.
        there_are: Vec<String>,
    },
    /// The device, its driver or the kernel refused.
    #[error("{device}: {call}: {}", words(*errno))]
    Refused {
        /// The device's name.
        device: String,
        /// The function of libibverbs that failed.
        call: &'static str,
        /// Its answer.
        errno: Errno,
    },
    /// The limit on locked memory leaves no room for a region.
    #[error(
        "{device}: cannot register {wanted_bytes} bytes: this process may lock {limit_bytes} bytes of memory, of which {pinned_bytes} are in \
         use; raise the limit (`ulimit -l unlimited`, systemd: LimitMEMLOCK=infinity, docker: --ulimit memlock=-1)"
    )]
    LockedMemory {
        /// The device's name.
        device: String,
        /// What was to be registered.
        wanted_bytes: usize,
        /// The limit, RLIMIT_MEMLOCK.
        limit_bytes: u64,
        /// What the process has locked already.
        pinned_bytes: u64,
    },
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::System { what: "RDMA verbs".into(), reason: failure.to_string() }
    }
}

/// The system's words for an error number.
pub(super) fn words(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}

/// What a function says that returns 0, an error number, or -1 and leaves the number in `errno`: libibverbs has all kinds.
pub(super) fn outcome(answer: c_int) -> Result<(), Errno> {
    match answer {
        0 => Ok(()),
        -1 => Err(last_errno()),
        number => Err(numbered(number.saturating_abs())),
    }
}

/// The error with this number. A driver that fails with a number that is none still failed.
pub(super) fn numbered(number: c_int) -> Errno {
    // The kernel's own range.
    if (1..4096).contains(&number) { Errno::from_raw_os_error(number) } else { Errno::IO }
}

/// The number that the last failed call of this thread left.
pub(super) fn last_errno() -> Errno {
    numbered(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_saying_no_is_understood() {
        assert_eq!(outcome(0), Ok(()));
        assert_eq!(outcome(22), Err(Errno::INVAL));
        assert_eq!(outcome(-12), Err(Errno::NOMEM));
        assert_eq!([outcome(c_int::MIN), outcome(c_int::MAX)], [Err(Errno::IO); 2]);
    }

    #[test]
    fn a_limit_is_named_with_what_raises_it() {
        let failure = Failure::LockedMemory {
            device: "rxe0".into(),
            wanted_bytes: 1 << 20,
            limit_bytes: 65536,
            pinned_bytes: 4096,
        };
        let text = Error::from(failure).to_string();
        for part in ["rxe0", "1048576 bytes", "65536 bytes", "4096", "ulimit -l", "LimitMEMLOCK=", "memlock=-1"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
