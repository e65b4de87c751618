//! Dissemination of blocks between the leaders of hosts: in every round a leader has the blocks of twice as many hosts, whatever their sizes.
//! ⌈log2 K⌉ rounds of K hosts.
//!
//! ```text
//!   all-gather, round k = 0, 1, …:  host h ──the blocks of hosts h, h + 1, … that it has──▶ host h − 2^k
//!   reduce-scatter:                 the same rounds in reverse, the other way
//! ```
//!
//! The concatenation of Bruck and others, "Efficient algorithms for all-to-all communications in multiport message-passing systems" (1997). In the last round
//! only what the other lacks is sent, so each block goes to each leader once. ([`nhr`](super::nhr) is as deep, but a message of it holds hosts that are no
//! neighbours, of which a set of chunks can tell nothing if they differ in size.)
//!
//! A leader sends one message a round and the blocks of K − 1 hosts in all, if ranks are numbered host by host. Otherwise blocks of neighbouring hosts are not
//! neighbours, and each is a message.

use super::{Chunks, Exchange, Schedule, Step, ahead, behind};
use crate::types::Grouping;

/// The rounds of one rank; there is none for who leads nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rounds<'g> {
    grouping: &'g Grouping,
    host: u32,
    count: u32,
}

/// One message of the all-gather.
enum Message {
    Out { to: u32, chunks: Chunks, round: u32 },
    In { from: u32, chunks: Chunks },
}

impl<'g> Rounds<'g> {
    fn new(grouping: &'g Grouping, rank: u32) -> Self {
        let all = grouping.hosts().next_power_of_two().trailing_zeros();
        let count = if grouping.place_of(rank) == 0 { all } else { 0 };
        Self { grouping, host: grouping.host_of(rank), count }
    }

    /// The host 2^k further on.
    #[inline]
    fn ahead(&self, k: u32) -> u32 {
        ahead(self.host, 1 << k, self.grouping.hosts())
    }

    /// Of how many hosts the blocks go each way in round `k`.
    #[inline]
    fn hosts(&self, k: u32) -> u32 {
        (1 << k).min(self.grouping.hosts() - (1 << k))
    }

    /// How many ranks, and so blocks, those of them have that begin with `host`.
    #[inline]
    fn blocks(&self, host: u32, k: u32) -> u32 {
        let (grouping, end) = (self.grouping, host + self.hosts(k));
        let (start, hosts) = (grouping.before(host), grouping.hosts());
        if end <= hosts { grouping.before(end) - start } else { grouping.size() - start + grouping.before(end - hosts) }
    }

    /// In how many messages they go.
    #[inline]
    fn messages(&self, host: u32, k: u32) -> u32 {
        if self.grouping.is_by_host() { 1 } else { self.blocks(host, k) }
    }

    /// What message number `index` of those moves.
    #[inline]
    fn chunks(&self, host: u32, k: u32, index: u32) -> Chunks {
        let first = self.grouping.before(host);
        if self.grouping.is_by_host() {
            return Chunks::run(first, self.blocks(host, k));
        }
        Chunks::one(self.grouping.rank_at(ahead(first, index, self.grouping.size())))
    }

    fn len(&self) -> u32 {
        (0..self.count).map(|k| self.messages(self.host, k) + self.messages(self.ahead(k), k)).sum()
    }

    /// Message number `pc`.
    #[inline]
    fn message(&self, mut pc: u32) -> Message {
        let leader = |host: u32| self.grouping.members(host)[0];
        let mut round = 0;
        loop {
            let source = self.ahead(round);
            let (sends, receives) = (self.messages(self.host, round), self.messages(source, round));
            if pc >= sends + receives {
                pc -= sends + receives;
                round += 1;
                continue;
            }
            return match Exchange::at(pc, sends, receives) {
                Exchange::Send(index) => {
                    let to = leader(behind(self.host, 1 << round, self.grouping.hosts()));
                    Message::Out { to, chunks: self.chunks(self.host, round, index), round }
                }
                Exchange::Receive(index) => {
                    Message::In { from: leader(source), chunks: self.chunks(source, round, index) }
                }
            };
        }
    }

    /// Among hosts of one rank the most of a round; otherwise everything, since so much goes from a leader to its host, and a slot has to hold it anyway.
    fn widest(&self) -> u32 {
        match self.grouping.largest() {
            1 => (0..self.count).map(|k| self.hosts(k)).max().unwrap_or(1),
            _ => self.grouping.size(),
        }
    }
}

/// Every leader ends with all blocks, and has those of its host at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllGather<'g>(Rounds<'g>);

/// Every leader ends with the blocks of its host, reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReduceScatter<'g>(Rounds<'g>);

impl<'g> AllGather<'g> {
    /// Rank `rank`, which leads its host if it is the lowest there.
    pub fn new(grouping: &'g Grouping, rank: u32) -> Self {
        Self(Rounds::new(grouping, rank))
    }
}

impl<'g> ReduceScatter<'g> {
    /// Rank `rank`, which leads its host if it is the lowest there.
    pub fn new(grouping: &'g Grouping, rank: u32) -> Self {
        Self(Rounds::new(grouping, rank))
    }
}

impl Schedule for AllGather<'_> {
    fn parts(&self) -> u32 {
        self.0.grouping.size()
    }

    fn len(&self) -> u32 {
        self.0.len()
    }

    fn step(&self, pc: u32) -> Step {
        match self.0.message(pc) {
            Message::Out { to, chunks, .. } => Step::Send { to, chunks },
            Message::In { from, chunks } => Step::Recv { from, chunks },
        }
    }

    fn widest(&self) -> u32 {
        self.0.widest()
    }

    fn reduces(&self) -> bool {
        false
    }
}

impl Schedule for ReduceScatter<'_> {
    fn parts(&self) -> u32 {
        self.0.grouping.size()
    }

    fn len(&self) -> u32 {
        self.0.len()
    }

    fn step(&self, pc: u32) -> Step {
        match self.0.message(self.0.len() - 1 - pc) {
            // What goes out in round 0 of the all-gather are the blocks of the own host alone, and it is the last round here.
            Message::Out { to, chunks, round } => Step::RecvReduce { from: to, chunks, complete: round == 0 },
            Message::In { from, chunks } => Step::Send { to: from, chunks },
        }
    }

    fn widest(&self) -> u32 {
        self.0.widest()
    }

    fn reduces(&self) -> bool {
        self.0.grouping.hosts() > 1
    }
}
