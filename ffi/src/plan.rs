//! One collective call's arguments, checked, as the library's request: which memory it reads and writes, and whether in place as NCCL
//! means it.

use crate::boundary::null;
use crate::errors::Failure;
use crate::types::ncclDataType_t;
use serried::reduce::Reduction;
use serried::{CollectiveKind, DataType, Request};
use std::ffi::{c_int, c_void};
use std::ops::Range;

/// Some of the caller's memory.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: it is only followed by calls, whose callers promise that the memory is there; any thread may.
unsafe impl Send for Span {}
// SAFETY: the same.
unsafe impl Sync for Span {}

/// A call that is ready to be made.
pub(crate) struct Plan {
    kind: Kind,
    data_type: DataType,
    root: u32,
    /// `None` is in place: the output holds the input.
    input: Option<Span>,
    output: Span,
}

/// Which collective it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    AllReduce,
    Reduce,
    ReduceScatter,
    Broadcast,
    AllGather,
    Gather,
    Scatter,
    AllToAll,
}

impl Kind {
    /// Every one, in the order of its number.
    pub(crate) const ALL: [Self; 8] = [
        Self::AllReduce,
        Self::Reduce,
        Self::ReduceScatter,
        Self::Broadcast,
        Self::AllGather,
        Self::Gather,
        Self::Scatter,
        Self::AllToAll,
    ];

    /// Whether elements are reduced.
    pub(crate) const fn reduces(self) -> bool {
        matches!(self, Self::AllReduce | Self::Reduce | Self::ReduceScatter)
    }

    /// The library's word for it.
    pub(crate) const fn collective(self) -> CollectiveKind {
        match self {
            Self::AllReduce => CollectiveKind::AllReduce,
            Self::Reduce => CollectiveKind::Reduce,
            Self::ReduceScatter => CollectiveKind::ReduceScatter,
            Self::Broadcast => CollectiveKind::Broadcast,
            Self::AllGather => CollectiveKind::AllGather,
            Self::Gather => CollectiveKind::Gather,
            Self::Scatter => CollectiveKind::Scatter,
            Self::AllToAll => CollectiveKind::AllToAll,
        }
    }

    const fn has_root(self) -> bool {
        matches!(self, Self::Reduce | Self::Broadcast | Self::Gather | Self::Scatter)
    }
}

/// What a C caller gives, of whatever collective.
pub(crate) struct Arguments {
    pub(crate) send: *const c_void,
    pub(crate) receive: *mut c_void,
    pub(crate) count: usize,
    pub(crate) data_type: ncclDataType_t,
    /// Only of a [`Kind`] that reduces.
    pub(crate) op: c_int,
    /// Only of a [`Kind`] that has one.
    pub(crate) root: c_int,
}

impl Plan {
    /// The call of `kind` by rank `rank` of `size`. Inline, where the kind is known.
    #[inline(always)]
    pub(crate) fn new(rank: u32, size: u32, kind: Kind, arguments: &Arguments) -> Result<Self, Failure> {
        let Arguments { send, receive, count, .. } = *arguments;
        let data_type = data_type(arguments.data_type)?;
        let root = if kind.has_root() { rank_of("root", arguments.root, size)? } else { 0 };
        let at_root = rank == root;
        // How many blocks of `count` elements there are to send and to receive.
        let (sent, received) = match kind {
            Kind::AllReduce => (1, 1),
            Kind::Reduce => (1, usize::from(at_root)),
            Kind::Broadcast => (usize::from(at_root), 1),
            Kind::ReduceScatter => (size as usize, 1),
            Kind::AllGather => (1, size as usize),
            Kind::Gather => (1, if at_root { size as usize } else { 0 }),
            Kind::Scatter => (if at_root { size as usize } else { 0 }, 1),
            Kind::AllToAll => (size as usize, size as usize),
        };
        let input = span("sendbuff", send, count, sent, data_type)?;
        let output = span("recvbuff", receive, count, received, data_type)?;
        // Where the own block lies in the buffer that has all of them.
        let own = (rank as usize * data_type.size()).wrapping_mul(count);
        let (in_place, whole) = match kind {
            Kind::AllReduce => (input.start == output.start, output),
            Kind::Reduce | Kind::Broadcast => (at_root && input.start == output.start, output),
            Kind::ReduceScatter => (output.start == input.start.wrapping_add(own), input),
            Kind::Scatter => (at_root && output.start == input.start.wrapping_add(own), input),
            Kind::AllGather => (input.start == output.start.wrapping_add(own), output),
            Kind::Gather => (at_root && input.start == output.start.wrapping_add(own), output),
            Kind::AllToAll => (false, output),
        };
        if in_place && output.bytes > 0 {
            return Ok(Self { kind, data_type, root, input: None, output: whole });
        }
        if overlap(input.range(), output.range()) {
            return Err(Failure::argument("sendbuff and recvbuff overlap, and not as the call does it in place"));
        }
        // A rank that is not the root of a broadcast has nothing to send, and receives where its message is.
        let input = (kind != Kind::Broadcast || at_root).then_some(input);
        Ok(Self { kind, data_type, root, input, output })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The type of the elements.
    pub(crate) fn data_type(&self) -> DataType {
        self.data_type
    }

    /// The library's request; `reduction` is there if the call reduces.
    ///
    /// # Safety
    /// The caller's memory is there during `'a`, nobody writes what the call reads, and nobody else touches what it writes.
    #[inline(always)]
    pub(crate) unsafe fn request<'a>(&self, reduction: Option<Reduction>) -> Result<Request<'a>, Failure> {
        // SAFETY: as the caller promises; input and output do not overlap.
        let (input, output) = unsafe { (self.input.map(|input| input.bytes()), self.output.bytes_mut()) };
        let (data_type, root) = (self.data_type, self.root);
        let reduction = || reduction.ok_or_else(|| Failure::internal("a reduction without an operator"));
        Ok(match self.kind {
            Kind::AllReduce => Request::all_reduce(reduction()?, input, output),
            Kind::Reduce => Request::reduce(reduction()?, root, input, output),
            Kind::ReduceScatter => Request::reduce_scatter(reduction()?, input, output),
            Kind::Broadcast => Request::broadcast(data_type, root, input, output),
            Kind::AllGather => Request::all_gather(data_type, input, output),
            Kind::Gather => Request::gather(data_type, root, input, output),
            Kind::Scatter => Request::scatter(data_type, root, input, output),
            Kind::AllToAll => Request::all_to_all(data_type, input.unwrap_or_default(), output),
        })
    }

    /// What the call reads, if not in place, and what it writes.
    pub(crate) fn touches(&self) -> (Option<Range<usize>>, Range<usize>) {
        (self.input.map(|input| input.range()), self.output.range())
    }
}

impl Span {
    pub(crate) fn range(&self) -> Range<usize> {
        self.start.addr()..self.start.addr() + self.bytes
    }

    /// # Safety
    /// The memory is there during `'a`, and nobody writes it.
    pub(crate) unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.bytes == 0 {
            return &[];
        }
        // SAFETY: as the caller promises; it is not null, and no longer than half of the address space.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    /// # Safety
    /// The memory is there during `'a`, and nobody else touches it.
    pub(crate) unsafe fn bytes_mut<'a>(self) -> &'a mut [u8] {
        if self.bytes == 0 {
            return &mut [];
        }
        // SAFETY: as the caller promises; it is not null, and no longer than half of the address space.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

/// `blocks` blocks of `count` elements at `start`, which is the caller's argument `name`.
#[inline(always)]
pub(crate) fn span(
    name: &str,
    start: *const c_void,
    count: usize,
    blocks: usize,
    data_type: DataType,
) -> Result<Span, Failure> {
    let fits = |bytes: &usize| *bytes <= isize::MAX as usize && start.addr().checked_add(*bytes).is_some();
    let Some(bytes) = count.checked_mul(data_type.size() * blocks).filter(fits) else {
        return Err(too_much(count, blocks, data_type));
    };
    if bytes > 0 && start.is_null() {
        return Err(null(name));
    }
    Ok(Span { start: start.cast_mut().cast(), bytes })
}

#[cold]
fn too_much(count: usize, blocks: usize, data_type: DataType) -> Failure {
    Failure::argument(format!("{blocks} × {count} elements of {data_type} are more than memory can hold"))
}

#[inline]
pub(crate) fn data_type(number: ncclDataType_t) -> Result<DataType, Failure> {
    u8::try_from(number).ok().and_then(DataType::from_number).ok_or_else(|| no_type(number))
}

#[cold]
fn no_type(number: ncclDataType_t) -> Failure {
    Failure::argument(format!("{number} is no ncclDataType_t; they are 0 to {}", DataType::ALL.len() - 1))
}

#[inline]
pub(crate) fn rank_of(name: &str, rank: c_int, size: u32) -> Result<u32, Failure> {
    u32::try_from(rank).ok().filter(|rank| *rank < size).ok_or_else(|| no_rank(name, rank, size))
}

#[cold]
fn no_rank(name: &str, rank: c_int, size: u32) -> Failure {
    Failure::argument(format!("{name} is {rank}; ranks are 0 to {}", size - 1))
}

fn overlap(a: Range<usize>, b: Range<usize>) -> bool {
    !a.is_empty() && !b.is_empty() && a.start < b.end && b.start < a.end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_know_their_limits() {
        let byte = 0u8;
        let here = (&raw const byte).cast();
        assert!(span("a", std::ptr::null(), 0, 4, DataType::F64).is_ok());
        assert_eq!(span("a", std::ptr::null(), 1, 4, DataType::F64).err().expect("null").what, "a is NULL");
        for count in [usize::MAX, usize::MAX / 8, isize::MAX as usize / 8 + 1] {
            assert!(span("a", here, count, 1, DataType::F64).err().expect("too much").what.contains("memory"));
        }
        assert!(overlap(0..4, 3..5) && !overlap(0..4, 4..5) && !overlap(2..2, 0..4));
    }
}
