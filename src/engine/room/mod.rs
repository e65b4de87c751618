//! The room: the ranks of one host, running collectives together over memory that all of them map.
//!
//! Each rank gives one [`Region`]; everybody maps all of them. An allreduce runs one of two schedules, and both fold each element
//! strictly in the order of ranks, so they end with the same bits as each other and as the same schedules run step by step
//! over any other transport:
//!
//! * *direct* (`direct`): everybody reads everybody's input. One exchange; for messages that cost less than an exchange.
//! * *two-shot* (`two_shot`): the owner of a part folds it and writes the result back in place, where the others gather it.
//!
//! Buffers that all ranks can map need no slots: `mapped` is *two-shot* straight on them.
//!
//! All other collectives go in turns like *direct* (`collective`), in pieces through the slots of *two-shot* (`carry`), or are read from where they lie (`read`).
//!
//! The caller's thread does all of it. Small calls allocate and lock nothing, and enter the system only for a wait that lasts
//! (`wait`); what is mapped or read enters it as well. No `unsafe`: [`crate::transport::shm`] has it.

mod carry;
mod choice;
mod collective;
#[cfg(test)]
mod collective_tests;
mod descriptor;
mod direct;
mod fused;
mod layout;
mod mapped;
#[cfg(test)]
mod mapped_tests;
mod read;
mod shape;
#[cfg(test)]
mod tests;
mod two_shot;
mod unseen;
mod wait;

pub use choice::{DIRECT, TWO_SHOT};
pub use read::READS;

use crate::engine::Watch;
use crate::reduce::Kernels;
use crate::transport::shm::{Fills, Region, Stores};
use crate::types::Reads;
use crate::{Call, Error, Result};
use descriptor::State;
use unseen::Unseen;
use wait::Waiter;

/// The most ranks of one room; all of them look at each other's flags.
pub const RANKS_MAX: usize = 64;

/// One rank's seat in the room.
#[derive(Debug)]
pub struct Room {
    /// Everybody's region, in room order; the own one too.
    regions: Vec<Region>,
    /// How calls and errors number the same ranks.
    ranks: Vec<u32>,
    /// The own place in both.
    me: usize,
    /// Turns so far, modulo 2³²; the same on every rank.
    turn: u32,
    /// What of earlier calls was not seen to its end.
    unseen: Unseen,
    /// Pieces that went through the ring of slots, and calls that were read, modulo 2³²; the same on every rank.
    pieces: u32,
    /// Agreements about mapped buffers that were sought, modulo 2³²; the same on every rank.
    agreements: u32,
    /// Library buffers of all ranks that are mapped here.
    opened: Vec<Region>,
    /// What all ranks offered for the running call, as it was read.
    offers: Vec<mapped::Offer>,
    /// Where in the opened ones the running call's inputs and outputs are, by rank.
    places: Vec<[mapped::Place; 2]>,
    /// Where a fold of more than two inputs grows before it is handed out.
    scratch: Box<[u8]>,
    waiter: Waiter,
    /// How slots are filled.
    fills: Fills,
    /// How much each rank may have in a call, input and output together, before memory is what it waits for.
    cached_bytes: usize,
    /// What is read from where it lies; `None`, unless all ranks can read each other's memory.
    reads: Option<Reads>,
    /// Why no further call can be made.
    broken: Option<Error>,
}

/// A call, and what it is run with besides its buffers.
struct Scene<'a> {
    call: &'a Call,
    fingerprint: u32,
    kernels: &'a Kernels,
    watch: &'a dyn Watch,
}

impl Scene<'_> {
    /// What a flag holds when this call's step `number` has been reached: fingerprint above, number below.
    #[inline]
    fn flag(&self, number: u32) -> u64 {
        u64::from(self.fingerprint) << 32 | u64::from(number)
    }
}

/// Where a call's input is and where its output goes.
struct Buffers<'a> {
    /// `None`: in place, the input is in `dst`.
    src: Option<&'a [u8]>,
    dst: &'a mut [u8],
}

impl Buffers<'_> {
    /// The own input, until the same bytes of the output are written.
    #[inline]
    fn input(&self) -> &[u8] {
        self.src.unwrap_or(self.dst)
    }
}

impl Room {
    /// Makes the region that a rank brings into a room of `ranks`: for [`Self::new`] here, and by its card for the others.
    ///
    /// # Errors
    /// [`Error::System`] if there is no room for it.
    pub fn region(ranks: usize) -> Result<Region> {
        let region = Region::create(layout::WORDS_BYTES, layout::payload_bytes(ranks))?;
        read::sign(&region)?;
        Ok(region)
    }

    /// Bytes of shared memory that one rank of a room of `ranks` takes.
    pub const fn region_bytes(ranks: usize) -> usize {
        layout::WORDS_BYTES + layout::payload_bytes(ranks)
    }

    /// Takes seat `me` among `ranks` (their numbers in errors), whose regions are `regions`, in the same order.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there are fewer than 2 ranks (one has nobody to meet) or more than [`RANKS_MAX`], if the numbers
    /// do not fit each other, or if a region has another size than [`Self::region`] gives.
    pub fn new(me: usize, ranks: Vec<u32>, regions: Vec<Region>) -> Result<Self> {
        let n = ranks.len();
        if !(2..=RANKS_MAX).contains(&n) {
            return Err(Error::InvalidArgument { what: format!("a room holds 2 to {RANKS_MAX} ranks, not {n}") });
        }
        let fits = |region: &Region| {
            let card = region.card();
            card.words == layout::WORDS_BYTES as u64 && card.bytes == layout::payload_bytes(n) as u64
        };
        if regions.len() != n || me >= n || !regions.iter().all(fits) {
            let what = format!("a room of {n} ranks cannot be made of {} regions and seat {me}", regions.len());
            return Err(Error::InvalidArgument { what });
        }
        Ok(Self {
            regions,
            ranks,
            me,
            turn: 0,
            unseen: Unseen::default(),
            pieces: 0,
            agreements: 0,
            opened: Vec::new(),
            offers: Vec::with_capacity(n),
            places: Vec::with_capacity(n),
            scratch: vec![0; layout::SCRATCH_BYTES].into(),
            waiter: Waiter::default(),
            fills: Fills::default(),
            cached_bytes: choice::CACHED_BYTES_MAX,
            reads: None,
            broken: None,
        })
    }

    /// Ranks share so many bytes of caches, all that the host has: its other ranks, of other rooms, are not known here.
    pub fn set_caches(&mut self, bytes: usize) {
        self.cached_bytes = choice::cached_bytes(self.size(), bytes);
    }

    /// Whether this rank can read the memory of all others, by the system.
    pub fn can_read_all(&self) -> bool {
        (0..self.size()).filter(|seat| *seat != self.me).all(|seat| read::is_readable(&self.regions[seat]))
    }

    /// From now on, so much is read from where it lies: once all ranks have said that they can, and the same on all of them.
    pub fn set_reads(&mut self, reads: Reads) {
        self.reads = Some(reads);
    }

    /// Whether ranks have said that they can read each other's memory.
    pub fn can_read(&self) -> bool {
        self.reads.is_some()
    }

    /// Calls are numbered anew from here, by all ranks: none is shown for others to compare. Before the next call all ranks have to hear of each other by other ways.
    pub fn forget_calls(&mut self) {
        descriptor::clear(&self.regions[self.me]);
    }

    /// Nobody opens the own region any more.
    pub fn close_descriptor(&mut self) {
        self.regions[self.me].close_descriptor();
    }

    /// The number of ranks in the room.
    pub fn size(&self) -> usize {
        self.ranks.len()
    }

    /// Runs `call`, whose algorithm number says [`DIRECT`] or [`TWO_SHOT`], with its type's and operator's kernels. The input is
    /// `src`, or with `None` what is in `dst`; `dst` ends with the result. After an error `dst` holds anything, and every later call
    /// ends with the same error.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if a rank of the room makes another call, [`Error::InvalidArgument`] for buffers of two sizes or an
    /// algorithm that a room does not run, and whatever `watch` says.
    #[inline]
    pub fn all_reduce(
        &mut self,
        call: &Call,
        kernels: &Kernels,
        src: Option<&[u8]>,
        dst: &mut [u8],
        watch: &dyn Watch,
    ) -> Result<()> {
        let known = call.algorithm == DIRECT || call.algorithm == TWO_SHOT;
        if self.broken.is_some() || !known || src.is_some_and(|src| src.len() != dst.len()) {
            return Err(self.refuse(call));
        }
        self.let_go();
        let scene = Scene { call, fingerprint: call.fingerprint(), kernels, watch };
        let buffers = Buffers { src, dst };
        let done = if call.algorithm == DIRECT { self.direct(&scene, buffers) } else { self.two_shot(&scene, buffers) };
        if let Err(error) = done {
            return Err(self.break_with(call, error));
        }
        Ok(())
    }

    /// How an allreduce writes its output.
    fn stores(&self, buffers: &Buffers<'_>) -> Stores {
        let bytes = buffers.src.map_or(0, <[u8]>::len) + buffers.dst.len();
        choice::stores(self.size(), bytes, self.cached_bytes, buffers.src.is_some())
    }

    #[cold]
    fn refuse(&self, call: &Call) -> Error {
        self.broken.clone().unwrap_or_else(|| Error::InvalidArgument {
            what: format!("{call} with buffers of two sizes, or by algorithm {}, which a room has not", call.algorithm),
        })
    }

    /// Ends the room's work because of something outside of it.
    #[cold]
    pub fn give_up(&mut self, call: &Call, error: &Error) {
        if self.broken.is_none() {
            let _ = self.break_with(call, error.clone());
        }
    }

    /// Ends the room's work, and leaves the call for all to see: others may have yet to find out what this rank has found.
    #[cold]
    fn break_with(&mut self, call: &Call, error: Error) -> Error {
        let state = if matches!(error, Error::Mismatch { .. }) { State::Disagreed } else { State::Waited };
        descriptor::publish(&self.regions[self.me], call, state);
        read::give_up(&self.regions[self.me]);
        wait::wake_sleepers(&self.regions[self.me]);
        self.broken = Some(error.clone());
        error
    }
}
