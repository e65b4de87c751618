//! Double binary tree: two trees over the same ranks, each carrying half, each rank an inner node in at most one of
//! them.
//!
//! ```text
//!   n = 7, first tree (odd ranks inside)       second tree, shifted by one (even ranks inside)
//!              3                                          4
//!         1         5                                2         6
//!       0   2     4   6                            1   3     5   0
//! ```
//!
//! After Sanders, Speck and Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan" (2009). Sums
//! go up to the root, results come down. A rank that only receives and sends what a leaf does in one tree has its
//! bandwidth free for the other, so together they use all of it.
//!
//! The trees number their nodes from left to right, so that leaves and inner nodes alternate. With an even number of
//! ranks the second tree is the first one's mirror image; with an odd number it is the first one shifted by one rank.
//! Both turn inner nodes into leaves.
//!
//! A rank's program, in the order that never keeps one tree waiting for the other: send up as a leaf; take from the
//! children, send up, take the result, send it to the children; last, take the result as a leaf. Whoever is a leaf has
//! nobody waiting.
//!
//! A rank sends at most 4 messages of half the slice: ≤ 2·S bytes. The longest chain is 2·⌊log2 n⌋ messages.

use super::{Chunks, Schedule, Step};

/// The program of one rank. The first tree carries chunk 0, the second chunk 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    nodes: [Node; 2],
    shape: Shape,
}

/// What a rank is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// The only rank.
    Alone,
    /// A leaf in both trees: one rank, if their number is odd.
    Leaf,
    /// An inner node in this tree, a leaf in the other.
    Inner(u32),
}

/// A rank's place in one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    parent: Option<u32>,
    children: [Option<u32>; 2],
}

impl Tree {
    /// Rank `rank` of `size`.
    pub fn new(rank: u32, size: u32) -> Self {
        let first = Node::new(rank + 1, size, |position| position - 1);
        let second = if size.is_multiple_of(2) {
            Node::new(size - rank, size, |position| size - position)
        } else {
            let position = if rank == 0 { size } else { rank };
            Node::new(position, size, |position| if position == size { 0 } else { position })
        };
        let nodes = [first, second];
        let shape = match nodes.iter().position(|node| node.children[0].is_some()) {
            _ if size == 1 => Shape::Alone,
            None => Shape::Leaf,
            Some(tree) => Shape::Inner(tree as u32),
        };
        Self { nodes, shape }
    }

    /// The step of a leaf in tree `tree`: its contribution goes up.
    #[inline]
    fn up(&self, tree: u32) -> Step {
        Step::Send { to: self.parent(tree), chunks: Chunks::one(tree) }
    }

    /// The result comes down to this rank.
    #[inline]
    fn down(&self, tree: u32) -> Step {
        Step::Recv { from: self.parent(tree), chunks: Chunks::one(tree) }
    }

    #[inline]
    fn parent(&self, tree: u32) -> u32 {
        self.nodes[tree as usize].parent.expect("only the root has no parent, and it is never asked for")
    }

    /// The program of an inner node of `tree`, which is a leaf of the other.
    #[inline]
    fn inner_step(&self, tree: u32, pc: u32) -> Step {
        let node = &self.nodes[tree as usize];
        let (children, root) = (node.child_count(), node.parent.is_none());
        let chunks = Chunks::one(tree);
        if pc == 0 {
            return self.up(1 - tree);
        }
        if pc <= children {
            return Step::RecvReduce { from: node.child(pc - 1), chunks, complete: root && pc == children };
        }
        let pc = pc - 1 - children;
        let through_parent = if root { 0 } else { 2 };
        match pc {
            _ if pc >= through_parent + children => self.down(1 - tree),
            _ if pc >= through_parent => Step::Send { to: node.child(pc - through_parent), chunks },
            0 => self.up(tree),
            _ => self.down(tree),
        }
    }
}

impl Schedule for Tree {
    fn parts(&self) -> u32 {
        2
    }

    #[inline]
    fn len(&self) -> u32 {
        match self.shape {
            Shape::Alone => 0,
            Shape::Leaf => 4,
            Shape::Inner(tree) => {
                let node = &self.nodes[tree as usize];
                2 + 2 * node.child_count() + if node.parent.is_some() { 2 } else { 0 }
            }
        }
    }

    #[inline]
    fn step(&self, pc: u32) -> Step {
        match (self.shape, pc) {
            (Shape::Inner(tree), _) => self.inner_step(tree, pc),
            (_, 0 | 1) => self.up(pc),
            _ => self.down(pc - 2),
        }
    }

    fn widest(&self) -> u32 {
        1
    }

    fn reduces(&self) -> bool {
        self.shape != Shape::Alone
    }
}

impl Node {
    /// The node at `position` (from 1, left to right) of a tree of `size` nodes; `rank` tells which rank stands at a
    /// position.
    ///
    /// A position's lowest set bit is its height, as in a Fenwick tree: odd positions are leaves, and the highest power
    /// of two is the root. Positions above `size` are missing; a node whose parent is missing hangs on the next one
    /// above.
    fn new(position: u32, size: u32, rank: impl Fn(u32) -> u32) -> Self {
        let mut parent = above(position);
        while parent > u64::from(size) && parent.count_ones() > 1 {
            parent = above(parent as u32);
        }
        let parent = (parent <= u64::from(size)).then(|| rank(parent as u32));
        let half = lowest_bit(position) / 2;
        let left = (half > 0).then(|| rank(position - half));
        let right = std::iter::successors(Some(half), |reach| Some(reach / 2))
            .take_while(|&reach| reach > 0)
            .find(|&reach| reach <= size - position)
            .map(|reach| rank(position + reach));
        Self { parent, children: [left, right] }
    }

    #[inline]
    fn child_count(&self) -> u32 {
        u32::from(self.children[0].is_some()) + u32::from(self.children[1].is_some())
    }

    #[inline]
    fn child(&self, index: u32) -> u32 {
        self.children[index as usize].expect("asked for by a number below child_count")
    }
}

/// The position above this one in a tree without an end.
fn above(position: u32) -> u64 {
    let (position, bit) = (u64::from(position), u64::from(lowest_bit(position)));
    (position ^ bit) | (bit << 1)
}

fn lowest_bit(position: u32) -> u32 {
    position & position.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_trees_and_nobody_is_inside_both() {
        for size in 1..300 {
            let ranks: Vec<Tree> = (0..size).map(|rank| Tree::new(rank, size)).collect();
            for tree in 0..2 {
                let roots = ranks.iter().filter(|rank| rank.nodes[tree].parent.is_none()).count();
                assert_eq!(roots, 1, "{size} ranks, tree {tree}");
                for (number, rank) in ranks.iter().enumerate() {
                    for child in rank.nodes[tree].children.into_iter().flatten() {
                        assert_eq!(
                            ranks[child as usize].nodes[tree].parent,
                            Some(number as u32),
                            "{size} ranks, tree {tree}"
                        );
                    }
                    let mut steps = 0;
                    let mut at = number as u32;
                    while let Some(parent) = ranks[at as usize].nodes[tree].parent {
                        at = parent;
                        steps += 1;
                    }
                    assert!(steps <= size.ilog2(), "{size} ranks, tree {tree}: rank {number} is {steps} deep");
                }
            }
            for (number, rank) in ranks.iter().enumerate() {
                assert!(rank.nodes.iter().any(|node| node.child_count() == 0), "{size} ranks: {number} is inside both");
            }
        }
    }
}
