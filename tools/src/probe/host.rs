//! What this host has for ranks to talk by. Looks, and opens no connection; how it reads is `text`'s.

use rustix::process::{Resource, getrlimit};
use rustix::system::uname;
use rustix::thread::{CapabilitySet, capabilities};
use serde_json::{Value, json};
use serried::Config;
use serried::topology::interface::{Interface, Kind, choose, interfaces, rails};
use serried::topology::{HostId, Idle, idle, node_of, own_node};
use serried::transport::shm::{Region, ShmLink, room_bytes};
use serried::transport::verbs::sys::{Addressing, GidEntry};
use serried::transport::verbs::{self, Found, LINK_BYTES, Port, Selection, VerbsSettings};

/// This host, as a process finds it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    /// Ranks with the same are on one host.
    pub(super) id: String,
    pub(super) kernel: String,
    /// Bytes of shared memory that can be had, or why there is none.
    pub(super) memory: Result<u64, String>,
    /// Interfaces that are used, best first, or why there is none.
    pub(super) interfaces: Result<Vec<Interface>, String>,
    /// Those that are not.
    pub(super) idle: Vec<Idle>,
    /// The interface that only ranks of this host use.
    pub(super) loopback: Option<Interface>,
    /// RDMA devices, or why there are no verbs.
    pub(super) rdma: Result<Found, String>,
    pub(super) verbs: VerbsSettings,
    pub(super) locked: Locked,
}

/// How much memory this process may lock, as RDMA needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locked {
    Unlimited,
    /// There is a limit, and this process has the capability (CAP_IPC_LOCK) to go beyond it.
    Privileged(u64),
    Limited(u64),
}

impl Host {
    /// Looks at everything, with these settings.
    pub(super) fn look(config: &Config) -> Self {
        let system = uname();
        let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let (selection, family) = (config.control.interfaces.as_ref(), config.control.family);
        let all = interfaces().map_err(|error| error.to_string());
        let chosen = all.as_ref().map_err(Clone::clone).and_then(|all| {
            let mut chosen = choose(all, selection, family).map_err(|error| error.to_string())?;
            chosen.truncate(serried::bootstrap::Endpoint::ADDRESSES_MAX);
            Ok(chosen)
        });
        let used = chosen.as_deref().unwrap_or_default();
        let all = all.unwrap_or_default();
        let mut idle = idle(&all, used, selection, family);
        // Whoever names interfaces means these alone.
        let loopback =
            all.iter().find(|one| one.kind == Kind::Loopback && family.has(one.address) && !used.contains(one));
        let loopback = loopback.filter(|_| selection.is_none()).cloned();
        idle.retain(|one| one.address.is_none() || one.address != loopback.as_ref().map(|loopback| loopback.address));
        Self {
            name: word(system.nodename()),
            id: config.host_id.clone().unwrap_or_else(|| format!("{:016x}", HostId::here().number())),
            kernel: format!("{} {}", word(system.sysname()), word(system.release())),
            memory: share_with_oneself(),
            interfaces: chosen,
            idle,
            loopback,
            rdma: verbs::look(&config.verbs).map_err(|unavailable| unavailable.to_string()),
            verbs: config.verbs.clone(),
            locked: Locked::here(),
        }
    }

    /// Why this host's ranks cannot use RDMA, if they cannot.
    pub(super) fn against_verbs(&self) -> Option<String> {
        match (&self.rdma, self.locked) {
            (Err(why), _) => Some(why.clone()),
            (Ok(found), _) if found.choice.usable.is_empty() => Some(found.choice.why_none()),
            (Ok(_), Locked::Limited(bytes)) if bytes < LINK_BYTES as u64 => Some(format!(
                "a process may lock {bytes} bytes of memory, and a link needs {LINK_BYTES}; raise the limit (`ulimit -l unlimited`, systemd: \
                 LimitMEMLOCK=infinity, docker: --ulimit memlock=-1)"
            )),
            (Ok(_), _) => None,
        }
    }

    /// The ports that ranks take turns at.
    pub(super) fn shared_ports(&self) -> Vec<&Selection> {
        self.rdma.as_ref().map(|found| found.choice.shared().collect()).unwrap_or_default()
    }

    /// What `port` comes to: how it is used, or why not.
    pub(super) fn fate(&self, port: &Port) -> Result<String, String> {
        let (selection, _) = port.select(&self.verbs)?;
        if self.verbs.devices.as_ref().is_some_and(|filter| filter.place(&port.device, port.number).is_none()) {
            return Err("the setting of devices (SERRIED_IB_HCA, NCCL_IB_HCA) leaves it out".into());
        }
        let shared = self.shared_ports();
        match shared.iter().position(|one| **one == selection) {
            Some(_) if shared.len() == 1 => Ok("used by all ranks".into()),
            Some(turn) => Ok(format!(
                "used: the host's ranks take turns at {} ports, and this is the {}",
                shared.len(),
                nth(turn)
            )),
            None => Err(format!("it works, and {} port {} is faster or comes first", shared[0].device, shared[0].port)),
        }
    }

    /// Why this address of the port is not the one that is used; `Ok` if it is.
    pub(super) fn address_fate(&self, port: &Port, entry: &GidEntry) -> Result<(), String> {
        let Ok((selection, others)) = port.select(&self.verbs) else { return Err(String::new()) };
        match selection.addressing {
            Addressing::Gid { index } if u32::from(index) == entry.index => return Ok(()),
            Addressing::Lid => return Err("InfiniBand is addressed by LID".into()),
            Addressing::Gid { .. } => {}
        }
        let name = format!("{port} GID {} ", entry.index);
        let why = others.into_iter().find(|other| other.what.starts_with(&name)).map(|other| other.why);
        Err(why.unwrap_or_default())
    }

    /// What cannot be seen at any port that answered.
    pub(super) fn unanswered(&self) -> Vec<(String, String)> {
        let Ok(found) = &self.rdma else { return Vec::new() };
        let shown: Vec<String> = found.devices.iter().flat_map(|device| &device.ports).map(Port::to_string).collect();
        let others = found.choice.passed_over.iter();
        let others = others.filter(|other| !shown.iter().any(|port| other.what.starts_with(port.as_str())));
        others.map(|other| (other.what.clone(), other.why.clone())).collect()
    }

    pub(super) fn json(&self) -> Value {
        let used = self.interfaces.as_deref().unwrap_or_default().iter();
        let rails: Vec<&Interface> = rails(self.interfaces.as_deref().unwrap_or_default());
        let interfaces = used.map(|one| {
            json!({ "name": one.name, "address": one.address.to_string(), "used": true, "rail": rails.contains(&one),
                    "megabits": one.megabits, "numa_node": one.numa_node })
        });
        let loopback = self.loopback.iter().map(
            |one| json!({ "name": one.name, "address": one.address.to_string(), "used": true, "only": "ranks of this host" }),
        );
        let idle = self.idle.iter().map(
            |one| json!({ "name": one.name, "address": one.address.map(|address| address.to_string()), "used": false, "why": one.why }),
        );
        json!({
            "name": self.name,
            "id": self.id,
            "kernel": self.kernel,
            "numa_node": own_node(),
            "shared_memory": match &self.memory {
                Ok(bytes) => json!({ "usable": true, "room_bytes": bytes }),
                Err(why) => json!({ "usable": false, "why": why }),
            },
            "locked_memory": match self.locked {
                Locked::Unlimited => json!({ "limit_bytes": null }),
                Locked::Privileged(bytes) => json!({ "limit_bytes": bytes, "capability": true }),
                Locked::Limited(bytes) => json!({ "limit_bytes": bytes, "capability": false }),
            },
            "interfaces": interfaces.chain(loopback).chain(idle).collect::<Vec<_>>(),
            "rdma": self.rdma_json(),
        })
    }

    fn rdma_json(&self) -> Value {
        let found = match &self.rdma {
            Ok(found) => found,
            Err(why) => return json!({ "usable": false, "why": why, "devices": [], "unanswered": [] }),
        };
        let verdict = |fate: Result<String, String>| match fate {
            Ok(how) => json!({ "used": true, "how": how }),
            Err(why) => json!({ "used": false, "why": why }),
        };
        let address = |port: &Port, entry: &GidEntry| {
            let fate = verdict(self.address_fate(port, entry).map(|()| String::new()));
            json!({
                "index": entry.index, "gid": entry.gid.to_string(), "address": entry.gid.address().to_string(),
                "kind": entry.kind.to_string(), "use": fate,
            })
        };
        let port = |port: &Port| {
            let attributes = &port.attributes;
            json!({
                "port": port.number, "state": attributes.state.to_string(), "link_layer": attributes.link_layer.to_string(),
                "megabits": attributes.megabits, "mtu": attributes.active_mtu.bytes(), "mtu_max": attributes.max_mtu.bytes(),
                "lid": attributes.lid, "use": verdict(self.fate(port)),
                "gids": port.gids.iter().map(|entry| address(port, entry)).collect::<Vec<_>>(),
            })
        };
        let devices = found.devices.iter().map(|device| {
            let ports: Vec<_> = device.ports.iter().map(port).collect();
            json!({ "name": device.name, "numa_node": node_of("infiniband", &device.name), "firmware": device.attributes.firmware, "ports": ports })
        });
        let devices: Vec<_> = devices.collect();
        let unanswered = self.unanswered().into_iter().map(|(what, why)| json!({ "what": what, "why": why }));
        let why = self.against_verbs();
        let unanswered: Vec<_> = unanswered.collect();
        json!({ "usable": why.is_none(), "why": why, "devices": devices, "unanswered": unanswered })
    }
}

impl Locked {
    fn here() -> Self {
        let Some(bytes) = getrlimit(Resource::Memlock).current else { return Self::Unlimited };
        let has = capabilities(None).is_ok_and(|mine| mine.effective.contains(CapabilitySet::IPC_LOCK));
        if has { Self::Privileged(bytes) } else { Self::Limited(bytes) }
    }
}

/// A region is made and mapped a second time, as a peer would.
fn share_with_oneself() -> Result<u64, String> {
    let region = ShmLink::inbox().map_err(|error| error.to_string())?;
    Region::open(&region.card()).map_err(|error| error.to_string())?;
    Ok(room_bytes())
}

fn nth(turn: usize) -> String {
    match turn {
        0 => "first".to_owned(),
        1 => "second".to_owned(),
        2 => "third".to_owned(),
        turn => format!("{}th", turn + 1),
    }
}
