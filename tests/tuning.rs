//! What ranks measure when they meet, and what comes of it: the same choices everywhere, kept on disk, and never in the way of the user's calls.

use serried::schedule::Algorithm;
use serried::tune::{Allowed, Choice};
use serried::{CollectiveKind, Communicator, Config, Error, Op, Probe, TransportChoice, UniqueId};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs `body` on each of `configs.len()` ranks; what each gives, in order.
fn ranks<T: Send>(configs: &[Config], body: impl Fn(Communicator) -> T + Sync) -> Vec<T> {
    let id = UniqueId::create(&configs[0].control).expect("a rendezvous");
    std::thread::scope(|scope| {
        let (id, body, size) = (&id, &body, configs.len() as u32);
        let rank = |(rank, config): (usize, &Config)| {
            let config = config.clone();
            scope.spawn(move || body(Communicator::create(id, rank as u32, size, &config).expect("all ranks come")))
        };
        let threads: Vec<_> = configs.iter().enumerate().map(rank).collect();
        threads.into_iter().map(|thread| thread.join().expect("a rank's body holds")).collect()
    })
}

/// A directory of this test's own, which goes with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("serried-tuning-{name}-{}", std::process::id())))
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten();
        entries.map(|entry| entry.expect("a directory of this test").path()).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(transport: TransportChoice, directory: &Path) -> Config {
    Config { transport, probe_dir: Some(directory.into()), ..Config::default() }
}

const SIZES: [usize; 5] = [0, 64, 5_000, 300_000, 50_000_000];

fn choices(comm: &Communicator) -> Vec<Choice> {
    let kinds = CollectiveKind::ALL.into_iter().filter(|kind| *kind != CollectiveKind::Send);
    kinds.flat_map(|kind| SIZES.map(|bytes| comm.choice(kind, bytes).expect("it has algorithms"))).collect()
}

#[test]
fn all_ranks_choose_alike_and_the_next_job_needs_not_measure() {
    for transport in [TransportChoice::Shm, TransportChoice::Tcp] {
        let directory = Directory::new(&format!("kept-{transport:?}"));
        let configs = vec![config(transport, &directory.0); 3];
        let first = ranks(&configs, |comm| {
            let mut sum = [comm.rank(); 1000];
            comm.all_reduce(&mut sum, Op::Sum).expect("all ranks are well");
            assert_eq!(sum, [3; 1000]);
            choices(&comm)
        });
        assert!(first.windows(2).all(|pair| pair[0] == pair[1]), "{first:?}");
        let files = directory.files();
        assert_eq!(files.len(), 1, "{files:?}");
        // Whatever is there is believed: a mark shows that it was read.
        let kept = std::fs::read_to_string(&files[0]).expect("it was kept");
        let marked: Vec<&str> =
            kept.lines().map(|line| if line.starts_with("fold") { "fold 123.5" } else { line }).collect();
        std::fs::write(&files[0], marked.join("\n")).expect("it was kept");
        let fold = |comm: Communicator| comm.candidates().expect("it is known").network.fold_byte_ns;
        assert_eq!(ranks(&configs, fold), [123.5; 3], "the next job takes what is there");
        let anew = vec![Config { probe: Probe::Anew, ..configs[0].clone() }; 3];
        assert!(ranks(&anew, fold).iter().all(|fold| *fold != 123.5), "another measures anew");
        assert!(ranks(&configs, fold).iter().all(|fold| *fold != 123.5), "and keeps that");
        std::fs::write(&files[0], "nonsense").expect("it was kept");
        assert!(ranks(&configs, fold).iter().all(|fold| *fold != 123.5), "nonsense is measured anew");
        let off = vec![Config { probe: Probe::Off, ..configs[0].clone() }; 3];
        assert!(ranks(&off, |comm| comm.candidates().is_none()).into_iter().all(|nothing| nothing));
    }
}

#[test]
fn a_root_waits_for_broadcasts_that_were_found_to_be_better_read_and_leaves_others() {
    let directory = Directory::new("reads");
    let configs = vec![config(TransportChoice::Shm, &directory.0); 2];
    ranks(&configs, drop);
    let file = directory.files().pop().expect("it was kept");
    let kept = std::fs::read_to_string(&file).expect("it was kept");
    if !kept.contains("\nreads ") {
        println!("skipped: reading another process: the system allows none");
        return;
    }
    for (reads, waits) in
        [("reads 0 0 1000 500000", true), ("reads 0 0 0 0", false), ("reads 0 0 500000 900000", false)]
    {
        let of_reads = |line| if str::starts_with(line, "reads ") { reads } else { line };
        std::fs::write(&file, kept.lines().map(of_reads).collect::<Vec<_>>().join("\n")).expect("it was kept");
        let (through, news) = std::sync::mpsc::channel();
        let news = std::sync::Mutex::new(news);
        ranks(&configs, |comm| {
            let mut data = vec![comm.rank() as u8; 100_000];
            let patience = Duration::from_millis(if waits { 100 } else { 60_000 });
            if comm.rank() == 1 {
                let came = news.lock().expect("nobody else listens").recv_timeout(patience).is_ok();
                assert_eq!(came, !waits, "{reads}: whether the root is through before anybody took");
            }
            comm.broadcast(&mut data, 0).expect("all ranks are well");
            through.send(()).expect("the test listens");
            assert!(data.iter().all(|byte| *byte == 0));
        });
    }
}

#[test]
fn hosts_are_measured_and_the_users_calls_are_counted_from_one() {
    let directory = Directory::new("hosts");
    let on = |host: &str| Config { host_id: Some(host.into()), ..config(TransportChoice::Auto, &directory.0) };
    let configs: Vec<Config> = ["a", "b", "b", "c"].map(on).into();
    let errors = ranks(&configs, |comm| {
        let network = comm.candidates().expect("it was measured").network;
        assert!(network.inside.latency_ns > 0.0 && network.between.byte_ns > 0.0, "{network}");
        assert!(network.shared_byte_ns.iter().all(|ns| *ns > 0.0), "{network}");
        let count = if comm.rank() == 3 { 9 } else { 8 };
        comm.all_reduce(&mut vec![1.0f32; count], Op::Sum).expect_err("they disagree").to_string()
    });
    assert!(
        errors.iter().all(|error| error.contains("allreduce #1 of 8") && error.contains("allreduce #1 of 9")),
        "{errors:?}"
    );
}

#[test]
fn what_is_not_allowed_is_never_chosen() {
    let directory = Directory::new("allowed");
    let algorithms = Allowed::parse("^ring,nhr;allreduce:tree,leaders").expect("sound");
    let plain = Config { algorithms, ..config(TransportChoice::Tcp, &directory.0) };
    ranks(&vec![plain; 3], |comm| {
        for kind in CollectiveKind::ALL.into_iter().filter(|kind| *kind != CollectiveKind::Send) {
            for bytes in SIZES {
                let choice = comm.choice(kind, bytes).expect("it has algorithms");
                assert!(algorithms.allows(kind, choice.algorithm), "{}: {choice}", kind.name());
            }
        }
    });
}

#[test]
fn another_tuner_may_choose_what_can_run() {
    let directory = Directory::new("chosen");
    ranks(&vec![config(TransportChoice::Tcp, &directory.0); 2], |comm| {
        let choice = Choice { algorithm: Algorithm::TwoShot, slice_bytes: 4096, lanes: 4 };
        comm.choose(CollectiveKind::AllReduce, choice).expect("it can run");
        assert_eq!(comm.choice(CollectiveKind::AllReduce, 12345).expect("it has algorithms"), choice);
        let mut sum = vec![1u32; 50_000];
        comm.all_reduce(&mut sum, Op::Sum).expect("all ranks are well");
        assert!(sum.iter().all(|value| *value == 2));
        for (kind, odd) in [
            (CollectiveKind::Broadcast, choice),
            (CollectiveKind::AllReduce, Choice { lanes: 0, ..choice }),
            (CollectiveKind::AllReduce, Choice { slice_bytes: 0, ..choice }),
            (CollectiveKind::AllReduce, Choice { slice_bytes: usize::MAX, ..choice }),
            (CollectiveKind::Send, choice),
        ] {
            let error = comm.choose(kind, odd).expect_err("it cannot run");
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        }
    });
}

#[test]
fn a_communicator_made_of_another_takes_over_what_is_known_of_its_links() {
    let directory = Directory::new("taken-over");
    for (probe, same) in [(Probe::Auto, true), (Probe::Anew, false)] {
        let config = Config { probe, ..config(TransportChoice::Tcp, &directory.0) };
        let known = ranks(&vec![config; 4], |comm| {
            let half = comm.split(Some(comm.rank() % 2), 0).expect("all ranks part").expect("it has a color");
            let mut sum = [half.rank(); 1000];
            half.all_reduce(&mut sum, Op::Sum).expect("all ranks are well");
            assert_eq!(sum, [1; 1000]);
            let inside = |comm: &Communicator| comm.candidates().expect("it is known").network.inside;
            (inside(&comm), inside(&half), choices(&half))
        });
        for (whole, half, _) in &known {
            assert_eq!(whole == half, same, "{whole:?}, {half:?}");
        }
        assert_eq!((&known[0].2, &known[1].2), (&known[2].2, &known[3].2));
    }
}
