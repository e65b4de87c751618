//! Rooms of threads whose buffers all ranks map: the same bits as through the slots, and only when all offer.

use super::layout::AGREED_AT;
use super::mapped::OPENED_MAX;
use super::tests::{DEADLINE, Deadline, in_room};
use super::{Buffers, DIRECT, Room, Scene, TWO_SHOT};
use crate::engine::{Extent, Part};
use crate::reduce::kernels;
use crate::transport::shm::{Card, Region};
use crate::types::CollectiveKind;
use crate::{Call, DataType, Error, Memory, Op};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// Elements: above the least that is worth an agreement, and no multiple of anything.
const COUNT: usize = 300_007;

fn call(room: &mut Room, sequence: u64, op: Op, src: Option<&[u8]>, dst: &mut [u8]) {
    let call = Call::all_reduce(sequence, COUNT as u64, DataType::F32, op, TWO_SHOT);
    room.all_reduce(&call, kernels(DataType::F32, op), src, dst, &Deadline::after(DEADLINE))
        .expect("all ranks are well");
}

/// Values whose sums depend on the order.
fn value(rank: usize, index: usize) -> f32 {
    ((index * 31 + rank * 17) % 1009) as f32 / 7.0 - 60.0
}

#[test]
fn mapped_buffers_give_the_bits_of_the_slots_out_of_place_and_in_place() {
    for ranks in 2..=4 {
        for op in [Op::Sum, Op::Avg] {
            let opened = in_room(ranks, |mut room| {
                let plain: Vec<f32> = (0..COUNT).map(|index| value(room.me, index)).collect();
                let mut expected = vec![0.0f32; COUNT];
                call(&mut room, 1, op, Some(plain.as_bytes()), expected.as_mut_bytes());
                assert!(room.opened.is_empty(), "plain buffers are not mapped");

                let mut input = Memory::<f32>::allocate(COUNT + 3).expect("there is room");
                let mut output = Memory::<f32>::allocate(COUNT).expect("there is room");
                input[3..].copy_from_slice(&plain);
                call(&mut room, 2, op, Some(input[3..].as_bytes()), output.as_mut_bytes());
                assert_eq!(output.as_bytes(), expected.as_bytes());
                assert_eq!(input[3..], plain, "an input is left alone");
                let opened = room.opened.len();

                call(&mut room, 3, op, None, input[3..].as_mut_bytes());
                assert_eq!(input[3..].as_bytes(), expected.as_bytes());

                // One rank has nothing to offer: all go through the slots, and get the same.
                let mut own = vec![0.0f32; COUNT];
                let dst = if room.me == 1 { &mut own[..] } else { &mut output[..] };
                dst.fill(-1.0);
                call(&mut room, 4, op, Some(plain.as_bytes()), dst.as_mut_bytes());
                assert_eq!(dst.as_bytes(), expected.as_bytes());
                opened
            });
            assert_eq!(opened, vec![2 * ranks; ranks], "everybody mapped everybody's two buffers");
        }
    }
}

#[test]
fn dropped_buffers_are_let_go_at_the_next_call() {
    let left = in_room(2, |mut room| {
        for sequence in 1..=5 {
            let mut data = Memory::<f32>::allocate(COUNT).expect("there is room");
            call(&mut room, sequence, Op::Max, None, data.as_mut_bytes());
        }
        // The first of these is a barrier: after it both ranks have dropped their last buffer. A small call of any kind will do.
        let sum = kernels(DataType::F32, Op::Max);
        let small = Call::all_reduce(6, 1, DataType::F32, Op::Max, DIRECT);
        room.all_reduce(&small, sum, None, &mut [0; 4], &Deadline::after(DEADLINE)).expect("all ranks are well");
        let part = Part { kind: CollectiveKind::Broadcast, root: 0, rank: room.me as u32, in_place: true };
        let call = Call::new(part.kind, 7, 0, 4, DataType::U8, Op::Sum as u8, DIRECT);
        let watch = Deadline::after(DEADLINE);
        room.collective(&call, part, Extent::Message(4), sum, 1, None, &mut [0; 4], &watch)
            .expect("all ranks are well");
        room.opened.len()
    });
    assert_eq!(left, [0, 0]);
}

#[test]
fn with_many_buffers_the_ones_mapped_first_go() {
    in_room(2, |mut room| {
        let all: Vec<_> = (0..OPENED_MAX + 50).map(|_| Memory::<u8>::allocate(1).expect("there is room")).collect();
        for pair in all.chunks_exact(2) {
            let [input, output] = [&pair[0], &pair[1]].map(|data| crate::memory::find(data));
            room.offers = vec![[input, output], [output, input]];
            assert_eq!(room.open(1), Some(()));
            assert!(room.opened.len() <= OPENED_MAX);
            assert_eq!(room.opened.last().map(Region::card), Some(pair[1].card()), "the newest is there");
        }
        assert!(room.opened.len() >= OPENED_MAX - 4, "no more go than need to");
        let cards: Vec<Card> = room.opened.iter().map(Region::card).collect();
        let newest: Vec<Card> = all[all.len() - cards.len()..].iter().map(Memory::card).collect();
        assert_eq!(cards, newest);
    });
}

#[test]
fn a_card_of_something_else_is_not_opened() {
    in_room(2, |mut room| {
        let other = Region::create(64, 4 * COUNT).expect("there is room");
        let good = Memory::<f32>::allocate(COUNT).expect("there is room");
        let of = |card: Card, offset| Some(crate::memory::Shared { card, offset });
        let fine = of(good.card(), 0);
        for wrong in [of(other.card(), 0), of(good.card(), 1), of(good.card(), u64::MAX), None] {
            for offer in [[wrong, fine], [fine, wrong]] {
                room.offers = vec![[fine; 2], offer];
                assert_eq!(room.open(4 * COUNT), None, "{offer:?}");
            }
        }
        assert_eq!(room.opened.len(), 1, "only the good one");
        room.offers = vec![[fine; 2]; 2];
        assert_eq!(room.open(4 * COUNT), Some(()));
    });
}

/// Waits for another thread's step, no longer than to the deadline.
fn wait_until(step: &AtomicBool) {
    let end = Instant::now() + DEADLINE;
    while !step.load(Ordering::Acquire) {
        assert!(Instant::now() < end, "the other rank never came so far");
        std::thread::yield_now();
    }
}

#[test]
fn a_peer_that_resumes_after_the_call_has_failed_does_not_reach_the_output() {
    let (failed, folded) = (AtomicBool::new(false), AtomicBool::new(false));
    in_room(2, |mut room| {
        let call = Call::all_reduce(1, COUNT as u64, DataType::F32, Op::Sum, TWO_SHOT);
        let sum = kernels(DataType::F32, Op::Sum);
        let mut data = Memory::<f32>::allocate(COUNT).expect("there is room");
        data.fill(1.0);
        if room.me == 0 {
            let watch = Deadline::after(Duration::from_millis(300));
            let error =
                room.all_reduce(&call, sum, None, data.as_mut_bytes(), &watch).expect_err("rank 11 has stopped");
            assert!(matches!(error, Error::Timeout { peer: 11, .. }), "{error}");
            data.fill(5.0);
            failed.store(true, Ordering::Release);
            wait_until(&folded);
            assert!(data.iter().all(|value| *value == 5.0), "what the caller wrote after the call is there");
            return;
        }
        // Rank 11 goes as far as the offers, stops until the other's call has failed, and goes on.
        let watch = Deadline::after(DEADLINE);
        let scene = Scene { call: &call, fingerprint: call.fingerprint(), kernels: sum, watch: &watch };
        let mut buffers = Buffers { src: None, dst: data.as_mut_bytes() };
        room.agreements = 1;
        assert!(room.exchange_offers(&scene, &buffers).expect("both offer"));
        room.open(4 * COUNT).expect("both can be mapped");
        wait_until(&failed);
        assert_eq!(room.regions[0].word(AGREED_AT).load(Ordering::Acquire), scene.flag(1), "rank 10 had agreed");
        room.fold_mapped(&scene, &mut buffers);
        let card = room.offers[0][1].expect("rank 10 offered its output").card;
        let theirs = room.opened.iter().find(|region| region.card() == card).expect("it is mapped");
        let last = f32::from_ne_bytes(theirs.bytes(4 * (COUNT - 1), 4).try_into().expect("four bytes"));
        assert_eq!(last, 2.0, "the late fold was written where rank 10's buffer was");
        folded.store(true, Ordering::Release);
    });
}
