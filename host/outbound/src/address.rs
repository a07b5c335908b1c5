//! Checks the addresses that a name resolves to. Allowing a name means the public server of that
//! name: its DNS must not lead into the operator's own network, unless the addresses are listed.
//! Allowing an IP address or localhost means exactly that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::origin::Origin;
use crate::range::AddressRange;

/// Maximum addresses tried per name.
const ADDRESSES_TRIED_MAX: usize = 4;
/// The only name that may resolve to loopback without listed addresses.
const LOCALHOST: &str = "localhost";

/// An address that a name may not stand for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is a {kind} address, which {origin} may not stand for")]
pub struct RefusedAddress {
    /// The name's origin.
    pub origin: Origin,
    /// The address.
    pub address: IpAddr,
    /// What kind of address that is, such as `private`.
    pub kind: &'static str,
}

/// Of the addresses that an origin's name resolves to, those that may be connected to: those in
/// `ranges`; without any, public ones only, or loopback for `localhost`.
///
/// # Errors
/// All are refused.
pub fn admit(
    origin: &Origin,
    ranges: &[AddressRange],
    resolved: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, RefusedAddress> {
    let mut admitted = Vec::new();
    let mut refused = None;
    for address in resolved {
        let ip = address.ip();
        match kind(ip) {
            _ if ranges.iter().any(|range| range.contains(ip)) => admitted.push(address),
            kind if !ranges.is_empty() => refused = Some((ip, kind.unwrap_or("public"))),
            Some(_) if origin.host() == LOCALHOST && ip.is_loopback() => admitted.push(address),
            Some(kind) => refused = Some((ip, kind)),
            None => admitted.push(address),
        }
    }
    admitted.truncate(ADDRESSES_TRIED_MAX);
    match refused {
        Some((address, kind)) if admitted.is_empty() => {
            Err(RefusedAddress { origin: origin.clone(), address, kind })
        }
        _ => Ok(admitted),
    }
}

/// Classifies a non-public address (IANA special-purpose registries); `None` if it is public.
fn kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

fn kind_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [0, ..] => "unspecified",
        [127, ..] => "loopback",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "carrier-grade NAT",
        [169, 254, ..] => "link-local",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "documentation",
        [198, 18..=19, ..] => "benchmarking",
        [224..=239, ..] => "multicast",
        [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => "reserved",
        _ => return None,
    })
}

fn kind_v6(address: Ipv6Addr) -> Option<&'static str> {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        kind_v4(Ipv4Addr::new(a, b, c, d))
    };
    Some(match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "unspecified",
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        // Embedded IPv4: mapped, translated (NAT64), tunnelled (6to4).
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => return embedded(high, low),
        [0xfc00..=0xfdff, ..] => "unique-local",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xff00..=0xffff, ..] => "multicast",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "documentation",
        // Teredo, ORCHID, benchmarking and more.
        [0x2001, 0..=0x1ff, ..] => "reserved",
        [0x2000..=0x3fff, ..] => return None,
        _ => "reserved",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        for (address, expected) in [
            ("1.1.1.1", None),
            ("9.255.255.255", None),
            ("11.0.0.0", None),
            ("100.63.255.255", None),
            ("100.128.0.0", None),
            ("172.15.255.255", None),
            ("172.32.0.0", None),
            ("192.0.1.0", None),
            ("192.167.255.255", None),
            ("198.17.255.255", None),
            ("198.20.0.0", None),
            ("223.255.255.255", None),
            ("0.0.0.0", Some("unspecified")),
            ("0.1.2.3", Some("unspecified")),
            ("127.0.0.1", Some("loopback")),
            ("127.255.0.1", Some("loopback")),
            ("10.0.0.1", Some("private")),
            ("172.16.0.0", Some("private")),
            ("172.31.255.255", Some("private")),
            ("192.168.1.1", Some("private")),
            ("100.64.0.0", Some("carrier-grade NAT")),
            ("100.127.255.255", Some("carrier-grade NAT")),
            ("169.254.169.254", Some("link-local")),
            ("192.0.2.1", Some("documentation")),
            ("198.51.100.1", Some("documentation")),
            ("203.0.113.1", Some("documentation")),
            ("198.18.0.1", Some("benchmarking")),
            ("198.19.255.255", Some("benchmarking")),
            ("224.0.0.1", Some("multicast")),
            ("239.255.255.255", Some("multicast")),
            ("192.0.0.8", Some("reserved")),
            ("192.88.99.1", Some("reserved")),
            ("240.0.0.1", Some("reserved")),
            ("255.255.255.255", Some("reserved")),
            ("2606:4700::1111", None),
            ("2001:200::1", None),
            ("2001:4860:4860::8888", None),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::ffff:1.1.1.1", None),
            ("::ffff:10.0.0.1", Some("private")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::10.0.0.1", Some("reserved")),
            ("64:ff9b::1.1.1.1", None),
            ("64:ff9b::169.254.169.254", Some("link-local")),
            ("64:ff9b::10.0.0.1", Some("private")),
            ("64:ff9b:1::1", Some("reserved")),
            ("2002:101:101::1", None),
            ("2002:a00:1::1", Some("private")),
            ("2002:7f00:1::1", Some("loopback")),
            ("fc00::1", Some("unique-local")),
            ("fdff:ffff::1", Some("unique-local")),
            ("fe80::1", Some("link-local")),
            ("febf::1", Some("link-local")),
            ("fec0::1", Some("reserved")),
            ("ff02::1", Some("multicast")),
            ("2001:db8::1", Some("documentation")),
            ("3fff:fff::1", Some("documentation")),
            ("2001::1", Some("reserved")),
            ("2001:2::1", Some("reserved")),
            ("100::1", Some("reserved")),
            ("5f00::1", Some("reserved")),
            ("4000::1", Some("reserved")),
        ] {
            assert_eq!(kind(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn a_name_with_granted_addresses_leads_to_those_and_no_others() {
        let origin: Origin = "https://db.internal".parse().unwrap();
        let ranges = ["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let admit = |resolved: &[&str]| {
            let resolved = resolved.iter().map(|address| address.parse().unwrap());
            super::admit(&origin, &ranges, resolved)
                .map(|admitted| admitted.iter().map(SocketAddr::to_string).collect::<Vec<_>>())
        };
        let inside = ["10.1.255.255:443", "[fd00::1]:443"];
        assert_eq!(admit(&inside).unwrap(), inside);
        for outside in ["10.2.0.0:443", "127.0.0.1:443", "1.1.1.1:443", "[::1]:443"] {
            assert_eq!(admit(&["10.1.0.0:443", outside]).unwrap(), ["10.1.0.0:443"], "{outside}");
            assert!(admit(&[outside]).is_err(), "{outside}");
        }
        assert_eq!(admit(&["1.1.1.1:443"]).unwrap_err().kind, "public");
    }

    #[test]
    fn a_name_leads_to_public_addresses_only_and_localhost_to_this_machine() {
        let admit = |origin: &str, resolved: &[&str]| {
            let resolved = resolved.iter().map(|address| address.parse().unwrap());
            super::admit(&origin.parse().unwrap(), &[], resolved)
                .map(|admitted| admitted.iter().map(SocketAddr::to_string).collect::<Vec<_>>())
        };
        let name = "https://pay.example.com";
        assert_eq!(admit(name, &[]), Ok(vec![]));
        assert_eq!(admit(name, &["1.1.1.1:443"]), Ok(vec!["1.1.1.1:443".to_owned()]));
        let mixed = ["10.0.0.1:443", "1.1.1.1:443", "[::1]:443"];
        assert_eq!(admit(name, &mixed), Ok(vec!["1.1.1.1:443".to_owned()]));
        assert_eq!(admit(name, &["1.1.1.1:443"; 9]).unwrap().len(), ADDRESSES_TRIED_MAX);
        let local = ["127.0.0.1:80", "[::1]:80"];
        assert_eq!(admit("http://localhost", &local).unwrap(), local);
        assert!(admit("http://localhost", &["10.0.0.1:80"]).is_err());
        assert!(admit("http://localhost.example", &local).is_err());
        assert_eq!(
            admit("https://pay.example.com:8443", &["10.0.0.1:8443"]).unwrap_err().to_string(),
            "10.0.0.1 is a private address, which https://pay.example.com:8443 may not stand for"
        );
    }
}
