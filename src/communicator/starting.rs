//! Calls that are started and go on by themselves.

use super::request::Request;
use super::{Communicator, Handle, Shared};
use crate::error::Result;
use crate::memory::Buffer;
use crate::reduce::Operator;
use crate::types::Element;
use std::sync::Arc;

/// # Started calls
///
/// Each starts the call of the same name and returns at once. The call owns its buffers until it is done; the handle gives them back. Started calls
/// run one after another in the order of their start, and a blocking call waits for those before it.
///
/// [`Error::System`](crate::Error::System) says that the progress thread cannot be started. The call's own errors come through the handle.
impl Communicator {
    /// Starts [`all_reduce`](Self::all_reduce).
    pub fn start_all_reduce<T: Element, B: Buffer<T>>(&self, data: B, op: impl Operator<T>) -> Result<Handle<B>> {
        let reduction = op.reduction();
        self.start_in_place(data, move |data| Request::all_reduce(reduction, None, data))
    }

    /// Starts [`all_reduce_into`](Self::all_reduce_into).
    pub fn start_all_reduce_into<T: Element, I: Buffer<T>, O: Buffer<T>>(
        &self,
        input: I,
        output: O,
        op: impl Operator<T>,
    ) -> Result<Handle<(I, O)>> {
        let reduction = op.reduction();
        self.start_into(input, output, move |input, output| Request::all_reduce(reduction, Some(input), output))
    }

    /// Starts [`reduce`](Self::reduce).
    pub fn start_reduce<T: Element, B: Buffer<T>>(
        &self,
        data: B,
        op: impl Operator<T>,
        root: u32,
    ) -> Result<Handle<B>> {
        let reduction = op.reduction();
        self.start_in_place(data, move |data| Request::reduce(reduction, root, None, data))
    }

    /// Starts [`reduce_scatter`](Self::reduce_scatter).
    pub fn start_reduce_scatter<T: Element, I: Buffer<T>, O: Buffer<T>>(
        &self,
        input: I,
        output: O,
        op: impl Operator<T>,
    ) -> Result<Handle<(I, O)>> {
        let reduction = op.reduction();
        self.start_into(input, output, move |input, output| Request::reduce_scatter(reduction, Some(input), output))
    }

    /// Starts [`broadcast`](Self::broadcast).
    pub fn start_broadcast<T: Element, B: Buffer<T>>(&self, data: B, root: u32) -> Result<Handle<B>> {
        self.start_in_place(data, move |data| Request::broadcast(T::TYPE, root, None, data))
    }

    /// Starts [`all_gather`](Self::all_gather).
    pub fn start_all_gather<T: Element, I: Buffer<T>, O: Buffer<T>>(
        &self,
        input: I,
        output: O,
    ) -> Result<Handle<(I, O)>> {
        self.start_into(input, output, move |input, output| Request::all_gather(T::TYPE, Some(input), output))
    }

    /// Starts [`gather`](Self::gather).
    pub fn start_gather<T: Element, I: Buffer<T>, O: Buffer<T>>(
        &self,
        input: I,
        output: O,
        root: u32,
    ) -> Result<Handle<(I, O)>> {
        self.start_into(input, output, move |input, output| Request::gather(T::TYPE, root, Some(input), output))
    }

    /// Starts [`scatter`](Self::scatter).
    pub fn start_scatter<T: Element, I: Buffer<T>, O: Buffer<T>>(
        &self,
        input: I,
        output: O,
        root: u32,
    ) -> Result<Handle<(I, O)>> {
        self.start_into(input, output, move |input, output| Request::scatter(T::TYPE, root, Some(input), output))
    }

    /// Starts [`all_to_all`](Self::all_to_all).
    pub fn start_all_to_all<T: Element, I: Buffer<T>, O: Buffer<T>>(
        &self,
        input: I,
        output: O,
    ) -> Result<Handle<(I, O)>> {
        self.start_into(input, output, move |input, output| Request::all_to_all(T::TYPE, input, output))
    }

    /// Starts [`barrier`](Self::barrier).
    pub fn start_barrier(&self) -> Result<Handle<()>> {
        let shared = self.shared.clone();
        self.queue.start((), move |()| shared.collective(Request::barrier()))
    }

    fn start_in_place<T: Element, B: Buffer<T>>(
        &self,
        data: B,
        request: impl FnOnce(&mut [u8]) -> Request<'_> + Send + 'static,
    ) -> Result<Handle<B>> {
        let shared = self.shared.clone();
        self.queue.start(data, move |data| shared.collective(request(shared.bytes_of(data)?)))
    }

    fn start_into<T: Element, I: Buffer<T>, O: Buffer<T>>(
        &self,
        input: I,
        output: O,
        request: impl for<'a> FnOnce(&'a [u8], &'a mut [u8]) -> Request<'a> + Send + 'static,
    ) -> Result<Handle<(I, O)>> {
        let shared: Arc<Shared> = self.shared.clone();
        self.queue.start((input, output), move |(input, output)| {
            let (input, output) = (shared.bytes_of(input)?, shared.bytes_of(output)?);
            shared.collective(request(input, output))
        })
    }
}
