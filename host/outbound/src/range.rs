//! Ranges of addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A CIDR range such as `10.0.0.0/8`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange(IpNet);

/// Error from parsing an [`AddressRange`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no range of addresses: write {hint}")]
pub struct AddressRangeError {
    text: String,
    hint: String,
}

impl AddressRange {
    /// Whether the range contains an address. IPv4-mapped IPv6 addresses count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

/// As it is written in the configuration.
impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => write!(f, "{}", self.0.addr()),
            false => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, AddressRangeError> {
        let error =
            |hint: String| AddressRangeError { text: text.chars().take(64).collect(), hint };
        let range = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let range: IpNet =
            range.map_err(|_| error("an address, or a range like \"10.0.0.0/8\"".to_owned()))?;
        match range.trunc() {
            first if first == range => Ok(Self(range)),
            first => Err(error(format!("\"{first}\", the first address of it"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_their_first_and_last_address() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
            ("10.1.2.3", ["10.1.2.3", "::ffff:10.1.2.3"], ["10.1.2.2", "10.1.2.4"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "fd00::1"]),
            ("fd00::/8", ["fd00::", "fdff::1"], ["fc00::1", "fe00::1"]),
            ("::/0", ["::1", "fd00::1"], ["10.0.0.1", "::ffff:10.0.0.1"]),
        ] {
            let parsed: AddressRange = range.parse().unwrap();
            let contains = |address: &str| parsed.contains(address.parse().unwrap());
            assert!(inside.iter().all(|address| contains(address)), "{range}");
            assert!(!outside.iter().any(|address| contains(address)), "{range}");
        }
        for text in ["", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10/8", "10.0.0.0/-1", "a/8"] {
            assert!(text.parse::<AddressRange>().is_err(), "{text}");
        }
        let error = "10.1.2.3/8".parse::<AddressRange>().unwrap_err().to_string();
        assert!(error.contains("write \"10.0.0.0/8\""), "{error}");
    }
}
