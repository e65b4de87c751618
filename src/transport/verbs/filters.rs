//! What a user may ask for of devices and addresses: names, versions, families, networks. Each parses from the text of a variable, and judges.

use super::sys::GidKind;
use std::net::IpAddr;
use std::str::FromStr;

/// Which devices and ports: `_HCA`.
///
/// A comma list of names, each with a port if it has one: `mlx5_0:1,mlx5_2`. Names are prefixes (`mlx5` takes every `mlx5_…`); after a leading `=` all
/// are exact; after a leading `^` all are excluded; `^=` excludes exact names. The order of the list is the order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFilter {
    entries: Vec<(String, Option<u8>)>,
    exact: bool,
    exclude: bool,
}

impl DeviceFilter {
    /// How well a port fits: `None` not at all, otherwise its place in the order of preference.
    pub fn place(&self, device: &str, port: u8) -> Option<usize> {
        let fits = |(name, number): &(String, Option<u8>)| {
            let named = if self.exact { device == name } else { device.starts_with(name.as_str()) };
            named && number.is_none_or(|number| number == port)
        };
        match (self.exclude, self.entries.iter().position(fits)) {
            (true, Some(_)) => None,
            (true, None) => Some(0),
            (false, place) => place,
        }
    }
}

impl FromStr for DeviceFilter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (exclude, rest) = text.strip_prefix('^').map_or((false, text), |rest| (true, rest));
        let (exact, rest) = rest.strip_prefix('=').map_or((false, rest), |rest| (true, rest));
        let mut entries = Vec::new();
        for entry in rest.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, port) = match entry.split_once(':') {
                Some((name, port)) => {
                    let port = port.parse().ok().filter(|port| *port > 0);
                    (name, Some(port.ok_or("a port is a number from 1, as in mlx5_0:1")?))
                }
                None => (entry, None),
            };
            if name.is_empty() || name.starts_with(['^', '=']) {
                return Err("^ and = stand once, in front of the whole list, and every entry names a device");
            }
            entries.push((name.to_owned(), port));
        }
        if entries.is_empty() {
            return Err("it names no device (expected names such as mlx5_0:1,mlx5_2 or =rxe0 or ^mlx5_bond)");
        }
        Ok(Self { entries, exact, exclude })
    }
}

/// Which kind of GID: `_ROCE_VERSION_NUM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoceVersion {
    /// Ethernet frames.
    V1,
    /// UDP packets, which are routed.
    V2,
}

impl RoceVersion {
    /// The kind of its GIDs.
    pub fn kind(self) -> GidKind {
        match self {
            Self::V1 => GidKind::RoceV1,
            Self::V2 => GidKind::RoceV2,
        }
    }
}

impl FromStr for RoceVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "1" => Ok(Self::V1),
            "2" => Ok(Self::V2),
            _ => Err("expected 1 or 2"),
        }
    }
}

/// Which family of addresses: `_ADDR_FAMILY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

impl Family {
    /// Whether an address belongs to it.
    pub fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

impl FromStr for Family {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "AF_INET" => Ok(Self::V4),
            "AF_INET6" => Ok(Self::V6),
            _ => Err("expected AF_INET or AF_INET6"),
        }
    }
}

/// A network: `_ADDR_RANGE`, as in `10.0.0.0/8` or `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    network: IpAddr,
    prefix_bits: u32,
}

impl AddressRange {
    /// Whether an address belongs to it.
    pub fn has(&self, address: IpAddr) -> bool {
        // Both aligned to the top of 128 bits, so that one comparison serves both families.
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let differs = bits(self.network) ^ bits(address);
        self.network.is_ipv4() == address.is_ipv4() && differs.leading_zeros() >= self.prefix_bits
    }
}

impl std::fmt::Display for AddressRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_bits)
    }
}

impl FromStr for AddressRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected a network, as in 10.0.0.0/8 or 2001:db8::/32";
        let (network, prefix_bits) = text.split_once('/').ok_or(EXPECTED)?;
        let network: IpAddr = network.trim().parse().map_err(|_| EXPECTED)?;
        let prefix_bits = prefix_bits.trim().parse().map_err(|_| EXPECTED)?;
        let bits_max = if network.is_ipv4() { 32 } else { 128 };
        if prefix_bits > bits_max {
            return Err(EXPECTED);
        }
        Ok(Self { network, prefix_bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> DeviceFilter {
        text.parse().expect("a filter")
    }

    #[test]
    fn devices_are_named_by_prefix_or_exactly_with_or_without_port() {
        for (text, device, port, place) in [
            ("mlx5", "mlx5_3", 2, Some(0)),
            ("mlx5_1", "mlx5_10", 1, Some(0)),
            ("=mlx5_1", "mlx5_10", 1, None),
            ("=mlx5_1", "mlx5_1", 1, Some(0)),
            ("rxe0, mlx5_1:2", "mlx5_1", 2, Some(1)),
            ("rxe0,mlx5_1:2", "mlx5_1", 1, None),
            ("^mlx5_1:2", "mlx5_1", 2, None),
            ("^mlx5_1:2", "mlx5_1", 1, Some(0)),
            ("^=mlx5_1", "mlx5_10", 1, Some(0)),
            ("^mlx5_1,rxe", "rxe3", 1, None),
        ] {
            assert_eq!(filter(text).place(device, port), place, "{text}: {device}:{port}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "^", "=", "^=", ",", "mlx5,^rxe", "mlx5:", "mlx5:0", "mlx5:256", ":1", "a:1:2"] {
            assert!(text.parse::<DeviceFilter>().is_err(), "{text}");
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(text.parse::<AddressRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, address, has) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.0.2/32", "10.1.0.2", true),
            ("10.1.0.2/32", "10.1.0.3", false),
            ("0.0.0.0/0", "192.0.2.7", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "10.0.0.1", false),
        ] {
            let range: AddressRange = network.parse().expect("a network");
            assert_eq!(range.has(address.parse().expect("an address")), has, "{network}: {address}");
        }
    }
}
