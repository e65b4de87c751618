//! What is called over and over for one half of a row, and on which memory.

use crate::perf::buffers::Batch;
use crate::perf::calls::{Call, Calls};
use crate::perf::collective::{Content, Piece, Seat};
use crate::perf::data::{Recipe, Reduction, poison, written};
use crate::perf::samples::Sample;
use serried::Result;

/// One rank's work in an iteration.
pub(crate) enum Task<'b, T: Sample> {
    /// One call that waits for its result.
    Waiting(Waiting<'b, T>),
    /// Allreduces that are started, then waited for.
    Started(Batch<T>, Reduction),
}

/// A call with its buffers.
pub(crate) struct Waiting<'b, T> {
    call: Call,
    input: Option<&'b mut [T]>,
    output: &'b mut [T],
    /// What lies behind the output, and nobody may write.
    behind: &'b mut [T],
    before: Vec<Piece>,
    after: Vec<Piece>,
}

impl<'b, T: Sample> Waiting<'b, T> {
    /// The call of this seat, out of `input` where it is apart, into `output`; `behind` follows the output.
    pub(crate) fn new(
        seat: Seat,
        reduction: Reduction,
        input: Option<&'b mut [T]>,
        output: &'b mut [T],
        behind: &'b mut [T],
    ) -> Self {
        let call = Call::new::<T>(seat, reduction);
        Self { call, input, output, behind, before: seat.before(), after: seat.after() }
    }

    /// The input's one piece.
    fn given(&self) -> [Piece; 1] {
        [(0..self.input.as_ref().map_or(0, |input| input.len()), Content::Input { of: self.call.seat.rank, from: 0 })]
    }
}

impl<T: Sample> Task<'_, T> {
    /// Calls an iteration.
    pub(crate) fn calls(&self) -> usize {
        match self {
            Self::Started(batch, _) => batch.calls(),
            Self::Waiting(_) => 1,
        }
    }

    /// Elements of all calls of an iteration.
    pub(crate) fn elements(&self) -> usize {
        match self {
            Self::Waiting(waiting) => waiting.output.len(),
            Self::Started(batch, _) => batch.elements(),
        }
    }

    /// Makes an iteration's calls.
    #[inline]
    pub(crate) fn run(&mut self, calls: &impl Calls) -> Result<()> {
        match self {
            Self::Waiting(Waiting { call, input, output, .. }) => calls.call(
                call,
                input.as_deref().map(zerocopy::IntoBytes::as_bytes),
                zerocopy::IntoBytes::as_mut_bytes(*output),
            ),
            Self::Started(batch, reduction) => calls.all_reduce_batch(batch, *reduction),
        }
    }

    /// Makes the inputs of one iteration, and spoils whatever it must write or leave alone.
    pub(crate) fn prepare(&mut self, rank: u32, recipe: impl Fn(usize) -> Recipe) {
        match self {
            Self::Waiting(waiting) => {
                let given = waiting.given();
                if let Some(input) = &mut waiting.input {
                    recipe(0).fill(input, &given);
                }
                recipe(0).fill(waiting.output, &waiting.before);
                poison(waiting.behind);
            }
            Self::Started(batch, _) => batch.each(|call, data| {
                let whole = 0..data.len();
                recipe(call).fill(data, &[(whole, Content::Input { of: rank, from: 0 })]);
            }),
        }
    }

    /// Elements that are wrong after one iteration, inputs that are not what they were, and bytes that were written behind the output.
    pub(crate) fn wrong(&mut self, recipe: impl Fn(usize) -> Recipe) -> u64 {
        match self {
            Self::Waiting(waiting) => {
                let spoilt = waiting.input.as_ref().map_or(0, |input| recipe(0).wrong(input, &waiting.given()));
                recipe(0).wrong(waiting.output, &waiting.after) + spoilt + written(waiting.behind)
            }
            Self::Started(batch, _) => {
                let mut wrong = 0;
                batch.each(|call, data| {
                    wrong += recipe(call).wrong(data, &[(0..data.len(), Content::Reduced { from: 0 })]);
                });
                wrong
            }
        }
    }
}
