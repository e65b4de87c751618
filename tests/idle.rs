//! What a communicator costs while nobody calls it: next to nothing, whatever it talks over. Alone in its process, whose CPU time is
//! what it measures.

use rustix::time::{ClockId, clock_gettime};
use serried::{Communicator, Config, Op, TransportChoice, UniqueId};
use std::sync::Barrier;
use std::time::Duration;

/// How long nobody calls.
const IDLE: Duration = Duration::from_secs(5);

/// Of one CPU, for all ranks of all communicators together: heartbeats take far less, a thread that spins or polls far more.
const SHARE_MAX: f64 = 0.01;

const RANKS: u32 = 3;

#[test]
fn communicators_that_nobody_calls_take_no_cpu_time() {
    let transports = [TransportChoice::Shm, TransportChoice::Tcp];
    let ids = transports.map(|_| UniqueId::create(&Config::default().control).expect("a rendezvous"));
    let everybody = Barrier::new(transports.len() * RANKS as usize + 1);
    let spent = std::thread::scope(|scope| {
        for (transport, id) in transports.into_iter().zip(&ids) {
            for rank in 0..RANKS {
                let everybody = &everybody;
                scope.spawn(move || {
                    let config = Config { transport, ..Config::default() };
                    let comm = Communicator::create(id, rank, RANKS, &config).expect("all ranks come");
                    call(&comm);
                    everybody.wait();
                    everybody.wait();
                    call(&comm);
                });
            }
        }
        everybody.wait();
        let before = cpu_time();
        // why: doing nothing for this long is what is measured
        std::thread::sleep(IDLE);
        let spent = cpu_time() - before;
        everybody.wait();
        spent
    });
    let share = spent.as_secs_f64() / IDLE.as_secs_f64();
    println!("{} idle ranks take {:.3} % of a CPU", transports.len() * RANKS as usize, share * 100.0);
    assert!(share < SHARE_MAX, "{spent:?} of CPU time in {IDLE:?}");
}

/// Calls of either kind, small and large, so that every link and thread there is has been made.
fn call(comm: &Communicator) {
    let sum = (RANKS * (RANKS - 1) / 2) as f32;
    for count in [1, 100_000] {
        let mut data = vec![comm.rank() as f32; count];
        comm.all_reduce(&mut data, Op::Sum).expect("all ranks are well");
        let started = comm.start_all_reduce(vec![comm.rank() as f32; count], Op::Sum).expect("it starts");
        let started = started.wait().expect("all ranks are well");
        assert!(data.iter().chain(&started).all(|value| *value == sum));
    }
}

/// What all threads of this process have used, ended ones too.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
