//! What looking up a call's choice costs, beside reading places whose indices are known, in the same run: both go through calls of mixed kinds and sizes.
//!
//! `cargo bench --bench choice`; a lookup is meant to take less than 20 ns.

use criterion::{Criterion, Throughput};
use serried::CollectiveKind;
use serried::schedule::Grouping;
use serried::tune::{Allowed, Choice, Reach, Tables};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const CALLS: u64 = 1024;

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    let tables =
        Tables::new(Arc::new(Grouping::one_host(4)), Reach::Links { slot_bytes: 1 << 19 }, &Allowed::default(), None);
    let calls = calls();
    let known: Vec<Choice> = calls.iter().map(|(kind, bytes)| *tables.choice(*kind, *bytes)).collect();
    let mut group = criterion.benchmark_group("choice");
    group.throughput(Throughput::Elements(CALLS));
    group.bench_function("looked up", |bencher| {
        bencher.iter(|| calls.iter().map(|(kind, bytes)| tables.choice(*kind, black_box(*bytes)).lanes).sum::<usize>());
    });
    group.bench_function("known", |bencher| {
        bencher.iter(|| (0..known.len()).map(|call| known[black_box(call)].lanes).sum::<usize>());
    });
    group.finish();
    criterion.final_summary();
}

/// Every collective, at sizes of every length, in no order.
fn calls() -> Vec<(CollectiveKind, usize)> {
    let kinds: Vec<_> = CollectiveKind::ALL.into_iter().filter(|kind| *kind != CollectiveKind::Send).collect();
    let mut state = 1u64;
    let mut next = || {
        // Xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    (0..CALLS).map(|_| (kinds[next() % kinds.len()], next() >> (next() % 64))).collect()
}
