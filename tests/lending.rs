//! Buffers that links over RDMA send from where they lie: right results whatever becomes of the memory between calls. Ranks as threads, over a
//! real device; without one only what needs none.

use serried::transport::verbs::{Rail, VerbsLink, VerbsSettings, survey};
use serried::transport::{Head, Transport};
use serried::{Call, Communicator, Config, DataType, Error, Memory, Op, Registered, TransportChoice, UniqueId};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Large enough that whole payloads are worth sending from where they lie.
const COUNT: usize = 150_000;
/// How often memory is freed and comes back, with luck at the same address.
const TURNS: usize = 8;

fn has_device() -> bool {
    let why = match survey(&VerbsSettings::default()) {
        Ok(choice) if !choice.usable.is_empty() => return true,
        Ok(choice) => choice.why_none(),
        Err(why) => why.to_string(),
    };
    assert!(std::env::var_os("SERRIED_SOFTROCE").is_none(), "no device in the guest: {why}");
    println!("skipped: verbs: {why}");
    false
}

/// Runs `body` as two ranks on threads.
fn ranks(transport: TransportChoice, body: impl Fn(&Communicator) + Sync) {
    let config = Config { transport, ..Config::default() };
    let id = UniqueId::create(&config.control).expect("a rendezvous");
    std::thread::scope(|scope| {
        for rank in 0..2 {
            let (id, config, body) = (&id, &config, &body);
            scope.spawn(move || body(&Communicator::create(id, rank, 2, config).expect("both come")));
        }
    });
}

/// Reduces a buffer in which every rank and turn has its own values, into itself and out of it.
fn reduce(comm: &Communicator, turn: usize, buffer: &mut [f32]) {
    let value = |rank: u32, at: usize| (rank as usize + 1) as f32 * (1 + turn) as f32 + (at % 97) as f32;
    let sum = |at: usize| value(0, at) + value(1, at);
    let fill = |buffer: &mut [f32]| buffer.iter_mut().enumerate().for_each(|(at, x)| *x = value(comm.rank(), at));
    fill(buffer);
    let mut output = vec![0.0; buffer.len()];
    comm.all_reduce_into(buffer, &mut output, Op::Sum).expect("nothing is wrong");
    assert!(output.iter().enumerate().all(|(at, x)| *x == sum(at)), "out of place, turn {turn}");
    comm.all_reduce(buffer, Op::Sum).expect("nothing is wrong");
    // The caller's at once: whatever is written now must not be sent.
    let right = buffer.iter().enumerate().all(|(at, x)| *x == sum(at));
    buffer.fill(f32::NAN);
    assert!(right, "in place, turn {turn}");
}

#[test]
fn memory_that_is_freed_and_comes_back_is_told_to_the_device_anew() {
    if !has_device() {
        return;
    }
    ranks(TransportChoice::Verbs, |comm| {
        let mut addresses = HashSet::new();
        for turn in 0..TURNS {
            let mut memory = Memory::<f32>::allocate(COUNT).expect("there is room");
            addresses.insert(memory.as_ptr().addr());
            reduce(comm, turn, &mut memory);
            let mut registered = Registered::new(vec![0.0f32; COUNT]);
            comm.register(&registered[7..9]).expect("the device takes it");
            addresses.insert(registered.as_ptr().addr());
            reduce(comm, turn, &mut registered);
            let mut plain = registered.into_vec();
            reduce(comm, turn, &mut plain);
        }
        assert!(addresses.len() < 2 * TURNS, "no address came again, so this has shown nothing");
    });
}

#[test]
fn what_is_lent_is_sent_without_a_copy() {
    if !has_device() {
        return;
    }
    let settings = VerbsSettings::default();
    let selection = survey(&settings).expect("there is a device").usable[0].clone();
    let rail = Rail::open(selection, settings).expect("it was looked at just now");
    let [mut one, mut other] = [0, 1].map(|_| VerbsLink::create(&rail).expect("there is memory"));
    let cards = [one.card(), other.card()];
    one.connect(&cards[1]).expect("it reaches itself");
    other.connect(&cards[0]).expect("it reaches itself");
    for link in [&mut one, &mut other] {
        link.greet().expect("it is connected");
    }
    until(|| one.has_met().expect("nothing is wrong") & other.has_met().expect("nothing is wrong"));
    let payload = vec![7u8; VerbsLink::SLOT_BYTES];
    let start = std::ptr::NonNull::from(&payload[..]).cast();
    let pinned = rail.pin(1, start, payload.len()).expect("it may be locked");
    let call = Call::all_reduce(1, payload.len() as u64, DataType::U8, Op::Max, 0);
    let head = Head { call, slice: 0, step: 0, bytes: payload.len() as u64 };
    for (lent, expected) in [(&[][..], 0), (&[pinned][..], 2)] {
        one.lend(lent);
        let before = one.work();
        let (mut open, mut written, mut taken) = (false, 0, 0);
        until(|| {
            open = open || one.open(0, &head).expect("nothing is wrong");
            if open && written < payload.len() {
                written += one.write(0, &payload[written..]).expect("nothing is wrong");
            }
            one.pump().expect("nothing is wrong");
            if other.head(0).expect("nothing is wrong").is_some() {
                let come = other.peek(0).expect("nothing is wrong");
                assert!(come.iter().all(|byte| *byte == 7));
                let bytes = come.len();
                other.consume(0, bytes);
                taken += bytes;
            }
            other.pump().expect("nothing is wrong");
            written == payload.len() && taken == payload.len()
        });
        assert_eq!(one.work().lent - before.lent, expected, "a piece of half a slot each");
    }
    // The device forgets the payload before it goes.
    rail.unpin(|_| false);
    one.lend(&[]);
}

/// Tries until it succeeds.
fn until(mut act: impl FnMut() -> bool) {
    let began = Instant::now();
    while !act() {
        assert!(began.elapsed() < Duration::from_secs(60), "it takes too long");
        std::thread::yield_now();
    }
}

#[test]
fn only_listed_buffers_can_be_registered() {
    ranks(TransportChoice::Shm, |comm| {
        let error = comm.register(&[1.0f32; 10]).expect_err("it is on the stack");
        assert!(matches!(&error, Error::InvalidArgument { what } if what.contains("register")), "{error}");
        comm.register(&Registered::new(vec![1u8; 10])).expect("no device needs to know");
        comm.register(&Memory::<f32>::allocate(10).expect("there is room")).expect("no device needs to know");
    });
}
