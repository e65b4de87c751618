//! The calls into the library that perf measures, and the few things that ranks agree on through them.
//!
//! All of perf's use of a communicator is behind [`Calls`], so the rest is tested with ranks that err on purpose.

use crate::perf::buffers::Batch;
use serried::{Communicator, Element, Handle, Op, Result};

/// One rank's side of the calls under test.
pub(crate) trait Calls {
    /// This rank.
    fn rank(&self) -> u32;
    /// How many ranks there are.
    fn size(&self) -> u32;
    /// An allreduce in place.
    fn all_reduce<T: Element>(&self, data: &mut [T], op: Op) -> Result<()>;
    /// An allreduce out of place.
    fn all_reduce_into<T: Element>(&self, src: &[T], dst: &mut [T], op: Op) -> Result<()>;
    /// Starts an allreduce on every buffer of the batch, then waits for all.
    fn all_reduce_batch<T: Element>(&self, batch: &mut Batch<T>, op: Op) -> Result<()>;
}

impl Calls for Communicator {
    fn rank(&self) -> u32 {
        self.rank()
    }

    fn size(&self) -> u32 {
        self.size()
    }

    #[inline]
    fn all_reduce<T: Element>(&self, data: &mut [T], op: Op) -> Result<()> {
        self.all_reduce(data, op)
    }

    #[inline]
    fn all_reduce_into<T: Element>(&self, src: &[T], dst: &mut [T], op: Op) -> Result<()> {
        self.all_reduce_into(src, dst, op)
    }

    fn all_reduce_batch<T: Element>(&self, batch: &mut Batch<T>, op: Op) -> Result<()> {
        match batch {
            Batch::Private(buffers) => start_then_wait(buffers, |buffer| self.start_all_reduce(buffer, op)),
            Batch::Mapped(buffers) => start_then_wait(buffers, |buffer| self.start_all_reduce(buffer, op)),
        }
    }
}

fn start_then_wait<B>(buffers: &mut Vec<B>, start: impl FnMut(B) -> Result<Handle<B>>) -> Result<()> {
    let started: Vec<Result<Handle<B>>> = buffers.drain(..).map(start).collect();
    // Every handle is waited for, also behind one that failed; the first error counts.
    let mut outcome = Ok(());
    for handle in started {
        match handle.and_then(Handle::wait) {
            Ok(buffer) => buffers.push(buffer),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome
}

/// How the ranks' times become one: nccl-tests' `-a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Average {
    /// Rank 0's.
    Rank0,
    /// The mean.
    Mean,
    /// The fastest rank's.
    Min,
    /// The slowest rank's.
    Max,
}

/// Returns when all ranks have called it.
pub(crate) fn barrier(calls: &impl Calls) -> Result<()> {
    calls.all_reduce(&mut [1_u32], Op::Sum)
}

/// The ranks' values made into one, the same on every rank.
pub(crate) fn agree(calls: &impl Calls, value: f64, average: Average) -> Result<f64> {
    let mine = if average == Average::Rank0 && calls.rank() != 0 { 0.0 } else { value };
    let mut data = [mine];
    calls.all_reduce(
        &mut data,
        match average {
            Average::Rank0 | Average::Mean => Op::Sum,
            Average::Min => Op::Min,
            Average::Max => Op::Max,
        },
    )?;
    Ok(if average == Average::Mean { data[0] / f64::from(calls.size()) } else { data[0] })
}

/// The ranks' counts, reduced.
pub(crate) fn agree_counts(calls: &impl Calls, counts: &mut [u64], op: Op) -> Result<()> {
    calls.all_reduce(counts, op)
}

/// Every rank's `mine`, which has the same length everywhere, in the order of ranks.
pub(crate) fn gather(calls: &impl Calls, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut all = vec![0; mine.len() * calls.size() as usize];
    let start = mine.len() * calls.rank() as usize;
    all[start..start + mine.len()].copy_from_slice(mine);
    // Each place is zero on all ranks but one, so the sum is that one's.
    calls.all_reduce(&mut all, Op::Sum)?;
    Ok(all.chunks(mine.len().max(1)).map(<[u8]>::to_vec).collect())
}
