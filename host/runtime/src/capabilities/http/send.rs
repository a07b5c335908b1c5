//! Sends one request per connection: resolves once, checks the addresses, and connects only to a
//! checked one. TLS is verified against the system's roots and those of the plugin's `ca_file`; no
//! redirects, no proxies.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use http::uri::Uri;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use rustls::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use usher_outbound::{DialError, RefusedAddress, Stream, dial};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::Exchange;
use super::body::{RequestBody, ResponseBody};
use super::grant::{HttpGrant, NAME};
use super::transcript::Noted;
use crate::Limits;
use crate::plugin::Plugin;

/// Maximum response head, and size of the read buffer.
const RESPONSE_HEAD_MAX_BYTES: usize = 64 * 1024;
const RESPONSE_FIELDS_MAX: usize = 100;

/// How an operator makes an authority known.
const ROOTS_REMEDY: &str = "add the authority's certificate to the system's roots, or name a file of \
                            roots as ca_file of the plugin, or as SSL_CERT_FILE in the router's \
                            environment";

/// Default `user-agent`: some servers refuse requests without one.
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("usher/", env!("CARGO_PKG_VERSION")));

/// Default limit on concurrent connections across all plugins.
pub(crate) const CONNECTIONS_DEFAULT: usize = 512;

/// HTTP client shared by all plugins.
pub(crate) struct Client {
    /// With the system's roots; loaded on first use.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
    /// One permit for each connection.
    connections: Arc<Semaphore>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new(CONNECTIONS_DEFAULT)
    }
}

/// Timeouts of a call. A guest may shorten them, never extend them.
struct Times {
    connect: Duration,
    first_byte: Duration,
    /// Maximum time between two frames of the response body.
    pause: Duration,
    total: Duration,
}

impl Times {
    fn of(limits: &Limits, options: &RequestOptions) -> Self {
        let total = Duration::from_millis(limits.http_total_ms);
        let connect = Duration::from_millis(limits.http_connect_ms);
        Self {
            connect: options.connect_timeout.unwrap_or(connect).min(connect),
            first_byte: options.first_byte_timeout.unwrap_or(total).min(total),
            pause: options.between_bytes_timeout.unwrap_or(total).min(total),
            total,
        }
    }

    /// Applies the connect timeout.
    async fn connected<T>(
        &self,
        connecting: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        timeout(self.connect, connecting).await.map_err(|_| Error::ConnectionTimeout)?
    }

    /// Applies the first-byte timeout and the deadline to waiting for the response head.
    async fn answered<T>(
        &self,
        deadline: Instant,
        response: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        timeout_at(deadline.min(Instant::now() + self.first_byte), response)
            .await
            .map_err(|_| Error::HttpResponseTimeout)?
    }
}

type Connection = http1::Connection<TokioIo<Box<dyn Stream>>, RequestBody>;

impl Client {
    /// A client with at most `max_connections` concurrent connections.
    pub(crate) fn new(max_connections: usize) -> Self {
        Self { tls: OnceLock::new(), connections: Arc::new(Semaphore::new(max_connections)) }
    }

    /// Sends a request; returns once the response head has arrived.
    pub(super) async fn send(
        self: Arc<Self>,
        mut request: Request<WasiBody>,
        grant: &HttpGrant,
        options: RequestOptions,
        plugin: &Plugin,
        slot: OwnedSemaphorePermit,
        noted: Option<Noted>,
    ) -> Result<Exchange, Error> {
        let limits = &plugin.limits;
        let times = Times::of(limits, &options);
        let deadline = Instant::now() + times.total;

        // Origin form: only proxies take scheme and authority. The host header is already set.
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        request.headers_mut().entry(header::USER_AGENT).or_insert(USER_AGENT);
        let request =
            request.map(|body| RequestBody::new(body, limits.http_request_bytes, noted.clone()));

        let place = Arc::clone(&self.connections).acquire_owned();
        let place = times.connected(async { place.await.map_err(|_| Error::ConnectionTerminated) });
        let place = place.await?;
        let (mut sender, connection) = times.connected(self.connect(plugin, grant)).await?;
        let mut connection = Some(connection);
        let response = sender.send_request(request);
        let response = times.answered(deadline, drive(response, &mut connection)).await?;

        let pause = times.pause;
        let limit_bytes = limits.http_response_bytes;
        let response = response.map(|body| {
            ResponseBody::new(body, limit_bytes, deadline, pause, slot, noted).boxed_unsync()
        });
        let rest = async move {
            let _place = place;
            let Some(connection) = connection else { return Ok(()) };
            match timeout_at(deadline, connection).await {
                Ok(ended) => ended.map_err(Error::from),
                Err(_) => Err(Error::HttpResponseTimeout),
            }
        };
        Ok((response, Box::new(rest)))
    }

    async fn connect(
        self: Arc<Self>,
        plugin: &Plugin,
        grant: &HttpGrant,
    ) -> Result<(http1::SendRequest<RequestBody>, Connection), Error> {
        let origin = &grant.origin;
        let failed = |error| dial_error(plugin, grant, error);
        let tcp = dial(origin, &grant.addresses).await.map_err(failed)?;
        let tls = match &grant.roots {
            _ if !origin.tls() => None,
            Some(roots) => Some(roots.client_config()),
            None => Some(self.tls().await?),
        };
        let stream = usher_outbound::connect(origin, tcp, tls).await.map_err(failed)?;
        let handshake = http1::Builder::new()
            .max_buf_size(RESPONSE_HEAD_MAX_BYTES)
            .max_headers(RESPONSE_FIELDS_MAX)
            .handshake(TokioIo::new(stream));
        Ok(handshake.await?)
    }

    async fn tls(self: Arc<Self>) -> Result<Arc<ClientConfig>, Error> {
        let config = match self.tls.get() {
            Some(config) => config.clone(),
            None => tokio::task::spawn_blocking(move || {
                let read = || usher_tls::client_config(None).map_err(|error| error.to_string());
                self.tls.get_or_init(read).clone()
            })
            .await
            .map_err(|_| Error::ConnectionTerminated)?,
        };
        config.map_err(|words| Error::InternalError(Some(words)))
    }
}

/// Why a plugin was not connected; an address that is refused is a denial.
fn dial_error(plugin: &Plugin, grant: &HttpGrant, error: DialError) -> Error {
    match error {
        DialError::Resolve(error) => {
            Error::DnsError { rcode: Some(error.to_string()), info_code: None }
        }
        DialError::Refused(RefusedAddress { origin, address, kind }) => {
            let what = format!("http to {address}, the {kind} address that {origin} stands for,");
            let remedy = format!("http = [{{ url = \"{grant}\", addresses = [\"{address}\"] }}]");
            Error::InternalError(Some(plugin.deny(NAME, &what, "grants", &remedy)))
        }
        DialError::NoAddress => Error::DestinationNotFound,
        DialError::Connect(error) => connect_error(error),
        DialError::Tls(error) => tls_error(grant.origin.host(), error),
        DialError::Name => Error::HttpRequestUriInvalid,
    }
}

fn connect_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Error::DestinationUnavailable
        }
        _ => Error::Connect(error),
    }
}

/// Describes a TLS failure in text: wasi:http's error types carry no cause.
fn tls_error(host: &str, error: io::Error) -> Error {
    match usher_tls::explain(host, &error, ROOTS_REMEDY) {
        Some(words) => Error::InternalError(Some(words)),
        None => Error::Tls(error),
    }
}

/// Waits for the response head while driving the connection; clears `connection` once it ends.
async fn drive(
    response: impl Future<Output = hyper::Result<Response<Incoming>>>,
    connection: &mut Option<Connection>,
) -> Result<Response<Incoming>, Error> {
    let mut response = std::pin::pin!(response);
    std::future::poll_fn(|cx| {
        // Poll the connection first: it makes the response ready.
        if let Some(open) = connection
            && let Poll::Ready(ended) = Pin::new(open).poll(cx)
        {
            *connection = None;
            if let Err(error) = ended {
                return Poll::Ready(Err(error.into()));
            }
        }
        response.as_mut().poll(cx).map_err(Error::from)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Succeeds after `ms` milliseconds.
    async fn takes(ms: u64) -> Result<(), Error> {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn connecting_and_answering_have_their_time() {
        let Limits { http_connect_ms: connect_ms, http_total_ms: total_ms, .. } = Limits::default();
        let times = Times::of(&Limits::default(), &RequestOptions::default());
        for (ms, is_done) in [(connect_ms - 1, true), (connect_ms, true), (connect_ms + 1, false)] {
            let done = times.connected(takes(ms)).await;
            assert!(matches!(done, Ok(()) | Err(Error::ConnectionTimeout)));
            assert_eq!(done.is_ok(), is_done, "{ms} ms to connect");
        }
        for (ms, is_done) in [(total_ms - 1, true), (total_ms, true), (total_ms + 1, false)] {
            let done = times.answered(Instant::now() + times.total, takes(ms)).await;
            assert!(matches!(done, Ok(()) | Err(Error::HttpResponseTimeout)));
            assert_eq!(done.is_ok(), is_done, "{ms} ms to answer");
        }
        // Time spent on connecting counts towards the deadline.
        let late = Instant::now() + Duration::from_millis(100);
        assert!(times.answered(late, takes(100)).await.is_ok());
        assert!(times.answered(Instant::now(), takes(1)).await.is_err());
    }

    #[test]
    fn a_guest_may_ask_for_less_time_and_not_for_more() {
        let limits = Limits { http_connect_ms: 20, http_total_ms: 100, ..Limits::default() };
        let asked = |ms: u64| {
            let time = Some(Duration::from_millis(ms));
            let options = RequestOptions {
                connect_timeout: time,
                first_byte_timeout: time,
                between_bytes_timeout: time,
            };
            let Times { connect, first_byte, pause, total } = Times::of(&limits, &options);
            [connect, first_byte, pause, total].map(|time| time.as_millis())
        };
        assert_eq!(asked(19), [19, 19, 19, 100]);
        assert_eq!(asked(20), [20, 20, 20, 100]);
        assert_eq!(asked(21), [20, 21, 21, 100]);
        assert_eq!(asked(101), [20, 100, 100, 100]);
    }
}
