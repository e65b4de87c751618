//! The memory that calls work on: allocated and touched once for the largest size, then used again for every row.
//!
//! Nothing here is timed. Memory is aligned to pages, and a guard behind the output shows what is written past its end.

use crate::perf::samples::Sample;
use serried::{Element, Memory, Result};
use zerocopy::FromBytes;

/// Alignment of private buffers: a page.
const PAGE_BYTES: usize = 4096;
/// Bytes behind the longest output that no call may touch: one vector store of the widest kind.
pub(crate) const GUARD_BYTES: usize = 64;

/// Which memory buffers are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From the process's own allocator, as an application has it.
    Private,
    /// From the library, so that ranks of one host can map it.
    Mapped,
}

/// Bytes of either kind.
#[derive(Debug)]
pub(crate) enum Buffer {
    /// The page-aligned bytes begin at this place.
    Private(Vec<u8>, usize),
    /// The library's memory is aligned by itself.
    Mapped(Memory<u8>),
}

impl Buffer {
    /// Allocates `bytes` and a guard, and touches them all.
    pub(crate) fn allocate(kind: Kind, bytes: usize) -> Result<Self> {
        let too_large = || serried::Error::System {
            what: format!("a buffer of {bytes} bytes"),
            reason: "the address space does not hold it".to_owned(),
        };
        let bytes = bytes.checked_add(GUARD_BYTES).ok_or_else(too_large)?;
        let mut buffer = match kind {
            Kind::Private => {
                let with_alignment = bytes.checked_add(PAGE_BYTES).ok_or_else(too_large)?;
                let mut memory = Vec::new();
                memory.try_reserve_exact(with_alignment).map_err(|reason| serried::Error::System {
                    what: format!("a buffer of {bytes} bytes"),
                    reason: reason.to_string(),
                })?;
                memory.resize(with_alignment, 0_u8);
                let start = memory.as_ptr().align_offset(PAGE_BYTES);
                Self::Private(memory, start)
            }
            Kind::Mapped => Self::Mapped(Memory::allocate(bytes)?),
        };
        buffer.bytes_mut().fill(1);
        Ok(buffer)
    }

    /// The first `count` elements, and the guard behind them.
    pub(crate) fn elements<T: Element>(&mut self, count: usize) -> (&mut [T], &mut [T]) {
        let bytes = count * size_of::<T>() + GUARD_BYTES;
        let slice = <[T]>::mut_from_bytes(&mut self.bytes_mut()[..bytes]).expect("pages are aligned for every element");
        slice.split_at_mut(count)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Private(memory, start) => &mut memory[*start..],
            Self::Mapped(memory) => memory,
        }
    }
}

/// Buffers that are handed to started calls and come back from them, one for each call that is in flight.
pub(crate) enum Batch<T: Element> {
    /// From the process's own allocator.
    Private(Vec<Vec<T>>),
    /// From the library.
    Mapped(Vec<Memory<T>>),
}

impl<T: Sample> Batch<T> {
    /// `calls` buffers of `count` elements each.
    pub(crate) fn allocate(kind: Kind, calls: usize, count: usize) -> Result<Self> {
        Ok(match kind {
            Kind::Private => Self::Private((0..calls).map(|_| zeroed(count)).collect::<Result<_>>()?),
            Kind::Mapped => Self::Mapped((0..calls).map(|_| Memory::allocate(count)).collect::<Result<_>>()?),
        })
    }

    /// Whether memory holds so many calls of so many bytes, as far as the system tells before it is touched.
    pub(crate) fn room(calls: usize, bytes: usize) -> Result<()> {
        let call = bytes.saturating_add(size_of::<Self>());
        let mut all = Vec::<u8>::new();
        all.try_reserve_exact(calls.saturating_mul(call)).map_err(|reason| serried::Error::System {
            what: format!("buffers for {calls} calls of {bytes} bytes"),
            reason: reason.to_string(),
        })
    }

    /// How many calls there are in a batch.
    pub(crate) fn calls(&self) -> usize {
        match self {
            Self::Private(buffers) => buffers.len(),
            Self::Mapped(buffers) => buffers.len(),
        }
    }

    /// Elements of all of them.
    pub(crate) fn elements(&self) -> usize {
        match self {
            Self::Private(buffers) => buffers.iter().map(Vec::len).sum(),
            Self::Mapped(buffers) => buffers.iter().map(|buffer| buffer.len()).sum(),
        }
    }

    /// The buffer of each call.
    pub(crate) fn each(&mut self, mut act: impl FnMut(usize, &mut [T])) {
        match self {
            Self::Private(buffers) => buffers.iter_mut().enumerate().for_each(|(call, buffer)| act(call, buffer)),
            Self::Mapped(buffers) => buffers.iter_mut().enumerate().for_each(|(call, buffer)| act(call, buffer)),
        }
    }
}

fn zeroed<T: Sample>(count: usize) -> Result<Vec<T>> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(count).map_err(|reason| serried::Error::System {
        what: format!("a buffer of {count} elements of {} bytes", size_of::<T>()),
        reason: reason.to_string(),
    })?;
    memory.resize(count, T::new_zeroed());
    Ok(memory)
}
