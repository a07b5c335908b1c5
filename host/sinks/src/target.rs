//! Where a sink delivers, and how.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Uri};
use rustls::ClientConfig;
use usher_event::Digest;
use usher_outbound::{AddressRange, Origin};
use usher_tls::{Roots, TlsError};
use usher_webhooks::SigningKey;

/// How events are written into requests (CloudEvents HTTP protocol binding, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One event: attributes in headers, data in the body.
    #[default]
    Binary,
    /// One event as JSON.
    Structured,
    /// Several events as a JSON array.
    Batch,
}

impl Mode {
    /// The name in configuration and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Structured => "structured",
            Self::Batch => "batch",
        }
    }
}

/// What goes together in a request with [`Mode::Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRule {
    /// Limit on events.
    pub max_events: usize,
    /// How long the first event waits for others; zero to gather only while a request is under way.
    pub wait: Duration,
}

impl BatchRule {
    /// Upper bound of `max_events`.
    pub const MAX_EVENTS: usize = 500;
    /// Upper bound of `wait`: deliveries that wait are under way, and hold up a change of the sink.
    pub const MAX_WAIT: Duration = Duration::from_secs(10);
}

impl Default for BatchRule {
    fn default() -> Self {
        Self { max_events: Self::MAX_EVENTS, wait: Duration::ZERO }
    }
}

/// Where a sink delivers, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URL.
    pub url: Uri,
    /// Its scheme, host and port.
    pub origin: Origin,
    /// Addresses that its host may stand for; if empty, public ones only.
    pub addresses: Vec<AddressRange>,
    /// What its certificate is verified with; `None` for the system's roots alone.
    pub roots: Option<Roots>,
    /// How events are written.
    pub mode: Mode,
    /// What goes together in a batch.
    pub batch: BatchRule,
    /// Header fields of every request.
    pub headers: HeaderMap,
    /// Time limit of a request, response included.
    pub timeout: Duration,
    /// Keys that requests are signed with, as Standard Webhooks has it.
    pub keys: Vec<SigningKey>,
}

impl Target {
    /// Identifies the settings, as a component's digest identifies its bytes. Values of headers
    /// don't count: they may be secrets.
    pub(crate) fn digest(&self) -> Digest {
        let names: Vec<_> = self.headers.keys().map(http::HeaderName::as_str).collect();
        let Self { url, mode, batch, timeout, .. } = self;
        // Settings that aren't used make no other version.
        let batch =
            Some(batch).filter(|batch| *mode == Mode::Batch && **batch != BatchRule::default());
        let batch = batch.map(|batch| format!(" {batch:?}")).unwrap_or_default();
        let text = format!("{url} {mode:?} {names:?} {timeout:?}{batch}");
        Digest::of(text.as_bytes())
    }

    /// What TLS is spoken with, if it is.
    ///
    /// # Errors
    /// The system has no roots.
    pub(crate) fn tls(&self) -> Result<Option<Arc<ClientConfig>>, TlsError> {
        match &self.roots {
            _ if !self.origin.tls() => Ok(None),
            Some(roots) => Ok(Some(roots.client_config())),
            None => usher_tls::client_config(None).map(Some),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A target with nothing special about it.
    pub(crate) fn target(url: &str) -> Target {
        let url: Uri = url.parse().unwrap();
        Target {
            origin: Origin::of(&url).unwrap(),
            url,
            addresses: Vec::new(),
            roots: None,
            mode: Mode::default(),
            batch: BatchRule::default(),
            headers: HeaderMap::new(),
            timeout: Duration::from_secs(5),
            keys: Vec::new(),
        }
    }

    #[test]
    fn another_place_is_another_version() {
        let one = target("http://127.0.0.1:1/a");
        assert_eq!(one.digest(), target("http://127.0.0.1:1/a").digest());
        assert_ne!(one.digest(), target("http://127.0.0.1:1/b").digest());
        let mode = Mode::Structured;
        assert_ne!(one.digest(), Target { mode, ..one.clone() }.digest());
    }
}
