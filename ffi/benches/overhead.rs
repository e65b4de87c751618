//! What the C interface adds to a call: `ncclAllReduce` of 8 bytes beside the Rust call, on communicators of one rank, where nothing but the
//! translation is left to differ, and of two ranks on threads.

#![allow(unsafe_code)]

use nccl::{ncclComm_t, ncclResult_t, pncclAllReduce, pncclCommDestroy, pncclCommInitAll};
use serried::{Communicator, Config, Op, UniqueId};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 201;
const CALLS: u32 = 2_000;
/// `ncclFloat32` and `ncclSum`.
const FLOAT: i32 = 7;
const SUM: i32 = 0;

/// A handle that goes to another thread, as C programs hand them about.
#[derive(Clone, Copy)]
struct Handle(ncclComm_t);

// SAFETY: it is a number.
unsafe impl Send for Handle {}

fn main() {
    for ranks in [1, 2] {
        let id = UniqueId::create(&Config::default().control).expect("an id");
        let mut handles = vec![std::ptr::null_mut(); ranks];
        // SAFETY: there is room for as many handles as are asked for.
        let made = unsafe { pncclCommInitAll(handles.as_mut_ptr(), ranks as i32, std::ptr::null()) };
        assert_eq!(made, ncclResult_t::Success);
        std::thread::scope(|scope| {
            for (rank, handle) in handles.into_iter().map(Handle).enumerate() {
                let id = &id;
                scope.spawn(move || {
                    let comm =
                        Communicator::create(id, rank as u32, ranks as u32, &Config::default()).expect("all come");
                    let (rust, c) = alternate(&comm, handle);
                    if rank == 0 {
                        println!("{ranks} ranks, 8 B: Rust {rust:.1} ns, C {c:.1} ns, C adds {:.1} ns", c - rust);
                    }
                });
            }
        });
    }
}

/// The median time of a call, of each, in turns.
fn alternate(comm: &Communicator, handle: Handle) -> (f64, f64) {
    let mut data = [1.0f32, 2.0];
    let (mut rust, mut c) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rust.push(time(|| comm.all_reduce(black_box(&mut data), Op::Sum).expect("all call it")));
        data = [1.0, 2.0];
        c.push(time(|| {
            let at: *mut f32 = black_box(&mut data).as_mut_ptr();
            // SAFETY: two elements are there, and nobody else uses them.
            let result = unsafe { pncclAllReduce(at.cast(), at.cast(), 2, FLOAT, SUM, handle.0, std::ptr::null_mut()) };
            assert_eq!(result, ncclResult_t::Success);
        }));
        data = [1.0, 2.0];
    }
    // SAFETY: the handle is this thread's, and not used any more.
    assert_eq!(unsafe { pncclCommDestroy(handle.0) }, ncclResult_t::Success);
    (median(rust), median(c))
}

fn time(mut call: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..CALLS).for_each(|_| call());
    begun.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
