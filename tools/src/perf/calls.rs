//! The calls into the library that perf measures, and the few things that ranks agree on through them.
//!
//! All of perf's use of a communicator is behind [`Calls`], so the rest is tested with ranks that err on purpose.

use crate::perf::buffers::Batch;
use crate::perf::collective::{Collective, Seat};
use crate::perf::data::Reduction;
use crate::perf::samples::Sample;
use serried::{Communicator, Element, Group, Handle, Message, Op, Operator, Request, Result};

/// One rank's side of the calls under test.
pub(crate) trait Calls {
    /// This rank.
    fn rank(&self) -> u32;
    /// How many ranks there are.
    fn size(&self) -> u32;
    /// An allreduce in place, of what ranks have to agree on.
    fn all_reduce<T: Element>(&self, data: &mut [T], op: Op) -> Result<()>;
    /// The call under test; an input of `None` means in place.
    fn call(&self, call: &Call, input: Option<&[u8]>, output: &mut [u8]) -> Result<()>;
    /// Starts an allreduce on every buffer of the batch, then waits for all.
    fn all_reduce_batch<T: Sample>(&self, batch: &mut Batch<T>, reduction: Reduction) -> Result<()>;
}

/// The call under test, made ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// This rank's place in it.
    pub(crate) seat: Seat,
    /// What is done with the elements; of data that are only moved the type matters.
    pub(crate) reduction: serried::reduce::Reduction,
}

impl Call {
    /// The call of one seat on elements of type `T`.
    pub(crate) fn new<T: Sample>(seat: Seat, reduction: Reduction) -> Self {
        let reduction = match reduction {
            Reduction::None => Operator::<T>::reduction(Op::Sum),
            Reduction::Op(op) => Operator::<T>::reduction(op),
            Reduction::MulSum => T::multiple(seat.rank).reduction(),
        };
        Self { seat, reduction }
    }
}

impl Calls for Communicator {
    fn rank(&self) -> u32 {
        self.rank()
    }

    fn size(&self) -> u32 {
        self.size()
    }

    fn all_reduce<T: Element>(&self, data: &mut [T], op: Op) -> Result<()> {
        self.all_reduce(data, op)
    }

    #[inline]
    fn call(&self, call: &Call, input: Option<&[u8]>, output: &mut [u8]) -> Result<()> {
        let Call { seat, reduction } = *call;
        let (data_type, root) = (reduction.data_type(), seat.root);
        self.run(match seat.collective {
            Collective::AllReduce => Request::all_reduce(reduction, input, output),
            Collective::Reduce => Request::reduce(reduction, root, input, output),
            Collective::ReduceScatter => Request::reduce_scatter(reduction, input, output),
            Collective::Broadcast => Request::broadcast(data_type, root, input, output),
            Collective::AllGather => Request::all_gather(data_type, input, output),
            Collective::Gather => Request::gather(data_type, root, input, output),
            Collective::Scatter => Request::scatter(data_type, root, input, output),
            Collective::AllToAll => Request::all_to_all(data_type, input.unwrap_or_default(), output),
            Collective::Barrier => Request::barrier(),
            Collective::SendRecv => {
                let (send, recv) = (
                    Message::send(data_type, input.unwrap_or_default(), seat.after_me()),
                    Message::recv(data_type, output, seat.before_me()),
                );
                let mut group = Group::new();
                group.message(self, send).message(self, recv);
                return group.run();
            }
        })
    }

    fn all_reduce_batch<T: Sample>(&self, batch: &mut Batch<T>, reduction: Reduction) -> Result<()> {
        match reduction {
            Reduction::None => started(self, batch, Op::Sum),
            Reduction::Op(op) => started(self, batch, op),
            Reduction::MulSum => started(self, batch, T::multiple(self.rank())),
        }
    }
}

fn started<T: Sample>(communicator: &Communicator, batch: &mut Batch<T>, op: impl Operator<T> + Copy) -> Result<()> {
    match batch {
        Batch::Private(buffers) => start_then_wait(buffers, |buffer| communicator.start_all_reduce(buffer, op)),
        Batch::Mapped(buffers) => start_then_wait(buffers, |buffer| communicator.start_all_reduce(buffer, op)),
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
