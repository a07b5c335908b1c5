//! Failed attempts to use the API, limited per address.
//!
//! A caller with a token that is accepted is never held up by the failures of its neighbours behind
//! the same address: only further failures are refused, before they cost a line in the log.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures of one address within [`WINDOW`] before further ones are limited.
pub(crate) const FAILURES_MAX: u32 = 20;

/// The time in which they are counted.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// Limit on addresses remembered; beyond it, the one whose window ends first is forgotten.
const ADDRESSES_MAX: usize = 4_096;

/// Where a caller connects from. Of IPv6 it is the network of 64 bits, which one caller may have
/// all of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// The Unix socket.
    Local,
    /// An address, or the network of one.
    Network(IpAddr),
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self::Network(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address => address,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("the local socket"),
            Self::Network(address) => write!(f, "{address}"),
        }
    }
}

/// The failures of each address.
#[derive(Default)]
pub(crate) struct Failures(Mutex<HashMap<Address, Window>>);

struct Window {
    began: Instant,
    failures: u32,
}

/// What one more failure comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// The first for a while: worth a line in the log.
    First,
    /// Another one.
    More,
    /// More than may be; the time until they are counted from zero again.
    TooMany(Duration),
}

impl Failures {
    /// Counts a failure.
    pub(crate) fn note(&self, address: Address) -> Noted {
        self.note_at(address, Instant::now())
    }

    fn note_at(&self, address: Address, now: Instant) -> Noted {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= ADDRESSES_MAX && !windows.contains_key(&address) {
            windows.retain(|_, window| now.duration_since(window.began) < WINDOW);
            let first = windows.iter().min_by_key(|(_, window)| window.began);
            if let Some(first) =
                first.map(|(address, _)| *address).filter(|_| windows.len() >= ADDRESSES_MAX)
            {
                windows.remove(&first);
            }
        }
        let window = windows.entry(address).or_insert(Window { began: now, failures: 0 });
        let age = now.duration_since(window.began);
        if age >= WINDOW {
            *window = Window { began: now, failures: 0 };
        }
        window.failures = window.failures.saturating_add(1);
        match window.failures {
            1 => Noted::First,
            ..=FAILURES_MAX => Noted::More,
            _ => Noted::TooMany(WINDOW.saturating_sub(age)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> Address {
        IpAddr::from(n.to_be_bytes()).into()
    }

    #[test]
    fn failures_are_limited_per_address_and_forgotten() {
        let (failures, now) = (Failures::default(), Instant::now());
        assert_eq!(failures.note_at(address(1), now), Noted::First);
        for _ in 1..FAILURES_MAX {
            assert_eq!(failures.note_at(address(1), now), Noted::More);
        }
        assert_eq!(failures.note_at(address(1), now), Noted::TooMany(WINDOW));
        assert_eq!(failures.note_at(address(2), now), Noted::First);
        assert_eq!(failures.note_at(address(1), now + WINDOW), Noted::First);
    }

    #[test]
    fn addresses_are_bounded() {
        let (failures, now) = (Failures::default(), Instant::now());
        for n in 0..5_000 {
            failures.note_at(address(n), now + Duration::from_millis(n.into()));
        }
        assert_eq!(failures.0.lock().unwrap().len(), ADDRESSES_MAX);
        let late = now + Duration::from_secs(5);
        assert_eq!(failures.note_at(address(4_999), late), Noted::More);
        assert_eq!(failures.note_at(address(0), late), Noted::First);
    }

    #[test]
    fn networks_of_ipv6_count_as_one() {
        let network = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
    }
}
