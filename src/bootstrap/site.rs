//! Where a dialler looks for somebody: known addresses, or a name to look up.

use super::endpoint::Endpoint;
use std::io;
use std::net::SocketAddr;

/// Where somebody listens, as far as a dialler knows.
#[derive(Clone, Debug)]
pub(super) enum Site {
    /// At an endpoint that says itself.
    Endpoint(Endpoint),
    /// At these addresses.
    Addresses(Vec<SocketAddr>),
    /// On a host known by name, at one of several ports.
    Host { name: String, ports: Vec<u16> },
}

impl Site {
    /// The addresses to try now. A name is looked up each time: it may come to mean something only later.
    pub(super) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Endpoint(endpoint) => Ok(endpoint.reachable()),
            Self::Addresses(addresses) => Ok(addresses.clone()),
            Self::Host { name, ports } => {
                let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
                let all = |port: &u16| {
                    let port = *port;
                    found.iter().map(move |address| SocketAddr::new(address.ip(), port))
                };
                Ok(ports.iter().flat_map(all).collect())
            }
        }
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list =
            |addresses: &[SocketAddr]| addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Endpoint(endpoint) => f.write_str(&list(endpoint.addresses())),
            Self::Addresses(addresses) => f.write_str(&list(addresses)),
            Self::Host { name, ports } => {
                let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
                write!(f, "{name}, port {}", ports.join(", "))
            }
        }
    }
}
