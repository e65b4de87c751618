//! What communicators leave behind in their process. Alone in its program, since it counts.

use serried::{Communicator, Config, UniqueId};

/// Runs `body` as `size` ranks on threads.
fn ranks(size: u32, config: &Config, body: impl Fn(Communicator) + Sync) {
    let id = UniqueId::create(&config.control).expect("a rendezvous");
    std::thread::scope(|scope| {
        for rank in 0..size {
            let (id, body) = (&id, &body);
            scope.spawn(move || body(Communicator::create(id, rank, size, config).expect("all ranks come")));
        }
    });
}

#[test]
fn communicators_come_and_go_and_leave_nothing_behind() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").expect("a process has them").count();
    ranks(2, &Config::default(), |comm| {
        let some = |rounds| {
            for _ in 0..rounds {
                let copy = comm.duplicate().expect("both are well");
                copy.barrier().expect("both are well");
                drop(copy);
                comm.barrier().expect("both are well");
            }
        };
        some(3);
        let before = descriptors();
        some(40);
        // The two ranks are not at one place: one may just be in the middle of leaving.
        assert!(descriptors() < before + 20, "{before} descriptors became {}", descriptors());
    });
}
