//! The kernels of every available instruction set against an oracle that works on one element, spelled out from the contract.

use super::{INSTRUCTION_SETS, InstructionSet, copy_cached, copy_shared, copy_streaming};
use crate::types::{DataType, Op};
use proptest::prelude::*;

mod oracle;

fn available() -> impl Iterator<Item = &'static InstructionSet> {
    INSTRUCTION_SETS.into_iter().filter(|set| (set.available)())
}

/// A small generator of reproducible bits (splitmix64).
struct Bits(u64);

impl Bits {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Where things go wrong: zeros, ones, extremes, infinities, NaNs of all kinds, subnormals, and halves of a last place.
fn special(data_type: DataType) -> Vec<u64> {
    let bits = 8 * data_type.size() as u32;
    let (top, all) = (1u64 << (bits - 1), oracle::mask(data_type));
    let mut values = vec![0, 1, 2, 3, top, top - 1, top + 1, all, all - 1];
    let mut float = |fraction_bits: u32| {
        let (infinity, quiet, one) = (top - (1 << fraction_bits), 1 << (fraction_bits - 1), (top >> 2) + (top >> 1));
        let one = one & !((1 << fraction_bits) - 1);
        for value in [
            infinity,
            infinity + 1,         // signalling NaN
            infinity + quiet,     // quiet NaN
            infinity + quiet + 5, // quiet NaN with a payload
            top - 1,              // quiet NaN, all ones
            infinity - 1,         // largest finite
            infinity - 2,
            1 << fraction_bits,       // smallest normal
            (1 << fraction_bits) - 1, // largest subnormal
            quiet,                    // a subnormal
            one,
            one + 1,
            one - 1,
            one - (u64::from(fraction_bits + 1) << fraction_bits), // half of one's last place
            one - (u64::from(fraction_bits + 1) << fraction_bits) + 1,
            one - (u64::from(fraction_bits) << fraction_bits),
            one + (1 << fraction_bits),
            one + quiet,
        ] {
            values.extend([value, value | top]);
        }
    };
    match data_type {
        DataType::F16 => float(10),
        DataType::Bf16 => float(7),
        DataType::F32 => float(23),
        DataType::F64 => float(52),
        DataType::F8E4M3 | DataType::F8E5M2 => values.extend(0..=255),
        _ => {}
    }
    values
}

fn to_bytes(data_type: DataType, elements: &[u64]) -> Vec<u8> {
    elements.iter().flat_map(|element| element.to_le_bytes().into_iter().take(data_type.size())).collect()
}

fn types_and_ops() -> impl Iterator<Item = (DataType, Op)> {
    DataType::ALL.into_iter().flat_map(|data_type| Op::ALL.into_iter().map(move |op| (data_type, op)))
}

/// Runs the three kernels of every set on these pairs, which must fit the arrays of the caller's loop, and compares.
fn check_pairs(data_type: DataType, op: Op, a: &[u64], b: &[u64]) {
    let expected: Vec<u64> = a.iter().zip(b).map(|(&a, &b)| oracle::fold(data_type, op, a, b)).collect();
    let (a_bytes, b_bytes, expected_bytes) =
        (to_bytes(data_type, a), to_bytes(data_type, b), to_bytes(data_type, &expected));
    for set in available() {
        let kernels = &set.table[data_type as usize][op as usize];
        let mut acc = a_bytes.clone();
        (kernels.reduce)(&mut acc, &b_bytes);
        for (i, (got, want)) in acc.chunks(data_type.size()).zip(expected_bytes.chunks(data_type.size())).enumerate() {
            assert_eq!(got, want, "{} {data_type} {op}: {:#x} ⊕ {:#x}", set.name, a[i], b[i]);
        }
        let mut out = vec![0x55; acc.len()];
        (kernels.combine)(&mut out, &a_bytes, &b_bytes);
        assert_eq!(out, expected_bytes, "{} {data_type} {op}: combine", set.name);
        let mut fold = a_bytes.clone();
        let (mut folded, mut gathered) = (vec![0x55; out.len() + 64], vec![0x55; out.len() + 64]);
        let on_line = |bytes: &[u8]| bytes.as_ptr().align_offset(64)..bytes.as_ptr().align_offset(64) + out.len();
        let (at_folded, at_gathered) = (on_line(&folded), on_line(&gathered));
        (kernels.interleave)(super::Interleaved {
            fill: &mut out.clone(),
            fill_from: &a_bytes,
            fold: &mut fold,
            fold_own: &b_bytes,
            folded: &mut folded[at_folded.clone()],
            gathered: &mut gathered[at_gathered],
            gather_from: &a_bytes,
        });
        super::fence();
        assert_eq!(fold, expected_bytes, "{} {data_type} {op}: interleave", set.name);
        assert_eq!(folded[at_folded], expected_bytes, "{} {data_type} {op}: interleave", set.name);
    }
}

#[test]
fn special_values_meet_each_other() {
    for (data_type, op) in types_and_ops() {
        let values = special(data_type);
        let a: Vec<u64> = values.iter().flat_map(|&a| values.iter().map(move |_| a)).collect();
        let b: Vec<u64> = values.iter().flat_map(|_| values.iter().copied()).collect();
        check_pairs(data_type, op, &a, &b);
    }
}

#[test]
fn all_pairs_of_bytes() {
    for data_type in [DataType::I8, DataType::U8, DataType::F8E4M3, DataType::F8E5M2] {
        for op in Op::ALL {
            let a: Vec<u64> = (0..65_536).map(|pair| pair >> 8).collect();
            let b: Vec<u64> = (0..65_536).map(|pair| pair & 0xff).collect();
            check_pairs(data_type, op, &a, &b);
        }
    }
}

#[test]
fn every_code_of_the_16_bit_floats_meets_special_values() {
    for data_type in [DataType::F16, DataType::Bf16] {
        let a: Vec<u64> = (0..65_536).collect();
        let one = if data_type == DataType::F16 { 0x3c00 } else { 0x3f80 };
        for (op, others) in [
            (Op::Sum, &[0, 0x8000, one, 0x0001, 0x7bff][..]),
            // Multiplying by 2, ½ and ⅓-like values exercises every rounding and the subnormals.
            (Op::Prod, &[one, one + 0x0400, one - 0x0400, 0x3555, 0x0002, 0xbbff]),
            (Op::Max, &[0, 0x8000, one]),
            (Op::Min, &[0, 0x8000, one]),
        ] {
            for &other in others {
                check_pairs(data_type, op, &a, &vec![other; a.len()]);
            }
        }
    }
}

#[test]
fn every_code_of_the_16_bit_floats_is_widened_exactly() {
    use super::half::{Bfloat16, Binary16, Format};
    for code in 0..=u16::MAX {
        for (data_type, value) in [(DataType::F16, Binary16::widen(code)), (DataType::Bf16, Bfloat16::widen(code))] {
            let exact = oracle::decode(data_type, code.into());
            assert!(value.is_nan() == exact.is_nan(), "{data_type} {code:#x}");
            assert!(exact.is_nan() || f64::from(value).to_bits() == exact.to_bits(), "{data_type} {code:#x}");
        }
    }
}

#[test]
fn narrowing_rounds_at_every_boundary_between_codes() {
    use super::half::{Bfloat16, Binary16, Format};
    for data_type in [DataType::F16, DataType::Bf16] {
        let format = oracle::Format::of(data_type);
        let narrow =
            |value: f32| if data_type == DataType::F16 { Binary16::narrow(value) } else { Bfloat16::narrow(value) };
        for code in 0..format.beyond() {
            let (value, next) = (format.decode(code), format.decode(code + 1));
            let next = if next.is_infinite() { 2.0 * value - format.decode(code - 1) } else { next };
            let middle = ((value + next) / 2.0) as f32;
            for exact in [value as f32, middle.next_down(), middle, middle.next_up()] {
                for signed in [exact, -exact] {
                    assert_eq!(u64::from(narrow(signed)), format.encode(signed.into()), "{data_type} {signed:e}");
                }
            }
        }
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)] {
            assert_eq!(u64::from(narrow(nan)), format.nan());
        }
    }
}

/// Memory whose first byte lies on a multiple of 64.
#[repr(align(64))]
struct Aligned([u8; 2048]);

/// Elements that the length and alignment tests work on.
const LENGTH_MAX: usize = 200;

#[test]
fn every_length_and_misalignment() {
    let mut bits = Bits(1);
    for (data_type, op) in types_and_ops() {
        let mut draw = || (0..LENGTH_MAX).map(|_| bits.next() & oracle::mask(data_type)).collect::<Vec<_>>();
        let (a, b) = (draw(), draw());
        let expected: Vec<u64> = a.iter().zip(&b).map(|(&a, &b)| oracle::fold(data_type, op, a, b)).collect();
        let (a, b, expected) = (to_bytes(data_type, &a), to_bytes(data_type, &b), to_bytes(data_type, &expected));
        for set in available() {
            let kernels = &set.table[data_type as usize][op as usize];
            for length in 0..=LENGTH_MAX {
                let bytes = length * data_type.size();
                for shift in 0..64 {
                    // Over the lengths, every shift of one operand meets every shift of the others.
                    let (second, third) = ((shift * 7 + length) % 64, (shift * 13 + length * 3 + length / 64) % 64);
                    let place = |shift: usize, from: &[u8]| {
                        let mut memory = Aligned([0xa5; 2048]);
                        memory.0[shift..][..bytes].copy_from_slice(&from[..bytes]);
                        memory
                    };
                    let at = |shift: usize| shift..shift + bytes;
                    let (x, y) = (place(shift, &a), place(second, &b));
                    let mut acc = place(shift, &a);
                    (kernels.reduce)(&mut acc.0[at(shift)], &y.0[at(second)]);
                    let context = || format!("{} {data_type} {op} of {length} at {shift}, {second}, {third}", set.name);
                    assert!(acc.0 == place(shift, &expected).0, "{}", context());
                    let mut out = Aligned([0xa5; 2048]);
                    (kernels.combine)(&mut out.0[at(third)], &x.0[at(shift)], &y.0[at(second)]);
                    assert!(out.0 == place(third, &expected).0, "{}", context());
                }
            }
        }
    }
}

#[test]
fn copies_write_every_byte_and_no_other() {
    let mut bits = Bits(2);
    let source: Vec<u8> = (0..40_000).map(|_| bits.next() as u8).collect();
    let sets = available().flat_map(|set| [set.copy, set.copy_shared, set.stream].map(|copy| (set.name, copy)));
    let copies = sets.chain([
        ("cached", copy_cached as fn(&mut [u8], &[u8])),
        ("shared", copy_shared),
        ("streaming", copy_streaming),
    ]);
    for (name, copy) in copies {
        for bytes in [0, 1, 63, 64, 65, 255, 256, 257, 1024, 1100, 4095, 4096, 4104, 8192, 8256, 12_000, 20_000] {
            for shift in 0..65 {
                let mut out = vec![0x5a; bytes + 256];
                copy(&mut out[shift..shift + bytes], &source[7..7 + bytes]);
                let around = out[..shift].iter().chain(&out[shift + bytes..]);
                assert!(out[shift..shift + bytes] == source[7..7 + bytes], "{name}: {bytes} at {shift}");
                assert!(around.copied().all(|byte| byte == 0x5a), "{name}: {bytes} at {shift}");
            }
        }
    }
}

#[test]
fn copies_are_right_however_far_their_sides_are_apart() {
    const PAGE: usize = 4096;
    let mut bits = Bits(3);
    let source: Vec<u8> = (0..20_000).map(|_| bits.next() as u8).collect();
    for set in available() {
        // Where a string instruction may be slow, and on both sides of it.
        for apart in [0, 1, 16, 31, 32, 2048, PAGE - 1] {
            for bytes in [1024, 4100, 16_384] {
                let mut out = vec![0x5a; bytes + 2 * PAGE];
                let input = &source[5..5 + bytes];
                let start = (input.as_ptr().addr() + apart).wrapping_sub(out.as_ptr().addr()) % PAGE;
                (set.copy)(&mut out[start..start + bytes], input);
                let around = out[..start].iter().chain(&out[start + bytes..]);
                assert!(&out[start..start + bytes] == input, "{}: {bytes} with {apart} between", set.name);
                assert!(around.copied().all(|byte| byte == 0x5a), "{}: {bytes} with {apart} between", set.name);
            }
        }
    }
}

#[test]
fn interleaving_does_all_three_and_nothing_else() {
    let mut bits = Bits(4);
    let source: Vec<u8> = (0..40_000).map(|_| bits.next() as u8).collect();
    let of_length = |bytes: usize, from: usize| source[from..from + bytes].to_vec();
    for (data_type, op) in types_and_ops() {
        for set in available() {
            let kernels = &set.table[data_type as usize][op as usize];
            for (bytes, shift) in [(0, 0), (8, 0), (64, 0), (640, 0), (4096, 8), (1088, 56), (200, 0), (264, 3)] {
                let (fill_from, fold_own, gather_from) =
                    (of_length(bytes, 5), of_length(bytes, 9_001), of_length(bytes, 77));
                let (mut fill, mut fold) = (vec![0; bytes], of_length(bytes, 20_000));
                let mut expected = vec![0; bytes];
                (kernels.combine)(&mut expected, &fold, &fold_own);
                let (mut folded, mut gathered) = (vec![0x5a; bytes + 192], vec![0x5a; bytes + 192]);
                let on_line = |out: &[u8]| out.as_ptr().align_offset(64) + shift;
                let (at_folded, at_gathered) = (on_line(&folded), on_line(&gathered));
                (kernels.interleave)(super::Interleaved {
                    fill: &mut fill,
                    fill_from: &fill_from,
                    fold: &mut fold,
                    fold_own: &fold_own,
                    folded: &mut folded[at_folded..at_folded + bytes],
                    gathered: &mut gathered[at_gathered..at_gathered + bytes],
                    gather_from: &gather_from,
                });
                super::fence();
                let context = format!("{} {data_type} {op}: {bytes} at {shift}", set.name);
                assert!(fill == fill_from && fold == expected, "{context}");
                for (out, at, inside) in [(&folded, at_folded, &expected), (&gathered, at_gathered, &gather_from)] {
                    assert!(out[at..at + bytes] == inside[..], "{context}");
                    assert!(out[..at].iter().chain(&out[at + bytes..]).all(|&byte| byte == 0x5a), "{context}");
                }
            }
        }
    }
}

#[test]
fn averages_divide_the_sum() {
    let mut bits = Bits(3);
    for data_type in DataType::ALL {
        let random = std::iter::repeat_with(|| bits.next() & oracle::mask(data_type)).take(1000);
        let sums: Vec<u64> = special(data_type).into_iter().chain(random).chain(0..256).collect();
        for ranks in [1, 2, 3, 7, 8, 127, 128, 129, 255, 256, 1000, 65_537, 1 << 20, 0x7fff_ffff, 0x8000_0000, u32::MAX]
        {
            let expected: Vec<u64> = sums.iter().map(|&sum| oracle::average(data_type, sum, ranks)).collect();
            for set in available() {
                let mut acc = to_bytes(data_type, &sums);
                let finish = set.table[data_type as usize][Op::Avg as usize].finish.expect("an average is finished");
                finish(&mut acc, ranks);
                assert!(acc == to_bytes(data_type, &expected), "{} {data_type} / {ranks}", set.name);
            }
        }
    }
}

#[test]
fn only_averages_are_finished() {
    for (data_type, op) in types_and_ops() {
        for set in available() {
            let finish = set.table[data_type as usize][op as usize].finish;
            assert_eq!(finish.is_some(), op == Op::Avg, "{} {data_type} {op}", set.name);
        }
    }
}

#[test]
fn the_chosen_set_is_the_widest_available() {
    let widest = available().next().expect("the baseline is always available");
    assert_eq!(super::instruction_set(), widest.name);
    let chosen = super::kernels(DataType::F32, Op::Sum);
    assert!(std::ptr::eq(chosen, &widest.table[DataType::F32 as usize][Op::Sum as usize]));
}

proptest! {
    #[test]
    fn operators_commute_to_the_bit(pairs in prop::collection::vec(any::<(u64, u64)>(), 1..80)) {
        let a: Vec<u8> = pairs.iter().flat_map(|pair| pair.0.to_ne_bytes()).collect();
        let b: Vec<u8> = pairs.iter().flat_map(|pair| pair.1.to_ne_bytes()).collect();
        for (data_type, op) in types_and_ops() {
            for set in available() {
                let kernels = &set.table[data_type as usize][op as usize];
                let (mut ab, mut ba) = (a.clone(), b.clone());
                (kernels.reduce)(&mut ab, &b);
                (kernels.reduce)(&mut ba, &a);
                prop_assert_eq!(&ab, &ba, "{} {} {}", set.name, data_type, op);
            }
        }
    }

    #[test]
    fn raw_bits_fold_as_the_oracle_says(pairs in prop::collection::vec(any::<(u64, u64)>(), 1..80)) {
        for (data_type, op) in types_and_ops() {
            let mask = oracle::mask(data_type);
            let (a, b): (Vec<u64>, Vec<u64>) = pairs.iter().map(|&(a, b)| (a & mask, b & mask)).unzip();
            check_pairs(data_type, op, &a, &b);
        }
    }
}
