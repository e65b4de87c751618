//! What each kind of pair would use as seen from this host, and why not what comes before it. The library finds out by trying; this says what
//! it would try, and what is known to fail.

use super::host::Host;
use serde_json::{Value, json};
use serried::TransportChoice;

/// What a kind of pair would use.
#[derive(Debug)]
pub(super) struct Way {
    /// Which pairs.
    pub(super) pairs: &'static str,
    /// The transport's name; none if nothing that was asked for works.
    pub(super) transport: Option<&'static str>,
    /// What carries it, and on what condition.
    pub(super) over: String,
    /// Transports that come before it, and why they are not used.
    pub(super) refused: Vec<(&'static str, String)>,
}

/// Two ranks of this host, and ranks of two hosts.
pub(super) fn both(host: &Host, choice: TransportChoice) -> [Way; 2] {
    let shm = host.memory.as_ref().err().cloned();
    let apart = Some("the two are on different hosts".to_owned());
    [way("two ranks of this host", host, choice, shm), way("ranks of two hosts", host, choice, apart)]
}

fn way(pairs: &'static str, host: &Host, choice: TransportChoice, against_shm: Option<String>) -> Way {
    let apart = pairs != "two ranks of this host";
    let wanted: &[&'static str] = match choice {
        TransportChoice::Auto => &["shm", "verbs", "tcp"],
        TransportChoice::Shm => &["shm"],
        TransportChoice::Tcp => &["tcp"],
        TransportChoice::Verbs => &["verbs"],
        TransportChoice::ShmAndVerbs => &["shm", "verbs"],
    };
    let mut way = Way { pairs, transport: None, over: String::new(), refused: Vec::new() };
    for &transport in wanted {
        let against = match transport {
            "shm" => against_shm.clone(),
            "verbs" => host.against_verbs(),
            _ => host.interfaces.as_ref().err().cloned(),
        };
        match against {
            Some(why) => way.refused.push((transport, why)),
            None => {
                way.transport = Some(transport);
                way.over = over(transport, apart, host, choice);
                break;
            }
        }
    }
    way
}

fn over(transport: &str, apart: bool, host: &Host, choice: TransportChoice) -> String {
    let interfaces = host.interfaces.as_deref().unwrap_or_default().iter();
    let tcp = interfaces.map(|one| format!("{} ({})", one.name, one.address)).collect::<Vec<_>>().join(", ");
    match transport {
        "shm" => String::new(),
        "verbs" => {
            let ports = host.shared_ports().into_iter().map(|one| format!("{} port {}", one.device, one.port));
            let ports = ports.collect::<Vec<_>>().join(", ");
            match (apart, choice) {
                (true, TransportChoice::Auto) => {
                    format!("{ports}, if the other host has a port and it is reached; else tcp over {tcp}")
                }
                _ => ports,
            }
        }
        _ => match (&host.loopback, apart) {
            (Some(loopback), false) => format!("{} ({})", loopback.name, loopback.address),
            _ => tcp,
        },
    }
}

impl Way {
    pub(super) fn json(&self) -> Value {
        let refused: Vec<_> =
            self.refused.iter().map(|(transport, why)| json!({ "transport": transport, "why": why })).collect();
        json!({ "kind": self.pairs, "transport": self.transport, "over": self.over, "not": refused })
    }
}
