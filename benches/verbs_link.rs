//! What a verbs link costs, in time and in calls to the device: small messages to and fro and both ways at once, and a stream both ways.
//!
//! `cargo bench --bench verbs_link`, or the built program inside of `tools/softroce/run`, where `tools/softroce/peers` gives what perftest
//! reaches between the same devices. Two ranks, as threads, on two devices if there are two.
//!
//! The counts do not depend on how fast the device is: posts and receive requests a message are what the path costs anywhere.

use serried::transport::verbs::{Rail, VerbsLink, VerbsSettings, Work, survey};
use serried::transport::{Head, Transport};
use serried::{Call, DataType, Op};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Rounds of small messages, and messages of the stream.
const ROUNDS: u32 = 400;
const STREAM: u32 = 64;
const SMALL_BYTES: usize = 8;
/// Nothing takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let settings = VerbsSettings::default();
    let usable = match survey(&settings) {
        Ok(choice) if !choice.usable.is_empty() => choice.usable,
        Ok(choice) => return println!("skipped: verbs: {}", choice.why_none()),
        Err(why) => return println!("skipped: verbs: {why}"),
    };
    let rails = [0, 1].map(|rank| {
        Rail::open(usable[rank % usable.len()].clone(), settings.clone()).expect("the device was looked at just now")
    });
    println!("{} and {}", rails[0], rails[1]);
    println!("{:>22} {:>10} {:>10} {:>10} {:>10} {:>10}", "", "us", "posts", "polls", "found", "receives");
    run("one way, 8 B", &rails, ROUNDS, |link, rank, round| {
        // Whose turn it is.
        if round % 2 == rank { send(link, SMALL_BYTES) } else { receive(link) }
    });
    run("exchange, 8 B", &rails, ROUNDS, |link, _, _| {
        send(link, SMALL_BYTES);
        receive(link);
    });
    run("both ways, 128 KiB", &rails, STREAM, |link, _, _| {
        send(link, VerbsLink::SLOT_BYTES);
        receive(link);
    });
}

/// Runs `round` on both ranks, and prints what a round took and what it asked of rank 0's device.
fn run(name: &str, rails: &[Arc<Rail>; 2], rounds: u32, round: impl Fn(&mut VerbsLink, u32, u32) + Sync) {
    let (mut ends, others) = (Vec::new(), [channel(), channel()]);
    let [(to_one, at_one), (to_other, at_other)] = others;
    ends.push((0, rails[0].clone(), to_other, at_one));
    ends.push((1, rails[1].clone(), to_one, at_other));
    let results: Vec<(Duration, Work, Work)> = std::thread::scope(|scope| {
        let round = &round;
        let run = |(rank, rail, to, from)| {
            scope.spawn(move || {
                let mut link = join(&rail, &to, &from);
                (0..10).for_each(|number| round(&mut link, rank, number));
                let (before, began) = (link.work(), Instant::now());
                (0..rounds).for_each(|number| round(&mut link, rank, number));
                let result = (began.elapsed(), before, link.work());
                link.leave();
                until("the peer has all", || link.has_left());
                result
            })
        };
        let threads: Vec<_> = ends.into_iter().map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("no rank fails")).collect()
    });
    let (time, before, after) = results[0];
    let each = |now: u64, then: u64| (now - then) as f64 / f64::from(rounds);
    println!(
        "{name:>22} {:>10.1} {:>10.2} {:>10.2} {:>10.2} {:>10.3}",
        time.as_secs_f64() * 1e6 / f64::from(rounds),
        each(after.posts, before.posts),
        each(after.polls, before.polls),
        each(after.completions, before.completions),
        each(after.receives, before.receives),
    );
}

type Card = serried::transport::verbs::Card;

fn join(rail: &Arc<Rail>, to: &Sender<Card>, from: &Receiver<Card>) -> VerbsLink {
    let mut link = VerbsLink::create(rail).expect("there is memory");
    to.send(link.card()).expect("the other is there");
    let theirs = from.recv().expect("the other is there");
    link.connect(&theirs).expect("the devices reach each other");
    // The other has connected when its card comes again.
    to.send(link.card()).expect("the other is there");
    from.recv().expect("the other is there");
    link.greet().expect("it is connected");
    until("the ends meet", || link.has_met().expect("nothing is wrong"));
    link
}

fn send(link: &mut VerbsLink, bytes: usize) {
    let call = Call::all_reduce(1, bytes as u64, DataType::U8, Op::Max, 0);
    let head = Head { call, slice: 0, step: 0, bytes: bytes as u64 };
    until("there is a slot", || link.open(0, &head).expect("nothing is wrong") || link.pump().is_err());
    assert_eq!(link.write(0, &vec![1; bytes]).expect("it is open"), bytes);
}

fn receive(link: &mut VerbsLink) {
    until("a message comes", || link.head(0).expect("nothing is wrong").is_some() || link.pump().is_err());
    let bytes = link.head(0).expect("nothing is wrong").expect("it has come").bytes as usize;
    let mut taken = 0;
    until("all of it comes", || {
        let lent = link.peek(0).expect("nothing is wrong").len();
        link.consume(0, lent);
        taken += lent;
        taken == bytes
    });
}

/// Tries until it succeeds, and lets others run meanwhile: the emulated device is software on the same CPUs.
fn until(what: &str, mut act: impl FnMut() -> bool) {
    let began = Instant::now();
    while !act() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}
