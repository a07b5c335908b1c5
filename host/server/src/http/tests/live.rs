//! Over the real broker, in memory: event streams, and connections on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower::ServiceExt;
use usher_broker::{Deliveries, EmbeddedBroker, Options};
use usher_event::Event;

use super::{EVENT, FOREVER, STRUCTURED, api, api_of, app, publish, request, send, served, to_us};
use crate::http::Listener;
use crate::http::state::Api;
use usher_config::{HttpConfig, Listen};

fn broker() -> Arc<EmbeddedBroker> {
    EmbeddedBroker::in_memory(Options::new("")).unwrap()
}

async fn append(broker: &EmbeddedBroker, ty: &str, id: &str) {
    let event = Event::builder(id, "/s", ty).build().unwrap();
    broker.publish(vec![event]).await.unwrap();
}

/// The events of a stream as they come.
struct Follower {
    body: BodyDataStream,
    text: String,
}

impl Follower {
    async fn open(api: &Api, query: &str, last: Option<&str>) -> Self {
        let mut request = to_us().uri(format!("/events/stream{query}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = super::super::router(api.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event: its `id` and its `data`.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((head, rest)) = self.text.split_once("\n\n") {
                let head = head.to_owned();
                self.text = rest.to_owned();
                let field = |name: &str| {
                    head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
                };
                if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                    return Some((id.to_owned(), serde_json::from_str(data).unwrap()));
                }
                continue;
            }
            let chunk = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn ids(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.next().await.expect("the stream goes on").0);
        }
        ids
    }
}

#[tokio::test]
async fn streams_follow_the_log() {
    let broker = broker();
    let (api, stop) = api(broker.clone());
    append(&broker, "a.x", "1").await;
    let mut all = Follower::open(&api, "?from=1", None).await;
    let mut some = Follower::open(&api, "?from=1&type=b.", None).await;
    let mut live = Follower::open(&api, "", None).await;
    let mut resumed = Follower::open(&api, "?from=1", Some("2")).await;
    let metrics = String::from_utf8(send(&api, request("GET", "/metrics")).await.body.to_vec());
    assert!(metrics.unwrap().contains("usher_http_streams 4"));

    append(&broker, "b.x", "2").await;
    append(&broker, "a.x", "3").await;
    assert_eq!(all.ids(3).await, ["1", "2", "3"]);
    assert_eq!(some.ids(1).await, ["2"]);
    assert_eq!(live.ids(2).await, ["2", "3"]);
    let (id, data) = resumed.next().await.unwrap();
    assert_eq!(id, "3");
    assert_eq!(data, send(&api, request("GET", "/events/3")).await.json());

    stop.send_replace(true);
    for stream in [&mut all, &mut some, &mut live, &mut resumed] {
        assert_eq!(stream.next().await, None);
    }
}

#[tokio::test]
async fn a_stream_that_is_not_read_holds_nobody_up() {
    let broker = broker();
    let (api, _stop) = api(broker.clone());
    let mut slow = Follower::open(&api, "?from=1", None).await;
    let mut quick = Follower::open(&api, "?from=1", None).await;
    for id in 1..=100 {
        append(&broker, "t", &id.to_string()).await;
    }
    assert_eq!(quick.ids(100).await.last().map(String::as_str), Some("100"));
    assert_eq!(slow.ids(100).await.len(), 100);
}

#[tokio::test]
async fn what_is_published_is_there() {
    let broker = broker();
    let (api, _stop) = api(broker);
    for duplicate in [false, true] {
        let answer = send(&api, publish(STRUCTURED, EVENT)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let expected = json!({
            "events": [{ "id": "1", "source": "/s", "sequence": 1, "duplicate": duplicate }]
        });
        assert_eq!(answer.json(), expected);
    }
    let page = send(&api, request("GET", "/events")).await.json();
    assert_eq!((&page["next"], &page["last"]), (&json!(2), &json!(1)));
    assert_eq!(page["events"][0]["event"], serde_json::from_str::<Value>(EVENT).unwrap());
    let flow = send(&api, request("GET", "/flows/1")).await.json();
    assert_eq!((&flow["flow"], &flow["settled"]), (&json!(1), &json!(true)));
}

/// A server on a socket.
struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(http: HttpConfig) -> Self {
        let mut app = app(broker());
        let config = Arc::get_mut(&mut app.config).unwrap();
        config.http = http;
        config.drain = FOREVER;
        let free = Listen::Tcp { address: ([127, 0, 0, 1], 0).into(), is_tls: false };
        let listener = Listener::bind(&free).await.unwrap();
        let address = listener.url().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        let (stop, stopped) = watch::channel(false);
        let served = served(&api_of(app, stopped.clone()));
        let serving = tokio::spawn(crate::http::serve(vec![listener], served, stopped));
        Self { address, stop, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// What the server sends until it closes the connection.
async fn rest(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer is as good as a close.
    let _ = socket.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

/// Reads until `end` was read.
async fn read_to(socket: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let mut byte = [0];
        assert_ne!(socket.read(&mut byte).await.unwrap(), 0, "closed after {text:?}");
        text.push(char::from(byte[0]));
    }
    text
}

#[tokio::test]
async fn headers_that_do_not_end_are_cut_off() {
    let http = HttpConfig { header_timeout: Duration::from_millis(50), ..HttpConfig::default() };
    let server = Server::start(http).await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127").await.unwrap();
    let text = rest(&mut socket).await;
    assert!(!text.contains("200"), "{text}");
}

#[tokio::test]
async fn bodies_that_do_not_end_are_cut_off() {
    let http = HttpConfig { body_timeout: Duration::from_millis(50), ..HttpConfig::default() };
    let server = Server::start(http).await;
    let mut socket = server.connect().await;
    let head = "POST /events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\
                content-type: application/cloudevents+json\r\n\r\n{";
    socket.write_all(head.as_bytes()).await.unwrap();
    let text = rest(&mut socket).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
}

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";

#[tokio::test]
async fn an_idle_connection_makes_room_for_another() {
    let http = HttpConfig { max_connections: Some(1), ..HttpConfig::default() };
    let server = Server::start(http).await;
    let mut idle = server.connect().await;
    idle.write_all(HEALTH).await.unwrap();
    read_to(&mut idle, "\"ok\"}").await;
    let mut other = server.connect().await;
    other.write_all(HEALTH).await.unwrap();
    let answer = read_to(&mut other, "\"ok\"}").await;
    assert!(!answer.contains("connection: close"), "it has a place like any: {answer}");
    assert_eq!(rest(&mut idle).await, "", "it was ended, with nothing more to read");
}

#[tokio::test]
async fn where_all_are_at_work_a_few_places_are_left_for_operators() {
    let http = HttpConfig { max_connections: Some(1), ..HttpConfig::default() };
    let server = Server::start(http).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /events/stream HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
    read_to(&mut stream, "\r\n\r\n").await;
    for (path, status) in
        [("/healthz", 200), ("/plugins", 200), ("/metrics", 200), ("/events", 429)]
    {
        let mut operator = server.connect().await;
        let get = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        operator.write_all(get.as_bytes()).await.unwrap();
        let answer = rest(&mut operator).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.contains("connection: close"), "{path}: {answer}");
    }
    // Also where others hold the spare places and send nothing.
    let mut silent = Vec::new();
    for _ in 0..2 * crate::http::serve::SPARE_CONNECTIONS {
        silent.push(server.connect().await);
    }
    let mut operator = server.connect().await;
    operator.write_all(HEALTH).await.unwrap();
    assert!(rest(&mut operator).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn refusals_come_as_problems_before_there_is_a_request() {
    let server = Server::start(HttpConfig::default()).await;
    let long = "x".repeat(70 * 1024);
    for (head, status) in [
        (format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(65_535)), 414),
        (format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"), 431),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400),
        ("nonsense\r\n\r\n".to_owned(), 400),
        (
            "GET /events/%ff HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_owned(),
            400,
        ),
        ("GET /plugins HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(), 400),
    ] {
        let mut socket = server.connect().await;
        let _ = socket.write_all(head.as_bytes()).await;
        let answer = rest(&mut socket).await;
        let shown = &head[..head.len().min(40)];
        // Of an address as long as this, either may be too long.
        let is_expected = answer.starts_with(&format!("HTTP/1.1 {status}"))
            || (status == 414 && answer.starts_with("HTTP/1.1 431"));
        assert!(is_expected, "{shown}: {answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{shown}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{shown}: {body}");
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_what_has_not_arrived() {
    let server = Server::start(HttpConfig::default()).await;
    let mut half_head = server.connect().await;
    half_head.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127").await.unwrap();
    let mut half_body = server.connect().await;
    let head = format!(
        "POST /events HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\n\
         content-length: 9\r\ncontent-type: {STRUCTURED}\r\n\r\n"
    );
    half_body.write_all(head.as_bytes()).await.unwrap();
    read_to(&mut half_body, "100 Continue\r\n\r\n").await;
    let began = std::time::Instant::now();
    server.stop.send_replace(true);
    server.serving.await.unwrap();
    // The header has 10 s, the body 30 s, the drain as long as is configured.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn stopping_ends_streams_and_idle_connections_but_finishes_requests() {
    let server = Server::start(HttpConfig::default()).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
    read_to(&mut idle, "\"ok\"}").await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /events/stream HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
    read_to(&mut stream, "\r\n\r\n").await;
    let mut publisher = server.connect().await;
    let head = format!(
        "POST /events HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\n\
         content-length: {}\r\ncontent-type: {STRUCTURED}\r\n\r\n",
        EVENT.len()
    );
    publisher.write_all(head.as_bytes()).await.unwrap();
    read_to(&mut publisher, "100 Continue\r\n\r\n").await;

    server.stop.send_replace(true);
    assert_eq!(rest(&mut idle).await, "");
    rest(&mut stream).await;
    publisher.write_all(EVENT.as_bytes()).await.unwrap();
    let text = rest(&mut publisher).await;
    assert!(text.starts_with("HTTP/1.1 202"), "{text}");
    server.serving.await.unwrap();
}

#[tokio::test]
async fn bodies_that_are_not_wanted_get_an_answer_and_not_a_reset() {
    let server = Server::start(HttpConfig { max_body_bytes: 10, ..HttpConfig::default() }).await;
    let body = "x".repeat(4 * 1024 * 1024);
    for (target, host, extra, status) in [
        ("POST /events", "127.0.0.1", STRUCTURED, 413),
        ("POST /events", "127.0.0.1", "text/plain", 415),
        ("POST /events", "127.0.0.1", "text/plain\r\norigin: http://evil.example", 403),
        ("POST /events", "evil.example", STRUCTURED, 421),
        ("POST /nothing", "127.0.0.1", STRUCTURED, 404),
        ("PUT /events", "127.0.0.1", STRUCTURED, 405),
    ] {
        let mut socket = server.connect().await;
        let head = format!(
            "{target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\
             content-type: {extra}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let sent = socket.write_all(body.as_bytes()).await;
        assert!(sent.is_ok(), "{status}: {sent:?}");
        let text = rest(&mut socket).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {text}");
    }
}

#[tokio::test]
async fn who_waits_to_send_is_not_asked_for_it() {
    let server = Server::start(HttpConfig { max_body_bytes: 10, ..HttpConfig::default() }).await;
    let mut socket = server.connect().await;
    let head = format!(
        "POST /events HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\n\
         content-length: 99\r\ncontent-type: {STRUCTURED}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let text = rest(&mut socket).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
}
