//! The transports as worlds: the links between n ranks that all live on one thread, and what to do when none of them can move.

use serried::transport::shm::{Region, ShmLink};
use serried::transport::sim::{self, Network, SimLink};
use serried::transport::tcp::{TcpLink, TcpSettings};
use serried::transport::verbs::{Rail, VerbsLink, VerbsSettings, survey};
use serried::transport::{Link, Transport};
use serried::transport::{Sleep, Woken};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Payload of one message, where it can be set: small, so that small calls have many messages.
pub(crate) const SLOT_BYTES: usize = 4096;

/// Nothing sleeps so long unless it hangs.
const HANG: Duration = Duration::from_secs(20);

/// One transport.
pub(crate) trait World {
    /// Its links.
    type Link: Transport;

    /// New links among `ranks` ranks: each rank's, by peer.
    fn join(&mut self, ranks: usize) -> Vec<Vec<Option<Self::Link>>>;

    /// What to do when a pass over all of `links` moved nothing. `false`: nothing is under way, so they never will.
    fn pass<'a>(&mut self, links: impl Iterator<Item = &'a mut Self::Link>) -> bool
    where
        Self::Link: 'a;
}

/// Shared memory. It is a [`Link`] here as in a communicator, so that its dispatch is under test too.
pub(crate) struct Shm;

impl World for Shm {
    type Link = Link;

    fn join(&mut self, ranks: usize) -> Vec<Vec<Option<Link>>> {
        in_pairs(ranks, || {
            let inbox = || ShmLink::inbox().expect("there is room");
            let open = |region: &Region| Region::open(&region.card()).expect("the own process can be reached");
            let (one, other) = (inbox(), inbox());
            let (to_one, to_other) = (open(&one), open(&other));
            let link =
                |inbox, outbox| Link::Shm(ShmLink::new(inbox, outbox, serried::engine::copy).expect("the sizes agree"));
            (link(one, to_other), link(other, to_one))
        })
    }

    fn pass<'a>(&mut self, _links: impl Iterator<Item = &'a mut Link>) -> bool {
        // What one rank stores the other sees at once: whoever cannot move now never will.
        false
    }
}

/// TCP over loopback.
pub(crate) struct Tcp {
    sockets: usize,
    address: IpAddr,
    settings: TcpSettings,
    sleep: Sleep,
}

impl Tcp {
    pub(crate) fn new(sockets: usize, address: IpAddr) -> Self {
        let settings = TcpSettings { slot_bytes: SLOT_BYTES, ..TcpSettings::default() };
        Self { sockets, address, settings, sleep: Sleep::new().expect("there are descriptors") }
    }

    /// Sockets that hold less than a lane's slots, so that the kernel takes only a part of what it is offered.
    pub(crate) fn narrow(mut self) -> Self {
        self.settings.slot_bytes = 4 * SLOT_BYTES;
        self.settings.send_buffer = Some(SLOT_BYTES);
        self
    }

    /// The same if this machine has `address`; otherwise says that `name` is skipped.
    pub(crate) fn where_there_is(name: &str, sockets: usize, address: IpAddr) -> Option<Self> {
        match TcpListener::bind((address, 0)) {
            Ok(_) => Some(Self::new(sockets, address)),
            Err(error) => {
                println!("skipped: {name}: no socket can be bound to {address}: {error}");
                None
            }
        }
    }
}

impl World for Tcp {
    type Link = Link;

    fn join(&mut self, ranks: usize) -> Vec<Vec<Option<Link>>> {
        // Descriptors of former links are closed, and their numbers come again.
        self.sleep = Sleep::new().expect("there are descriptors");
        in_pairs(ranks, || {
            let listener = TcpListener::bind((self.address, 0)).expect("loopback");
            let address = listener.local_addr().expect("it is bound");
            let pair = |_| {
                let one = TcpStream::connect(address).expect("it listens");
                (one, listener.accept().expect("it connects").0)
            };
            let (ours, mut theirs): (Vec<_>, Vec<_>) = (0..self.sockets).map(pair).unzip();
            // In any order.
            theirs.reverse();
            let link = |streams| Link::Tcp(TcpLink::new(streams, &self.settings).expect("sound settings"));
            (link(ours), link(theirs))
        })
    }

    fn pass<'a>(&mut self, links: impl Iterator<Item = &'a mut Link>) -> bool {
        sleep_on(&mut self.sleep, links)
    }
}

/// RDMA verbs between this machine's devices, of which each rank takes one in turn.
pub(crate) struct Verbs {
    rails: Vec<Arc<Rail>>,
    sleep: Sleep,
}

impl Verbs {
    /// With so many queue pairs a link, if this machine has a device; otherwise says that `verbs` is skipped. In the guest that is made to have
    /// devices, having none is a failure.
    pub(crate) fn where_there_is(queue_pairs: u32) -> Option<Self> {
        let settings = VerbsSettings { queue_pairs, ..VerbsSettings::default() };
        let why = match survey(&settings) {
            Ok(choice) if !choice.usable.is_empty() => {
                let open = |selection| Rail::open(selection, settings.clone()).expect("it was looked at just now");
                let rails = choice.usable.into_iter().map(open).collect();
                return Some(Self { rails, sleep: Sleep::new().expect("there are descriptors") });
            }
            Ok(choice) => choice.why_none(),
            Err(why) => why.to_string(),
        };
        assert!(std::env::var_os("SERRIED_SOFTROCE").is_none(), "no device in the guest: {why}");
        println!("skipped: verbs: {why}");
        None
    }
}

impl World for Verbs {
    type Link = Link;

    fn join(&mut self, ranks: usize) -> Vec<Vec<Option<Link>>> {
        // Descriptors of former links are closed, and their numbers come again.
        self.sleep = Sleep::new().expect("there are descriptors");
        let mut next = 0;
        in_pairs(ranks, || {
            let mut end = || {
                next += 1;
                VerbsLink::create(&self.rails[next % self.rails.len()]).expect("there is memory")
            };
            let mut ends = [end(), end()];
            let cards = [ends[0].card(), ends[1].card()];
            for (end, theirs) in ends.iter_mut().zip([cards[1], cards[0]]) {
                assert_eq!(end.refuses(&theirs), None);
                end.connect(&theirs).expect("the devices reach each other");
            }
            ends.iter_mut().for_each(|end| end.greet().expect("they are connected"));
            let began = Instant::now();
            // Both are asked each time: asking is what moves them.
            while ends.iter_mut().filter_map(|end| (!end.has_met().expect("nothing is wrong")).then_some(())).count()
                > 0
            {
                assert!(began.elapsed() < HANG, "the ends do not meet");
                std::thread::yield_now();
            }
            let [one, other] = ends.map(|end| Link::Verbs(Box::new(end)));
            (one, other)
        })
    }

    fn pass<'a>(&mut self, links: impl Iterator<Item = &'a mut Link>) -> bool {
        sleep_on(&mut self.sleep, links)
    }
}

/// Sleeps until one of the links has news; `false`: none has any for long.
fn sleep_on<'a>(sleep: &mut Sleep, links: impl Iterator<Item = &'a mut Link>) -> bool {
    for link in links {
        if !link.arm().expect("nothing is wrong") {
            return true;
        }
        sleep.watch(link).expect("descriptors can be watched");
    }
    // The contract says that now only the descriptors can bring news.
    sleep.sleep(HANG).expect("it can sleep") == Woken::Ready
}

/// The simulated network, which overtakes and tears whatever it may.
pub(crate) struct Sim {
    settings: sim::Settings,
    network: Network,
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        let settings = sim::Settings { seed, slot_bytes: SLOT_BYTES, ..sim::Settings::default() };
        let (network, _) = Network::new(0, settings.clone());
        Self { settings, network }
    }

    /// Writes are accepted and arrive whole; two messages may be ahead.
    pub(crate) fn whole(mut self) -> Self {
        self.settings.pieces = false;
        self.settings.credits = 2;
        self
    }
}

impl World for Sim {
    type Link = SimLink;

    fn join(&mut self, ranks: usize) -> Vec<Vec<Option<SimLink>>> {
        let (network, links) = Network::new(ranks as u32, self.settings.clone());
        self.network = network;
        links
    }

    fn pass<'a>(&mut self, _links: impl Iterator<Item = &'a mut SimLink>) -> bool {
        self.network.advance()
    }
}

/// The links of all ranks, by peer, from what makes the two ends of one.
fn in_pairs<L>(ranks: usize, mut pair: impl FnMut() -> (L, L)) -> Vec<Vec<Option<L>>> {
    let mut links: Vec<Vec<Option<L>>> = (0..ranks).map(|_| (0..ranks).map(|_| None).collect()).collect();
    for high in 1..ranks {
        let (lower, higher) = links.split_at_mut(high);
        for (low, links) in lower.iter_mut().enumerate() {
            let (one, other) = pair();
            links[high] = Some(one);
            higher[0][low] = Some(other);
        }
    }
    links
}
