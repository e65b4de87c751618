//! What a schedule means, step by step on plain vectors: the rules of [`serried::schedule`], written down once more without
//! transports, lanes or fused steps. What the engine makes of a schedule must be the same to the bit.

use serried::engine::Layout;
use serried::reduce::Kernels;
use serried::schedule::{Chunks, Schedule, Step};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;

/// Messages under way, by sender and receiver: the bytes of one chunk after the other.
type Post = HashMap<(usize, usize), VecDeque<Vec<Vec<u8>>>>;

/// One rank in the middle of one slice.
struct Rank<'a, S> {
    number: usize,
    ranks: usize,
    schedule: &'a S,
    step: u32,
    input: &'a [u8],
    accumulator: Vec<u8>,
    written: Vec<bool>,
}

/// What every rank's output holds in the end. `schedules[r]` works on `inputs[r]`.
pub(crate) fn interpret<S: Schedule>(
    schedules: &[S],
    kernels: &Kernels,
    layout: &Layout<'_>,
    inputs: &[Vec<u8>],
) -> Vec<Vec<u8>> {
    let mut outputs = vec![Vec::new(); inputs.len()];
    for slice in 0..layout.slices() {
        let place = |index, parts| layout.own(slice, index, parts).expect("every rank has all of the message");
        let begin = |(number, schedule): (usize, _)| Rank::begin(number, schedule, &inputs[number], inputs.len());
        let mut ranks: Vec<_> = schedules.iter().enumerate().map(begin).collect();
        let mut post = Post::new();
        while ranks.iter().any(Rank::is_running) {
            let take_step = |rank: &mut Rank<'_, S>| rank.take_step(kernels, place, &mut post);
            let moved = ranks.iter_mut().map(take_step).filter(|moved| *moved).count();
            assert!(moved > 0, "the schedule waits for ever");
        }
        for (rank, output) in ranks.iter().zip(&mut outputs) {
            output.extend_from_slice(&rank.accumulator[place(0, 1)]);
        }
    }
    outputs
}

impl<'a, S: Schedule> Rank<'a, S> {
    fn begin(number: usize, schedule: &'a S, input: &'a [u8], ranks: usize) -> Self {
        let (accumulator, written) = (vec![0; input.len()], vec![false; schedule.parts() as usize]);
        Self { number, ranks, schedule, step: 0, input, accumulator, written }
    }

    fn is_running(&self) -> bool {
        self.step < self.schedule.len()
    }

    /// Takes the next step, if there is one and it need not wait.
    fn take_step(&mut self, kernels: &Kernels, place: impl Fn(u32, u32) -> Range<usize>, post: &mut Post) -> bool {
        if !self.is_running() {
            return false;
        }
        let parts = self.schedule.parts();
        let places = |chunks: Chunks| chunks.indices(parts).map(|index| (index as usize, place(index, parts)));
        match self.schedule.step(self.step) {
            Step::Send { to, chunks } => {
                let held = places(chunks).map(|(index, place)| {
                    if self.written[index] { self.accumulator[place].to_vec() } else { self.input[place].to_vec() }
                });
                let message = held.collect();
                post.entry((self.number, to as usize)).or_default().push_back(message);
            }
            Step::Recv { from, chunks } => {
                let Some(message) = self.take_message(from, post) else { return false };
                for ((index, place), incoming) in places(chunks).zip(message) {
                    self.accumulator[place].copy_from_slice(&incoming);
                    self.written[index] = true;
                }
            }
            Step::RecvReduce { from, chunks, complete } => {
                let Some(message) = self.take_message(from, post) else { return false };
                for ((index, place), incoming) in places(chunks).zip(message) {
                    if !self.written[index] {
                        self.accumulator[place.clone()].copy_from_slice(&self.input[place.clone()]);
                    }
                    self.reduce(kernels, place, &incoming, complete);
                    self.written[index] = true;
                }
            }
            Step::ReduceOwn { chunks, complete } => {
                for (_, place) in places(chunks) {
                    let own = self.input[place.clone()].to_vec();
                    self.reduce(kernels, place, &own, complete);
                }
            }
        }
        self.step += 1;
        true
    }

    fn take_message(&self, from: u32, post: &mut Post) -> Option<Vec<Vec<u8>>> {
        post.get_mut(&(from as usize, self.number))?.pop_front()
    }

    fn reduce(&mut self, kernels: &Kernels, place: Range<usize>, incoming: &[u8], complete: bool) {
        let accumulator = &mut self.accumulator[place];
        (kernels.reduce)(accumulator, incoming);
        if complete && let Some(finish) = kernels.finish {
            finish(accumulator, self.ranks as u32);
        }
    }
}
