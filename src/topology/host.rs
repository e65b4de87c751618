//! Which host a rank is on, as far as the network is concerned.
//!
//! Two processes with equal [`HostId`]s reach each other over loopback. Whether they may share memory is another question.

use std::sync::OnceLock;

/// The machine, by the boot of its kernel: hosts that are containers of one share its processors. Empty without /proc.
pub fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

/// A host: one boot of one kernel, seen through one network namespace. Two containers on a machine that have networks of
/// their own are two hosts here, since a loopback address of one means nothing in the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostId(u64);

impl HostId {
    /// The host of this process.
    pub fn here() -> Self {
        static HERE: OnceLock<HostId> = OnceLock::new();
        *HERE.get_or_init(|| {
            let boot = machine();
            let network = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
            // Without either (no /proc), the host's name is the best that is left.
            let name = rustix::system::uname();
            let mut hasher = blake3::Hasher::new_derive_key("serried host v1");
            for part in [boot.as_bytes(), network.as_os_str().as_encoded_bytes(), name.nodename().to_bytes()] {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
            }
            let mut number = [0; 8];
            hasher.finalize_xof().fill(&mut number);
            Self(u64::from_le_bytes(number))
        })
    }

    /// The number that stands for the host on the wire.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The host that this number stands for.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl std::fmt::Debug for HostId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostId({:016x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_itself() {
        assert_eq!(HostId::here(), HostId::here());
        assert_eq!(HostId::from_number(HostId::here().number()), HostId::here());
        assert_ne!(HostId::from_number(HostId::here().number() ^ 1), HostId::here());
    }
}
