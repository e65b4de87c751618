//! Tests that change what belongs to the whole process or machine: the limit on locked memory, a link that goes down.

use super::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::process::Command;
use std::time::{Duration, Instant};

/// An emulated device on a loaded machine takes its time.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn too_little_lockable_memory_is_said_with_numbers() {
    let Some(context) = devices().ok().and_then(|names| Context::open(names.first()?).ok()) else {
        println!("skipped: verbs: there is no RDMA device");
        return;
    };
    let domain = ProtectionDomain::create(&context).expect("a domain");
    let mine = capabilities(None).expect("every thread has a set");
    if !mine.effective.contains(CapabilitySet::IPC_LOCK) {
        println!("skipped: verbs-root: without CAP_IPC_LOCK the limit would be that of the tests beside this one too");
        return;
    }
    // The limit is the process', but only counts for threads without the capability: for this one.
    let before = getrlimit(Resource::Memlock);
    setrlimit(Resource::Memlock, Rlimit { current: Some(64 << 10), maximum: before.maximum })
        .expect("lower is allowed");
    let without = rustix::thread::CapabilitySets { effective: mine.effective - CapabilitySet::IPC_LOCK, ..mine };
    set_capabilities(None, without).expect("less is allowed");
    let failure = MemoryRegion::create(&domain, 1 << 20);
    set_capabilities(None, mine).expect("it is still permitted");
    setrlimit(Resource::Memlock, before).expect("it was so before");
    let failure = failure.expect_err("1 MiB is more than 64 KiB");
    println!("{failure}");
    let Failure::LockedMemory { wanted_bytes, limit_bytes, .. } = failure else { panic!("{failure:?}") };
    assert_eq!((wanted_bytes, limit_bytes), (1 << 20, 64 << 10));
    MemoryRegion::create(&domain, 1 << 20).expect("the limit is gone");
}

#[test]
fn a_link_that_goes_down_is_an_event() {
    // Outside of the guest that is made for it, a link may be somebody's.
    if std::env::var_os("SERRIED_SOFTROCE").is_none() {
        println!("skipped: verbs: links are taken down in the guest only");
        return;
    }
    // The first two devices carry the other tests.
    let Some(name) = devices().ok().and_then(|names| names.get(2).cloned()) else {
        println!("skipped: verbs: there are not three RDMA devices, of which the third could lose its link");
        return;
    };
    let parent = std::fs::read_to_string(format!("/sys/class/infiniband/{name}/parent")).unwrap_or_default();
    let interface = parent.trim();
    if interface.is_empty() {
        println!("skipped: verbs-link: {name} is no device of software");
        return;
    }
    let link = |state| Command::new("ip").args(["link", "set", interface, state]).status().is_ok_and(|s| s.success());
    let context = Context::open(&name).expect("it is listed");
    assert_eq!(context.next_event().expect("it works"), None);
    assert_eq!(context.port(1).expect("a port").state, PortState::Active);
    assert!(link("down"), "ip link set {interface} down");
    let event = event(&context, EventKind::PortError);
    assert_eq!(event.subject, Subject::Port(1));
    assert_eq!(event.to_string(), "port error (port 1)");
    assert_ne!(context.port(1).expect("a port").state, PortState::Active);
    assert!(link("up"), "ip link set {interface} up");
    self::event(&context, EventKind::PortActive);
}

fn event(context: &Context, kind: EventKind) -> AsyncEvent {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(event) = context.next_event().expect("it works") {
            println!("{}: {event}", context.device());
            if event.kind == kind {
                return event;
            }
        }
        std::thread::yield_now();
    }
    panic!("no {kind:?} of {}", context.device());
}
