//! A card that only pretends: writes travel for a random while, queue pairs overtake each other, and whoever breaks the rules of verbs is
//! found out: memory that is changed before its write has completed, a notice that nobody expects, a queue that overflows.

use super::super::layout::Layout;
use super::super::nic::{BATCH, Done, Nic, Source, Write};
use super::super::outgoing::{receive_queue_depth, send_queue_depth};
use crate::transport::{Fault, Interest};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

/// Writes of one queue pair, and what their bytes were when they were posted.
type Queue = VecDeque<(Write, Vec<u8>)>;

/// What is under way between two ends.
#[derive(Debug, Default)]
pub(in super::super) struct Wire {
    /// By direction and queue pair.
    travelling: [Vec<Queue>; 2],
    /// Completions that their sender has not been told of, likewise; how many writes each is for.
    completed: [Vec<Queue>; 2],
    /// Notices that the receiver of each direction expects, by queue pair.
    expected: [Vec<usize>; 2],
    random: u64,
    /// Nothing arrives any more in this direction.
    cut: [bool; 2],
    /// Payloads that were lent, by direction, and how many writes still read them.
    lent: [Vec<(Vec<u8>, usize)>; 2],
}

impl Wire {
    /// Whether nothing reads this payload any more that was lent for this direction.
    pub(super) fn is_read(&self, from: usize, payload: &[u8]) -> bool {
        self.lent[from].iter().all(|(bytes, readers)| bytes != payload || *readers == 0)
    }

    pub(super) fn cut(&mut self, from: usize) {
        self.cut[from] = true;
    }

    /// How many writes are between their posting and the news of their completion.
    fn in_queue(&self, from: usize, queue_pair: usize) -> usize {
        self.travelling[from][queue_pair].len() + self.completed[from][queue_pair].len()
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((self.random >> 33) as usize) % limit
    }
}

/// One end.
#[derive(Debug)]
pub(in super::super) struct Pretended {
    wire: Rc<RefCell<Wire>>,
    me: usize,
    layout: Layout,
    memory: Vec<u8>,
    inline_bytes: usize,
    /// Whether every payload counts as lent.
    lends: bool,
}

/// Both ends of a link of so many queue pairs.
pub(in super::super) fn pair(
    layout: Layout,
    queue_pairs: usize,
    inline_bytes: usize,
    seed: u64,
) -> (Rc<RefCell<Wire>>, [Pretended; 2]) {
    let queues = || vec![VecDeque::new(); queue_pairs];
    let wire = Rc::new(RefCell::new(Wire {
        travelling: [queues(), queues()],
        completed: [queues(), queues()],
        expected: [0, 1].map(|_| vec![receive_queue_depth(layout); queue_pairs]),
        random: seed,
        cut: [false; 2],
        lent: Default::default(),
    }));
    let ends = [0, 1].map(|me| Pretended {
        wire: wire.clone(),
        me,
        layout,
        memory: vec![0; layout.memory_bytes()],
        inline_bytes,
        lends: false,
    });
    (wire, ends)
}

impl Pretended {
    /// From now on every payload lies in lent memory.
    pub(super) fn lends(mut self) -> Self {
        self.lends = true;
        self
    }

    fn source(&self, wire: &Wire, from: &Source) -> Vec<u8> {
        match from {
            Source::Nothing => Vec::new(),
            Source::Inline(range) | Source::Own(range) => self.memory[range.clone()].to_vec(),
            Source::Lent(place, range) => wire.lent[self.me][*place].0[range.clone()].to_vec(),
        }
    }
}

impl Nic for Pretended {
    fn queue_pairs(&self) -> usize {
        self.wire.borrow().travelling[0].len()
    }

    fn inline_bytes(&self) -> usize {
        self.inline_bytes
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.memory[range]
    }

    fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.memory[range]
    }

    fn lent(&mut self, payload: &[u8]) -> Option<(usize, Range<usize>)> {
        self.lends.then(|| {
            let lent = &mut self.wire.borrow_mut().lent[self.me];
            lent.push((payload.to_vec(), 0));
            (lent.len() - 1, 0..payload.len())
        })
    }

    fn post(&mut self, queue_pair: usize, writes: &[Write]) -> Result<(), Fault> {
        let mut wire = self.wire.borrow_mut();
        for write in writes {
            let is_inline = matches!(write.from, Source::Inline(_));
            assert!(!is_inline || write.from.len() <= self.inline_bytes, "too much inline");
            let bytes = self.source(&wire, &write.from);
            if let Source::Lent(place, _) = write.from {
                wire.lent[self.me][place].1 += 1;
            }
            wire.travelling[self.me][queue_pair].push_back((write.clone(), bytes));
            let depth = send_queue_depth(self.layout);
            assert!(wire.in_queue(self.me, queue_pair) <= depth, "the send queue overflows");
        }
        Ok(())
    }

    fn expect(&mut self, queue_pair: usize, notices: usize) -> Result<(), Fault> {
        self.wire.borrow_mut().expected[1 - self.me][queue_pair] += notices;
        Ok(())
    }

    fn poll(&mut self, done: &mut Vec<Done>) -> Result<(), Fault> {
        let mut wire = self.wire.borrow_mut();
        let from = 1 - self.me;
        for _ in 0..wire.below(BATCH + 1) {
            let queue_pairs = wire.expected[from].len();
            let queue_pair = wire.below(queue_pairs);
            if wire.cut[from] {
                break;
            }
            let Some((write, bytes)) = wire.travelling[from][queue_pair].pop_front() else { continue };
            self.memory[write.to..write.to + bytes.len()].copy_from_slice(&bytes);
            if let Some(immediate) = write.immediate {
                wire.expected[from][queue_pair] =
                    wire.expected[from][queue_pair].checked_sub(1).expect("nobody expects a notice");
                done.push(Done::Came { queue_pair, immediate });
            }
            wire.completed[from][queue_pair].push_back((write, bytes));
        }
        for queue_pair in 0..wire.completed[self.me].len() {
            let end = wire.completed[self.me][queue_pair].iter().rposition(|(write, _)| write.completes > 0);
            let Some(end) = end.filter(|_| done.len() < BATCH) else { continue };
            // The news of a completion may be later than its consequences.
            if wire.below(12) > 0 {
                continue;
            }
            let told: u32 = wire.completed[self.me][queue_pair].range(..=end).map(|(write, _)| write.completes).sum();
            assert_eq!(told as usize, end + 1, "so many writes were said to end");
            for _ in 0..=end {
                let (write, bytes) = wire.completed[self.me][queue_pair].pop_front().expect("so many have completed");
                let intact = matches!(write.from, Source::Inline(_)) || self.source(&wire, &write.from) == bytes;
                assert!(intact, "memory was changed before its write had completed");
                if let Source::Lent(place, _) = write.from {
                    wire.lent[self.me][place].1 -= 1;
                }
            }
            done.push(Done::Wrote { queue_pair, count: end as u32 + 1 });
        }
        Ok(())
    }

    fn arm(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn descriptors(&self, _each: &mut dyn FnMut(BorrowedFd<'_>, Interest)) {}
}
