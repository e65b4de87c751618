//! Speed of the reduce kernels beside memcpy of the same bytes, and beside c = a + b, in the same run: what matters are the ratios, the machine
//! moves.
//!
//! Each figure is the bytes of one operand a second. A sum reads two operands where memcpy reads one, so once they do not fit a cache its bound is
//! the machine's own c = a + b: here the plainest loop over `f32`, whose time is all loads and stores.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serried::reduce::{copy_streaming, instruction_set, kernels};
use serried::{DataType, Op};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A chunk in L1, in L2, and beyond every cache.
const SIZES: [usize; 3] = [16 << 10, 256 << 10, 64 << 20];

/// The types that training moves, and one integer.
const TYPES: [DataType; 5] = [DataType::F32, DataType::Bf16, DataType::F16, DataType::F64, DataType::I32];

fn ratios(_: &mut Criterion) {
    println!(
        "instruction set: {}; GB/s of one operand and ratio to memcpy, best of many short runs",
        instruction_set()
    );
    println!("{:>10} {:<30} {:>8} {:>8} {:>8}", "bytes", "kernel", "GB/s", "/memcpy", "/c=a+b");
    for bytes in SIZES {
        let (mut out, mut acc, a, b) = operands(bytes);
        let memcpy = rate(bytes, || black_box(&mut out[..]).copy_from_slice(black_box(&a)));
        let (x, y) = (floats(bytes), floats(bytes));
        let mut z = floats(bytes);
        let sum = rate(bytes, || {
            black_box(&mut z[..]).iter_mut().zip(black_box(&x)).zip(&y).for_each(|((z, x), y)| *z = x + y);
        });
        let print = |name: &str, rate: f64| {
            println!("{bytes:>10} {name:<30} {rate:>8.1} {:>8.2} {:>8.2}", rate / memcpy, rate / sum);
        };
        print("memcpy", memcpy);
        print("c = a + b", sum);
        print("copy_streaming", rate(bytes, || copy_streaming(black_box(&mut out), black_box(&a))));
        for data_type in TYPES {
            for op in [Op::Sum, Op::Max] {
                let kernels = kernels(data_type, op);
                let name = |kernel| format!("{kernel} {data_type} {op}");
                print(&name("reduce"), rate(bytes, || (kernels.reduce)(black_box(&mut acc), black_box(&a))));
                print(&name("combine"), rate(bytes, || (kernels.combine)(black_box(&mut out), black_box(&a), &b)));
            }
        }
        for data_type in TYPES {
            let finish = kernels(data_type, Op::Avg).finish.expect("an average is finished");
            print(&format!("finish {data_type} avg"), rate(bytes, || finish(black_box(&mut acc), black_box(8))));
        }
    }
}

fn timings(criterion: &mut Criterion) {
    for bytes in SIZES {
        let mut group = criterion.benchmark_group("sum");
        group.throughput(Throughput::Bytes(bytes as u64)).sample_size(20).measurement_time(Duration::from_secs(1));
        let (mut out, mut acc, a, _) = operands(bytes);
        group.bench_function(BenchmarkId::new("memcpy", bytes), |bencher| {
            bencher.iter(|| black_box(&mut out[..]).copy_from_slice(black_box(&a)));
        });
        for data_type in TYPES {
            let kernels = kernels(data_type, Op::Sum);
            group.bench_function(BenchmarkId::new(data_type.name(), bytes), |bencher| {
                bencher.iter(|| (kernels.reduce)(black_box(&mut acc), black_box(&a)));
            });
        }
        group.finish();
    }
}

/// An output, an accumulator and two inputs, all touched. Zeros: neither NaN nor subnormal, whatever the type.
fn operands(bytes: usize) -> (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>) {
    let touched = || {
        let mut memory = vec![1; bytes];
        black_box(&mut memory).fill(0);
        memory
    };
    (touched(), touched(), touched(), touched())
}

fn floats(bytes: usize) -> Vec<f32> {
    vec![black_box(1.0); bytes / 4]
}

/// GB/s of the fastest of many runs, each long enough for the clock.
fn rate(bytes: usize, mut run: impl FnMut()) -> f64 {
    let repetitions = ((256 << 10) / bytes).max(1);
    let deadline = Instant::now() + Duration::from_millis(60);
    let mut best = f64::MAX;
    while Instant::now() < deadline {
        let start = Instant::now();
        (0..repetitions).for_each(|_| run());
        best = best.min(start.elapsed().as_secs_f64() / repetitions as f64);
    }
    bytes as f64 / best / 1e9
}

criterion_group!(benches, ratios, timings);
criterion_main!(benches);
