//! What a rank tells all others about itself when it joins.

use crate::error::{Error, Result};
use crate::transport::shm::RegionCard;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// A rank's self-description, sent as a few lines of text: it is read once per communicator, and by people who debug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Card {
    /// Ranks with the same name here are on one host.
    pub(super) host: String,
    /// The algorithm that its settings ask for, or `auto`.
    pub(super) algorithm: String,
    /// The region for same-host calls, where there is one.
    pub(super) region: Option<RegionCard>,
    /// Where the rank's listener is.
    pub(super) addresses: Vec<SocketAddr>,
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "host {}\nalgorithm {}", self.host, self.algorithm)?;
        if let Some(region) = &self.region {
            writeln!(f, "region {region}")?;
        }
        self.addresses.iter().try_for_each(|address| writeln!(f, "address {address}"))
    }
}

impl FromStr for Card {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |line: &str| Error::InvalidArgument { what: format!("a rank's card has a line {line:?}") };
        let mut card = Self { host: String::new(), algorithm: String::new(), region: None, addresses: Vec::new() };
        for line in text.lines() {
            match line.split_once(' ').ok_or_else(|| wrong(line))? {
                ("host", host) => card.host = host.to_owned(),
                ("algorithm", algorithm) => card.algorithm = algorithm.to_owned(),
                ("region", region) => card.region = Some(region.parse().map_err(|_| wrong(line))?),
                ("address", address) => card.addresses.push(address.parse().map_err(|_| wrong(line))?),
                _ => return Err(wrong(line)),
            }
        }
        Ok(card)
    }
}
