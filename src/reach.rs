//! Which addresses a route may lead to. What others name as a target is not to lead to this machine, to its link, or
//! to the metadata service of a cloud, however that is spelled.
//!
//! Addresses alone, from `core::net`: nothing is resolved and nothing is opened here.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

/// Which addresses a route may lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Any: whoever wrote the configuration wrote this address.
    #[default]
    Anywhere,
    /// None that is this machine's, its link's or a metadata service's, but for those in the list.
    Elsewhere(Vec<AddressRange>),
}

impl Reach {
    /// Why `address` is not to be used; `None` if it may be.
    pub fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        let Self::Elsewhere(allowed) = self else {
            return None;
        };
        if allowed.iter().any(|range| range.contains(address)) {
            return None;
        }
        // One address may have another one in it, and that is where it leads.
        let mut inner = vec![address];
        if let IpAddr::V6(address) = address {
            inner.extend(embedded(address).into_iter().map(IpAddr::V4));
        }
        if inner[1..]
            .iter()
            .any(|address| allowed.iter().any(|range| range.contains(*address)))
        {
            return None;
        }
        inner.into_iter().find_map(what_it_is)
    }
}

/// What a target's address must not be.
fn what_it_is(address: IpAddr) -> Option<&'static str> {
    let found = FORBIDDEN.iter().find(|(range, _)| range.contains(address));
    found.map(|(_, what)| *what)
}

const fn v4(octets: [u8; 4], bits: u8) -> AddressRange {
    AddressRange {
        first: IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])),
        bits,
    }
}

const fn v6(segments: [u16; 8], bits: u8) -> AddressRange {
    let [a, b, c, d, e, f, g, h] = segments;
    AddressRange {
        first: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)),
        bits,
    }
}

/// The metadata services that are not on the link stand in the documentation of their clouds.
const FORBIDDEN: &[(AddressRange, &str)] = &[
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([0, 0, 0, 0], 8), "this machine"),
    (v4([169, 254, 169, 254], 32), "a metadata service"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([100, 100, 100, 200], 32), "a metadata service"),
    (v4([168, 63, 129, 16], 32), "a metadata service"),
    (v4([192, 0, 0, 192], 32), "a metadata service"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([255, 255, 255, 255], 32), "broadcast"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "this machine"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
    (
        v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32),
        "a metadata service",
    ),
    (
        v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
        "a metadata service",
    ),
];

/// The IPv4 addresses to which an IPv6 address may lead, by its form: mapped, compatible, NAT64, 6to4, Teredo, ISATAP.
fn embedded(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let last = of(segments[6], segments[7]);
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => vec![last],
        // Where in a translator's own prefix the address stands depends on the prefix; the end is usual.
        [0x64, 0xff9b, ..] => vec![last],
        [0x2002, high, low, ..] => vec![of(high, low)],
        [0x2001, 0, server_high, server_low, ..] => {
            vec![of(server_high, server_low), of(!segments[6], !segments[7])]
        }
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => vec![last],
        _ => Vec::new(),
    }
}

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRange {
    first: IpAddr,
    bits: u8,
}

impl AddressRange {
    /// Whether `address` is one of them, as it is written: an IPv6 address is in no range of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let differ = u32::from(first) ^ u32::from(address);
                differ.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let differ = u128::from(first) ^ u128::from(address);
                differ.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for AddressRange {
    type Err = &'static str;

    /// Reads an address, or a range as in `127.0.0.0/8`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| "it is no IP address")?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most),
            None => Some(most),
        };
        let bits = bits.ok_or("what stands after the slash is no number of bits")?;
        Ok(Self { first, bits })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elsewhere(allowed: &[&str]) -> Reach {
        Reach::Elsewhere(allowed.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn this_machine_its_link_and_metadata_services_are_refused_in_every_spelling() {
        for (address, what) in [
            ("127.0.0.1", Some("loopback")),
            ("127.255.255.254", Some("loopback")),
            ("0.0.0.0", Some("this machine")),
            ("169.254.169.254", Some("a metadata service")),
            ("169.254.0.1", Some("link-local")),
            ("100.100.100.200", Some("a metadata service")),
            ("168.63.129.16", Some("a metadata service")),
            ("224.0.0.1", Some("multicast")),
            ("255.255.255.255", Some("broadcast")),
            ("::1", Some("loopback")),
            ("::", Some("this machine")),
            ("fe80::1", Some("link-local")),
            ("febf::1", Some("link-local")),
            ("fd00:ec2::254", Some("a metadata service")),
            ("fd20:ce::254", Some("a metadata service")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:a9fe:a9fe", Some("a metadata service")),
            ("::127.0.0.1", Some("loopback")),
            ("::ffff:0:127.0.0.1", Some("loopback")),
            ("64:ff9b::7f00:1", Some("loopback")),
            ("64:ff9b:1::a9fe:a9fe", Some("a metadata service")),
            ("2002:7f00:1::", Some("loopback")),
            ("2002:a9fe:a9fe::1", Some("a metadata service")),
            ("2001:0:7f00:1::", Some("loopback")),
            ("2001:0:808:808::80ff:fffe", Some("loopback")),
            ("2001:db8::5efe:127.0.0.1", Some("loopback")),
            ("10.0.0.1", None),
            ("192.168.1.1", None),
            ("172.16.0.1", None),
            ("100.100.100.201", None),
            ("8.8.8.8", None),
            ("fd00::1", None),
            ("2001:db8::1", None),
            ("::ffff:10.0.0.1", None),
        ] {
            let found = elsewhere(&[]).refusal(address.parse().unwrap());
            assert_eq!(found, what, "{address}");
            assert_eq!(Reach::Anywhere.refusal(address.parse().unwrap()), None);
        }
    }

    #[test]
    fn what_is_named_may_be_reached_and_nothing_beside_it() {
        let reach = elsewhere(&["127.0.0.1", "169.254.10.0/24", "::1"]);
        for (address, may) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("127.0.0.2", false),
            ("169.254.10.7", true),
            ("169.254.11.7", false),
            ("::1", true),
            ("fe80::1", false),
        ] {
            let refusal = reach.refusal(address.parse().unwrap());
            assert_eq!(refusal.is_none(), may, "{address}");
        }
        assert_eq!(
            elsewhere(&["0.0.0.0/0"]).refusal([127, 0, 0, 1].into()),
            None
        );
        assert!(
            elsewhere(&["::/0"])
                .refusal([127, 0, 0, 1].into())
                .is_some()
        );
    }

    #[test]
    fn a_range_is_an_address_and_a_number_of_bits() {
        for text in ["127.0.0.0/8", "::1/128", "fe80::/10"] {
            assert_eq!(text.parse::<AddressRange>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "localhost",
            "127.0.0.0/33",
            "::1/129",
            "127.0.0.1/",
            "127.1",
        ] {
            assert!(text.parse::<AddressRange>().is_err(), "{text}");
        }
    }
}
