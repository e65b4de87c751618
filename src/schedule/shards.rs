//! Shards: the flat exchanges of one host, on a message that is cut into more shards, or fewer, than the host has ranks. One message deep.
//!
//! ```text
//!   3 ranks, 4 shards:    0 owns 0, 1      1 owns 2      2 owns 3
//!   reduce-scatter:       everybody sends every other owner its shards, who adds them up as they come in turn
//!   all-gather:           every owner sends its shards to everybody else
//! ```
//!
//! So hosts of different sizes can own the same shards: what goes on between hosts is about shards, never about ranks. A rank sums what it owns in an
//! order of its own, beginning with its own input, so no input is read after it has been written over; nobody else sums the same.

use super::shares::Shares;
use super::{Chunks, Schedule, Step, ahead, behind};

/// A rank among those that share a host, and the shards of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    member: u32,
    shares: Shares,
}

impl Owner {
    fn new(member: u32, members: u32, parts: u32) -> Self {
        Self { member, shares: Shares { parts, among: members } }
    }

    #[inline]
    fn owns(&self) -> bool {
        self.member < self.shares.owners()
    }

    /// Everybody but this one, if it owns anything.
    #[inline]
    fn others(&self) -> u32 {
        if self.owns() { self.shares.among - 1 } else { 0 }
    }

    /// How many others own something.
    #[inline]
    fn other_owners(&self) -> u32 {
        self.shares.owners() - u32::from(self.owns())
    }

    /// The `k`-th of the other owners, each member beginning with another one.
    #[inline]
    fn other_owner(&self, k: u32) -> u32 {
        let owners = self.shares.owners();
        if self.owns() { ahead(self.member, k + 1, owners) } else { ahead(self.member % owners, k, owners) }
    }

    /// The shards of a member.
    #[inline]
    fn shards(&self, member: u32) -> Chunks {
        let run = self.shares.of(member);
        Chunks::run(run.start, run.end - run.start)
    }

    fn widest(&self) -> u32 {
        if self.shares.among > 1 { self.shares.most() } else { 1 }
    }
}

/// Every owner ends with its shards reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReduceScatter(Owner);

/// Everybody ends with every owner's shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllGather(Owner);

/// What only one rank, the root, has or wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rooted {
    owner: Owner,
    root: Option<u32>,
}

/// Every owner ends with its shards of the root's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scatter(Rooted);

/// The root ends with every owner's shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather(Rooted);

impl ReduceScatter {
    /// Member `member` of `members`, of `parts` shards.
    pub fn new(member: u32, members: u32, parts: u32) -> Self {
        Self(Owner::new(member, members, parts))
    }
}

impl Schedule for ReduceScatter {
    fn parts(&self) -> u32 {
        self.0.shares.parts
    }

    #[inline]
    fn len(&self) -> u32 {
        self.0.other_owners() + self.0.others()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let Owner { member, shares } = self.0;
        let sends = self.0.other_owners();
        if pc < sends {
            let to = self.0.other_owner(pc);
            return Step::Send { to, chunks: self.0.shards(to) };
        }
        let from = behind(member, pc - sends + 1, shares.among);
        Step::RecvReduce { from, chunks: self.0.shards(member), complete: pc + 1 == self.len() }
    }

    fn widest(&self) -> u32 {
        self.0.widest()
    }

    fn reduces(&self) -> bool {
        self.0.shares.among > 1
    }
}

impl AllGather {
    /// Member `member` of `members`, of `parts` shards.
    pub fn new(member: u32, members: u32, parts: u32) -> Self {
        Self(Owner::new(member, members, parts))
    }
}

impl Schedule for AllGather {
    fn parts(&self) -> u32 {
        self.0.shares.parts
    }

    #[inline]
    fn len(&self) -> u32 {
        self.0.others() + self.0.other_owners()
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        let Owner { member, shares } = self.0;
        let sends = self.0.others();
        if pc < sends {
            return Step::Send { to: ahead(member, pc + 1, shares.among), chunks: self.0.shards(member) };
        }
        // Backwards: who is next before this one has sent to it first.
        let from = self.0.other_owner(self.len() - 1 - pc);
        Step::Recv { from, chunks: self.0.shards(from) }
    }

    fn widest(&self) -> u32 {
        self.0.widest()
    }

    fn reduces(&self) -> bool {
        false
    }
}

impl Rooted {
    #[inline]
    fn len(&self) -> u32 {
        match self.root {
            Some(root) if root == self.owner.member => self.owner.other_owners(),
            Some(_) => u32::from(self.owner.owns()),
            None => 0,
        }
    }

    /// The other end of a message, and whose shards it moves.
    #[inline]
    fn message(&self, pc: u32) -> (u32, Chunks) {
        let member = self.owner.member;
        match self.root {
            Some(root) if root != member => (root, self.owner.shards(member)),
            _ => {
                let owner = self.owner.other_owner(pc);
                (owner, self.owner.shards(owner))
            }
        }
    }

    fn is_root(&self) -> bool {
        self.root == Some(self.owner.member)
    }
}

impl Scatter {
    /// Member `member` of `members`, of `parts` shards. Without a root, which may be on another host, there is nothing to do.
    pub fn new(root: Option<u32>, member: u32, members: u32, parts: u32) -> Self {
        Self(Rooted { owner: Owner::new(member, members, parts), root })
    }
}

impl Gather {
    /// Member `member` of `members`, of `parts` shards. Without a root, which may be on another host, there is nothing to do.
    pub fn new(root: Option<u32>, member: u32, members: u32, parts: u32) -> Self {
        Self(Rooted { owner: Owner::new(member, members, parts), root })
    }
}

/// The two rooted ones differ in direction only.
macro_rules! rooted {
    ($name:ident, $is_sender:expr) => {
        impl Schedule for $name {
            fn parts(&self) -> u32 {
                self.0.owner.shares.parts
            }

            #[inline]
            fn len(&self) -> u32 {
                self.0.len()
            }

            #[inline]
            fn step(&self, pc: u32) -> Step {
                let (peer, chunks) = self.0.message(pc);
                let is_sender: fn(bool) -> bool = $is_sender;
                if is_sender(self.0.is_root()) {
                    Step::Send { to: peer, chunks }
                } else {
                    Step::Recv { from: peer, chunks }
                }
            }

            fn widest(&self) -> u32 {
                self.0.owner.widest()
            }

            fn reduces(&self) -> bool {
                false
            }
        }
    };
}

rooted!(Scatter, |is_root| is_root);
rooted!(Gather, |is_root| !is_root);
