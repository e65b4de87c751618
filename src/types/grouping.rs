//! Which ranks share a host. It knows nothing of links: what "host" means is for the caller to say.

use std::collections::HashMap;
use std::hash::Hash;

/// The ranks of a communicator, grouped into hosts. Every rank makes the same one of the same list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// The host of each rank.
    hosts: Vec<u32>,
    /// Each rank's number among those of its host.
    places: Vec<u32>,
    /// The ranks host by host, ascending in each.
    members: Vec<u32>,
    /// Where each host begins among those; the end is one more.
    starts: Vec<u32>,
    // Kept because every call asks for them.
    is_by_host: bool,
    smallest: u32,
    smallest_shared: Option<u32>,
    largest: u32,
}

impl Grouping {
    /// The grouping in which two ranks share a host if their entries of `hosts` are equal. Hosts are numbered in the order of their first ranks.
    ///
    /// # Panics
    ///
    /// If there are no ranks.
    pub fn new<H: Eq + Hash>(hosts: &[H]) -> Self {
        assert!(!hosts.is_empty(), "there are no ranks to group");
        let mut numbers = HashMap::new();
        let number = |host| {
            let next = numbers.len() as u32;
            *numbers.entry(host).or_insert(next)
        };
        let hosts: Vec<u32> = hosts.iter().map(number).collect();
        let mut sizes = vec![0; numbers.len()];
        let mut places = Vec::with_capacity(hosts.len());
        for &host in &hosts {
            let size = &mut sizes[host as usize];
            places.push(*size);
            *size += 1;
        }
        let mut starts = vec![0];
        starts.extend(sizes.iter().scan(0, |end, size| {
            *end += size;
            Some(*end)
        }));
        let mut members = vec![0; hosts.len()];
        for (rank, (host, place)) in (0..).zip(hosts.iter().zip(&places)) {
            members[(starts[*host as usize] + place) as usize] = rank;
        }
        let is_by_host = members.is_sorted();
        let (mut smallest, mut smallest_shared, mut largest) = (u32::MAX, None, 0);
        for size in sizes {
            (smallest, largest) = (size.min(smallest), size.max(largest));
            if size > 1 {
                smallest_shared = Some(smallest_shared.map_or(size, |smallest| size.min(smallest)));
            }
        }
        Self { hosts, places, members, starts, is_by_host, smallest, smallest_shared, largest }
    }

    /// `size` ranks on one host.
    pub fn one_host(size: u32) -> Self {
        Self::new(&vec![(); size as usize])
    }

    /// How many ranks there are.
    #[inline]
    pub fn size(&self) -> u32 {
        self.hosts.len() as u32
    }

    /// How many hosts.
    #[inline]
    pub fn hosts(&self) -> u32 {
        self.starts.len() as u32 - 1
    }

    /// The host of a rank.
    #[inline]
    pub fn host_of(&self, rank: u32) -> u32 {
        self.hosts[rank as usize]
    }

    /// A rank's number among the [members](Self::members) of its host.
    #[inline]
    pub fn place_of(&self, rank: u32) -> u32 {
        self.places[rank as usize]
    }

    /// The ranks of a host, ascending.
    #[inline]
    pub fn members(&self, host: u32) -> &[u32] {
        &self.members[self.starts[host as usize] as usize..self.starts[host as usize + 1] as usize]
    }

    /// How many ranks the hosts before this one have; for the number of hosts, how many ranks there are.
    #[inline]
    pub fn before(&self, host: u32) -> u32 {
        self.starts[host as usize]
    }

    /// The rank at this position of all, host by host.
    #[inline]
    pub fn rank_at(&self, position: u32) -> u32 {
        self.members[position as usize]
    }

    /// Whether ranks are numbered so.
    #[inline]
    pub fn is_by_host(&self) -> bool {
        self.is_by_host
    }

    /// How many ranks the smallest host has.
    #[inline]
    pub fn smallest(&self) -> u32 {
        self.smallest
    }

    /// How many ranks the smallest host has of those with two or more, if there is one.
    #[inline]
    pub fn smallest_shared(&self) -> Option<u32> {
        self.smallest_shared
    }

    /// How many ranks the largest host has.
    #[inline]
    pub fn largest(&self) -> u32 {
        self.largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_numbered_as_they_first_come() {
        let grouping = Grouping::new(&["b", "a", "b", "c", "a", "b"]);
        assert_eq!((grouping.size(), grouping.hosts()), (6, 3));
        assert_eq!([0, 1, 2].map(|host| grouping.members(host).to_vec()), [vec![0, 2, 5], vec![1, 4], vec![3]]);
        for rank in 0..6 {
            assert_eq!(grouping.members(grouping.host_of(rank))[grouping.place_of(rank) as usize], rank);
        }
        assert_eq!((grouping.smallest(), grouping.smallest_shared(), grouping.largest()), (1, Some(2), 3));
        assert_eq!([0, 1, 2, 3].map(|host| grouping.before(host)), [0, 3, 5, 6]);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|position| grouping.rank_at(position)), [0, 2, 5, 1, 4, 3]);
        assert!(!grouping.is_by_host() && Grouping::new(&[7, 7, 0, 1, 1]).is_by_host());
        assert_eq!(grouping, Grouping::new(&[7, 1, 7, 0, 1, 7]));
    }

    #[test]
    fn one_host_has_everybody() {
        let grouping = Grouping::one_host(3);
        assert_eq!((grouping.hosts(), grouping.members(0)), (1, &[0, 1, 2][..]));
        assert_eq!((grouping.smallest(), grouping.smallest_shared(), grouping.largest()), (3, Some(3), 3));
        assert_eq!(Grouping::new(&[1, 2]).smallest_shared(), None);
    }
}
