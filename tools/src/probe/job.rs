//! The ranks of a job: each connects with all others and tells rank 0 of its host and its links, and rank 0 prints what comes of it.

use super::cover::{self, Pair};
use super::heat::{self, short};
use super::host::Host;
use super::measured::{self, Pace};
use super::pairs::{self, Group, Said};
use super::{Failure, Flags, VERSION, network, print, text};
use serde_json::{Value, json};
use serried::tune::network::Network;
use serried::{Communicator, Config, LinkReport, Op, Probe, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

/// Transports, the one that is tried first in front.
const ORDER: [&str; 3] = ["shm", "verbs", "tcp"];

/// More ranks make a matrix wider than a terminal.
const MATRIX_RANKS_MAX: usize = 16;

/// Joins the job, connects all pairs, and on rank 0 prints the report.
pub(super) fn report(host: Host, config: &Config, flags: &Flags) -> std::result::Result<ExitCode, Failure> {
    if let Some(job) = join(&host, config, flags).map_err(Failure::Library)? {
        if let Some(file) = &flags.html {
            std::fs::write(file, job.html()).map_err(Failure::System)?;
        }
        print(&if flags.json { format!("{:#}\n", job.json()) } else { job.text() })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// On rank 0, all of it.
fn join(host: &Host, config: &Config, flags: &Flags) -> Result<Option<Job>> {
    let probe = if flags.quick { Probe::Off } else { config.probe };
    let communicator = Communicator::from_env(&Config { probe, ..config.clone() })?;
    let links = communicator.links()?;
    let shared = host.shared_ports();
    let port = shared.get(communicator.local_rank() as usize % shared.len().max(1));
    let port = port.filter(|_| host.against_verbs().is_none());
    let mine = json!({
        "host": host.json(),
        "port": port.map(|port| json!({ "device": port.device, "port": port.port, "address": port.gid.address().to_string() })),
        "links": links_json(&links),
    });
    let all = gather(&communicator, mine.to_string().as_bytes())?;
    let told = all.iter().map(|bytes| serde_json::from_slice(bytes).unwrap_or(Value::Null));
    let told: Vec<Value> = told.collect();
    // Pair by pair, so that of many ranks it takes hours.
    let worth = !flags.quick && (told.len() <= MATRIX_RANKS_MAX || flags.html.is_some());
    let paces = if worth { measured::all_pairs(&communicator)? } else { Vec::new() };
    let network = communicator.candidates().map(|candidates| candidates.network);
    Ok((communicator.rank() == 0).then(|| Job { paces, network, ..Job::of(&told) }))
}

/// Every rank's bytes, in the order of ranks.
fn gather(communicator: &Communicator, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
    let (rank, size) = (communicator.rank() as usize, communicator.size() as usize);
    let mut lengths = vec![0u64; size];
    lengths[rank] = mine.len() as u64;
    communicator.all_reduce(&mut lengths, Op::Sum)?;
    let begin = |rank: usize| lengths[..rank].iter().sum::<u64>() as usize;
    let mut all = vec![0u8; begin(size)];
    all[begin(rank)..][..mine.len()].copy_from_slice(mine);
    // Each place is zero on all ranks but one, so the sum is that one's.
    communicator.all_reduce(&mut all, Op::Sum)?;
    Ok((0..size).map(|rank| all[begin(rank)..begin(rank + 1)].to_vec()).collect())
}

/// Links that are alike, once, with the peers that they are for.
fn links_json(links: &[LinkReport]) -> Value {
    let mut alike: BTreeMap<Said, Vec<u32>> = BTreeMap::new();
    for link in links {
        let refused = link.refused.iter().map(|refusal| (refusal.transport.to_owned(), refusal.here.clone()));
        let said = Said { transport: link.transport.into(), end: link.here.clone(), refused: refused.collect() };
        alike.entry(said).or_default().push(link.peer);
    }
    let links = alike.into_iter().map(|(said, peers)| {
        let Said { transport, end, refused } = said;
        json!({ "transport": transport, "end": end, "refused": refused, "peers": peers })
    });
    links.collect()
}

/// What is known of a job.
#[derive(Debug)]
struct Job {
    /// Hosts in the order of their first ranks: what one of its ranks tells, and which ranks they are.
    hosts: Vec<(Value, Vec<u32>)>,
    /// By rank, the RDMA port that it uses, in words.
    ports: Vec<Option<String>>,
    /// What each pair uses: what the lower rank and the higher say.
    pairs: BTreeMap<Pair, [Said; 2]>,
    /// What was measured.
    paces: Vec<(Pair, Pace)>,
    /// What algorithms are chosen by, if it was measured.
    network: Option<Network>,
}

impl Job {
    fn of(told: &[Value]) -> Self {
        let mut hosts: Vec<(Value, Vec<u32>)> = Vec::new();
        let mut said: BTreeMap<(u32, u32), Said> = BTreeMap::new();
        for (rank, told) in (0u32..).zip(told) {
            match hosts.iter_mut().find(|(host, _)| host["id"] == told["host"]["id"]) {
                Some((_, ranks)) => ranks.push(rank),
                None => hosts.push((told["host"].clone(), vec![rank])),
            }
            for link in told["links"].as_array().into_iter().flatten() {
                let peers = link["peers"].as_array().into_iter().flatten().filter_map(Value::as_u64);
                said.extend(peers.map(|peer| ((rank, peer as u32), read(link))));
            }
        }
        let both = said.iter().filter(|((rank, peer), _)| rank < peer);
        let pairs = both
            .filter_map(|(&(rank, peer), one)| Some(((rank, peer), [one.clone(), said.get(&(peer, rank))?.clone()])));
        let pairs = pairs.collect();
        let port = |told: &Value| Some(format!("{} port {}", told["port"]["device"].as_str()?, told["port"]["port"]));
        Self { hosts, ports: told.iter().map(port).collect(), pairs, paces: Vec::new(), network: None }
    }

    fn groups(&self) -> Vec<Group> {
        let pairs = self.pairs.iter();
        let each =
            pairs.map(|(pair, [one, other])| (*pair, one.transport.clone(), pairs::reasons(*pair, [one, other])));
        pairs::group(each, &ORDER)
    }

    fn text(&self) -> String {
        let mut text = self.hosts_text();
        if self.ports.len() <= MATRIX_RANKS_MAX && !self.pairs.is_empty() {
            text += &format!("\n{}", self.matrix("rank", |pair| Some(self.pairs.get(&pair)?[0].transport.clone())));
            if !self.paces.is_empty() {
                let paces: BTreeMap<Pair, Pace> = self.paces.iter().copied().collect();
                text += &format!("\n{}", self.matrix("µs", |pair| Some(short(paces.get(&pair)?.latency_us))));
                text += &format!("\n{}", self.matrix("GB/s", |pair| Some(short(paces.get(&pair)?.gb_s))));
            }
        }
        for group in self.groups() {
            let count = group.pairs.len();
            let pairs = if count == 1 { "pair" } else { "pairs" };
            text += &format!("\n{}: {count} {pairs} ({})\n", group.transport, cover::words(&group.pairs));
            let ranks: BTreeSet<u32> = group.pairs.iter().flat_map(|(one, other)| [*one, *other]).collect();
            for reason in &group.reasons {
                let says = match reason.ranks == ranks {
                    true => String::new(),
                    false => format!(" (at ranks {})", cover::ranges(&reason.ranks)),
                };
                text += &format!("  not {}: {}{says}\n", reason.transport, reason.why);
            }
            text += &self.ends_text(&group);
        }
        self.network.iter().for_each(|network| text += &format!("\n{}", network::text(network)));
        text
    }

    /// A row for each host.
    fn hosts_text(&self) -> String {
        let mut rows = vec![["host", "id", "ranks", "RDMA", "TCP"].map(str::to_owned).to_vec()];
        for (host, ranks) in &self.hosts {
            let mut ports: Vec<&str> = Vec::new();
            for port in ranks.iter().filter_map(|rank| self.ports[*rank as usize].as_deref()) {
                if !ports.contains(&port) {
                    ports.push(port);
                }
            }
            let interfaces = host["interfaces"].as_array().into_iter().flatten();
            let used = interfaces.filter(|one| one["used"] == true && one["only"].is_null());
            let used = used.map(|one| format!("{} {}", word(&one["name"]), word(&one["address"])));
            rows.push(vec![
                word(&host["name"]),
                word(&host["id"]),
                cover::ranges(ranks),
                if ports.is_empty() { "none".to_owned() } else { ports.join(", ") },
                used.collect::<Vec<_>>().join(", "),
            ]);
        }
        text::columns(0, &rows)
    }

    /// A word for every pair, `what` in the corner.
    fn matrix(&self, what: &str, word: impl Fn(Pair) -> Option<String>) -> String {
        let size = self.ports.len() as u32;
        let heading = std::iter::once(what.to_owned()).chain((0..size).map(|rank| rank.to_string()));
        let mut rows = vec![heading.collect::<Vec<_>>()];
        for rank in 0..size {
            let cell = |peer: u32| word((rank.min(peer), rank.max(peer))).unwrap_or_else(|| ".".to_owned());
            rows.push(std::iter::once(rank.to_string()).chain((0..size).map(cell)).collect());
        }
        text::columns(0, &rows)
    }

    /// What carries the group's links at each end.
    fn ends_text(&self, group: &Group) -> String {
        let mut ends: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for pair in &group.pairs {
            for (rank, said) in [pair.0, pair.1].into_iter().zip(&self.pairs[pair]) {
                ends.entry(said.end.as_str()).or_default().insert(rank);
            }
        }
        let told = ends.iter().filter(|(end, _)| !end.is_empty());
        let told = told.map(|(end, ranks)| format!("{end} (ranks {})", cover::ranges(ranks))).collect::<Vec<_>>();
        if told.is_empty() { String::new() } else { format!("  over {}\n", told.join(", ")) }
    }

    /// The page of heat maps.
    fn html(&self) -> String {
        let ranks = self.ports.len() as u32;
        let groups = self.groups().into_iter();
        let links = groups.map(|group| (group.transport, format!("pairs {}", cover::words(&group.pairs))));
        let hosts = self
            .hosts
            .iter()
            .map(|(host, ranks)| (format!("host {}", word(&host["name"])), format!("ranks {}", cover::ranges(ranks))));
        heat::page(
            &format!("serried probe, {ranks} ranks"),
            &hosts.chain(links).collect::<Vec<_>>(),
            ranks,
            &self.paces,
        )
    }

    fn json(&self) -> Value {
        let hosts = self.hosts.iter().map(|(host, ranks)| {
            let mut host = host.clone();
            host["ranks"] = json!(ranks);
            host
        });
        let pairs = self.pairs.iter().map(|(pair, [one, other])| {
            let reasons = pairs::reasons(*pair, [one, other]);
            let refused = reasons.iter().map(|reason| json!({ "transport": reason.transport, "why": reason.why, "ranks": reason.ranks }));
            let refused: Vec<_> = refused.collect();
            let pace = self.paces.iter().find(|(one, _)| one == pair).map(|(_, pace)| pace.json());
            json!({ "ranks": [pair.0, pair.1], "transport": one.transport, "over": [one.end, other.end], "not": refused, "measured": pace })
        });
        json!({
            "version": VERSION,
            "serried_version": env!("CARGO_PKG_VERSION"),
            "ranks": self.ports.len(),
            "hosts": hosts.collect::<Vec<_>>(),
            "pairs": pairs.collect::<Vec<_>>(),
            "network": self.network.as_ref().map(ToString::to_string),
        })
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}

fn read(link: &Value) -> Said {
    let refused = link["refused"].as_array().into_iter().flatten();
    let refused = refused.map(|one| (word(&one[0]), one[1].as_str().map(str::to_owned)));
    Said { transport: word(&link["transport"]), end: word(&link["end"]), refused: refused.collect() }
}
