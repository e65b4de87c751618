//! Where ranks meet: by a unique id that one of them made, or at the address that `NCCL_COMM_ID` gives to all.

use crate::environment;
use crate::errors::Failure;
use crate::types::ncclUniqueId;
use serried::bootstrap::{Launch, Settings};
use serried::topology::interface;
use serried::{Communicator, Config, UniqueId};
use std::net::IpAddr;

/// What an id begins with that is an address: no other one does, for those begin with their version.
const ADDRESS: &[u8] = b"NCCL_COMM_ID=";

/// A way to the other ranks.
#[derive(Clone)]
pub(crate) enum Meeting {
    /// A rendezvous that runs already.
    Id(UniqueId),
    /// Where rank 0 runs it.
    Address(String),
}

impl Meeting {
    /// What an id of a C caller means.
    pub(crate) fn of(id: &ncclUniqueId) -> Result<Self, Failure> {
        let Some(text) = id.internal.strip_prefix(ADDRESS) else {
            return Ok(Self::Id(UniqueId::from_bytes(&id.internal)?));
        };
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        Ok(Self::Address(String::from_utf8_lossy(&text[..end]).into_owned()))
    }

    /// Joins as `rank` of `size`.
    pub(crate) fn join(&self, rank: u32, size: u32, config: &Config) -> Result<Communicator, Failure> {
        match self {
            Self::Id(id) => Ok(Communicator::create(id, rank, size, config)?),
            Self::Address(address) => {
                let variable = |name: &str| match name {
                    "SERRIED_RANK" => Some(rank.to_string()),
                    "SERRIED_SIZE" => Some(size.to_string()),
                    "SERRIED_ROOT" => Some(address.clone()),
                    "SERRIED_SECRET" => environment::variable(name),
                    _ => None,
                };
                let launch = Launch::from_variables(variable, || None)?;
                let launch = launch.ok_or_else(|| Failure::internal("a rank and an address are no launch"))?;
                Ok(Communicator::launched(&launch, config)?)
            }
        }
    }
}

/// An id for a new communicator: the address that all ranks were given or, without one, a rendezvous in this process.
pub(crate) fn new_id(settings: &Settings) -> Result<ncclUniqueId, Failure> {
    match environment::variable("NCCL_COMM_ID").filter(|address| !address.trim().is_empty()) {
        None => fresh_id(settings),
        Some(address) => {
            let mut internal = [0; UniqueId::SIZE];
            let text = [ADDRESS, address.trim().as_bytes()].concat();
            // One byte is left that ends it.
            let place = internal[..UniqueId::SIZE - 1].get_mut(..text.len());
            place.ok_or_else(|| Failure::argument("NCCL_COMM_ID is too long for an address"))?.copy_from_slice(&text);
            Ok(ncclUniqueId { internal })
        }
    }
}

/// An id of a rendezvous that begins now, in this process.
pub(crate) fn fresh_id(settings: &Settings) -> Result<ncclUniqueId, Failure> {
    Ok(ncclUniqueId { internal: UniqueId::create(settings)?.to_bytes() })
}

/// Says in the log which interfaces connections will use.
pub(crate) fn tell_interfaces(settings: &Settings) {
    if !tracing::enabled!(target: "BOOTSTRAP", tracing::Level::INFO) {
        return;
    }
    let all = interface::interfaces();
    let chosen = all.and_then(|all| interface::choose(&all, settings.interfaces.as_ref(), settings.family));
    match chosen {
        // Joining fails by the same reason, and says it to the caller.
        Err(why) => tracing::info!(target: "BOOTSTRAP", "Bootstrap : no interface: {why}"),
        Ok(chosen) => {
            let name = |(place, one): (usize, &interface::Interface)| {
                format!("[{place}]{}:{}<0>", one.name, bracketed(one.address))
            };
            let names: Vec<_> = chosen.iter().enumerate().map(name).collect();
            let first = names.first().map_or("", |name| &name[3..]);
            tracing::info!(target: "BOOTSTRAP", "Bootstrap : Using {first}");
            tracing::info!(target: "NET", "NET/Socket : Using {}", names.join(" "));
        }
    }
}

fn bracketed(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_id() {
        let mut internal = [0; UniqueId::SIZE];
        internal[..21].copy_from_slice(b"NCCL_COMM_ID=node1:77");
        let meeting = Meeting::of(&ncclUniqueId { internal }).expect("an address");
        assert!(matches!(meeting, Meeting::Address(address) if address == "node1:77"));
        assert!(Meeting::of(&ncclUniqueId { internal: [7; UniqueId::SIZE] }).is_err());
    }
}
