//! Every type and every kind of operator through the calls: 8-bit floats, sums of multiples, callers' own operators, and how far results are from exact ones.

use half::{bf16, f16};
use serried::reduce::{Combine, Own, PreMulSum};
use serried::schedule::Algorithm;
use serried::{
    CollectiveKind, Communicator, Config, Element, Error, F8E4M3, F8E5M2, Op, Operator, TransportChoice, UniqueId,
};

/// Runs `body` as `size` ranks on threads and gives their results back in order.
fn ranks<R: Send>(size: u32, config: &Config, body: impl Fn(Communicator) -> R + Sync) -> Vec<R> {
    let id = UniqueId::create(&config.control).expect("a rendezvous");
    std::thread::scope(|scope| {
        let (id, body) = (&id, &body);
        let rank = |rank| move || body(Communicator::create(id, rank, size, config).expect("all ranks come"));
        let threads: Vec<_> = (0..size).map(|number| scope.spawn(rank(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a rank's body holds")).collect()
    })
}

/// Over shared memory and sockets, by each algorithm that the allreduce has.
fn configs() -> Vec<(String, Config)> {
    let mut configs = Vec::new();
    for transport in [TransportChoice::Shm, TransportChoice::Tcp] {
        let algorithms = Algorithm::serving(CollectiveKind::AllReduce).iter().copied().map(Some);
        for algorithm in algorithms.chain([None]) {
            let algorithms = algorithm.map_or_else(Default::default, Into::into);
            configs
                .push((format!("{transport:?}, {algorithm:?}"), Config { transport, algorithms, ..Config::default() }));
        }
    }
    configs
}

/// Not any built-in operator, and commutative to the bit.
struct Mixed;
impl Combine<u64> for Mixed {
    const NAME: &'static str = "mixed";
    fn combine(a: u64, b: u64) -> u64 {
        (a ^ b).wrapping_add(a & b)
    }
}

struct Other;
impl Combine<u64> for Other {
    const NAME: &'static str = "other";
    fn combine(a: u64, b: u64) -> u64 {
        a | b
    }
}

struct Panics;
impl Combine<u64> for Panics {
    const NAME: &'static str = "panics";
    fn combine(_: u64, _: u64) -> u64 {
        panic!("an operator that panics (this is part of the test)");
    }
}

/// All three reducing collectives, in and out of place, with `counts` elements a block; `expected` is the reduction at an index of all blocks.
fn everywhere<T: Element + PartialEq + std::fmt::Debug>(
    comm: &Communicator,
    label: &str,
    op: impl Operator<T> + Copy,
    given: impl Fn(u32, usize) -> T,
    expected: impl Fn(usize) -> T,
) {
    let (rank, size) = (comm.rank(), comm.size() as usize);
    for count in [0, 1, 5, 57, 3001, 40_000 / size] {
        let input: Vec<T> = (0..count * size).map(|index| given(rank, index)).collect();
        let right: Vec<T> = (0..count * size).map(&expected).collect();
        let own = rank as usize * count..(rank as usize + 1) * count;
        let (mut output, mut block) = (input.clone(), vec![T::new_zeroed(); count]);
        comm.all_reduce(&mut output, op).expect(label);
        assert!(output == right, "{label}: allreduce of {count}");
        let mut output = vec![T::new_zeroed(); count * size];
        comm.all_reduce_into(&input, &mut output, op).expect(label);
        assert!(output == right, "{label}: allreduce out of place of {count}");
        comm.reduce_scatter(&input, &mut block, op).expect(label);
        assert!(block == right[own.clone()], "{label}: reduce_scatter of {count}");
        let mut data = input.clone();
        comm.reduce_scatter_in_place(&mut data, op).expect(label);
        assert!(data[own.clone()] == right[own.clone()], "{label}: reduce_scatter in place of {count}");
        let others = |data: &[T]| [&data[..own.start], &data[own.end..]].concat();
        assert!(others(&data) == others(&input), "{label}: reduce_scatter leaves the others' blocks of {count}");
        let root = comm.size() - 1;
        let mut data = input.clone();
        comm.reduce(&mut data, op, root).expect(label);
        assert!(data == if rank == root { right.clone() } else { input.clone() }, "{label}: reduce of {count}");
        let mut output = vec![T::new_zeroed(); count * size];
        comm.reduce_into(&input, &mut output, op, 0).expect(label);
        assert!(rank != 0 || output == right, "{label}: reduce out of place of {count}");
    }
}

#[test]
fn sums_of_multiples_use_each_ranks_own_factor() {
    for (label, config) in configs() {
        for size in [1, 2, 3, 4] {
            ranks(size, &config, |comm| {
                let factor = |rank: u32| 1 + rank as i32;
                let given = |rank: u32, index: usize| (index % 7) as i32 - rank as i32;
                let all = |index: usize| (0..size).map(move |rank| factor(rank) * given(rank, index));
                let mine = factor(comm.rank());
                everywhere(&comm, &label, PreMulSum(mine), given, |index| all(index).sum());
                let float = |value: i32| f64::from(value);
                let op = PreMulSum(float(mine));
                everywhere(&comm, &label, op, |rank, index| float(given(rank, index)), |index| float(all(index).sum()));
                let half = |value: i32| f16::from_f32(value as f32);
                let op = PreMulSum(half(mine));
                everywhere(&comm, &label, op, |rank, index| half(given(rank, index)), |index| half(all(index).sum()));
            });
        }
    }
}

#[test]
fn own_operators_reduce_and_are_told_apart() {
    for (label, config) in configs() {
        for size in [1, 2, 3] {
            ranks(size, &config, |comm| {
                let given = |rank: u32, index: usize| (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (rank * 3);
                // The operator is a + b − (a & b) + …: associative only for disjoint bits, so ranks give such.
                let disjoint = move |rank: u32, index: usize| given(rank, index) & (0x1111_1111_1111_1111 << rank);
                let all = move |index: usize| (0..size).map(move |rank| disjoint(rank, index));
                let expected = move |index: usize| all(index).reduce(Mixed::combine).expect("a rank");
                everywhere(&comm, &label, Own(Mixed).copied(), disjoint, expected);
            });
        }
    }
    let errors = ranks(2, &Config::default(), |comm| match comm.rank() {
        0 => comm.all_reduce(&mut [1u64; 4], Own(Mixed)),
        _ => comm.all_reduce(&mut [1u64; 4], Own(Other)),
    });
    assert!(errors.iter().any(|error| matches!(error, Err(Error::Mismatch { .. }))), "{errors:?}");
}

#[test]
fn an_operator_that_panics_ends_the_call_on_every_rank() {
    for transport in [TransportChoice::Shm, TransportChoice::Tcp] {
        let config = Config { transport, ..Config::default() };
        let errors = ranks(3, &config, |comm| {
            let own = comm.rank() == 1;
            let first = if own { comm.all_reduce(&mut [1u64; 9000], Own(Panics)) } else { comm.barrier() };
            first.and_then(|()| comm.barrier()).expect_err("no rank can go on").to_string()
        });
        assert!(errors[1].contains("its operator panicked") || errors[1].contains("barrier"), "{errors:?}");
    }
    let errors = ranks(2, &Config::default(), |comm| {
        comm.all_reduce(&mut [1u64; 9000], Own(Panics))
            .and_then(|()| comm.barrier())
            .expect_err("both panic")
            .to_string()
    });
    assert!(errors.iter().any(|error| error.contains("its operator panicked")), "{errors:?}");
}

/// An [`Own`] that can be used again.
trait Copied {
    fn copied(&self) -> Self;
}

impl Copied for Own<Mixed> {
    fn copied(&self) -> Self {
        Own(Mixed)
    }
}

impl Clone for Mixed {
    fn clone(&self) -> Self {
        *self
    }
}

impl Copy for Mixed {}

#[test]
fn floats_of_8_bits_move_and_reduce_everywhere() {
    fn check<T: Element + PartialEq + std::fmt::Debug>(comm: &Communicator, label: &str, from: fn(f32) -> T) {
        let size = comm.size();
        let given = |rank: u32, index: usize| from(((index + rank as usize) % 3) as f32 - 1.0);
        let exact = move |index: usize| (0..size).map(move |rank| ((index + rank as usize) % 3) as f32 - 1.0);
        everywhere(comm, label, Op::Sum, given, move |index| from(exact(index).sum()));
        everywhere(comm, label, Op::Max, given, move |index| from(exact(index).fold(-9.0, f32::max)));
        everywhere(comm, label, Op::Min, given, move |index| from(exact(index).fold(9.0, f32::min)));
        everywhere(comm, label, Op::Prod, given, move |index| from(exact(index).product()));
        everywhere(comm, label, Op::Avg, given, move |index| from(exact(index).sum::<f32>() / size as f32));
        let mut all = vec![from(0.0); 100 * size as usize];
        comm.all_gather(&[from(comm.rank() as f32); 100], &mut all).expect(label);
        assert!((0..).zip(&all).all(|(index, value)| *value == from((index / 100) as f32)), "{label}");
    }
    for (label, config) in configs() {
        for size in [2, 3] {
            ranks(size, &config, |comm| {
                check(&comm, &label, F8E4M3::from_f32);
                check(&comm, &label, F8E5M2::from_f32);
            });
        }
    }
}

/// What the documentation promises: a sum of n inputs is off by at most (n − 1) · u · Σ|x|, where u is half of the type's last place at 1, in whatever order the
/// algorithm adds.
#[test]
fn sums_are_as_near_to_the_exact_ones_as_the_bound_says() {
    fn check<T: Element>(comm: &Communicator, label: &str, bits: i32, from: fn(f64) -> T, to: fn(T) -> f64) {
        let (n, count) = (f64::from(comm.size()), 5000);
        // Both signs and four orders of magnitude; far from the type's ends, where other errors begin.
        let given = |rank: u32, index: usize| {
            let mixed = (index as u64 * 64 + u64::from(rank)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (fraction, power) = ((mixed >> 11) as f64 / (1u64 << 53) as f64, (mixed & 3) as i32);
            to(from((fraction - 0.5) * 2f64.powi(power)))
        };
        let mut data: Vec<T> = (0..count).map(|index| from(given(comm.rank(), index))).collect();
        comm.all_reduce(&mut data, Op::Sum).expect(label);
        let unit = 2f64.powi(-bits);
        for (index, got) in data.into_iter().map(to).enumerate() {
            let inputs = || (0..comm.size()).map(|rank| given(rank, index));
            let (exact, magnitude) = (inputs().sum::<f64>(), inputs().map(f64::abs).sum::<f64>());
            let bound = (n - 1.0) * unit * magnitude;
            // An 8-bit float's subnormals begin near: below them the last place is fixed.
            let smallest =
                if T::TYPE.size() == 1 { (n - 1.0) * 2f64.powi(if bits == 4 { -10 } else { -17 }) } else { 0.0 };
            assert!((got - exact).abs() <= bound + smallest, "{label}: {got} for {exact}, bound {bound}");
        }
    }
    for (label, config) in configs() {
        for size in [2, 3, 5, 8] {
            ranks(size, &config, |comm| {
                check(&comm, &label, 11, f16::from_f64, f16::to_f64);
                check(&comm, &label, 8, bf16::from_f64, bf16::to_f64);
                check(&comm, &label, 24, |value| value as f32, f64::from);
                check(&comm, &label, 4, |value| F8E4M3::from_f32(value as f32), |value: F8E4M3| value.to_f32().into());
                check(&comm, &label, 3, |value| F8E5M2::from_f32(value as f32), |value: F8E5M2| value.to_f32().into());
            });
        }
    }
}
