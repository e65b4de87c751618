//! The wrappers over a device that is there: what arrives, what wakes, what fails and how it says so. Where there is no device, a named skip.

use super::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An emulated device on a loaded machine takes its time.
const PATIENCE: Duration = Duration::from_secs(30);
const SENDS: u32 = 32;
const RECEIVES: u32 = 64;
const REGION_BYTES: usize = 64 << 10;

/// One end of a connection, with all that belongs to it. Fields are dropped in any order that the types allow.
struct End {
    queue: Arc<CompletionQueue>,
    channel: Arc<CompletionChannel>,
    pair: QueuePair,
    domain: Arc<ProtectionDomain>,
    region: MemoryRegion,
    local: GidEntry,
    port: PortAttributes,
}

impl End {
    fn on(context: &Arc<Context>) -> Self {
        let domain = ProtectionDomain::create(context).expect("a domain");
        let channel = CompletionChannel::create(context).expect("a channel");
        let queue = CompletionQueue::create(context, SENDS + RECEIVES, Some(&channel)).expect("a queue");
        let wanted = Capacity { sends: SENDS, receives: RECEIVES, inline_bytes: 64 };
        let pair = QueuePair::create(&domain, &queue, &queue, &wanted).expect("a queue pair");
        let region = MemoryRegion::create(&domain, REGION_BYTES).expect("a region");
        let port = context.port(1).expect("every device has a port");
        Self { queue, channel, pair, domain, region, local: roce_v2(context), port }
    }

    fn remote(&self) -> Remote {
        Remote { number: self.pair.number(), lid: self.port.lid, gid: self.local.gid, psn: self.pair.number() ^ 0x5e1 }
    }

    fn path(&self) -> Path {
        Path {
            port: 1,
            addressing: Addressing::Gid { index: self.local.index as u8 },
            mtu: self.port.active_mtu,
            service_level: 0,
            traffic_class: 0,
            hop_limit: 64,
            min_rnr_timer: 12,
            timeout: 14,
            retries: 6,
            rnr_retries: 7,
        }
    }

    fn connect(&self, other: &Self) {
        self.pair.to_init(1).expect("the first state");
        self.pair.post_receives(7, RECEIVES as usize).expect("room for all");
        self.pair.to_ready(&other.remote(), &self.path(), self.remote().psn).expect("the peer can be reached");
    }

    /// A write of `local` to `at` of the other end's region.
    fn write<'a>(&'a self, to: &End, at: usize, local: Local<'a>, immediate: Option<u32>) -> Send<'a> {
        Send {
            work_id: u64::from(immediate.unwrap_or(0)) + 100,
            local,
            remote_address: to.region.address() + at as u64,
            remote_key: to.region.remote_key(),
            immediate,
            signalled: true,
        }
    }

    /// Waits for so many completions.
    fn completions(&self, count: usize) -> Vec<Completion> {
        let (mut found, begin) = (Vec::new(), Instant::now());
        while found.len() < count {
            let mut some = [Completion::EMPTY; 8];
            let taken = self.queue.poll(&mut some).expect("a queue that works");
            found.extend_from_slice(&some[..taken]);
            assert!(begin.elapsed() < PATIENCE, "{count} completions were due, and these came: {found:?}");
            std::thread::yield_now();
        }
        found
    }
}

/// The names of the devices, or a skip.
fn devices_here() -> Option<Vec<String>> {
    let why = match devices() {
        Ok(names) if !names.is_empty() => return Some(names),
        Ok(_) => "there is no RDMA device".to_owned(),
        Err(why) => why.to_string(),
    };
    println!("skipped: verbs: {why}");
    None
}

/// Two connected ends, on two devices if there are two.
fn connected() -> Option<(End, End)> {
    let names = devices_here()?;
    let contexts = [0, 1].map(|n| Context::open(&names[n.min(names.len() - 1)]).expect("it is listed"));
    let (one, other) = (End::on(&contexts[0]), End::on(&contexts[1]));
    one.connect(&other);
    other.connect(&one);
    Some((one, other))
}

fn roce_v2(context: &Context) -> GidEntry {
    let table = context.gid_table(1).expect("a table");
    let wanted = |entry: &&GidEntry| entry.kind == GidKind::RoceV2 && entry.gid.address().is_ipv4();
    *table.iter().find(wanted).unwrap_or_else(|| panic!("no RoCE v2 address: {table:?}"))
}

/// Waits until the descriptor is readable.
fn wait(descriptor: BorrowedFd<'_>) {
    let limit = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], Some(&limit)).expect("poll");
    assert_eq!(ready, 1, "nothing came");
}

#[test]
fn a_device_describes_itself() {
    let Some(names) = devices_here() else { return };
    for name in &names {
        let context = Context::open(name).expect("it is listed");
        let (attributes, port) = (context.attributes().expect("attributes"), context.port(1).expect("a port"));
        assert!(attributes.ports >= 1 && attributes.work_max > 0 && attributes.completions_max > 0, "{attributes:?}");
        assert!(port.active_mtu <= port.max_mtu && port.message_bytes_max > 0 && port.gids > 0, "{port:?}");
        let table = context.gid_table(1).expect("a table");
        println!("{name}: {attributes:?} {port:?}");
        table.iter().for_each(|entry| println!("{name}: {} {} {:?}", entry.index, entry.gid, entry));
        assert!(table.windows(2).all(|two| two[0].index < two[1].index));
        assert!(table.iter().all(|entry| entry.interface.is_some() || entry.kind == GidKind::InfiniBand));
        context.port(200).expect_err("no such port");
    }
    let error = Context::open("nobody's").expect_err("no such device").to_string();
    assert_eq!(error, format!("there is no device nobody's; there are: {}", names.join(", ")));
}

#[test]
fn the_kernels_files_say_what_the_library_says() {
    let Some(names) = devices_here() else { return };
    let context = Context::open(&names[0]).expect("it is listed");
    let count = context.port(1).expect("a port").gids.min(64);
    let table: Vec<_> = context.gid_table(1).expect("a table").into_iter().filter(|e| e.index < count).collect();
    assert_eq!(context.gids_from_files(1, count), table);
}

#[test]
fn a_write_arrives_with_its_immediate() {
    let Some((mut one, other)) = connected() else { return };
    one.region.bytes_mut(100..1100).fill(7);
    one.pair.post(&[one.write(&other, 5000, Local::Region(&one.region, 100..1100), Some(0xdead_beef))]).expect("room");
    let came = other.completions(1)[0];
    assert_eq!((came.work_id, came.status, came.opcode), (7, Status::SUCCESS, Opcode::ReceiveWithImmediate));
    assert_eq!((came.immediate, came.bytes, came.queue_pair), (0xdead_beef, 1000, other.pair.number()));
    assert!(other.region.bytes(5000..6000).iter().all(|byte| *byte == 7));
    assert_eq!((other.region.bytes(4999..5000), other.region.bytes(6000..6001)), (&[0][..], &[0][..]));
    let done = one.completions(1)[0];
    assert_eq!((done.work_id, done.status, done.opcode), (0xdead_beef + 100, Status::SUCCESS, Opcode::Write));
}

#[test]
fn a_batch_arrives_in_order_and_only_what_is_signalled_completes() {
    let Some((one, other)) = connected() else { return };
    println!("granted: {:?}; queue of {}", one.pair.granted(), one.queue.entries());
    assert!(one.pair.granted().inline_bytes >= 64, "{:?}", one.pair.granted());
    let words: Vec<[u8; 8]> = (0..24_u64).map(u64::to_le_bytes).collect();
    let sends: Vec<_> = (0..24_u32)
        .map(|n| Send {
            signalled: n == 23,
            ..one.write(&other, 8 * n as usize, Local::Inline(&words[n as usize]), Some(n))
        })
        .collect();
    one.pair.post(&sends).expect("room for all");
    let came: Vec<_> = other.completions(24).iter().map(|completion| completion.immediate).collect();
    assert_eq!(came, (0..24).collect::<Vec<_>>());
    assert!((0..24).all(|n| other.region.word(8 * n) == n as u64));
    let done = one.completions(1);
    assert_eq!((done.len(), done[0].work_id), (1, 123));
    // An immediate needs no bytes at all.
    one.pair.post(&[one.write(&other, 0, Local::Nothing, Some(99))]).expect("room");
    assert_eq!((other.completions(1)[0].immediate, other.region.word(8)), (99, 1));
}

#[test]
fn foreign_memory_is_sent_from_where_it_lies() {
    let Some((one, other)) = connected() else { return };
    let payload = vec![9_u8; 10_000];
    let start = std::ptr::NonNull::from(&payload[..]).cast();
    // SAFETY: the vector is neither changed nor dropped before the registration is.
    let pinned = unsafe { PinnedRange::register(&one.domain, start, payload.len(), Access::Read) }.expect("room");
    let range = pinned.range_of(&payload[10..9_000]).expect("it lies within");
    assert_eq!(range, 10..9_000);
    assert_eq!(pinned.range_of(&[0; 4]), None);
    one.pair.post(&[one.write(&other, 0, Local::Pinned(&pinned, range), Some(1))]).expect("room");
    assert_eq!(other.completions(1)[0].bytes, 8_990);
    assert!(other.region.bytes(0..8_990).iter().all(|byte| *byte == 9));
    one.completions(1);
    drop(pinned);
}

#[test]
fn foreign_memory_is_written_where_it_lies() {
    let Some((one, other)) = connected() else { return };
    let mut place = vec![1_u8; 5_000];
    let start = std::ptr::NonNull::from(&mut place[..]).cast();
    // SAFETY: the vector is not looked at before the write has completed, nor dropped before the registration is.
    let pinned = unsafe { PinnedRange::register(&other.domain, start, 5_000, Access::Write) }.expect("room");
    let send = Send {
        remote_address: pinned.address() + 1_000,
        remote_key: pinned.remote_key(),
        ..one.write(&other, 0, Local::Inline(&[8; 16]), Some(1))
    };
    one.pair.post(&[send]).expect("room");
    assert_eq!(other.completions(1)[0].bytes, 16);
    drop(pinned);
    let expected = |at: usize| if (1_000..1_016).contains(&at) { 8 } else { 1 };
    assert!((0..5_000).all(|at| place[at] == expected(at)));
}

#[test]
fn inline_room_is_what_the_device_can_give() {
    let Some(names) = devices_here() else { return };
    let context = Context::open(&names[0]).expect("it is listed");
    let domain = ProtectionDomain::create(&context).expect("a domain");
    let queue = CompletionQueue::create(&context, 256, None).expect("a queue");
    for inline_bytes in [0, 28, 64, 220, 256, 512, 1 << 10, 1 << 20] {
        let wanted = Capacity { sends: 128, receives: 128, inline_bytes };
        let granted = QueuePair::create(&domain, &queue, &queue, &wanted).expect("a queue pair").granted();
        println!("{inline_bytes} bytes inline wanted: {granted:?}");
        assert!(granted.sends >= 128 && granted.receives >= 128, "{granted:?}");
    }
    let wanted = Capacity { sends: u32::MAX, receives: 1, inline_bytes: 0 };
    let error = QueuePair::create(&domain, &queue, &queue, &wanted).expect_err("more than any device has").to_string();
    println!("{error}");
    assert!(error.starts_with(&format!("{}: ibv_create_qp: ", names[0])), "{error}");
}

#[test]
fn a_sleeper_is_woken() {
    let Some((one, other)) = connected() else { return };
    assert_eq!(other.channel.take_events().expect("it works"), 0);
    other.queue.request_notification().expect("it works");
    let mut none = [Completion::EMPTY; 1];
    assert_eq!(other.queue.poll(&mut none).expect("it works"), 0);
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| wait(other.channel.descriptor()));
        one.pair.post(&[one.write(&other, 0, Local::Inline(&[1]), Some(5))]).expect("room");
        sleeper.join().expect("it was woken");
    });
    assert_eq!(other.channel.take_events().expect("it works"), 1);
    assert_eq!(other.channel.take_events().expect("it works"), 0);
    assert_eq!(other.completions(1)[0].immediate, 5);
}

#[test]
fn a_wrong_key_is_a_status_in_words_and_breaks_the_pair() {
    let Some((one, other)) = connected() else { return };
    let wrong = Send {
        remote_key: other.region.remote_key() ^ 0x5500,
        ..one.write(&other, 0, Local::Region(&one.region, 0..8), Some(1))
    };
    one.pair.post(&[wrong]).expect("room");
    // A pair that broke by itself is broken already; asking for it does no harm.
    let mut ended = one.completions(1);
    one.pair.to_error().expect("it can always be broken");
    let rest = RECEIVES as usize + 1 - ended.len();
    ended.extend(one.completions(rest));
    let place = ended.iter().position(|completion| completion.work_id == 101).expect("the write ended, too");
    let failed = ended.swap_remove(place);
    assert_eq!((failed.status, failed.opcode), (Status::REMOTE_ACCESS, Opcode::Other));
    assert_eq!(failed.status.to_string(), "remote access error (status 10)");
    assert!(ended.iter().all(|receive| (receive.work_id, receive.status) == (7, Status::FLUSHED)), "{ended:?}");
}

#[test]
fn a_peer_that_is_gone_ends_the_retries() {
    let Some((one, other)) = connected() else { return };
    let send = one.write(&other, 0, Local::Inline(&[1]), None);
    drop(other);
    one.pair.post(&[send]).expect("room");
    assert_eq!(one.completions(1)[0].status, Status::RETRIES_EXCEEDED);
}

#[test]
fn what_cannot_be_posted_says_how_far_it_got() {
    let Some((one, other)) = connected() else { return };
    let granted = one.pair.granted().inline_bytes;
    let long = vec![0; granted as usize + 1];
    let sends = [
        one.write(&other, 0, Local::Inline(&[1]), None),
        one.write(&other, 0, Local::Inline(&long), None),
        one.write(&other, 0, Local::Inline(&[1]), None),
    ];
    let error = one.pair.post(&sends).expect_err("the second is too long");
    assert_eq!(error, PostError { posted: 1, why: Rejection::InlineTooLong { bytes: long.len(), granted } });
    assert_eq!(one.completions(1)[0].status, Status::SUCCESS);

    let error = one.pair.post(&[one.write(&other, 0, Local::Region(&other.region, 0..8), None)]);
    assert_eq!(error, Err(PostError { posted: 0, why: Rejection::OtherDomain }));

    let fresh = End::on(other.pair.context());
    let error = fresh.pair.post(&[fresh.write(&other, 0, Local::Inline(&[1]), None)]);
    println!("posting before connecting: {error:?}");

    let too_many = one.pair.granted().receives as usize + 100;
    let error = one.pair.post_receives(0, too_many).expect_err("more than there is room for");
    println!("too many receive requests: {error}");
    assert!(error.posted < too_many && matches!(error.why, Rejection::Refused(_)), "{error:?}");
}

#[test]
fn a_region_that_is_dropped_too_early_harms_nobody() {
    let Some((one, other)) = connected() else { return };
    let region = MemoryRegion::create(&one.domain, REGION_BYTES).expect("room");
    one.pair.post(&[one.write(&other, 0, Local::Region(&region, 0..REGION_BYTES), None)]).expect("room");
    drop(region);
    let ended = one.completions(1).into_iter().find(|completion| completion.work_id == 100);
    println!("work on a region that went away: {ended:?}");
    drop(one.domain);
    drop(one.queue);
    // The queue pair still holds both.
    one.pair.to_error().expect("it can always be broken");
}

#[test]
fn a_gid_index_without_an_address_is_refused() {
    let Some(names) = devices_here() else { return };
    let end = End::on(&Context::open(&names[0]).expect("it is listed"));
    end.pair.to_init(1).expect("the first state");
    let path = Path { addressing: Addressing::Gid { index: 200 }, ..end.path() };
    let error = end.pair.to_ready(&end.remote(), &path, 0).expect_err("nothing is there").to_string();
    assert!(error.starts_with(&format!("{}: ibv_modify_qp to RTR: ", names[0])), "{error}");
    println!("{error}");
}
