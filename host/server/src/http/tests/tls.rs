//! TLS, client certificates and HTTP/2, over real sockets.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use usher_broker::{EmbeddedBroker, ManualClock, Options, SystemClock};
use usher_config::{Listen, Proof, TlsConfig, TokenConfig};

use super::{EVENT, STRUCTURED, api_of, api_with, app, served, token};
use crate::http::Listener;
use crate::http::state::Api;
use crate::http::tls::Tls;

/// An authority, and a folder with what it has certified.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`, valid for these years.
    fn certify(&self, name: &str, hosts: &[&str], years: std::ops::Range<i32>) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn config(&self, name: &str, client_ca: Option<&str>) -> TlsConfig {
        TlsConfig {
            certificate_file: self.path(&format!("{name}.pem")),
            key_file: self.path(&format!("{name}.key")),
            client_ca_file: client_ca.map(|name| self.path(name)),
            requires_client_certificate: false,
        }
    }

    /// A client that trusts this authority, perhaps with a certificate of its own.
    fn client(&self, certificate: Option<&str>, alpn: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::from_pem_file(self.path(&format!("{name}.pem")));
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key")));
                builder.with_client_auth_cert(vec![chain.unwrap()], key.unwrap()).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

/// A server over a broker in memory.
struct Server {
    address: SocketAddr,
    api_tokens: Api,
    _stop: watch::Sender<bool>,
}

impl Server {
    async fn start(tls: Option<TlsConfig>, header_timeout: Duration) -> Self {
        let mut app = app(EmbeddedBroker::in_memory(Options::new("")).unwrap());
        Arc::get_mut(&mut app.config).unwrap().http.header_timeout = header_timeout;
        let is_tls = tls.is_some();
        let tls = tls.map(|files| Arc::new(Tls::open(files, Arc::new(SystemClock)).unwrap()));
        let free = Listen::Tcp { address: ([127, 0, 0, 1], 0).into(), is_tls };
        let listener = Listener::bind(&free).await.unwrap();
        let url = listener.url().unwrap();
        let address = url.split_once("://").unwrap().1.parse().unwrap();
        let (stop, stopped) = watch::channel(false);
        let api_tokens = api_with(app, tls, stopped.clone());
        let served = served(&api_tokens);
        tokio::spawn(crate::http::serve(vec![listener], served, stopped));
        Self { address, api_tokens, _stop: stop }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn handshake(
        &self,
        client: &TlsConnector,
        host: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).unwrap();
        client.connect(name, self.connect().await).await
    }
}

type Http2 = http2::SendRequest<Body>;

async fn http2<S>(stream: S) -> Http2
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    // As the specification has it; hyper's own would hold whole responses.
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let builder = builder.initial_stream_window_size(65_535);
    let made = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(made.1);
    made.0
}

async fn http1(stream: TlsStream<TcpStream>) -> http1::SendRequest<Body> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).header("host", "localhost").body(Body::empty()).unwrap()
}

/// As HTTP/2 has it: no `Host`, the authority is part of the target.
fn get2(path: &str) -> Request<Body> {
    Request::get(format!("http://localhost{path}")).body(Body::empty()).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

const PATIENT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_client_chooses_the_version() {
    let authority = Authority::new();
    authority.certify("router", &["localhost", "router.example"], 2020..2120);
    let server = Server::start(Some(authority.config("router", None)), PATIENT).await;
    for (alpn, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let client = authority.client(None, alpn);
        let stream = server.handshake(&client, "router.example").await.unwrap();
        let response = match version {
            Version::HTTP_2 => http2(stream).await.send_request(get2("/plugins")).await,
            _ => http1(stream).await.send_request(get("/plugins")).await,
        };
        let response = response.unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, version), "{alpn:?}");
    }
    // By prior knowledge, with TLS and without.
    let client = authority.client(None, &[]);
    let stream = server.handshake(&client, "localhost").await.unwrap();
    let response = http2(stream).await.send_request(get2("/plugins")).await.unwrap();
    assert_eq!(response.status(), 200);
    let plain = Server::start(None, PATIENT).await;
    let response = http2(plain.connect().await).await.send_request(get2("/plugins")).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
}

#[tokio::test]
async fn names_of_the_certificate_are_the_routers() {
    let authority = Authority::new();
    authority.certify("router", &["router.example", "*.events.example"], 2020..2120);
    let server = Server::start(Some(authority.config("router", None)), PATIENT).await;
    let client = authority.client(None, &["h2"]);
    let mut sender = http2(server.handshake(&client, "router.example").await.unwrap()).await;
    for (host, expected) in [
        ("router.example", 200),
        ("a.events.example:7443", 200),
        ("localhost", 200),
        ("evil.example", 421),
    ] {
        let uri = format!("https://{host}/plugins");
        let response = sender.send_request(Request::get(uri).body(Body::empty()).unwrap());
        assert_eq!(response.await.unwrap().status(), expected, "{host}");
    }
}

#[tokio::test]
async fn http2_publishes_and_is_refused_as_http1_is() {
    let server = Server::start(None, PATIENT).await;
    let mut sender = http2(server.connect().await).await;
    let publish = |body: Body| {
        let request = Request::post("http://localhost/events").header("content-type", STRUCTURED);
        request.body(body).unwrap()
    };
    let response = sender.send_request(publish(Body::from(EVENT))).await.unwrap();
    assert_eq!(response.status(), 202);
    let large = Body::from(vec![b' '; 17 * 1024 * 1024]);
    let response = sender.send_request(publish(large)).await.unwrap();
    assert_eq!(response.status(), 413);
    assert!(text(response).await.contains("larger than"));
    let long = Request::get("http://localhost/plugins").header("x-long", "x".repeat(60 * 1024));
    let long = long.header("y-long", "y".repeat(10 * 1024));
    let response = sender.send_request(long.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 431);
    let foreign = Request::get("http://localhost/plugins").header("origin", "https://evil.example");
    let response = sender.send_request(foreign.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 403);
    let response = sender.send_request(get2("/plugins")).await.unwrap();
    assert_eq!(response.status(), 200, "the connection goes on");
}

#[tokio::test]
async fn a_certificate_stands_for_its_token() {
    let authority = Authority::new();
    authority.certify("router", &["localhost"], 2020..2120);
    authority.certify("shop", &["shop.internal"], 2020..2120);
    authority.certify("stranger", &["stranger.internal"], 2020..2120);
    let config = authority.config("router", Some("ca.pem"));
    let server = Server::start(Some(config), PATIENT).await;
    let secret = token(&server.api_tokens, "ops", &["admin"]).await;
    let permissions =
        usher_access::Permissions { scopes: vec!["publish".parse().unwrap()], source_prefix: None };
    let proof = Proof::Certificate("shop.internal".to_owned());
    let shop = TokenConfig { proof, permissions, expires_ms: None };
    let configured = [("shop".parse().unwrap(), shop)].into();
    server.api_tokens.access.adopt(&configured);

    let status = async |certificate: Option<&str>, bearer: Option<&str>, path: &str| {
        let client = authority.client(certificate, &["http/1.1"]);
        let mut sender = http1(server.handshake(&client, "localhost").await.unwrap()).await;
        let mut request = get(path);
        if let Some(secret) = bearer {
            let value = format!("Bearer {secret}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        sender.send_request(request).await.unwrap().status().as_u16()
    };
    assert_eq!(status(None, None, "/plugins").await, 401);
    assert_eq!(status(Some("stranger"), None, "/plugins").await, 401);
    assert_eq!(status(Some("shop"), None, "/plugins").await, 403, "it may only publish");
    assert_eq!(status(Some("shop"), Some(&secret), "/plugins").await, 200);
    assert_eq!(status(None, Some(&secret), "/plugins").await, 200);

    // One of another authority is turned away, and may be told so after the handshake.
    let other = Authority::new();
    other.certify("shop", &["shop.internal"], 2020..2120);
    for name in ["shop.pem", "shop.key"] {
        fs::copy(other.path(name), authority.path(name)).unwrap();
    }
    let client = authority.client(Some("shop"), &["http/1.1"]);
    let is_refused = match server.handshake(&client, "localhost").await {
        Err(_) => true,
        Ok(stream) => http1(stream).await.send_request(get("/healthz")).await.is_err(),
    };
    assert!(is_refused);
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_is_taken_over_and_a_bad_one_is_not() {
    let authority = Authority::new();
    let of = |name: &str| Authority::certify(&authority, "router", &[name], 2020..2120);
    of("one.example");
    let clock = Arc::new(ManualClock::at(1_769_860_800_000));
    let tls = Arc::new(Tls::open(authority.config("router", None), clock).unwrap());
    let watched = Arc::clone(&tls);
    tokio::spawn(async move { watched.watch().await });
    let settle = async || tokio::time::sleep(Duration::from_secs(5)).await;
    settle().await;

    of("two.example");
    settle().await;
    assert_eq!(tls.certificate().names, ["two.example"]);
    // Another's key, no key, no certificate, one that has expired: the old one stays.
    let key = authority.path("router.key");
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    settle().await;
    fs::write(&key, "no key").unwrap();
    settle().await;
    fs::remove_file(&key).unwrap();
    settle().await;
    authority.certify("router", &["old.example"], 2020..2022);
    settle().await;
    assert_eq!(tls.certificate().names, ["two.example"]);
    of("three.example");
    settle().await;
    assert_eq!(tls.certificate().names, ["three.example"]);
}

#[tokio::test]
async fn who_does_not_finish_its_handshake_is_closed() {
    let authority = Authority::new();
    authority.certify("router", &["localhost"], 2020..2120);
    let config = authority.config("router", None);
    let server = Server::start(Some(config), Duration::from_millis(100)).await;
    for begin in [&b""[..], b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut socket = server.connect().await;
        socket.write_all(begin).await.unwrap();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
        let told = String::from_utf8_lossy(&rest);
        assert_eq!(told.starts_with("HTTP/1.1 400"), begin.starts_with(b"GET"), "{told}");
        assert_eq!(told.contains("use https://"), begin.starts_with(b"GET"), "{told}");
    }
    let plain = Server::start(None, Duration::from_millis(100)).await;
    for begin in [&b""[..], b"PRI * HT"] {
        let mut socket = plain.connect().await;
        socket.write_all(begin).await.unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{rest:?}");
    }
}

/// A client that takes nothing of one response is cut, though it goes on with others.
#[tokio::test(start_paused = true)]
async fn a_response_that_is_not_taken_does_not_stay() {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let app = app(EmbeddedBroker::in_memory(Options::new("")).unwrap());
    let (stop, stopped) = watch::channel(false);
    let api = api_of(app, stopped.clone());
    let event = |n: usize| {
        let data = "x".repeat(200_000);
        format!(r#"{{"specversion":"1.0","id":"{n}","source":"/s","type":"t","data":"{data}"}}"#)
    };
    for n in 0..8 {
        let request = super::publish(STRUCTURED, event(n));
        assert_eq!(super::send(&api, request).await.status, 202);
    }
    let serving = tokio::spawn(crate::http::serve_stream(api, ours, stopped));
    let mut sender = http2(theirs).await;
    let stuck = sender.send_request(get2("/events")).await.unwrap();
    let mut responses = 0;
    while !serving.is_finished() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Ok(response) = sender.send_request(get2("/plugins")).await {
            let _ =
                response.into_body().collect().await.map(|body| body.to_bytes()).map(drop::<Bytes>);
            responses += 1;
        }
        assert!(responses < 120, "it is never cut");
    }
    assert!(responses > 20, "it was cut after {responses} s");
    drop((stuck, stop));
}
