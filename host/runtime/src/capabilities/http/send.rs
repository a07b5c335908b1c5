//! One request, one connection: resolve once, check the addresses, connect to one that was checked;
//! TLS verified against the system's roots, no redirects, no proxies.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use http::uri::Uri;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::body::{RequestBody, ResponseBody};
use super::{Exchange, address};
use crate::HttpGrant;
use crate::plugin::Plugin;

/// Head of a response, and what is read of it at a time.
const RESPONSE_HEAD_MAX_BYTES: usize = 64 * 1024;
/// Header fields of a response.
const RESPONSE_FIELDS_MAX: usize = 100;

/// Sends requests for all plugins.
#[derive(Default)]
pub(crate) struct Client {
    /// The system's roots, read when first needed.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

type Connection = http1::Connection<TokioIo<Box<dyn Stream>>, RequestBody>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Client {
    /// Sends a request; answers once the response's head is there.
    pub(super) async fn send(
        self: Arc<Self>,
        mut request: Request<WasiBody>,
        grant: &HttpGrant,
        options: RequestOptions,
        plugin: &Plugin,
        slot: OwnedSemaphorePermit,
    ) -> Result<Exchange, Error> {
        let limits = &plugin.limits;
        let total = Duration::from_millis(limits.http_total_ms);
        let deadline = Instant::now() + total;
        let connect_time = Duration::from_millis(limits.http_connect_ms)
            .min(options.connect_timeout.unwrap_or(Duration::MAX));
        let first_byte = options.first_byte_timeout.unwrap_or(total).min(total);
        let pause = options.between_bytes_timeout.unwrap_or(total).min(total);

        // Scheme and authority belong to proxies; the host header is already there.
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        let request = request.map(|body| RequestBody::new(body, limits.http_request_bytes));

        let (mut sender, connection) = timeout(connect_time, self.connect(plugin, grant))
            .await
            .map_err(|_| Error::ConnectionTimeout)??;
        let mut connection = Some(connection);
        let response = sender.send_request(request);
        let response =
            timeout_at(deadline.min(Instant::now() + first_byte), drive(response, &mut connection))
                .await
                .map_err(|_| Error::HttpResponseTimeout)??;

        let limit_bytes = limits.http_response_bytes;
        let response = response
            .map(|body| ResponseBody::new(body, limit_bytes, deadline, pause, slot).boxed_unsync());
        let rest = async move {
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
        let tcp = dial(plugin, grant).await?;
        let _ = tcp.set_nodelay(true);
        let stream: Box<dyn Stream> = if origin.tls() {
            let name = ServerName::try_from(origin.host().to_owned())
                .map_err(|_| Error::HttpRequestUriInvalid)?;
            let connector = TlsConnector::from(self.tls().await?);
            Box::new(connector.connect(name, tcp).await.map_err(tls_error)?)
        } else {
            Box::new(tcp)
        };
        let handshake = http1::Builder::new()
            .max_buf_size(RESPONSE_HEAD_MAX_BYTES)
            .max_headers(RESPONSE_FIELDS_MAX)
            .handshake(TokioIo::new(stream));
        Ok(handshake.await?)
    }

    async fn tls(self: Arc<Self>) -> Result<Arc<ClientConfig>, Error> {
        let config = match self.tls.get() {
            Some(config) => config.clone(),
            None => tokio::task::spawn_blocking(move || self.tls.get_or_init(tls_config).clone())
                .await
                .map_err(|_| Error::ConnectionTerminated)?,
        };
        config.map_err(|words| Error::InternalError(Some(words)))
    }
}

fn tls_config() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("the router's system has no root certificates: install ca-certificates, or \
                    set SSL_CERT_FILE"
            .to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Connects to one of the addresses that the name stands for at this moment.
async fn dial(plugin: &Plugin, grant: &HttpGrant) -> Result<TcpStream, Error> {
    let origin = &grant.origin;
    let addresses: Vec<SocketAddr> = match origin.host().parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, origin.port())],
        Err(_) => {
            let found = tokio::net::lookup_host((origin.host(), origin.port())).await;
            let resolved = found.map_err(|error| Error::DnsError {
                rcode: Some(error.to_string()),
                info_code: None,
            })?;
            address::admit(plugin, grant, resolved)
                .map_err(|words| Error::InternalError(Some(words)))?
        }
    };
    let mut last = Error::DestinationNotFound;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = connect_error(error),
        }
    }
    Err(last)
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

fn tls_error(error: io::Error) -> Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        Some(_) => Error::TlsProtocolError,
        None => Error::Tls(error),
    }
}

/// Waits for the response's head, moving the connection along until it ends.
async fn drive(
    response: impl Future<Output = hyper::Result<Response<Incoming>>>,
    connection: &mut Option<Connection>,
) -> Result<Response<Incoming>, Error> {
    let mut response = std::pin::pin!(response);
    std::future::poll_fn(|cx| {
        // The connection first: it is what makes the response ready.
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
