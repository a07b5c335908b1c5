//! A node that doesn't own the journal: what it is asked is handed on to the owner.
//!
//! Whoever is asked in the end decides who may do what: it takes tokens as ever. It is told whether the
//! client is on this node's machine, since it sees only this node.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, Request, Uri, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use usher_api::{IS_STANDBY, routes};
use usher_jetstream::Owner;
use usher_outbound::{AddressRange, Connector, Origin};

use super::authorize::{FORWARDED, FROM_ELSEWHERE, FROM_LOCAL};
use super::listener::{Listener, Stream};
use super::problem::{ApiError, HEADER_MAX_BYTES};
use super::serve::ACCEPT_PAUSE;
use super::tls::Tls;

/// Maximum connections to a node that isn't the owner.
const CONNECTIONS_MAX: usize = 256;

/// How long a client may take for a handshake, or for a request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum requests of an HTTP/2 connection at the same time.
const STREAMS_MAX: u32 = 100;

/// How often a node that waits for the owner's answer looks whether that is still the owner.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a client that has just connected may take to ask, once this node hands on no more.
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a request under way may take once this node hands on no more.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Says who answered.
const OWNER: HeaderName = HeaderName::from_static("usher-owner");

/// Headers that are about one connection (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Addresses of other nodes may be private: they come from their configuration.
const ANYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

type Clients = Client<Connector, Incoming>;

/// Waits until a client had its time to ask something, and hasn't.
async fn stays_silent(asked: &CancellationToken) {
    if timeout(HEADER_TIMEOUT, asked.cancelled()).await.is_ok() {
        std::future::pending().await
    }
}

/// Waits for the end, and then for the first request of a client that has just connected: it would take
/// the end of its connection for a failure.
async fn end_after_the_first(end: &CancellationToken, asked: &CancellationToken) {
    end.cancelled().await;
    let _ = timeout(FIRST_TIMEOUT, asked.cancelled()).await;
}

/// Hands requests on.
pub(crate) struct Forwarder<F> {
    /// The name of this node.
    node: String,
    owner: F,
    tls: Option<Arc<Tls>>,
    /// The client for the owner's URL, as it was last.
    client: Mutex<Option<(String, Clients)>>,
    connections: Arc<Semaphore>,
    /// Its connections end with what they are at.
    end: CancellationToken,
}

impl<F: Fn() -> Option<Owner> + Send + Sync + 'static> Forwarder<F> {
    pub(crate) fn new(node: String, tls: Option<Arc<Tls>>, owner: F) -> Arc<Self> {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let end = CancellationToken::new();
        Arc::new(Self { node, owner, tls, client: Mutex::default(), connections, end })
    }

    /// Serves on all listeners. Never returns; once it is dropped, connections end with what they are at.
    pub(crate) async fn serve(self: Arc<Self>, listeners: &[Listener]) -> Infallible {
        let _end = self.end.clone().drop_guard();
        join_all(listeners.iter().map(|listener| self.accept(listener))).await;
        std::future::pending().await
    }

    async fn accept(self: &Arc<Self>, listener: &Listener) -> Infallible {
        loop {
            let Ok(permit) = Arc::clone(&self.connections).acquire_owned().await else {
                return std::future::pending().await;
            };
            let Ok((stream, origin)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (this, is_tls) = (Arc::clone(self), listener.is_tls());
            tokio::spawn(async move {
                this.connection(stream, is_tls, origin.is_local).await;
                drop(permit);
            });
        }
    }

    async fn connection(self: Arc<Self>, stream: Box<dyn Stream>, is_tls: bool, is_local: bool) {
        match self.tls.as_ref().filter(|_| is_tls) {
            Some(tls) => {
                let handshake = TlsAcceptor::from(tls.config()).accept(stream);
                if let Ok(Ok(stream)) = timeout(HEADER_TIMEOUT, handshake).await {
                    self.speak(Box::new(stream), is_local).await;
                }
            }
            None => self.speak(stream, is_local).await,
        }
    }

    async fn speak(self: Arc<Self>, stream: Box<dyn Stream>, is_local: bool) {
        let end = self.end.clone();
        // Cancelled with the first request. HTTP/1 has its timeout for headers once it is known to be spoken.
        let asked = CancellationToken::new();
        let is_asked = asked.clone();
        let answer = service_fn(move |request| {
            let this = Arc::clone(&self);
            is_asked.cancel();
            async move { Ok::<_, Infallible>(this.answer(request, is_local).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_MAX_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(HEADER_MAX_BYTES as u32)
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(Some(HEADER_TIMEOUT))
            .keep_alive_timeout(HEADER_TIMEOUT);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer));
        // A client that leaves early is none of this node's troubles.
        let _ = tokio::select! {
            ended = &mut connection => ended,
            () = stays_silent(&asked) => Ok(()),
            () = end_after_the_first(&end, &asked) => {
                connection.as_mut().graceful_shutdown();
                timeout(END_TIMEOUT, connection).await.unwrap_or(Ok(()))
            }
        };
    }

    async fn answer(&self, request: Request<Incoming>, is_local: bool) -> Response {
        let node = &self.node;
        if request.uri().path() == routes::HEALTH.path {
            let health = usher_api::Health { status: "ok".to_owned() };
            return axum::Json(health).into_response();
        }
        let owner = (self.owner)().filter(|owner| !owner.is_leaving && owner.node != *node);
        if request.uri().path() == routes::READINESS.path {
            let owner = owner.map_or_else(|| "not known yet".to_owned(), |owner| owner.node);
            let what = format!("node {node} {IS_STANDBY}; the owner of the journal is {owner}");
            return ApiError::unavailable(what).into_response();
        }
        let Some(owner) = owner else {
            let what =
                format!("node {node} is a standby, and no owner of the journal is heard of yet");
            return ApiError::unavailable(what).into_response();
        };
        let Some(url) = &owner.url else {
            let what = format!(
                "node {node} is a standby; ask {}, which doesn't tell where it is: set journal.url there",
                owner.node
            );
            return ApiError::unavailable(what).into_response();
        };
        if request.headers().contains_key(FORWARDED) {
            let what =
                format!("{node} was taken for the owner of the journal, which is {}", owner.node);
            return ApiError::unavailable(what).into_response();
        }
        match self.hand_on(request, url, &owner, is_local).await {
            Ok(mut response) => {
                if let Ok(name) = HeaderValue::try_from(&owner.node) {
                    response.headers_mut().insert(OWNER, name);
                }
                response
            }
            Err(error) => {
                let what =
                    format!("the owner of the journal, {}, can't be asked: {error:#}", owner.node);
                ApiError::unavailable(what).into_response()
            }
        }
    }

    async fn hand_on(
        &self,
        mut request: Request<Incoming>,
        url: &str,
        owner: &Owner,
        is_local: bool,
    ) -> anyhow::Result<Response> {
        let client = self.client(url)?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("{}{path}", url.trim_end_matches('/')).parse()?;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_11;
        let headers = request.headers_mut();
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        headers.insert(FORWARDED, if is_local { FROM_LOCAL } else { FROM_ELSEWHERE });
        let asked = client.request(request);
        let mut response = tokio::select! {
            response = asked => response?,
            () = self.until_another_owner(owner) => anyhow::bail!("it isn't the owner any more"),
        };
        for name in HOP_BY_HOP {
            response.headers_mut().remove(name);
        }
        Ok(response.map(axum::body::Body::new))
    }

    /// An owner whose machine is gone doesn't answer, and its connections don't end.
    async fn until_another_owner(&self, owner: &Owner) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let is_same = |now: &Owner| now.epoch == owner.epoch && now.node == owner.node;
            if !(self.owner)().is_some_and(|now| is_same(&now)) {
                return;
            }
        }
    }

    fn client(&self, url: &str) -> anyhow::Result<Clients> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, client)) = &*kept
            && known == url
        {
            return Ok(client.clone());
        }
        let origin = Origin::of(&url.parse()?);
        let origin = origin.ok_or_else(|| anyhow::anyhow!("{url:?} is no URL of a router"))?;
        let tls = match origin.tls() {
            true => Some(usher_tls::client_config(None)?),
            false => None,
        };
        let addresses = ANYWHERE.iter().filter_map(|range| range.parse::<AddressRange>().ok());
        let connector = Connector { origin: Arc::new(origin), addresses: addresses.collect(), tls };
        let client = Client::builder(TokioExecutor::new()).build(connector);
        *kept = Some((url.to_owned(), client.clone()));
        Ok(client)
    }
}
