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

use super::choice::{self, Stores};
use super::layout::{AGREED_AT, ANSWER_AT, Cut, DONE_AT, OFFER_AT, OFFERED_AT, SCRATCH_BYTES};
use super::two_shot::copy;
use super::{Buffers, Room, Scene};
use crate::Result;
use crate::memory::{self, DROPPED_AT, Shared};
use crate::transport::shm::{Card, Region};
use std::ops::Range;
use std::sync::atomic::Ordering;
use zerocopy::{FromZeros, IntoBytes};

/// From here on the two exchanges of an agreement are small beside the call, also for those who have nothing to offer.
const MAPPED_BYTES_MIN: usize = 512 << 10;

/// Peers' buffers that stay mapped. A job has a few; with more, the one mapped first goes.
const OPENED_MAX: usize = 256;

/// Words of an offered place: its card, and the offset.
const PLACE_WORDS: usize = size_of::<Card>() / 8 + 1;

const _: () = assert!(2 * PLACE_WORDS * 8 <= OFFERED_AT - OFFER_AT, "an offer fits its lines");

/// What a rank offers: where its input and its output are.
type Offer = [Option<Shared>; 2];

impl Room {
    /// Runs the call on mapped buffers, if all ranks offer theirs; whether it did.
    pub(super) fn mapped(&mut self, scene: &Scene<'_>, buffers: &mut Buffers<'_>) -> Result<bool> {
        if buffers.dst.len() < MAPPED_BYTES_MIN {
            return Ok(false);
        }
        self.let_go();
        self.agreements = self.agreements.wrapping_add(1);
        let output = memory::find(buffers.dst);
        self.make_offer([buffers.src.map_or(output, memory::find), output]);
        self.raise(scene, OFFERED_AT, self.agreements);
        self.wait_for_all_at(scene, OFFERED_AT, self.agreements)?;
        if self.regions.iter().any(|region| read_offer(region).contains(&None)) {
            return Ok(false);
        }
        let answer = self.open(buffers.dst.len()).is_some();
        self.regions[self.me].word(ANSWER_AT).store(answer.into(), Ordering::Relaxed);
        self.raise(scene, AGREED_AT, self.agreements);
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
    fn open(&mut self, bytes: usize) -> Option<()> {
        self.places.clear();
        for rank in 0..self.size() {
            let mut both = [Place::default(); 2];
            for (place, shared) in both.iter_mut().zip(read_offer(&self.regions[rank]).iter().flatten()) {
                // A peer's word is not taken for where its buffer ends.
                if shared.offset.checked_add(bytes as u64)? > shared.card.bytes {
                    return None;
                }
                *place = Place { opened: self.opened_index(&shared.card)?, offset: shared.offset as usize };
            }
            self.places.push(both);
        }
        Some(())
    }

    fn opened_index(&mut self, card: &Card) -> Option<usize> {
        if let Some(index) = self.opened.iter().position(|region| region.card() == *card) {
            return Some(index);
        }
        if self.opened.len() >= OPENED_MAX {
            return None;
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

    /// Lets go of buffers whose owners have dropped them, or of all if there are too many.
    fn let_go(&mut self) {
        self.opened.retain(|region| region.word(DROPPED_AT).load(Ordering::Acquire) == 0);
        if self.opened.len() >= OPENED_MAX {
            self.opened.clear();
        }
    }

    /// Folds the own part of the message out of all inputs into all outputs, strip by strip.
    fn fold_mapped(&mut self, scene: &Scene<'_>, buffers: &mut Buffers<'_>) {
        let bytes = buffers.dst.len();
        let stores = choice::stores(self.size(), bytes, buffers.src.is_some());
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
        (scene.kernels.combine)(sum, input(0), input(1));
        for rank in 2..places.len() {
            (scene.kernels.reduce)(sum, input(rank));
        }
        if let Some(finish) = scene.kernels.finish {
            finish(sum, places.len() as u32);
        }
        for (_, [_, output]) in places.iter().enumerate().filter(|(rank, _)| rank != me) {
            copy(opened[output.opened].bytes_mut(output.offset + strip.start, strip.len()), sum, stores);
        }
        copy(&mut buffers.dst[strip], sum, stores);
    }
}

/// A place in an opened region.
#[derive(Clone, Copy, Debug, Default)]
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
