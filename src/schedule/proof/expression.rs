//! Expressions over the ranks' inputs: a graph in which equal expressions are one node, so comparing them is comparing
//! numbers.
//!
//! It knows nothing of schedules.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// An expression, by its number. Equal numbers are equal expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Expression(u32);

/// All expressions of a proof.
#[derive(Debug)]
pub(super) struct Expressions {
    ranks: u32,
    parts: u32,
    /// The first numbers are the leaves, rank by rank; these are the others.
    nodes: Vec<Node>,
    reductions: Numbers<(Expression, Expression)>,
    finished: Numbers<Expression>,
    /// For [`Self::is_whole`]: the last search that has met a rank.
    met: Vec<u32>,
    search: u32,
}

/// The numbers of the expressions that are there already.
type Numbers<Key> = HashMap<Key, Expression, BuildHasherDefault<PairHasher>>;

#[derive(Clone, Copy, Debug)]
struct Node {
    operands: Operands,
    /// How many leaves it has, each counted as often as it is there.
    leaves: u32,
    /// The lowest rank in it.
    lowest: u32,
    whole: Whole,
}

#[derive(Clone, Copy, Debug)]
enum Operands {
    /// The reduction of two, the one with the lower number first.
    Reduction(Expression, Expression),
    /// What becomes of a complete one: an average is divided here.
    Finished(Expression),
}

/// Whether every rank is in it exactly once, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Unknown,
    Yes,
    No,
}

impl Expressions {
    pub(super) fn new(ranks: u32, parts: u32) -> Self {
        let (reductions, finished) = (Numbers::default(), Numbers::default());
        Self { ranks, parts, nodes: Vec::new(), reductions, finished, met: vec![0; ranks as usize], search: 0 }
    }

    /// The input of a rank.
    pub(super) fn leaf(&self, rank: u32, chunk: u32) -> Expression {
        Expression(rank * self.parts + chunk)
    }

    /// `a ⊕ b`, which is `b ⊕ a`. `None` if one of them is finished: then nothing can be reduced into it.
    pub(super) fn reduction(&mut self, a: Expression, b: Expression) -> Option<Expression> {
        let pair = (a.min(b), a.max(b));
        if let Some(&known) = self.reductions.get(&pair) {
            return Some(known);
        }
        if self.is_finished(a) || self.is_finished(b) {
            return None;
        }
        let leaves = self.leaves(a).saturating_add(self.leaves(b));
        let lowest = self.lowest(a).min(self.lowest(b));
        let expression =
            self.add(Node { operands: Operands::Reduction(pair.0, pair.1), leaves, lowest, whole: Whole::Unknown });
        self.reductions.insert(pair, expression);
        Some(expression)
    }

    /// A complete expression after what is done to complete ones.
    pub(super) fn finished(&mut self, of: Expression) -> Expression {
        if let Some(&known) = self.finished.get(&of) {
            return known;
        }
        let node = Node {
            operands: Operands::Finished(of),
            leaves: self.leaves(of),
            lowest: self.lowest(of),
            whole: Whole::No,
        };
        let expression = self.add(node);
        self.finished.insert(of, expression);
        expression
    }

    /// Whether it is the finished form of an expression that is whole for `chunk`.
    pub(super) fn is_result(&mut self, expression: Expression, chunk: u32) -> bool {
        match self.node(expression).map(|node| node.operands) {
            Some(Operands::Finished(of)) => self.is_whole(of, chunk),
            _ => false,
        }
    }

    /// Whether every rank's input of `chunk` is in it exactly once, and nothing else.
    pub(super) fn is_whole(&mut self, expression: Expression, chunk: u32) -> bool {
        if self.leaves(expression) != self.ranks {
            return false;
        }
        match self.node(expression).map(|node| node.whole) {
            None => self.search_leaves(expression, chunk),
            Some(Whole::Unknown) => {
                let whole = self.search_leaves(expression, chunk);
                let index = self.index(expression).expect("it is a node");
                self.nodes[index].whole = if whole { Whole::Yes } else { Whole::No };
                whole
            }
            Some(known) => known == Whole::Yes && self.chunk_of_a_leaf(expression) == chunk,
        }
    }

    /// The expression as text, without what is done to complete ones.
    pub(super) fn text(&self, expression: Expression) -> String {
        enum Piece {
            Of(Expression),
            Sign(char),
        }
        let mut text = String::new();
        let mut pieces = vec![Piece::Of(expression)];
        while let Some(piece) = pieces.pop() {
            let of = match piece {
                Piece::Sign(sign) => {
                    text.push(sign);
                    continue;
                }
                Piece::Of(of) => of,
            };
            match self.node(of).map(|node| node.operands) {
                None => text += &format!("x{}", self.lowest(of)),
                Some(Operands::Finished(of)) => pieces.push(Piece::Of(of)),
                Some(Operands::Reduction(a, b)) => {
                    let (a, b) = if self.lowest(a) <= self.lowest(b) { (a, b) } else { (b, a) };
                    text.push('(');
                    pieces.extend([Piece::Sign(')'), Piece::Of(b), Piece::Sign('+'), Piece::Of(a)]);
                }
            }
        }
        text
    }

    /// Visits the leaves of an expression that has as many as there are ranks.
    fn search_leaves(&mut self, expression: Expression, chunk: u32) -> bool {
        self.search += 1;
        let mut open = vec![expression];
        while let Some(expression) = open.pop() {
            match self.node(expression).map(|node| node.operands) {
                Some(Operands::Reduction(a, b)) => open.extend([a, b]),
                Some(Operands::Finished(_)) => return false,
                None => {
                    let met = &mut self.met[(expression.0 / self.parts) as usize];
                    if std::mem::replace(met, self.search) == self.search || expression.0 % self.parts != chunk {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn chunk_of_a_leaf(&self, mut expression: Expression) -> u32 {
        while let Some(node) = self.node(expression) {
            let (Operands::Reduction(below, _) | Operands::Finished(below)) = node.operands;
            expression = below;
        }
        expression.0 % self.parts
    }

    fn is_finished(&self, expression: Expression) -> bool {
        self.node(expression).is_some_and(|node| matches!(node.operands, Operands::Finished(_)))
    }

    fn leaves(&self, expression: Expression) -> u32 {
        self.node(expression).map_or(1, |node| node.leaves)
    }

    fn lowest(&self, expression: Expression) -> u32 {
        self.node(expression).map_or(expression.0 / self.parts, |node| node.lowest)
    }

    fn index(&self, expression: Expression) -> Option<usize> {
        expression.0.checked_sub(self.ranks * self.parts).map(|index| index as usize)
    }

    fn node(&self, expression: Expression) -> Option<&Node> {
        self.index(expression).map(|index| &self.nodes[index])
    }

    fn add(&mut self, node: Node) -> Expression {
        let number = self.ranks * self.parts + self.nodes.len() as u32;
        self.nodes.push(node);
        Expression(number)
    }
}

/// Mixes two numbers; the standard hasher is most of a proof's time otherwise.
#[derive(Default)]
pub(super) struct PairHasher(u64);

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u32(u32::from(byte)));
    }

    fn write_u32(&mut self, number: u32) {
        // An odd constant from the digits of the golden ratio; the rotation brings its good high bits to where the
        // table looks.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}
