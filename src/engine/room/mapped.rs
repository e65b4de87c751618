//! Calls whose buffers all ranks can map (library buffers, [`crate::Memory`]): no slots. Each rank folds its own part straight out of all
//! inputs and writes it straight into all outputs, which is the least that can be moved: every input read once, every output
//! written once. It is *two-shot* all the same, with the same parts' fold in the order of ranks, hence the same bits.
//!
//! Whether a call runs so must be agreed: each rank *offers* what it has, and if all offers are whole, says whether it could map
//! the others'. Every rank reads the same offers and answers, so all come to the same end; otherwise the call goes on through the slots.
//!
//! # Why nothing is touched that is not the call's
//!
//! A rank reads and writes peers' buffers only between everybody's *agreed* flag, set inside of the call, and its own *done*
//! flag; and nobody returns from the call before all *done* flags are set. In a buffer, a part is touched by its owner alone.
//! An offer is overwritten in a later call, which a rank reaches only when all others have read it: they have answered, or taken part in the slots.
//!
//! A call that fails once this rank has agreed cannot wait for that: a peer that was stopped may resume much later, find
//! everybody agreed, and fold. What it then reads spoils only its own call, which fails as well. What it writes must not reach
//! the caller, who has the output back: so the output gets other pages ([`memory::detach`]; it says which bytes it cannot take).

use super::layout::{AGREED_AT, ANSWER_AT, Cut, DONE_AT, OFFER_AT, OFFERED_AT, SCRATCH_BYTES};
use super::two_shot::fold_in_order;
use super::{Buffers, RANKS_MAX, Room, Scene};
use crate::Result;
use crate::engine::copy;
use crate::memory::{self, DROPPED_AT, Shared, WORDS_BYTES};
use crate::transport::shm::{Card, Region, Stores};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use zerocopy::{FromZeros, IntoBytes};

/// From here on the two exchanges of an agreement are small beside the call, also for those who have nothing to offer.
const MAPPED_BYTES_MIN: usize = 512 << 10;

/// Buffers that stay mapped. A job has a few; with more, the ones mapped first go.
pub(super) const OPENED_MAX: usize = 256;
const _: () = assert!(2 * RANKS_MAX <= OPENED_MAX, "all buffers of one call can be mapped");

/// Words of an offered place: its card, and the offset.
const PLACE_WORDS: usize = size_of::<Card>() / 8 + 1;

const _: () = assert!(2 * PLACE_WORDS * 8 <= OFFERED_AT - OFFER_AT, "an offer fits its lines");

/// What a rank offers: where its input and its output are.
pub(super) type Offer = [Option<Shared>; 2];

impl Room {
    /// Runs the call on mapped buffers, if all ranks offer theirs; whether it did.
    pub(super) fn mapped(&mut self, scene: &Scene<'_>, buffers: &mut Buffers<'_>) -> Result<bool> {
        if buffers.dst.len() < MAPPED_BYTES_MIN {
            return Ok(false);
        }
        self.agreements = self.agreements.wrapping_add(1);
        if !self.exchange_offers(scene, buffers)? {
            return Ok(false);
        }
        let answer = self.open(buffers.dst.len()).is_some();
        self.regions[self.me].word(ANSWER_AT).store(answer.into(), Ordering::Relaxed);
        self.raise(scene, AGREED_AT, self.agreements);
        // A caller's own operator may panic. Peers may still write to the output then, as after any failure.
        let done = catch_unwind(AssertUnwindSafe(|| self.run_agreed(scene, buffers)));
        if !matches!(done, Ok(Ok(_)))
            && answer
            && let Err(error) = memory::detach(buffers.dst)
        {
            tracing::error!(%error, "a peer that resumes may still write into the failed call's output");
        }
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Offers the call's buffers and reads what everybody offers, once: a peer may change its words at any time. Whether all offers are whole.
    pub(super) fn exchange_offers(&mut self, scene: &Scene<'_>, buffers: &Buffers<'_>) -> Result<bool> {
        let output = memory::find(buffers.dst);
        self.make_offer([buffers.src.map_or(output, memory::find), output]);
        self.raise(scene, OFFERED_AT, self.agreements);
        self.wait_for_all_at(scene, OFFERED_AT, self.agreements)?;
        self.offers.clear();
        self.offers.extend(self.regions.iter().map(read_offer));
        Ok(!self.offers.iter().any(|offer| offer.contains(&None)))
    }

    /// Once this rank has answered: the call, if all say that they can; whether it ran.
    fn run_agreed(&mut self, scene: &Scene<'_>, buffers: &mut Buffers<'_>) -> Result<bool> {
        self.wait_for_all_at(scene, AGREED_AT, self.agreements)?;
        if self.regions.iter().any(|region| region.word(ANSWER_AT).load(Ordering::Relaxed) == 0) {
            return Ok(false);
        }
        self.fold_mapped(scene, buffers);
        self.raise(scene, DONE_AT, self.agreements);
        self.wait_for_all_at(scene, DONE_AT, self.agreements)?;
        Ok(true)
    }

    fn make_offer(&self, offer: Offer) {
        let words = offer.iter().flat_map(|place| {
            let mut words = [0u64; PLACE_WORDS];
            if let Some(Shared { card, offset }) = place {
                words[..PLACE_WORDS - 1].as_mut_bytes().copy_from_slice(card.as_bytes());
                words[PLACE_WORDS - 1] = *offset;
            }
            words
        });
        for (index, word) in words.enumerate() {
            self.regions[self.me].word(OFFER_AT + 8 * index).store(word, Ordering::Relaxed);
        }
    }

    /// Maps what all ranks offer, as far as it is not mapped yet, and notes where everybody's input and output are. `None`: one
    /// cannot be mapped.
    pub(super) fn open(&mut self, bytes: usize) -> Option<()> {
        self.make_room();
        self.places.clear();
        for rank in 0..self.size() {
            let [input, output] = self.offers[rank];
            let both = [self.place(input?, bytes)?, self.place(output?, bytes)?];
            self.places.push(both);
        }
        Some(())
    }

    /// Where `bytes` bytes are that a rank offers. Nothing that it says is taken for granted.
    fn place(&mut self, shared: Shared, bytes: usize) -> Option<Place> {
        let inside = shared.offset.checked_add(bytes as u64)? <= shared.card.bytes;
        if !inside || shared.card.words != WORDS_BYTES as u64 {
            return None;
        }
        Some(Place { opened: self.opened_index(&shared.card)?, offset: shared.offset as usize })
    }

    fn opened_index(&mut self, card: &Card) -> Option<usize> {
        if let Some(index) = self.opened.iter().position(|region| region.card() == *card) {
            return Some(index);
        }
        match Region::open(card) {
            Ok(region) => self.opened.push(region),
            Err(error) => {
                tracing::debug!(%error, "a peer's buffer cannot be mapped: slots");
                return None;
            }
        }
        Some(self.opened.len() - 1)
    }

    /// Lets go of the buffers that were mapped first, so that those of one call find room.
    fn make_room(&mut self) {
        let excess = (self.opened.len() + 2 * self.size()).saturating_sub(OPENED_MAX);
        self.opened.drain(..excess);
    }

    /// Lets go of buffers whose owners have dropped them. At every call, whatever it is: a peer's memory is kept alive here.
    #[inline]
    pub(super) fn let_go(&mut self) {
        if !self.opened.is_empty() {
            self.opened.retain(|region| region.word(DROPPED_AT).load(Ordering::Acquire) == 0);
        }
    }

    /// Folds the own part of the message out of all inputs into all outputs, strip by strip.
    pub(super) fn fold_mapped(&mut self, scene: &Scene<'_>, buffers: &mut Buffers<'_>) {
        let bytes = buffers.dst.len();
        let stores = self.stores(buffers);
        let own = Cut::new(bytes, self.size(), bytes).part(bytes, self.me);
        for start in own.clone().step_by(SCRATCH_BYTES) {
            self.fold_strip_mapped(scene, start..(start + SCRATCH_BYTES).min(own.end), buffers, stores);
        }
    }

    fn fold_strip_mapped(&mut self, scene: &Scene<'_>, strip: Range<usize>, buffers: &mut Buffers<'_>, stores: Stores) {
        let Self { opened, places, scratch, me, .. } = self;
        let sum = &mut scratch[..strip.len()];
        let own = &buffers.input()[strip.clone()];
        let input = |rank: usize| match &places[rank][0] {
            _ if rank == *me => own,
            place => opened[place.opened].bytes(place.offset + strip.start, strip.len()),
        };
        fold_in_order(scene.kernels, places.len(), sum, input);
        for (_, [_, output]) in places.iter().enumerate().filter(|(rank, _)| rank != me) {
            copy(opened[output.opened].bytes_mut(output.offset + strip.start, strip.len()), sum, stores);
        }
        copy(&mut buffers.dst[strip], sum, stores);
    }
}

/// A place in an opened region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    opened: usize,
    offset: usize,
}

fn read_offer(region: &Region) -> Offer {
    std::array::from_fn(|place| {
        let mut words = [0u64; PLACE_WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            *word = region.word(OFFER_AT + 8 * (place * PLACE_WORDS + index)).load(Ordering::Relaxed);
        }
        let mut card = Card::new_zeroed();
        card.as_mut_bytes().copy_from_slice(words[..PLACE_WORDS - 1].as_bytes());
        (card != Card::new_zeroed()).then_some(Shared { card, offset: words[PLACE_WORDS - 1] })
    })
}
