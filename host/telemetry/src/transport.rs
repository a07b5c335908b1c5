//! Sends batches by HTTP.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use ureq::Agent;
use ureq::tls::TlsConfig;
use usher_tls::TlsError;

/// The largest response that is read; collectors return a few bytes.
const RESPONSE_MAX_BYTES: u64 = 64 * 1024;

/// A client whose calls block: the SDK's batch processor has a thread for them.
#[derive(Debug)]
pub(crate) struct Transport {
    agent: Agent,
    /// Added here and not by the exporter, which would decode percent signs in them and let
    /// `OTEL_EXPORTER_OTLP_HEADERS` replace them (opentelemetry-otlp 0.33, `exporter/http/mod.rs`).
    headers: HeaderMap,
    /// Why the collector was not reached last: the exporter says only that it was not.
    unreached: Unreached,
}

/// A reason that is told once. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unreached(Arc<Mutex<Option<String>>>);

impl Unreached {
    pub(crate) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, reason: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

impl Transport {
    /// A client that gives up after `timeout`, and verifies certificates with the system's roots
    /// and those in `ca_file` if `is_tls`.
    pub(crate) fn new(
        is_tls: bool,
        ca_file: Option<&Path>,
        timeout: Duration,
        headers: HeaderMap,
        unreached: Unreached,
    ) -> Result<Self, TlsError> {
        let tls = match is_tls {
            true => usher_client::verifying(ca_file)?,
            false => TlsConfig::default(),
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_global(Some(timeout))
            .tls_config(tls)
            .build();
        Ok(Self { agent: Agent::new_with_config(config), headers, unreached })
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut head, body) = request.into_parts();
        for (name, value) in &self.headers {
            head.headers.insert(name, value.clone());
        }
        let host = head.uri.host().unwrap_or_default().to_owned();
        let response = self.agent.run(Request::from_parts(head, &body[..]));
        let response = response.inspect_err(|error| {
            let tls = match error {
                ureq::Error::Io(error) => {
                    usher_tls::explain(&host, error, "name a file of roots as ca_file in [tracing]")
                }
                _ => None,
            };
            self.unreached.set(tls.unwrap_or_else(|| error.to_string()));
        })?;
        let (head, mut body) = response.into_parts();
        let body = body.with_config().limit(RESPONSE_MAX_BYTES).read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }
}
