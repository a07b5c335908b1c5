//! Grants of outgoing HTTP: an origin, an optional path prefix, and the addresses its name may
//! resolve to.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use usher_outbound::{AddressRange, Origin, OriginError};
use usher_tls::Roots;

use crate::capability::Grants;

/// The capability's name.
pub(super) const NAME: &str = "http";

/// Characters that are percent-encoded in a path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// Where a plugin may send HTTP requests: an origin, optionally limited to a path prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    /// The server.
    pub origin: Origin,
    /// Decoded segments that a request's path must start with.
    prefix: Vec<String>,
    /// Addresses the origin's name may resolve to. If empty: public addresses only, or loopback for
    /// `localhost`. Not used if the origin is an IP address, which is granted as it is.
    pub addresses: Vec<AddressRange>,
    /// What the server's certificate is verified with; `None` for the system's roots alone.
    pub roots: Option<Roots>,
}

/// Error from parsing an [`HttpGrant`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpGrantError {
    /// It doesn't start with a valid origin.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// Its path can't be compared with those of requests.
    #[error(
        "{path:?} can't be granted: write a path without query, empty segments, dots or encoded \
         slashes, like \"https://pay.example.com/v1/charges\""
    )]
    Path {
        /// The path.
        path: String,
    },
}

/// Relation of a request's path to a grant's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    Below,
    Elsewhere,
    /// Servers may disagree on which of the two it is.
    Ambiguous,
}

impl HttpGrant {
    /// Grants a whole origin.
    pub fn of(origin: Origin) -> Self {
        Self { origin, prefix: Vec::new(), addresses: Vec::new(), roots: None }
    }

    /// Compares a request's path with the prefix, by decoded segments.
    pub(crate) fn covers(&self, path: &str) -> Path {
        if self.prefix.is_empty() {
            return Path::Below;
        }
        let Some(segments) = path.strip_prefix('/').map(|path| path.split('/')) else {
            return Path::Elsewhere;
        };
        let Some(segments) = segments.map(plain).collect::<Option<Vec<_>>>() else {
            return Path::Ambiguous;
        };
        if segments.starts_with(&self.prefix) { Path::Below } else { Path::Elsewhere }
    }
}

/// Decodes a segment; `None` if servers may interpret it differently: dot segments, encoded
/// slashes, control characters, invalid UTF-8 or double encoding.
fn plain(segment: &str) -> Option<String> {
    let decoded = percent_decode_str(segment).decode_utf8().ok()?;
    // Some servers treat what follows a semicolon as a parameter.
    let name = decoded.split(';').next().unwrap_or_default();
    let is_plain = !matches!(name, "." | "..")
        && !decoded.contains(['/', '\\'])
        && !decoded.contains(char::is_control)
        && percent_decode_str(&decoded).decode_utf8().is_ok_and(|twice| twice == decoded);
    is_plain.then(|| decoded.into_owned())
}

impl FromStr for HttpGrant {
    type Err = HttpGrantError;

    fn from_str(text: &str) -> Result<Self, HttpGrantError> {
        // The path starts at the first slash after `://`.
        let after_scheme = text.find("://").map_or(0, |at| at + "://".len());
        let slash = text.get(after_scheme..).and_then(|rest| rest.find('/'));
        let (origin, path) = text.split_at(slash.map_or(text.len(), |at| after_scheme + at));
        let origin: Origin = origin.parse()?;
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Ok(Self::of(origin));
        }
        let segment = |segment: &str| {
            let is_clean = !segment.is_empty() && !segment.contains(['?', '#', ' ']);
            if is_clean { plain(segment) } else { None }
        };
        let error = || HttpGrantError::Path { path: path.chars().take(256).collect() };
        let prefix = path.split('/').map(segment).collect::<Option<_>>().ok_or_else(error)?;
        Ok(Self { prefix, ..Self::of(origin) })
    }
}

/// The URL, as it is written in the configuration.
impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        let mut segments = self.prefix.iter().map(|segment| utf8_percent_encode(segment, ENCODED));
        segments.try_for_each(|segment| write!(f, "/{segment}"))
    }
}

impl Grants {
    /// Adds where the plugin may send HTTP requests; the first grant that covers a request
    /// applies.
    #[must_use]
    pub fn with_http(mut self, grants: Vec<HttpGrant>) -> Self {
        if !grants.is_empty() {
            self.insert(NAME, grants);
        }
        self
    }

    /// Where the plugin may send HTTP requests.
    pub fn http(&self) -> &[HttpGrant] {
        self.get::<Vec<HttpGrant>>(NAME).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_shown_as_it_was_meant() {
        for (text, shown) in [
            ("https://pay.example.com", "https://pay.example.com"),
            ("https://pay.example.com/", "https://pay.example.com"),
            ("https://Pay.example.com:443/v1/charges/", "https://pay.example.com/v1/charges"),
            ("http://[::1]:9001/a%20b:%3f", "http://[::1]:9001/a%20b:%3F"),
        ] {
            assert_eq!(text.parse::<HttpGrant>().unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "https://a/b/../c",
            "https://a/./b",
            "https://a//b",
            "https://a/b?c",
            "https://a/b#c",
            "https://a/b%2fc",
            "https://a/%2e%2e",
            "https://a/b%5cc",
            "https://a/b%252fc",
            "https://a/%ff",
            "https://a/b c",
        ] {
            let error = text.parse::<HttpGrant>().unwrap_err();
            assert!(matches!(error, HttpGrantError::Path { .. }), "{text}: {error}");
        }
        for text in ["", "a/b", "ftp://a/b", "https:///b", "https://u@a/b", "https://a:0/b"] {
            let error = text.parse::<HttpGrant>().unwrap_err();
            assert!(matches!(error, HttpGrantError::Origin(_)), "{text}: {error}");
        }
    }

    #[test]
    fn paths_are_compared_segment_by_segment() {
        let grant: HttpGrant = "https://a/v1/char%67es".parse().unwrap();
        for (path, expected) in [
            ("/v1/charges", Path::Below),
            ("/v1/charges/", Path::Below),
            ("/v1/charges/17/refund", Path::Below),
            ("/v1/%63harges/x%20y", Path::Below),
            ("/v1/charges//x", Path::Below),
            ("/v1/charges/a.b/...", Path::Below),
            ("/v1/chargesX", Path::Elsewhere),
            ("/v1/charge", Path::Elsewhere),
            ("/v1", Path::Elsewhere),
            ("/", Path::Elsewhere),
            ("", Path::Elsewhere),
            ("*", Path::Elsewhere),
            ("//v1/charges", Path::Elsewhere),
            ("/V1/charges", Path::Elsewhere),
            ("/v1/charges/../admin", Path::Ambiguous),
            ("/v1/charges/%2e%2e/admin", Path::Ambiguous),
            ("/v1/charges/.%2E/admin", Path::Ambiguous),
            ("/v1/charges/..;x/admin", Path::Ambiguous),
            ("/v1/charges/%252e%252e/admin", Path::Ambiguous),
            ("/v1/charges/..%2fadmin", Path::Ambiguous),
            ("/v1/charges/a%5c..%5cadmin", Path::Ambiguous),
            ("/v1/charges/a%00b", Path::Ambiguous),
            ("/v1/./charges", Path::Ambiguous),
            ("/v1/charges/%ff", Path::Ambiguous),
        ] {
            assert_eq!(grant.covers(path), expected, "{path}");
        }
        let whole: HttpGrant = "https://a".parse().unwrap();
        assert_eq!(whole.covers("/any/../thing"), Path::Below);
    }
}
