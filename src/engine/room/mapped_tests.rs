//! Rooms of threads whose buffers all ranks map: the same bits as through the slots, and only when all offer.

use super::tests::{DEADLINE, Deadline, in_room};
use super::{Room, TWO_SHOT};
use crate::reduce::kernels;
use crate::{Call, DataType, Memory, Op};
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
        // A barrier: after it both ranks have dropped their last buffer.
        let mut plain = vec![1.0f32; COUNT];
        call(&mut room, 6, Op::Max, None, plain.as_mut_bytes());
        call(&mut room, 7, Op::Max, None, plain.as_mut_bytes());
        room.opened.len()
    });
    assert_eq!(left, [0, 0]);
}
