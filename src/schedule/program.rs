//! stand-in
use super::{AllReduce, Chunks, Schedule, Step};
use crate::types::{Algorithm, CollectiveKind};

#[derive(Clone, Copy, Debug)]
pub enum Program {
    AllReduce(AllReduce),
    Direct(Direct),
}

#[derive(Clone, Copy, Debug)]
pub struct Direct {
    kind: CollectiveKind,
    root: u32,
    rank: u32,
    size: u32,
}

impl Program {
    pub fn new(kind: CollectiveKind, root: u32, algorithm: Algorithm, rank: u32, size: u32) -> Option<Self> {
        Some(match kind {
            CollectiveKind::AllReduce => Self::AllReduce(AllReduce::new(algorithm, rank, size)),
            _ => Self::Direct(Direct { kind, root, rank, size }),
        })
    }
}
impl Algorithm {
    pub fn serving(kind: CollectiveKind) -> &'static [Self] {
        if kind == CollectiveKind::AllReduce { &Self::ALL } else { &[Self::Direct] }
    }
}
impl Direct {
    fn peer(&self, k: u32) -> u32 {
        (self.rank + 1 + k) % self.size
    }
    fn from(&self, k: u32) -> u32 {
        (self.rank + self.size - 1 - k) % self.size
    }
}
impl Schedule for Direct {
    fn parts(&self) -> u32 {
        if self.kind.is_of_blocks() { self.size } else { 1 }
    }
    fn len(&self) -> u32 {
        let n = self.size - 1;
        let at_root = self.rank == self.root;
        match self.kind {
            CollectiveKind::Reduce | CollectiveKind::Broadcast | CollectiveKind::Gather | CollectiveKind::Scatter => {
                if at_root {
                    n
                } else {
                    n.min(1)
                }
            }
            _ => 2 * n,
        }
    }
    fn step(&self, pc: u32) -> Step {
        let at_root = self.rank == self.root;
        let n = self.size - 1;
        let one = Chunks::one;
        match self.kind {
            CollectiveKind::Reduce if at_root => {
                Step::RecvReduce { from: self.peer(pc), chunks: one(0), complete: pc + 1 == n }
            }
            CollectiveKind::Reduce => Step::Send { to: self.root, chunks: one(0) },
            CollectiveKind::Broadcast if at_root => Step::Send { to: self.peer(pc), chunks: one(0) },
            CollectiveKind::Broadcast => Step::Recv { from: self.root, chunks: one(0) },
            CollectiveKind::Gather if at_root => Step::Recv { from: self.peer(pc), chunks: one(self.peer(pc)) },
            CollectiveKind::Gather => Step::Send { to: self.root, chunks: one(self.rank) },
            CollectiveKind::Scatter if at_root => Step::Send { to: self.peer(pc), chunks: one(self.peer(pc)) },
            CollectiveKind::Scatter => Step::Recv { from: self.root, chunks: one(self.rank) },
            CollectiveKind::ReduceScatter if pc.is_multiple_of(2) => {
                Step::Send { to: self.peer(pc / 2), chunks: one(self.peer(pc / 2)) }
            }
            CollectiveKind::ReduceScatter => {
                Step::RecvReduce { from: self.from(pc / 2), chunks: one(self.rank), complete: pc / 2 + 1 == n }
            }
            CollectiveKind::AllToAll if pc.is_multiple_of(2) => {
                Step::Send { to: self.peer(pc / 2), chunks: one(pc / 2 + 1) }
            }
            CollectiveKind::AllToAll => Step::Recv { from: self.from(pc / 2), chunks: one(pc / 2 + 1) },
            _ if pc.is_multiple_of(2) => Step::Send { to: self.peer(pc / 2), chunks: one(self.rank) },
            _ => Step::Recv { from: self.from(pc / 2), chunks: one(self.from(pc / 2)) },
        }
    }
    fn widest(&self) -> u32 {
        1
    }
    fn reduces(&self) -> bool {
        self.kind.reduces() && self.size > 1
    }
}
macro_rules! each {
    ($s:ident, $p:ident => $v:expr) => {
        match $s {
            Self::AllReduce($p) => $v,
            Self::Direct($p) => $v,
        }
    };
}
impl Schedule for Program {
    fn parts(&self) -> u32 {
        each!(self, p => p.parts())
    }
    fn len(&self) -> u32 {
        each!(self, p => p.len())
    }
    fn step(&self, pc: u32) -> Step {
        each!(self, p => p.step(pc))
    }
    fn keeps_own(&self) -> bool {
        each!(self, p => p.keeps_own())
    }
    fn widest(&self) -> u32 {
        each!(self, p => p.widest())
    }
    fn credits(&self) -> u32 {
        each!(self, p => p.credits())
    }
    fn reduces(&self) -> bool {
        each!(self, p => p.reduces())
    }
}
