//! One connection: TLS, then HTTP/1.1 or HTTP/2.
//!
//! Clients that speak TLS choose the version by ALPN; others get HTTP/2 by prior knowledge, which
//! its preface shows (RFC 9113, section 3.3). Both are held to the same limits: what HTTP/1.1 limits
//! by reading one request at a time, HTTP/2 limits by the number of streams and by watching how long
//! each response waits for its client.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use bytes::Bytes;
use http::{HeaderValue, Request, Version, header};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::io::ReadBuf;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::Service as _;
use tracing::debug;
use usher_tls::Certificate;

use super::client::Client;
use super::connections::{ClientCertificate, Connection, Sending};
use super::listener::Stream;
use super::problem::{self, HEADER_MAX_BYTES};
use super::socket::Socket;
use super::state::{Front, stopped};

/// Timeout for a write that makes no progress, and for a response that its client takes none of.
const STALL_MAX: Duration = Duration::from_secs(30);

/// How long a request in flight may take to respond once its client is cut.
const CUT_GRACE: Duration = Duration::from_millis(250);

/// Limit on concurrent requests of one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;

/// How much of a request body an HTTP/2 client may send before it is read; and of all of its
/// bodies together.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// How much of a response is buffered for an HTTP/2 stream.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Interval for pings to HTTP/2 clients, and how long they may take to return one.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How often an HTTP/2 connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What all connections share.
pub(crate) struct Served {
    pub(super) front: Arc<Front>,
    router: RwLock<Router>,
    header_timeout: Duration,
}

impl Served {
    /// Has requests answered by `router`.
    pub(crate) fn new(front: Arc<Front>, router: Router) -> Self {
        let header_timeout = front.config.http.header_timeout;
        Self { router: RwLock::new(router), header_timeout, front }
    }

    /// Has requests from now on answered by another router.
    pub(crate) fn switch_to(&self, router: Router) {
        let before = {
            let mut answering = self.router.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *answering, router)
        };
        // What it reads from may wait for a disk.
        tokio::task::spawn_blocking(move || drop(before));
    }

    fn router(&self) -> Router {
        self.router.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves a connection until it is closed.
pub(super) async fn connection(
    mut stream: Box<dyn Stream>,
    is_tls: bool,
    served: &Arc<Served>,
    client: &Arc<Connection>,
    stop: watch::Receiver<bool>,
) {
    let Some(tls) = served.front.tls.as_ref().filter(|_| is_tls) else {
        return speak(stream, None, served, client, stop).await;
    };
    let peeking = timeout(served.header_timeout, speaks_http(&mut *stream));
    match unless_cut(peeking, client, &stop).await {
        Some(Ok(Ok(false))) => {}
        Some(Ok(Ok(true))) => {
            served.front.metrics.tls_failure();
            let mut socket = Socket::new(stream, Arc::clone(client), STALL_MAX);
            socket.refuse(&problem::plain_text()).await;
            return socket.linger().await;
        }
        Some(Err(_)) => return served.front.metrics.tls_failure(),
        Some(Ok(Err(_))) | None => return,
    }
    let handshake = TlsAcceptor::from(tls.config()).accept(stream);
    let Some(done) = unless_cut(timeout(served.header_timeout, handshake), client, &stop).await
    else {
        return;
    };
    let failed = |error: &dyn std::fmt::Display| {
        served.front.metrics.tls_failure();
        debug!(%error, "a TLS handshake failed");
    };
    match done {
        Err(_) => failed(&"it took too long"),
        Ok(Err(error)) => failed(&error),
        Ok(Ok(stream)) => {
            let (_, session) = stream.get_ref();
            let is_http2 = session.alpn_protocol().map(|name| name == b"h2");
            if let Some([own, ..]) = session.peer_certificates() {
                keep_certificate(own, client);
            }
            speak(Box::new(stream), is_http2, served, client, stop).await;
        }
    }
}

/// Whether a client where TLS is spoken begins with the name of a method: a handshake begins with
/// the byte 22 (RFC 8446, section 5.1).
async fn speaks_http(stream: &mut dyn Stream) -> io::Result<bool> {
    let mut first = [0];
    poll_fn(|context| stream.poll_peek(context, &mut ReadBuf::new(&mut first))).await?;
    Ok(first.iter().all(u8::is_ascii_uppercase))
}

/// A client's certificate may be that of a token. Its chain has been verified.
fn keep_certificate(der: &CertificateDer<'static>, client: &Connection) {
    match Certificate::read(der) {
        Ok(content) => client.presented(ClientCertificate { der: der.clone(), content }),
        Err(error) => debug!(%error, "a client's certificate can't be read"),
    }
}

/// Runs `future`; `None` if the client is cut or the server stops first.
async fn unless_cut<T>(
    future: impl Future<Output = T>,
    client: &Connection,
    stop: &watch::Receiver<bool>,
) -> Option<T> {
    let mut stop = stop.clone();
    tokio::select! {
        done = future => Some(done),
        () = client.cut() => None,
        () = stopped(&mut stop) => None,
    }
}

/// Serves whichever version the client speaks; `is_http2` if that is known.
async fn speak(
    stream: Box<dyn Stream>,
    is_http2: Option<bool>,
    served: &Arc<Served>,
    client: &Arc<Connection>,
    stop: watch::Receiver<bool>,
) {
    let mut socket = Socket::new(stream, Arc::clone(client), STALL_MAX);
    let is_http2 = match is_http2 {
        Some(is_http2) => is_http2,
        None => {
            let reading = timeout(served.header_timeout, socket.begins_with(PREFACE));
            match unless_cut(reading, client, &stop).await {
                Some(Ok(Ok(is_http2))) => is_http2,
                // HTTP/1.1 tells a client that began a header what is wrong.
                Some(Err(_)) if socket.has_unread() => false,
                Some(_) | None => return,
            }
        }
    };
    match is_http2 {
        true => http2(socket, served, client, stop).await,
        false => http1(socket, served, client, stop).await,
    }
}

async fn http1(
    socket: Socket<Box<dyn Stream>>,
    served: &Arc<Served>,
    client: &Arc<Connection>,
    mut stop: watch::Receiver<bool>,
) {
    let header_timeout = served.header_timeout;
    let serve = service_fn(|request| answer(request, served.router(), Arc::clone(client)));
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

async fn http2(
    socket: Socket<Box<dyn Stream>>,
    served: &Arc<Served>,
    client: &Arc<Connection>,
    mut stop: watch::Receiver<bool>,
) {
    let (routers, of_client) = (Arc::clone(served), Arc::clone(client));
    let serve =
        service_fn(move |request| answer(request, routers.router(), Arc::clone(&of_client)));
    let header_max_bytes = u32::try_from(HEADER_MAX_BYTES).unwrap_or(u32::MAX);
    let mut connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(header_max_bytes)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(socket), serve);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut is_closing = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    debug!(%error, "a connection ended early");
                }
                return;
            }
            () = client.cut() => break,
            () = stopped(&mut stop), if !is_closing => {
                is_closing = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            _ = looks.tick() => {
                if client.takes_nothing_for(STALL_MAX) {
                    debug!("a client takes nothing of a response");
                    return;
                }
                let is_idle = !client.has_request() && client.is_behind_by(served.header_timeout);
                let has_had_its_turn = client.is_spare && !client.has_request();
                if !is_closing && (is_idle || has_had_its_turn) {
                    is_closing = true;
                    Pin::new(&mut connection).graceful_shutdown();
                } else if is_closing && is_idle {
                    return;
                }
            }
        }
    }
    if client.has_request() {
        let _ = timeout(CUT_GRACE, &mut connection).await;
    }
}

/// Passes a request to the API and tracks whose turn it is.
async fn answer(
    mut request: Request<Incoming>,
    mut router: Router,
    client: Arc<Connection>,
) -> Result<http::Response<SentBody>, Infallible> {
    let is_http2 = request.version() == Version::HTTP_2;
    client.request_began();
    request.extensions_mut().insert(Client::from(Arc::clone(&client)));
    let is_spare = client.is_spare;
    let sending = is_http2.then(|| client.sending());
    let leaving = ResponseGuard(client);
    let mut response = router.call(request).await?;
    if is_spare && !is_http2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| SentBody { body, sending, _leaving: leaving }))
}

/// Held by a response's body: its drop means that the whole response was handed over for sending.
struct ResponseGuard(Arc<Connection>);

impl Drop for ResponseGuard {
    fn drop(&mut self) {
        self.0.response_ready();
    }
}

/// A response's body.
struct SentBody {
    body: axum::body::Body,
    /// Watches how long the client takes for it, where the socket doesn't show that: in HTTP/2,
    /// where it may let one response wait and take others.
    sending: Option<Sending>,
    _leaving: ResponseGuard,
}

impl HttpBody for SentBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Some(sending) = &self.sending {
            match &frame {
                Poll::Ready(Some(Ok(frame))) => {
                    sending.has_to_be_taken(frame.data_ref().map_or(0, Bytes::len));
                }
                Poll::Ready(_) | Poll::Pending => sending.was_taken(),
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
