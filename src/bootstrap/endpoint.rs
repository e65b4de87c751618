//! Where a rank listens: addresses, and the host they belong to.

use super::wire::{Decoder, Encoder, Nonsense};
use crate::topology::HostId;
use std::net::{IpAddr, SocketAddr};

/// The addresses of one listener, best first, and the host on which they mean something.
///
/// A loopback address is for ranks on the same host alone: [`Endpoint::reachable`] leaves it out everywhere else, so a rank never
/// dials *itself* under a peer's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: HostId,
    addresses: Vec<SocketAddr>,
}

impl Endpoint {
    /// More addresses than this are not advertised: a peer that fails on the first eight has another problem.
    pub const ADDRESSES_MAX: usize = 8;

    /// The endpoint of a listener on this host.
    pub(super) fn here(addresses: Vec<SocketAddr>) -> Self {
        Self { host: HostId::here(), addresses }
    }

    /// The host it is on.
    pub fn host(&self) -> HostId {
        self.host
    }

    /// All its addresses.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Those addresses that this process may dial, best first: on the same host loopback before the others, on another host no loopback.
    pub fn reachable(&self) -> Vec<SocketAddr> {
        let mut addresses = self.addresses.clone();
        if self.host == HostId::here() {
            addresses.sort_by_key(|a| !a.ip().is_loopback());
        } else {
            addresses.retain(|a| !a.ip().is_loopback());
        }
        addresses
    }

    /// The bytes to give to a peer, for [`from_bytes`](Self::from_bytes) there.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode(Encoder::fields()).into_fields()
    }

    /// An endpoint that a peer gave; `None` if the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut decoder = Decoder::new(bytes);
        let endpoint = Self::decode(&mut decoder).ok()?;
        decoder.end().ok().map(|()| endpoint)
    }

    /// Bytes that an address takes on the wire.
    pub(super) fn encoded_size(address: &SocketAddr) -> usize {
        1 + if address.is_ipv4() { 4 } else { 16 } + 2
    }

    pub(super) fn encode(&self, encoder: Encoder) -> Encoder {
        let count = u8::try_from(self.addresses.len()).expect("at most ADDRESSES_MAX");
        self.addresses.iter().fold(encoder.u64(self.host.number()).u8(count), |encoder, address| {
            match address.ip() {
                IpAddr::V4(ip) => encoder.u8(4).raw(&ip.octets()),
                IpAddr::V6(ip) => encoder.u8(6).raw(&ip.octets()),
            }
            .u16(address.port())
        })
    }

    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Nonsense> {
        let host = HostId::from_number(decoder.u64()?);
        let count = usize::from(decoder.u8()?);
        if count > Self::ADDRESSES_MAX {
            return Err(Nonsense("more addresses than are ever advertised"));
        }
        let mut addresses = Vec::with_capacity(count);
        for _ in 0..count {
            let ip: IpAddr = match decoder.u8()? {
                4 => decoder.array::<4>()?.into(),
                6 => decoder.array::<16>()?.into(),
                _ => return Err(Nonsense("an unknown family of addresses")),
            };
            addresses.push((ip, decoder.u16()?).into());
        }
        Ok(Self { host, addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: HostId) -> Endpoint {
        let addresses = ["192.0.2.1:5", "[2001:db8::1]:6", "127.0.0.1:7"].map(|a| a.parse().expect("an address"));
        Endpoint { host, addresses: addresses.into() }
    }

    #[test]
    fn loopback_stays_on_its_host() {
        let other = HostId::from_number(HostId::here().number() ^ 1);
        assert_eq!(endpoint(HostId::here()).reachable()[0].port(), 7);
        assert_eq!(endpoint(HostId::here()).reachable().len(), 3);
        assert!(endpoint(other).reachable().iter().all(|a| !a.ip().is_loopback()));
        assert_eq!(endpoint(other).reachable().len(), 2);
    }

    #[test]
    fn bytes_go_there_and_back() {
        let endpoint = endpoint(HostId::here());
        let bytes = endpoint.to_bytes();
        assert_eq!(Endpoint::from_bytes(&bytes), Some(endpoint.clone()));
        assert_eq!(bytes.len(), 9 + endpoint.addresses.iter().map(Endpoint::encoded_size).sum::<usize>());
        for cut in 0..bytes.len() {
            assert_eq!(Endpoint::from_bytes(&bytes[..cut]), None);
        }
        assert_eq!(Endpoint::from_bytes(&[0; 200]), None);
        assert_eq!(Endpoint::from_bytes(&[255; 200]), None);
    }
}
