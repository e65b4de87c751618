//! What a rank tells all others about itself when it joins.

use crate::bootstrap::Endpoint;
use crate::error::{Error, Result};
use crate::transport::shm;
use std::net::{IpAddr, SocketAddr};
use zerocopy::{FromBytes, IntoBytes};

/// A rank's self-description. On the wire: three strings, the region's card, the rail's name, the processors and the paths, each after its length in two bytes, and
/// the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Card {
    /// Ranks with the same name here are on one host.
    pub(super) host: String,
    /// The machine, by its boot: ranks with the same share its processors.
    pub(super) machine: String,
    /// The settings that all ranks must have in common, in words.
    pub(super) settings: String,
    /// The region for same-host calls, where there is one.
    pub(super) region: Option<shm::Card>,
    /// The RDMA port that the rank would use, in words; empty if it has none.
    pub(super) rail: String,
    /// The first processor that the rank may run on, and how many there are.
    pub(super) processors: [u32; 2],
    /// Over which of the endpoint's addresses TCP's traffic is spread: a bit each, the lowest the first's.
    pub(super) paths: u8,
    /// Where the rank listens.
    pub(super) endpoint: Endpoint,
}

const _: () = assert!(Endpoint::ADDRESSES_MAX <= u8::BITS as usize, "a bit for each address");

impl Card {
    /// A field is cut after this many bytes.
    const FIELD_BYTES_MAX: usize = u16::MAX as usize;

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let region = self.region.as_ref().map_or(&[][..], IntoBytes::as_bytes);
        let words = [&self.host, &self.machine, &self.settings].map(|text| text.as_bytes());
        for field in words.into_iter().chain([region, self.rail.as_bytes(), self.processors.as_bytes(), &[self.paths]])
        {
            let field = &field[..field.len().min(Self::FIELD_BYTES_MAX)];
            bytes.extend_from_slice(&(field.len() as u16).to_le_bytes());
            bytes.extend_from_slice(field);
        }
        bytes.extend_from_slice(&self.endpoint.to_bytes());
        bytes
    }

    /// Those of `addresses`, as a card's `paths` has them.
    pub(super) fn paths_of(endpoint: &Endpoint, addresses: &[IpAddr]) -> u8 {
        let bits = endpoint.addresses().iter().zip(0u32..);
        bits.filter(|(address, _)| addresses.contains(&address.ip())).fold(0, |paths, (_, bit)| paths | 1 << bit)
    }

    /// The addresses over which TCP's traffic is spread.
    pub(super) fn path_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let addresses = self.endpoint.addresses().iter().zip(0u32..);
        addresses.filter(|(_, bit)| self.paths >> bit & 1 == 1).map(|(address, _)| *address)
    }

    /// The card of `rank`, as that rank sent it.
    pub(super) fn from_bytes(rank: usize, bytes: &[u8]) -> Result<Self> {
        let wrong =
            || Error::InvalidArgument { what: format!("rank {rank} introduced itself by {} odd bytes", bytes.len()) };
        let mut rest = bytes;
        let mut field = || {
            let (length, after) = rest.split_first_chunk()?;
            let (field, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            rest = after;
            Some(field)
        };
        let [host, machine, settings] =
            [field().ok_or_else(wrong)?, field().ok_or_else(wrong)?, field().ok_or_else(wrong)?];
        let region = match field().ok_or_else(wrong)? {
            [] => None,
            card => Some(shm::Card::read_from_bytes(card).map_err(|_| wrong())?),
        };
        let rail = String::from_utf8_lossy(field().ok_or_else(wrong)?).into_owned();
        let processors = field().and_then(|bytes| <[u32; 2]>::read_from_bytes(bytes).ok()).ok_or_else(wrong)?;
        let &[paths] = field().ok_or_else(wrong)? else { return Err(wrong()) };
        Ok(Self {
            host: String::from_utf8_lossy(host).into_owned(),
            machine: String::from_utf8_lossy(machine).into_owned(),
            settings: String::from_utf8_lossy(settings).into_owned(),
            region,
            rail,
            processors,
            paths,
            endpoint: Endpoint::from_bytes(rest).ok_or_else(wrong)?,
        })
    }
}
