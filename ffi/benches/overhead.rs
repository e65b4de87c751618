//! What the C interface adds to a call: `ncclAllReduce` of 8 bytes, as a C program reaches it in the shared library, beside the Rust call; on
//! communicators of one rank, where nothing but the translation is left to differ, and of two ranks on threads.

#![allow(unsafe_code)]

use serried::{Communicator, Config, Op, UniqueId};
use std::ffi::{CStr, CString, c_int, c_void};
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

/// Many short rounds, in turns: what disturbs the machine meets both calls or few rounds.
const ROUNDS: usize = 4_001;
const CALLS: u32 = 200;
/// `ncclFloat32` and `ncclSum`.
const FLOAT: c_int = 7;
const SUM: c_int = 0;

type InitAll = unsafe extern "C" fn(*mut Handle, c_int, *const c_int) -> c_int;
type AllReduce = unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, Handle, *mut c_void) -> c_int;
type Destroy = unsafe extern "C" fn(Handle) -> c_int;

/// `ncclComm_t`.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Handle(*mut c_void);

// SAFETY: it is a number, which C programs hand about as they like.
unsafe impl Send for Handle {}

/// The functions that are called.
#[derive(Clone, Copy)]
struct Library {
    init_all: InitAll,
    all_reduce: AllReduce,
    destroy: Destroy,
}

impl Library {
    /// The shared library that was built with this program, and lies beside it.
    fn open() -> Self {
        let path = std::env::current_exe().expect("a running program has a path").with_file_name("libnccl.so");
        let path = CString::new(path.as_os_str().as_bytes()).expect("a path has no zero byte");
        // SAFETY: it is our own library, whose constructors ask nothing; the handle is kept.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!library.is_null(), "{path:?} is there");
        let find = |name: &CStr| {
            // SAFETY: the library is open, and the name ends in a zero byte.
            let found = unsafe { libc::dlsym(library, name.as_ptr()) };
            assert!(!found.is_null(), "{name:?} is there");
            found
        };
        // SAFETY: these are the functions' types, as `nccl.h` declares them.
        unsafe {
            Self {
                init_all: std::mem::transmute::<*mut c_void, InitAll>(find(c"ncclCommInitAll")),
                all_reduce: std::mem::transmute::<*mut c_void, AllReduce>(find(c"ncclAllReduce")),
                destroy: std::mem::transmute::<*mut c_void, Destroy>(find(c"ncclCommDestroy")),
            }
        }
    }
}

fn main() {
    let library = Library::open();
    for ranks in [1, 2] {
        let id = UniqueId::create(&Config::default().control).expect("an id");
        let mut handles = vec![Handle(std::ptr::null_mut()); ranks];
        // SAFETY: there is room for as many handles as are asked for.
        let made = unsafe { (library.init_all)(handles.as_mut_ptr(), ranks as c_int, std::ptr::null()) };
        assert_eq!(made, 0);
        std::thread::scope(|scope| {
            for (rank, handle) in handles.into_iter().enumerate() {
                let id = &id;
                scope.spawn(move || {
                    let comm =
                        Communicator::create(id, rank as u32, ranks as u32, &Config::default()).expect("all come");
                    let [rust, c, more] = alternate(&comm, library, handle);
                    if rank == 0 {
                        println!("{ranks} ranks, 8 B: Rust {rust:.1} ns, C {c:.1} ns; C adds {more:.1} ns");
                    }
                });
            }
        });
    }
}

/// The median time of a call, of each, and that of the differences between rounds that follow each other.
fn alternate(comm: &Communicator, library: Library, handle: Handle) -> [f64; 3] {
    let mut data: [f32; 2];
    let (mut rust, mut c) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        data = [1.0, 2.0];
        rust.push(time(|| comm.all_reduce(black_box(&mut data), Op::Sum).expect("all call it")));
        data = [1.0, 2.0];
        c.push(time(|| {
            let at: *mut c_void = black_box(&mut data).as_mut_ptr().cast();
            // SAFETY: two elements are there, and nobody else uses them.
            let result = unsafe { (library.all_reduce)(at, at, 2, FLOAT, SUM, handle, std::ptr::null_mut()) };
            assert_eq!(result, 0);
        }));
    }
    // SAFETY: the handle is this thread's, and not used any more.
    assert_eq!(unsafe { (library.destroy)(handle) }, 0);
    let more = c.iter().zip(&rust).map(|(c, rust)| c - rust).collect();
    [rust, c, more].map(median)
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
