//! What a collective call is asked to do, on bytes: the arguments of every collective in one form, and whether they make sense.

use crate::engine::{Extent, Part};
use crate::error::{Error, Result};
use crate::reduce::Reduction;
use crate::types::{Call, CollectiveKind, DataType, Op};

/// One collective call's arguments, for callers who learn types at run time: whole elements in native byte order, at any alignment.
///
/// An `input` of `None` means in place: the output's buffer holds the input, as each constructor says.
#[derive(Debug)]
pub struct Request<'a> {
    pub(super) kind: CollectiveKind,
    pub(super) root: u32,
    /// Of a call that reduces nothing only the type matters.
    pub(super) reduction: Reduction,
    pub(super) counts: Counts<'a>,
    pub(super) input: Option<&'a [u8]>,
    pub(super) output: &'a mut [u8],
}

/// How many elements the blocks have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counts<'a> {
    /// All the same, as the buffers' lengths say.
    Even,
    /// The block of each rank, as all ranks say.
    Shared(&'a [usize]),
    /// What this rank gives to each rank, and gets from each.
    Exchanged { given: &'a [usize], got: &'a [usize] },
    /// None; a number that all ranks are to have in common.
    Agreed(u64),
}

/// No input, where a rank gives nothing.
const NOTHING: Option<&[u8]> = Some(&[]);

impl<'a> Request<'a> {
    #[inline]
    fn new(kind: CollectiveKind, reduction: Reduction, input: Option<&'a [u8]>, output: &'a mut [u8]) -> Self {
        Self { kind, root: 0, reduction, counts: Counts::Even, input, output }
    }

    #[inline]
    fn moving(kind: CollectiveKind, data_type: DataType, input: Option<&'a [u8]>, output: &'a mut [u8]) -> Self {
        Self::new(kind, Reduction::of(data_type, Op::Sum), input, output)
    }

    /// The type of the elements.
    #[inline]
    pub(super) fn data_type(&self) -> DataType {
        self.reduction.data_type()
    }

    /// Every rank gets the reduction of every rank's input.
    #[inline]
    pub fn all_reduce(reduction: Reduction, input: Option<&'a [u8]>, output: &'a mut [u8]) -> Self {
        Self::new(CollectiveKind::AllReduce, reduction, input, output)
    }

    /// The root gets the reduction of every rank's input. Elsewhere the output is left alone, and may be empty if there is an input.
    #[inline]
    pub fn reduce(reduction: Reduction, root: u32, input: Option<&'a [u8]>, output: &'a mut [u8]) -> Self {
        Self { root, ..Self::new(CollectiveKind::Reduce, reduction, input, output) }
    }

    /// Each rank gets its block of the reduction of every rank's input. In place the output has all blocks, and only the own one changes.
    #[inline]
    pub fn reduce_scatter(reduction: Reduction, input: Option<&'a [u8]>, output: &'a mut [u8]) -> Self {
        Self::new(CollectiveKind::ReduceScatter, reduction, input, output)
    }

    /// Every rank gets the root's input; elsewhere the input does not matter.
    #[inline]
    pub fn broadcast(data_type: DataType, root: u32, input: Option<&'a [u8]>, output: &'a mut [u8]) -> Self {
        Self { root, ..Self::moving(CollectiveKind::Broadcast, data_type, input, output) }
    }

    /// Every rank gets every rank's block. In place the own block is at its place in the output.
    #[inline]
    pub fn all_gather(data_type: DataType, input: Option<&'a [u8]>, output: &'a mut [u8]) -> Self {
        Self::moving(CollectiveKind::AllGather, data_type, input, output)
    }

    /// The root gets every rank's block; elsewhere the output is empty. In place (at the root only) the own block is at its place in the output.
    #[inline]
    pub fn gather(data_type: DataType, root: u32, input: Option<&'a [u8]>, output: &'a mut [u8]) -> Self {
        Self { root, ..Self::moving(CollectiveKind::Gather, data_type, input, output) }
    }

    /// Each rank gets its block of the root's input; elsewhere the input is empty. In place (at the root only) the output has all blocks and stays.
    #[inline]
    pub fn scatter(data_type: DataType, root: u32, input: Option<&'a [u8]>, output: &'a mut [u8]) -> Self {
        Self { root, ..Self::moving(CollectiveKind::Scatter, data_type, input, output) }
    }

    /// Each rank gets from every rank the block for it. There is no form in place.
    #[inline]
    pub fn all_to_all(data_type: DataType, input: &'a [u8], output: &'a mut [u8]) -> Self {
        Self::moving(CollectiveKind::AllToAll, data_type, Some(input), output)
    }

    /// All ranks wait for each other.
    pub fn barrier() -> Self {
        Self::moving(CollectiveKind::Barrier, DataType::U8, NOTHING, &mut [])
    }

    /// All ranks wait for each other, to do together what `number` stands for.
    pub(super) fn agreeing(number: u64) -> Self {
        Self { counts: Counts::Agreed(number), ..Self::barrier() }
    }

    /// The same with blocks of uneven sizes, in elements: rank r's block has `counts[r]`, one after the other in buffers that hold all. For
    /// reduce_scatter, all_gather, gather and scatter; all ranks give the same counts.
    #[must_use]
    pub fn with_counts(self, counts: &'a [usize]) -> Self {
        Self { counts: Counts::Shared(counts), ..self }
    }

    /// The same with blocks of uneven sizes, in elements: this rank gives `given[r]` to rank r and gets `got[r]` from it. For all_to_all; what
    /// one rank gives is what the other gets.
    #[must_use]
    pub fn exchanging(self, given: &'a [usize], got: &'a [usize]) -> Self {
        Self { counts: Counts::Exchanged { given, got }, ..self }
    }

    /// This rank's part in the call.
    #[inline]
    pub(super) fn part(&self, rank: u32) -> Part {
        Part { kind: self.kind, root: self.root, rank, in_place: self.input.is_none() }
    }

    /// The elements of the message or, if all are the same, of a block. Uneven blocks give a number that nothing else gives, so that ranks whose
    /// counts differ find out.
    #[inline]
    pub(super) fn count(&self, size: u32) -> u64 {
        match self.counts {
            Counts::Even => self.even_count(size) as u64,
            Counts::Shared(counts) => Call::uneven(counts),
            Counts::Exchanged { .. } => Call::uneven(&[]),
            Counts::Agreed(number) => number,
        }
    }

    /// Bytes of the message or of the largest block.
    #[inline]
    pub(super) fn bytes(&self, size: u32) -> usize {
        let elements = match self.counts {
            Counts::Even | Counts::Agreed(_) => self.even_count(size),
            Counts::Shared(counts) => counts.iter().copied().max().unwrap_or(0),
            Counts::Exchanged { given, .. } => given.iter().copied().max().unwrap_or(0),
        };
        elements * self.data_type().size()
    }

    #[inline]
    fn even_count(&self, size: u32) -> usize {
        let bytes = match (self.kind, self.input) {
            (CollectiveKind::Reduce, Some(input)) => input.len(),
            (kind, _) if kind.is_of_blocks() => self.even_blocks(size).map_or(0, |(block, _)| block),
            _ => self.output.len(),
        };
        // Dividing by a power of two so takes a tenth of a small call less.
        bytes >> self.data_type().size().trailing_zeros()
    }

    /// What input and output hold; `starts` is room for where uneven blocks begin.
    #[inline]
    pub(super) fn extents<'b>(&self, ranks: u32, starts: &'b mut [Vec<usize>; 2]) -> [Extent<'b>; 2]
    where
        'a: 'b,
    {
        let uneven = |counts: &'b [usize], starts: &'b mut Vec<usize>| {
            let begin = counts.iter().scan(0, |sum, count| Some(std::mem::replace(sum, *sum + count)));
            starts.clear();
            starts.extend(begin);
            Extent::Uneven { counts, starts }
        };
        let [of_input, of_output] = starts;
        match self.counts {
            Counts::Shared(counts) => {
                let extent = uneven(counts, of_input);
                [extent, extent]
            }
            Counts::Exchanged { given, got } => [uneven(given, of_input), uneven(got, of_output)],
            _ if self.kind.is_of_blocks() => [Extent::Blocks { ranks, elements: self.even_count(ranks) }; 2],
            _ => [Extent::Message(self.even_count(ranks)); 2],
        }
    }

    /// Refuses what cannot be: a root that is not there, buffers and counts that do not fit each other.
    #[inline]
    pub(super) fn check(&self, rank: u32, size: u32) -> Result<()> {
        let whole = self.output.len() & (self.data_type().size() - 1) == 0;
        if !self.kind.is_of_blocks()
            && whole
            && self.root < size
            && matches!(self.counts, Counts::Even)
            && self.input.is_none_or(|input| input.len() == self.output.len())
        {
            return Ok(());
        }
        self.check_all(rank, size)
    }

    #[inline(never)]
    fn check_all(&self, rank: u32, size: u32) -> Result<()> {
        self.why_not(rank, size).map_or(Ok(()), |why| {
            Err(Error::InvalidArgument { what: format!("rank {rank}: {}: {why}", self.kind.name()) })
        })
    }

    fn why_not(&self, rank: u32, size: u32) -> Option<String> {
        if self.root >= size {
            return Some(format!("there is no rank {} to be the root; ranks are 0 to {}", self.root, size - 1));
        }
        // Sizes are powers of two.
        let torn = |bytes: usize| bytes & (self.data_type().size() - 1) != 0;
        let input = self.input.map_or(0, <[u8]>::len);
        if let Some(bytes) = [input, self.output.len()].into_iter().find(|bytes| torn(*bytes)) {
            let (data_type, size) = (self.data_type(), self.data_type().size());
            return Some(format!("{bytes} bytes are not whole elements of {data_type} ({size} bytes)"));
        }
        let (expected_input, expected_output) = match self.expected(rank, size) {
            Ok(expected) => expected,
            Err(why) => return Some(why),
        };
        let wrong = |what: &str, bytes: usize, expected: Option<usize>| {
            let expected = expected.filter(|expected| *expected != bytes)?;
            Some(format!("the {what} has {bytes} bytes where {expected} are due"))
        };
        self.input
            .and_then(|input| wrong("input", input.len(), expected_input))
            .or_else(|| wrong("output", self.output.len(), expected_output))
    }

    /// The bytes that input and output must have, where that is known.
    fn expected(&self, rank: u32, size: u32) -> Result<(Option<usize>, Option<usize>), String> {
        let (in_place, at_root) = (self.input.is_none(), rank == self.root);
        if let Counts::Exchanged { given, got } = self.counts {
            self.refuse_counts(self.kind == CollectiveKind::AllToAll, [given, got], size)?;
            if given[rank as usize] != got[rank as usize] {
                return Err("a rank must get from itself what it gives itself".to_owned());
            }
            return Ok((Some(self.bytes_of(given)?), Some(self.bytes_of(got)?)));
        }
        if matches!(self.counts, Counts::Shared(_))
            && (!self.kind.is_of_blocks() || self.kind == CollectiveKind::Barrier)
        {
            return Err(NO_COUNTS.to_owned());
        }
        if !self.kind.is_of_blocks() {
            let whole = self.output.len();
            return Ok(match self.kind {
                CollectiveKind::AllReduce => (Some(whole), None),
                CollectiveKind::Reduce | CollectiveKind::Broadcast if at_root => (Some(whole), None),
                _ => (None, None),
            });
        }
        // The bytes of this rank's block, and of all.
        let (block, all) = match self.counts {
            Counts::Shared(counts) => {
                self.refuse_counts(self.kind != CollectiveKind::AllToAll, [counts; 2], size)?;
                (self.bytes_of(&counts[rank as usize..=rank as usize])?, self.bytes_of(counts)?)
            }
            _ => self.even_blocks(size)?,
        };
        let of_root = if at_root { all } else { 0 };
        let own = if in_place { all } else { block };
        Ok(match self.kind {
            CollectiveKind::Gather | CollectiveKind::Scatter if in_place && !at_root => {
                return Err("only the root can do it in place".to_owned());
            }
            CollectiveKind::AllToAll if in_place => return Err("it cannot be done in place".to_owned()),
            CollectiveKind::ReduceScatter => (Some(all), Some(own)),
            CollectiveKind::AllGather => (Some(block), Some(all)),
            CollectiveKind::Gather => (Some(block), Some(of_root)),
            CollectiveKind::Scatter => (Some(of_root), Some(own)),
            _ => (Some(all), Some(all)),
        })
    }

    /// This rank's block and all blocks in bytes, as the buffer says that tells.
    fn even_blocks(&self, size: u32) -> Result<(usize, usize), String> {
        let of_block = match (self.kind, self.input) {
            (CollectiveKind::AllGather | CollectiveKind::Gather, Some(input)) => Some(input.len()),
            (CollectiveKind::ReduceScatter | CollectiveKind::Scatter, Some(_)) => Some(self.output.len()),
            _ => None,
        };
        let size = size as usize;
        if let Some(block) = of_block {
            return Ok((block, block.checked_mul(size).ok_or_else(too_large)?));
        }
        let all = self.output.len();
        if !all.is_multiple_of(size * self.data_type().size()) {
            return Err(format!("{all} bytes are not a block of whole elements for each of {size} ranks"));
        }
        Ok((all / size, all))
    }

    fn refuse_counts(&self, fit: bool, all: [&[usize]; 2], size: u32) -> Result<(), String> {
        if !fit {
            return Err(NO_COUNTS.to_owned());
        }
        if let Some(counts) = all.into_iter().find(|counts| counts.len() != size as usize) {
            return Err(format!("there are {} counts for {size} ranks", counts.len()));
        }
        // As if all blocks were as long as the longest: that is how slots are laid out.
        let longest = all.into_iter().flatten().copied().max().unwrap_or(0);
        let bytes = longest.checked_mul(size as usize).and_then(|all| all.checked_mul(self.data_type().size()));
        bytes.filter(|bytes| isize::try_from(*bytes).is_ok()).map(|_| ()).ok_or_else(too_large)
    }

    fn bytes_of(&self, counts: &[usize]) -> Result<usize, String> {
        let elements = counts.iter().try_fold(0usize, |sum, count| sum.checked_add(*count));
        elements.and_then(|elements| elements.checked_mul(self.data_type().size())).ok_or_else(too_large)
    }
}

const NO_COUNTS: &str = "it takes no such counts";

fn too_large() -> String {
    "the blocks are more than memory can hold".to_owned()
}
