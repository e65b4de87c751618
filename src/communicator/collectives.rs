//! The collective calls, typed.

use super::Communicator;
use super::request::Request;
use crate::error::Result;
use crate::reduce::Operator;
use crate::types::{CollectiveKind, Element};
use zerocopy::IntoBytes;

/// # Collectives
///
/// Every rank makes the same call with the same operator, root and number of elements; any number will do, 0 included. A *block* is one rank's part
/// of a buffer that holds a part for each rank, in the order of ranks.
///
/// All of them end with [`Error::Mismatch`](crate::Error::Mismatch) when ranks disagree about the call, with [`Error::Peer`](crate::Error::Peer) when a
/// rank fails, with [`Error::Timeout`](crate::Error::Timeout) when one does not come within the operation timeout. Outputs then hold nothing useful.
/// (A rank that only gives, as a broadcast's root, may be through before the others come, and then learns of it in a later call.)
/// [`Error::InvalidArgument`](crate::Error::InvalidArgument) refuses lengths that do not fit each other and roots that are not there. A call that is
/// refused counts as made: ranks that all refuse it go on together, and those that wait in it for a rank that refused it get a mismatch that says so.
impl Communicator {
    /// Replaces `data` by its reduction over all ranks: element by element, and the same bits on every rank.
    pub fn all_reduce<T: Element>(&self, data: &mut [T], op: impl Operator<T>) -> Result<()> {
        self.run(Request::all_reduce(op.reduction(), None, data.as_mut_bytes()))
    }

    /// Leaves in `output` the reduction of every rank's `input`, which is as long.
    pub fn all_reduce_into<T: Element>(&self, input: &[T], output: &mut [T], op: impl Operator<T>) -> Result<()> {
        self.run(Request::all_reduce(op.reduction(), Some(input.as_bytes()), output.as_mut_bytes()))
    }

    /// Replaces `data` on rank `root` by its reduction over all ranks. The others' stay.
    pub fn reduce<T: Element>(&self, data: &mut [T], op: impl Operator<T>, root: u32) -> Result<()> {
        self.run(Request::reduce(op.reduction(), root, None, data.as_mut_bytes()))
    }

    /// Leaves in `output` on rank `root` the reduction of every rank's `input`, which is as long. The others' outputs are not looked at.
    pub fn reduce_into<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        op: impl Operator<T>,
        root: u32,
    ) -> Result<()> {
        self.run(Request::reduce(op.reduction(), root, Some(input.as_bytes()), output.as_mut_bytes()))
    }

    /// Reduces every rank's `input`, a block for each rank, and leaves in `output` this rank's block of the result.
    pub fn reduce_scatter<T: Element>(&self, input: &[T], output: &mut [T], op: impl Operator<T>) -> Result<()> {
        self.run(Request::reduce_scatter(op.reduction(), Some(input.as_bytes()), output.as_mut_bytes()))
    }

    /// Reduces every rank's `data`, a block for each rank, and replaces this rank's own block by that of the result. The other blocks stay.
    pub fn reduce_scatter_in_place<T: Element>(&self, data: &mut [T], op: impl Operator<T>) -> Result<()> {
        self.run(Request::reduce_scatter(op.reduction(), None, data.as_mut_bytes()))
    }

    /// As [`reduce_scatter`](Self::reduce_scatter) with `counts[r]` elements in the block of rank r.
    pub fn reduce_scatter_v<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        counts: &[usize],
        op: impl Operator<T>,
    ) -> Result<()> {
        let request = Request::reduce_scatter(op.reduction(), Some(input.as_bytes()), output.as_mut_bytes());
        self.run(request.with_counts(counts))
    }

    /// Replaces `data` by that of rank `root`.
    pub fn broadcast<T: Element>(&self, data: &mut [T], root: u32) -> Result<()> {
        self.run(Request::broadcast(T::TYPE, root, None, data.as_mut_bytes()))
    }

    /// Leaves in `output` the `input` of rank `root`, which is as long. The others' inputs are not looked at.
    pub fn broadcast_into<T: Element>(&self, input: &[T], output: &mut [T], root: u32) -> Result<()> {
        self.run(Request::broadcast(T::TYPE, root, Some(input.as_bytes()), output.as_mut_bytes()))
    }

    /// Leaves in `output` every rank's `input`, as blocks.
    pub fn all_gather<T: Element>(&self, input: &[T], output: &mut [T]) -> Result<()> {
        self.run(Request::all_gather(T::TYPE, Some(input.as_bytes()), output.as_mut_bytes()))
    }

    /// Replaces the other ranks' blocks of `data` by theirs; this rank's is there already.
    pub fn all_gather_in_place<T: Element>(&self, data: &mut [T]) -> Result<()> {
        self.run(Request::all_gather(T::TYPE, None, data.as_mut_bytes()))
    }

    /// As [`all_gather`](Self::all_gather) with `counts[r]` elements in the block of rank r.
    pub fn all_gather_v<T: Element>(&self, input: &[T], output: &mut [T], counts: &[usize]) -> Result<()> {
        self.run(Request::all_gather(T::TYPE, Some(input.as_bytes()), output.as_mut_bytes()).with_counts(counts))
    }

    /// Leaves in `output` on rank `root` every rank's `input`, as blocks. The others' outputs are empty.
    pub fn gather<T: Element>(&self, input: &[T], output: &mut [T], root: u32) -> Result<()> {
        self.run(Request::gather(T::TYPE, root, Some(input.as_bytes()), output.as_mut_bytes()))
    }

    /// As [`gather`](Self::gather) with `counts[r]` elements in the block of rank r.
    pub fn gather_v<T: Element>(&self, input: &[T], output: &mut [T], counts: &[usize], root: u32) -> Result<()> {
        self.run(Request::gather(T::TYPE, root, Some(input.as_bytes()), output.as_mut_bytes()).with_counts(counts))
    }

    /// Leaves in `output` this rank's block of the `input` of rank `root`. The others' inputs are empty.
    pub fn scatter<T: Element>(&self, input: &[T], output: &mut [T], root: u32) -> Result<()> {
        self.run(Request::scatter(T::TYPE, root, Some(input.as_bytes()), output.as_mut_bytes()))
    }

    /// As [`scatter`](Self::scatter) with `counts[r]` elements in the block of rank r.
    pub fn scatter_v<T: Element>(&self, input: &[T], output: &mut [T], counts: &[usize], root: u32) -> Result<()> {
        self.run(Request::scatter(T::TYPE, root, Some(input.as_bytes()), output.as_mut_bytes()).with_counts(counts))
    }

    /// Sends block r of `input` to rank r, and leaves in `output` as block r what came from rank r.
    pub fn all_to_all<T: Element>(&self, input: &[T], output: &mut [T]) -> Result<()> {
        self.run(Request::all_to_all(T::TYPE, input.as_bytes(), output.as_mut_bytes()))
    }

    /// As [`all_to_all`](Self::all_to_all) with `given[r]` elements for rank r and `got[r]` from it; each rank gives what the other gets.
    pub fn all_to_all_v<T: Element>(
        &self,
        input: &[T],
        given: &[usize],
        output: &mut [T],
        got: &[usize],
    ) -> Result<()> {
        self.run(Request::all_to_all(T::TYPE, input.as_bytes(), output.as_mut_bytes()).exchanging(given, got))
    }

    /// Returns when every rank has called it.
    pub fn barrier(&self) -> Result<()> {
        self.run(Request::barrier())
    }

    /// Makes a call whose type, or kind, is known at run time only.
    ///
    /// # Errors
    /// As the typed calls; [`Error::InvalidArgument`](crate::Error::InvalidArgument) also when bytes are no whole elements.
    pub fn run(&self, request: Request<'_>) -> Result<()> {
        self.queue.wait_until_idle()?;
        self.shared.collective(request)
    }

    /// Counts a call as made that the caller refuses: its arguments make no [`Request`]. Ranks that all refuse it go on together, and those that wait in
    /// it for this one get a mismatch that says so.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) in a waker, as of every call that blocks.
    pub fn refuse(&self, kind: CollectiveKind) -> Result<()> {
        self.queue.wait_until_idle()?;
        self.shared.executor().count_refused(&self.shared.control, kind);
        Ok(())
    }
}
