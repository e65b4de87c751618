//! How the ranks of a communicator meet: each tells the others about itself, and all find out what they can share.

use super::card::Card;
use super::config::{Config, TransportChoice};
use crate::bootstrap::Control;
use crate::engine::room::{self, RANKS_MAX, Room};
use crate::error::{Error, Result};
use crate::topology::{self, HostId};
use crate::transport::shm::{Region, ShmLink};
use crate::transport::tcp::TcpSettings;
use crate::transport::verbs::{Rail, Selection, VerbsLink, survey};
use std::sync::Arc;

/// The RDMA port to use, open; or why there is none, in words.
pub(super) type OwnRail = Result<Arc<Rail>, String>;

/// What is known when all ranks have met.
#[derive(Debug)]
pub(super) struct Meeting {
    /// What each rank has told.
    pub(super) cards: Vec<Card>,
    /// The room, if all ranks share this host's memory.
    pub(super) room: Option<Room>,
    pub(super) rail: OwnRail,
    /// The smallest slot among the kinds of link that ranks may use.
    pub(super) slot_bytes: usize,
}

impl Meeting {
    /// Meets the other ranks. A rail that is open already is used again.
    pub(super) fn hold(control: &Control, local_rank: u32, config: &Config, rail: Option<OwnRail>) -> Result<Self> {
        let (rank, size) = (control.rank(), control.size());
        config.check()?;
        let region = own_region(size, config)?;
        let rail = rail.map_or_else(|| own_rail(rank, size, local_rank, config), Ok)?;
        let card = Card {
            host: config.host_id.clone().unwrap_or_else(|| format!("{:016x}", HostId::here().number())),
            machine: topology::machine(),
            settings: config.common(),
            region: region.as_ref().map(Region::card),
            rail: rail.as_ref().map_or_else(|_| String::new(), ToString::to_string),
            processors: topology::processors(),
            paths: Card::paths_of(control.endpoint(), &config.control.rails()?),
            endpoint: control.endpoint().clone(),
        };
        let cards = control
            .exchange(&card.to_bytes())?
            .iter()
            .enumerate()
            .map(|(rank, bytes)| Card::from_bytes(rank, bytes))
            .collect::<Result<Vec<Card>>>()?;
        agree(rank, &cards)?;
        // Every rank sees the same cards, so all of them try the room or none does.
        let room = match region {
            Some(region) if cards.iter().all(|card| card.region.is_some() && card.host == cards[0].host) => {
                enter_room(control, region, &cards, config.transport)?
            }
            _ => None,
        };
        tracing::info!(rank, size, room = room.is_some(), "ranks have met");
        let slot_bytes = slot_bytes(&cards, config);
        Ok(Self { cards, room, rail, slot_bytes })
    }
}

/// This rank's region for same-host calls; none when it would not be used or there is no room for it.
fn own_region(size: u32, config: &Config) -> Result<Option<Region>> {
    if !config.transport.has_shm() || !(2..=RANKS_MAX as u32).contains(&size) {
        return Ok(None);
    }
    match Room::region(size as usize) {
        Ok(region) => Ok(Some(region)),
        Err(error) if config.transport == TransportChoice::Shm => Err(error),
        Err(error) => {
            tracing::warn!(%error, "no shared memory for same-host calls");
            Ok(None)
        }
    }
}

/// The RDMA port that this rank's links use, open; or why there is none, in words. The ranks of a host spread over its fastest ports.
fn own_rail(rank: u32, size: u32, local_rank: u32, config: &Config) -> Result<OwnRail> {
    if size < 2 || !config.transport.has_verbs() {
        return Ok(Err("it is not wanted".to_owned()));
    }
    // A rank that is bound to a NUMA node takes a device that is attached there.
    let own_node = topology::own_node();
    let is_near = |port: &Selection| own_node.is_some() && topology::node_of("infiniband", &port.device) == own_node;
    let found = match survey(&config.verbs) {
        Err(unavailable) => Err(unavailable.to_string()),
        Ok(choice) => match choice.share(local_rank, is_near) {
            None => Err(choice.why_none()),
            Some(selection) => Rail::open(selection.clone(), config.verbs.clone()).map_err(|error| error.to_string()),
        },
    };
    if let Some(remark) = config.verbs.remark() {
        tracing::warn!(remark, "verbs");
    }
    match &found {
        Ok(rail) => tracing::info!(%rail, address = %rail.selection().gid.address(), "RDMA by this port"),
        Err(why) if matches!(config.transport, TransportChoice::Verbs | TransportChoice::ShmAndVerbs) => {
            let why = format!("rank {rank}: verbs cannot be used: {why}");
            return Err(Error::Setting { name: "transport".into(), value: config.transport.name().into(), why });
        }
        Err(why) => tracing::info!(why, "no RDMA"),
    }
    Ok(found)
}

/// Says that a rank has opened all regions, and can read the memory of all ranks besides.
const READS: &str = "reads";

/// The room of all ranks, if every one of them can map every other's region. All ranks come to the same answer.
fn enter_room(control: &Control, own: Region, cards: &[Card], transport: TransportChoice) -> Result<Option<Room>> {
    let (rank, size) = (control.rank(), control.size());
    let mut own = Some(own);
    let opened: Result<Vec<Region>> = (0..size)
        .map(|peer| match (&cards[peer as usize].region, own.take_if(|_| peer == rank)) {
            (_, Some(own)) => Ok(own),
            (Some(card), None) => Region::open(card),
            (None, None) => unreachable!("every card was seen to have a region"),
        })
        .collect();
    let room = opened.and_then(|regions| Room::new(rank as usize, (0..size).collect(), regions));
    let mine = match &room {
        Ok(room) if room.can_read_all() => READS.to_owned(),
        Ok(_) => String::new(),
        Err(error) => format!("rank {rank}: {error}"),
    };
    let answers = control.exchange(mine.as_bytes())?;
    let refusal = answers.iter().find(|answer| !answer.is_empty() && answer.as_slice() != READS.as_bytes());
    match (room, refusal) {
        (Ok(mut room), None) => {
            if answers.iter().all(|answer| answer.as_slice() == READS.as_bytes()) {
                room.set_reads(room::READS);
            }
            if let Some(bytes) = topology::last_caches() {
                room.set_caches(bytes);
            }
            // Every rank has opened the own region, and none will again.
            room.close_descriptor();
            Ok(Some(room))
        }
        (_, refusal) => {
            let why = refusal.map_or(String::new(), |refusal| String::from_utf8_lossy(refusal).into_owned());
            if transport == TransportChoice::Shm {
                return Err(Error::Setting { name: "transport".into(), value: "shm".into(), why });
            }
            tracing::info!(why, "the ranks do not all share one host's memory");
            Ok(None)
        }
    }
}

/// Settings that must be the same everywhere are compared when ranks meet, not found out by a hang.
fn agree(rank: u32, cards: &[Card]) -> Result<()> {
    let (first, mine) = (&cards[0].settings, &cards[rank as usize].settings);
    match cards.iter().position(|card| card.settings != *first) {
        Some(odd) => Err(Error::Setting {
            name: "settings".into(),
            value: mine.clone(),
            why: format!(
                "rank 0 has {first}, and rank {odd} has {}; all ranks must have the same",
                cards[odd].settings
            ),
        }),
        None => Ok(()),
    }
}

/// The smallest slot among the kinds of link that this communicator may use; every rank computes the same.
fn slot_bytes(cards: &[Card], config: &Config) -> usize {
    let any_pair = |may: fn(&Card, &Card) -> bool| {
        cards.iter().enumerate().any(|(rank, card)| cards[..rank].iter().any(|other| may(card, other)))
    };
    let by_choice = matches!(config.transport, TransportChoice::Auto | TransportChoice::ShmAndVerbs);
    let shm = config.transport == TransportChoice::Shm || by_choice && any_pair(|one, other| one.host == other.host);
    let verbs = config.transport == TransportChoice::Verbs
        || by_choice && any_pair(|one, other| !one.rail.is_empty() && !other.rail.is_empty());
    let kinds = [(shm, ShmLink::SLOT_BYTES), (verbs, VerbsLink::SLOT_BYTES), (true, TcpSettings::default().slot_bytes)];
    kinds.into_iter().filter_map(|(may, bytes)| may.then_some(bytes)).min().unwrap_or(ShmLink::SLOT_BYTES)
}
