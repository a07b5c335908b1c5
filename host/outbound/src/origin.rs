//! Scheme, host and port of an HTTP server, in one spelling.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Longest host name that DNS allows.
pub const HOST_MAX_BYTES: usize = 253;

/// Scheme, host and port of an HTTP server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    tls: bool,
    /// Lower case; an IPv6 address is in brackets and in its shortest form.
    host: String,
    port: u16,
}

/// Error from parsing an [`Origin`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an origin: write scheme, host and port only, like \"https://pay.example.com\" or \"http://127.0.0.1:9001\""
)]
pub struct OriginError {
    text: String,
}

impl Origin {
    /// The origin a request to this URI goes to; `None` unless it is an http or https URI with a
    /// host.
    pub fn of(uri: &http::Uri) -> Option<Self> {
        let tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority()?;
        // Userinfo is never sent, but can make one authority look like another.
        if authority.as_str().contains('@') {
            return None;
        }
        let host = canonical_host(authority.host())?;
        // A port that doesn't parse must not fall back to the default one.
        let after_host = authority.as_str().get(authority.host().len()..)?;
        let port = match after_host.strip_prefix(':') {
            None if after_host.is_empty() => {
                if tls {
                    443
                } else {
                    80
                }
            }
            None => return None,
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => port.parse().ok()?,
            Some(_) => return None,
        };
        (port != 0).then_some(Self { tls, host, port })
    }

    /// Whether requests go over TLS.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// Name or address; an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }

    /// The port, explicit or the scheme's default.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Normalises a host; `None` if it is invalid.
fn canonical_host(host: &str) -> Option<String> {
    if host.len() > HOST_MAX_BYTES {
        return None;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return Some(format!("[{}]", address.parse::<Ipv6Addr>().ok()?));
    }
    let host = host.to_ascii_lowercase();
    let valid = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    // Resolvers read `127.1`, `0x7f.1` and the like as addresses; accept only dotted quads.
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.starts_with(|c: char| c.is_ascii_digit());
    (valid && (!numeric || host.parse::<Ipv4Addr>().is_ok())).then_some(host)
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let error = || OriginError { text: text.chars().take(256).collect() };
        let uri: http::Uri = text.parse().map_err(|_| error())?;
        let bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        if !bare || text.contains(['#', '?']) {
            return Err(error());
        }
        Self::of(&uri).ok_or_else(error)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default) = if self.tls { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == default { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_origin_are_equal() {
        for (text, shown) in [
            ("https://Pay.Example.com", "https://pay.example.com"),
            ("https://pay.example.com:443/", "https://pay.example.com"),
            ("http://127.0.0.1:9001", "http://127.0.0.1:9001"),
            ("http://[0:0::1]:80", "http://[::1]"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), shown, "{text}");
        }
        assert_eq!("http://[::1]".parse::<Origin>().unwrap().host(), "::1");
    }

    #[test]
    fn anything_but_an_origin_is_refused() {
        for text in [
            "",
            "example.com",
            "ftp://example.com",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://user@a",
            "https://a:0",
            "https://a:99999",
            "http://0x7f.1",
            "http://127.1",
            "http://2130706433",
            "http://a b",
            "http://[::1",
            "http://a:80:80",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_is_no_longer_than_dns_allows() {
        let origin = |bytes: usize| format!("https://{}", "a".repeat(bytes)).parse::<Origin>();
        assert!(origin(HOST_MAX_BYTES).is_ok());
        assert!(origin(HOST_MAX_BYTES + 1).is_err());
    }
}
