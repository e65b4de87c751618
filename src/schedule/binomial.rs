//! Binomial tree: the shape of rooted collectives whose messages are small. ⌊log2 n⌋ messages deep.
//!
//! ```text
//!   n = 8, from the root:          0
//!                          4       2     1         a rank's parent is its number without its lowest bit
//!                        6   5     3
//!                        7
//! ```
//!
//! Numbers are counted from the root on. A rank's subtree is the run of ranks from itself to the next one whose lowest bit is as high, so what a subtree has of blocks is
//! one run, too (modulo n). A broadcast and a scatter serve the largest subtree first, a reduce and a gather take from the smallest first.
//!
//! A rank sends ≤ ⌈log2 n⌉ messages; of a message that is the whole slice each, of blocks those of the subtree.

use super::{Chunks, Schedule, Step, ahead};

/// A rank's place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    /// The rank, counted from the root.
    number: u32,
    size: u32,
    root: u32,
    children: u32,
}

impl Node {
    fn new(root: u32, rank: u32, size: u32) -> Self {
        let number = if rank >= root { rank - root } else { rank + (size - root) };
        // Child k is 2^k further on, below the own lowest bit and below the end.
        let below = size - 1 - number;
        let by_size = u32::BITS - below.leading_zeros();
        let children = if number == 0 { by_size } else { by_size.min(number.trailing_zeros()) };
        Self { number, size, root, children }
    }

    fn is_root(&self) -> bool {
        self.number == 0
    }

    /// The rank with this number.
    #[inline]
    fn rank(&self, number: u32) -> u32 {
        ahead(number, self.root, self.size)
    }

    #[inline]
    fn parent(&self) -> u32 {
        self.rank(self.number & (self.number - 1))
    }

    #[inline]
    fn child(&self, k: u32) -> u32 {
        self.rank(self.number + (1 << k))
    }

    /// The blocks of the subtree of child `k`.
    #[inline]
    fn blocks_of_child(&self, k: u32) -> Chunks {
        let first = self.number + (1 << k);
        Chunks::run(self.rank(first), (1 << k).min(self.size - first))
    }

    /// The blocks of the own subtree; asked for below the root only.
    #[inline]
    fn blocks(&self) -> Chunks {
        let whole = 1 << self.number.trailing_zeros();
        Chunks::run(self.rank(self.number), whole.min(self.size - self.number))
    }

    /// Messages to or from the parent, and to or from the children.
    fn messages(&self) -> u32 {
        self.children + u32::from(!self.is_root())
    }

    /// The most blocks of a child of the root.
    fn widest_blocks(&self) -> u32 {
        if self.size < 2 {
            return 1;
        }
        let last = self.size.next_power_of_two() / 2;
        (self.size - last).max(last / 2)
    }
}

/// One of the four, which differ in direction and in what a message holds.
macro_rules! binomial {
    ($(#[$doc:meta])* $name:ident { parts: $parts:expr, widest: $widest:expr, reduces: $reduces:expr, step: $step:expr $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(Node);

        impl $name {
            /// Rank `rank` of `size`.
            pub fn new(root: u32, rank: u32, size: u32) -> Self {
                Self(Node::new(root, rank, size))
            }
        }

        impl Schedule for $name {
            fn parts(&self) -> u32 {
                let parts: fn(&Node) -> u32 = $parts;
                parts(&self.0)
            }

            #[inline]
            fn len(&self) -> u32 {
                self.0.messages()
            }

            #[inline]
            fn step(&self, pc: u32) -> Step {
                let step: fn(&Node, u32) -> Step = $step;
                step(&self.0, pc)
            }

            fn widest(&self) -> u32 {
                let widest: fn(&Node) -> u32 = $widest;
                widest(&self.0)
            }

            fn reduces(&self) -> bool {
                $reduces && self.0.size > 1
            }
        }
    };
}

binomial! {
    /// The root's message goes to all.
    Broadcast {
        parts: |_| 1,
        widest: |_| 1,
        reduces: false,
        step: |node, pc| match pc + u32::from(node.is_root()) {
            0 => Step::Recv { from: node.parent(), chunks: Chunks::one(0) },
            turn => Step::Send { to: node.child(node.children - turn), chunks: Chunks::one(0) },
        },
    }
}

binomial! {
    /// Everybody's messages, reduced on the way, end at the root.
    Reduce {
        parts: |_| 1,
        widest: |_| 1,
        reduces: true,
        step: |node, pc| if pc < node.children {
            let complete = node.is_root() && pc + 1 == node.children;
            Step::RecvReduce { from: node.child(pc), chunks: Chunks::one(0), complete }
        } else {
            Step::Send { to: node.parent(), chunks: Chunks::one(0) }
        },
    }
}

binomial! {
    /// Everybody's block ends at the root.
    Gather {
        parts: |node| node.size,
        widest: Node::widest_blocks,
        reduces: false,
        step: |node, pc| if pc < node.children {
            Step::Recv { from: node.child(pc), chunks: node.blocks_of_child(pc) }
        } else {
            Step::Send { to: node.parent(), chunks: node.blocks() }
        },
    }
}

binomial! {
    /// Each rank's block comes from the root.
    Scatter {
        parts: |node| node.size,
        widest: Node::widest_blocks,
        reduces: false,
        step: |node, pc| match pc + u32::from(node.is_root()) {
            0 => Step::Recv { from: node.parent(), chunks: node.blocks() },
            turn => {
                let k = node.children - turn;
                Step::Send { to: node.child(k), chunks: node.blocks_of_child(k) }
            }
        },
    }
}
