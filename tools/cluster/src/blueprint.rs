//! What a cluster is to be like. Builds nothing itself.

use crate::cluster::{Cluster, RAILS, Unavailable};
use std::str::FromStr;

/// Their numbers are the last part of their addresses.
const HOSTS_MAX: usize = 254;

/// Hosts to build: their ranks, their cables, and what is wrong with them.
#[derive(Clone, Debug)]
pub struct Blueprint {
    pub(crate) ranks: Vec<usize>,
    pub(crate) rails: usize,
    pub(crate) rates: Vec<Option<String>>,
    pub(crate) spare: Option<(String, String)>,
    pub(crate) parted: Option<(Parting, usize, usize)>,
}

/// How two hosts are kept from each other, while both reach all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The switch passes nothing between them: soon neither has an address for the other.
    Isolated,
    /// What one sends to the other vanishes, as behind a firewall that drops.
    Swallowed,
}

impl Blueprint {
    /// A host for each of these numbers of ranks, with one rail, as fast as the machine.
    ///
    /// # Panics
    /// For no host, and for more than 254.
    pub fn new(ranks: &[usize]) -> Self {
        assert!((1..=HOSTS_MAX).contains(&ranks.len()), "{} hosts: there are 1 to {HOSTS_MAX}", ranks.len());
        Self { ranks: ranks.to_vec(), rails: 1, rates: vec![None; ranks.len()], spare: None, parted: None }
    }

    /// How many hosts.
    pub fn hosts(&self) -> usize {
        self.ranks.len()
    }

    /// So many rails: cables of each host, each to a switch of its own.
    ///
    /// # Panics
    /// For more than there are names in [`RAILS`].
    pub fn rails(mut self, rails: usize) -> Self {
        assert!((1..=RAILS.len()).contains(&rails), "{rails} rails: there are 1 to {}", RAILS.len());
        self.rails = rails;
        self
    }

    /// The speed of every cable in each direction, as `tc` writes it: `1gbit`.
    pub fn rate(mut self, rate: &str) -> Self {
        self.rates.fill(Some(rate.to_owned()));
        self
    }

    /// The speed of one host's cables.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn rate_of(mut self, host: usize, rate: &str) -> Self {
        self.rates[host] = Some(rate.to_owned());
        self
    }

    /// Another interface on every host, with one and the same address (`172.17.0.1/16`), that leads nowhere and is there before the cables:
    /// what a container engine leaves behind.
    pub fn beside(mut self, name: &str, address: &str) -> Self {
        self.spare = Some((name.to_owned(), address.to_owned()));
        self
    }

    /// Two hosts that do not reach each other.
    pub fn part(mut self, how: Parting, one: usize, other: usize) -> Self {
        self.parted = Some((how, one, other));
        self
    }

    /// Builds it.
    pub fn build(&self) -> Result<Cluster, Unavailable> {
        Cluster::build(self)
    }

    /// Builds it, for a test; `None`, with the line of a skipped test that says why, where this process may not.
    pub fn build_or_skip(&self) -> Option<Cluster> {
        self.build().inspect_err(|why| println!("skipped: network: {why}")).ok()
    }
}

/// Hosts and their ranks as people write them: `4x2` is four hosts with two ranks each, `1+2+3` three hosts with so many.
impl FromStr for Blueprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = |between| text.split(between).map(|number| number.parse().ok()).collect::<Option<Vec<usize>>>();
        let ranks = match numbers('x').as_deref() {
            Some(&[hosts, ranks]) if hosts <= HOSTS_MAX => Some(vec![ranks; hosts]),
            _ => numbers('+'),
        };
        ranks
            .filter(|ranks| (1..=HOSTS_MAX).contains(&ranks.len()) && !ranks.contains(&0))
            .map(|ranks| Self::new(&ranks))
            .ok_or_else(|| format!("expected hosts and their ranks, as in 4x2 or 1+2+3, and at most {HOSTS_MAX} hosts"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ranks_are_read_as_people_write_them() {
        for (text, ranks) in [("4x1", &[1; 4][..]), ("1x3", &[3]), ("1+2+3", &[1, 2, 3]), ("5", &[5])] {
            assert_eq!(text.parse::<Blueprint>().expect(text).ranks, ranks);
        }
        for text in ["", "x", "4x", "0x2", "2x0", "1+0", "1+", "2x2x2", "2x1+1", "255x1", "-1", "two"] {
            assert!(text.parse::<Blueprint>().is_err(), "{text}");
        }
    }
}
