//! Accepts, bounds and closes connections.
//!
//! Each connection is a task of one [`JoinSet`]. When all slots are taken, the client furthest
//! behind is cut to make room; if none is behind, a few spare slots remain for health checks and
//! operators. On stop, the server accepts no more connections, cuts clients that are behind, lets
//! requests in flight finish within the drain time, and aborts the rest. No connection outlives
//! [`serve`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tower::Service as _;
use tracing::{debug, warn};

use super::connections::{Caller, Connection, Connections, Entry, Origin};
use super::problem::{self, HEADER_MAX_BYTES};
use super::socket::Socket;
use super::state::Api;
use crate::running::Running;

/// Pause after a failed accept (out of file descriptors, most likely), so as not to spin.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Timeout for a write that makes no progress.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Connections beyond the configured number, for health checks and operators.
pub(super) const SPARE_CONNECTIONS: usize = 16;

/// Open connections possible beyond the configured number: spare ones and those waiting for a slot.
pub(crate) const EXTRA_CONNECTIONS: usize = SPARE_CONNECTIONS + WAITING_MAX;

/// Limit on accepted connections that wait for a slot; further ones wait to be accepted.
const WAITING_MAX: usize = 128;

/// How far behind a client must be to be cut for another.
const IDLE_MIN: Duration = Duration::from_millis(250);

/// How long to wait for a regular slot: longer than `IDLE_MIN`, so that a client that falls idle
/// now can still be cut.
const SLOT_WAIT_MAX: Duration = Duration::from_millis(500);

/// Poll interval while waiting for a slot.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How far behind a client may be during shutdown, and how often that is checked.
const STOP_BEHIND_MAX: Duration = Duration::from_millis(500);
const STOP_LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a request in flight may take to respond once its client is cut.
const CUT_GRACE: Duration = Duration::from_millis(250);

/// Serves the API on `listener` until `stop` turns true (or its sender is gone), then drains.
///
/// Dropping the future closes all connections at once.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Arc<Running>,
    mut stop: watch::Receiver<bool>,
) {
    let http = app.config.http.clone();
    let drain = app.config.drain;
    let api = Api::new(app, stop.clone());
    let router = super::router(api.clone());
    let slots = Slots::new(api.running.max_connections, &api.clients);
    let mut connections = JoinSet::new();

    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (socket, origin) = match accepted {
            Ok((socket, peer)) => (socket, Origin { address: peer.ip().into(), is_local: true }),
            Err(error) => {
                warn!(%error, "can't accept a connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            }
        };
        // Accepts no more while those that wait are as many as may.
        let waiting = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            waiting = Arc::clone(&slots.waiting).acquire_owned() => waiting,
        };
        let (slots, router) = (Arc::clone(&slots), router.clone());
        let (mut stop, api) = (stop.clone(), api.clone());
        connections.spawn(async move {
            let slot = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                slot = slots.take(origin) => slot,
            };
            drop(waiting);
            let _open = api.metrics.connection();
            connection(socket, router, http.header_timeout, slot.entry.client(), stop).await;
            drop(slot);
        });
    }

    drop(listener);
    let ended = async {
        let mut looks = tokio::time::interval(STOP_LOOK_EVERY);
        loop {
            tokio::select! {
                ended = connections.join_next() => if ended.is_none() { return },
                _ = looks.tick() => api.clients.evict_stalled(STOP_BEHIND_MAX),
            }
        }
    };
    if timeout(drain, ended).await.is_err() {
        warn!(connections = connections.len(), "closing connections that did not end in time");
        connections.shutdown().await;
    }
}

/// Connection slots.
struct Slots {
    regular: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    /// For accepted connections that wait for a slot.
    waiting: Arc<Semaphore>,
    clients: Arc<Connections>,
}

/// One connection's slot.
struct Slot {
    entry: Entry,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    fn new(regular: usize, clients: &Arc<Connections>) -> Arc<Self> {
        Arc::new(Self {
            regular: Arc::new(Semaphore::new(regular)),
            spare: Arc::new(Semaphore::new(SPARE_CONNECTIONS)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            clients: Arc::clone(clients),
        })
    }

    /// Waits for a slot: a regular one if one frees up within `SLOT_WAIT_MAX`, else a spare one.
    /// Cuts clients that are behind to free either.
    async fn take(&self, origin: Origin) -> Slot {
        let slot = |permit, is_spare| Slot {
            entry: self.clients.enter(origin, is_spare),
            _permit: permit,
        };
        if let Ok(permit) = Arc::clone(&self.regular).try_acquire_owned() {
            return slot(permit, false);
        }
        let deadline = Instant::now() + SLOT_WAIT_MAX;
        while Instant::now() < deadline {
            let waiting = WAITING_MAX.saturating_sub(self.waiting.available_permits()).max(1);
            self.clients.evict_one(IDLE_MIN, waiting, |client| !client.is_spare);
            let regular = Arc::clone(&self.regular).acquire_owned();
            if let Ok(Ok(permit)) = timeout(LOOK_EVERY, regular).await {
                return slot(permit, false);
            }
        }
        loop {
            if let Ok(permit) = Arc::clone(&self.spare).try_acquire_owned() {
                return slot(permit, true);
            }
            self.clients.evict_one(LOOK_EVERY, SPARE_CONNECTIONS, |client| client.is_spare);
            let spare = Arc::clone(&self.spare).acquire_owned();
            if let Ok(Ok(permit)) = timeout(LOOK_EVERY, spare).await {
                return slot(permit, true);
            }
        }
    }
}

/// Waits until `stop` turns true or its sender is dropped.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves one connection until it is closed.
async fn connection(
    socket: TcpStream,
    router: Router,
    header_timeout: Duration,
    client: &Arc<Connection>,
    mut stop: watch::Receiver<bool>,
) {
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%error, "can't set TCP_NODELAY");
    }
    let socket = Socket::new(socket, Arc::clone(client), STALL_MAX);
    let serve = service_fn(|request| answer(request, router.clone(), Arc::clone(client)));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEADER_MAX_BYTES)
        .serve_connection(TokioIo::new(socket), serve);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = client.cut() => None,
        () = stopped(&mut stop) => {
            Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                ended = &mut connection => Some(ended),
                () = client.cut() => None,
            }
        }
    };
    let ended = match ended {
        None if client.has_request() => timeout(CUT_GRACE, &mut connection).await.ok(),
        ended => ended,
    };
    let is_timeout = match &ended {
        None | Some(Ok(())) => false,
        Some(Err(error)) => {
            debug!(%error, "a connection ended early");
            error.is_timeout()
        }
    };
    let is_late = is_timeout || ended.is_none();
    let parts = connection.into_parts();
    let mut socket = parts.io.into_inner();
    if is_late && !client.has_request() {
        if is_timeout && !parts.read_buf.is_empty() {
            socket.refuse(&problem::header_timeout(header_timeout)).await;
        }
        // All input has been read, so closing can't reset the connection.
        return;
    }
    let cut = async {
        client.cut().await;
        tokio::time::sleep(CUT_GRACE).await;
    };
    tokio::select! {
        () = socket.linger() => {}
        () = cut => {}
        () = stopped(&mut stop) => {}
    }
}

/// Passes a request to the API and tracks whose turn it is.
async fn answer(
    mut request: Request<Incoming>,
    mut router: Router,
    client: Arc<Connection>,
) -> Result<http::Response<impl HttpBody<Data = Bytes, Error = axum::Error>>, Infallible> {
    client.request_started();
    request.extensions_mut().insert(Caller(Arc::clone(&client)));
    let is_spare = client.is_spare;
    let leaving = ResponseGuard(client);
    let mut response = router.call(request).await?.map(|body| {
        // A no-op adapter that keeps the size hint and holds `leaving` until the body is dropped.
        body.map_err(move |error: axum::Error| {
            let _held = &leaving;
            error
        })
    });
    if is_spare {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Held by a response's body: its drop means that the whole response was handed over for sending.
struct ResponseGuard(Arc<Connection>);

impl Drop for ResponseGuard {
    fn drop(&mut self) {
        self.0.response_ready();
    }
}
