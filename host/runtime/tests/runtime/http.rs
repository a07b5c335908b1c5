//! Outgoing HTTP to local test servers on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use usher_event::FailureClass;
use usher_runtime::{Grants, HttpGrant, Limits};

use crate::support::{Setup, assert_failure, guest};

/// A server that hands each connection to `serve` on its own thread, as `(request, stream)` with
/// the request's head and whatever part of the body came with it.
struct Server {
    address: SocketAddr,
    requests: mpsc::Receiver<String>,
}

impl Server {
    fn start(serve: impl Fn(&str, TcpStream) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, serve, sender) = (stream.unwrap(), serve.clone(), sender.clone());
                std::thread::spawn(move || {
                    let request = read_request(&mut stream);
                    let _ = sender.send(request.clone());
                    serve(&request, stream);
                });
            }
        });
        Self { address, requests }
    }

    /// A server that always sends the same response.
    fn answering(response: &'static str) -> Self {
        Self::start(move |_, mut stream| stream.write_all(response.as_bytes()).unwrap())
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer).unwrap_or(0);
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if count == 0 {
                return text;
            }
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
            })
            .unwrap_or(0);
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        if count == 0
            || (chunked && body.ends_with("0\r\n\r\n"))
            || (!chunked && body.len() >= length)
        {
            return text;
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi";

fn granted(origin: &str, limits: Limits) -> Setup {
    let grants = Grants::default().with_http(vec![origin.parse().unwrap()]);
    Setup::new(&guest("probe"), grants, limits)
}

fn get(setup: &Setup, url: &str) -> Value {
    setup.probe(&json!({"try": "http", "url": url}))
}

#[test]
fn a_granted_origin_is_reached() {
    let server = Server::answering(OK);
    let setup = granted(&server.origin(), Limits::default());
    let probed = setup.probe(&json!({
        "try": "http",
        "url": format!("{}/charges?x=1", server.origin()),
        "method": "POST",
        "headers": [["idempotency-key", "e-1"]],
        "body": "{\"amount\":1}",
    }));
    assert_eq!(probed["ok"]["status"], 200, "{probed}");
    assert_eq!(probed["ok"]["body"], "hi");
    let request = server.requests.recv().unwrap();
    assert!(request.starts_with("POST /charges?x=1 HTTP/1.1\r\n"), "{request}");
    let lower = request.to_ascii_lowercase();
    assert!(lower.contains(&format!("host: {}\r\n", server.address)), "{request}");
    assert!(lower.contains("idempotency-key: e-1\r\n"), "{request}");
    assert!(request.contains("{\"amount\":1}"), "{request}");
}

#[test]
fn a_call_without_a_key_gets_one_that_every_attempt_repeats() {
    let server = Server::answering(OK);
    let setup = granted(&server.origin(), Limits::default());
    let key_of = |method: &str, path: &str| {
        let url = format!("{}{path}", server.origin());
        setup.probe(&json!({"try": "http", "url": url, "method": method, "body": "x"}));
        let request = server.requests.recv().unwrap().to_ascii_lowercase();
        let key = request.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
        key.map(str::to_owned)
    };
    let first = key_of("POST", "/charges").unwrap();
    assert_eq!(key_of("POST", "/charges").as_ref(), Some(&first), "another attempt");
    assert_ne!(key_of("POST", "/refunds"), Some(first), "another call");
    assert_eq!(key_of("GET", "/charges"), None, "it changes nothing");
}

#[test]
fn a_grant_of_a_path_covers_what_lies_below_it_and_nothing_else() {
    let server = Server::answering(OK);
    let origin = server.origin();
    let setup = granted(&format!("{origin}/v1/charges"), Limits::default());
    for path in ["/v1/charges", "/v1/charges/17?x=/../y"] {
        assert_eq!(get(&setup, &format!("{origin}{path}"))["ok"]["status"], 200, "{path}");
        assert!(server.requests.recv().unwrap().starts_with(&format!("GET {path} HTTP/1.1\r\n")));
    }
    let denied = |path: &str| get(&setup, &format!("{origin}{path}"))["error"].to_string();
    for path in ["/", "/v1", "/v1/chargesX", "/v1/charges/../admin", "/v1/charges/%2e%2e%2fadmin"] {
        assert!(denied(path).contains("is not granted"), "{path}: {}", denied(path));
    }
    let line = format!("add http = [\\\"{origin}/v1/charges\\\", \\\"{origin}/v2\\\"]");
    assert!(denied("/v2").contains(&line), "{}", denied("/v2"));
    assert!(denied("/v1/charges/../admin").contains("servers read differently"));
    assert!(server.requests.try_recv().is_err(), "the server was reached");
}

#[test]
fn a_name_that_leads_to_a_granted_address_is_reached() {
    let server = Server::answering(OK);
    let url = format!("http://localhost:{}", server.address.port());
    let over = |range: &str| {
        let mut grant: HttpGrant = url.parse().unwrap();
        grant.addresses = vec![range.parse().unwrap()];
        let grants = Grants::default().with_http(vec![grant]);
        get(&Setup::new(&guest("probe"), grants, Limits::default()), &url)
    };
    assert_eq!(over("127.0.0.0/8")["ok"]["status"], 200);
    let denied = over("10.0.0.0/8")["error"].to_string();
    assert!(denied.contains("the loopback address that http://localhost"), "{denied}");
}

#[test]
fn a_granted_localhost_is_reached() {
    let server = Server::answering(OK);
    let origin = format!("http://localhost:{}", server.address.port());
    assert_eq!(get(&granted(&origin, Limits::default()), &origin)["ok"]["status"], 200);
}

#[test]
fn any_other_origin_is_denied_without_a_connection() {
    let (granted_server, other) = (Server::answering(OK), Server::answering(OK));
    let setup = granted(&granted_server.origin(), Limits::default());
    let port = other.address.port();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("https://{}/", granted_server.address),
        format!("http://localhost:{}/", granted_server.address.port()),
        "http://169.254.169.254/latest/meta-data".to_owned(),
    ] {
        let probed = get(&setup, &url);
        assert!(probed["error"].as_str().unwrap().contains("is not granted"), "{url}: {probed}");
    }
    assert!(other.requests.try_recv().is_err(), "the other server was reached");
    assert_eq!(setup.listener.stats().denied["http"], 4);
}

#[test]
fn what_is_kept_of_a_request_is_bounded() {
    let server = Server::answering(OK);
    let setup = granted(&server.origin(), Limits::default());
    let call = |method: usize, host: Option<usize>, path: usize| {
        let origin =
            host.map_or_else(|| server.origin(), |bytes| "http://".to_owned() + &"h".repeat(bytes));
        let url = format!("{origin}/{}", "p".repeat(path - 1));
        setup.probe(&json!({"try": "http", "method": "M".repeat(method), "url": url}))
    };
    assert_eq!(call(64, None, 8192)["ok"]["status"], 200);
    for (method, host, path) in [(65, None, 1), (1, Some(260), 1), (1, None, 8193)] {
        let probed = call(method, host, path);
        assert!(probed["error"].is_string(), "{method}, {host:?}, {path}: {probed}");
    }
    assert_eq!(setup.listener.stats().denied["http"], 0, "refused before that");
    // A host no longer than a long authority, but longer than a name may be.
    let probed = call(1, Some(254), 1);
    assert!(probed["error"].as_str().unwrap().contains("plain host"), "{probed}");
    assert_eq!(setup.listener.stats().denied["http"], 0, "nobody could grant it");
}

#[test]
fn a_long_body_goes_out_in_pieces() {
    let server = Server::answering(OK);
    let setup = granted(&server.origin(), Limits::default());
    let body = "x".repeat(200_000);
    let probed = setup
        .probe(&json!({"try": "http", "url": server.origin(), "method": "POST", "body": body}));
    assert_eq!(probed["ok"]["status"], 200, "{probed}");
    assert!(server.requests.recv().unwrap().matches('x').count() >= 200_000);
}

/// What a field costs besides its name and value is up to wasi:http, so the maximum is found by
/// trying.
#[test]
fn header_fields_are_bounded() {
    let server = Server::answering(OK);
    let setup = granted(&server.origin(), Limits::default());
    let sends = |bytes: usize| {
        let headers = json!([["x-long", "v".repeat(bytes)]]);
        let call = json!({"try": "http", "url": server.origin(), "headers": headers});
        let sent = setup.deliver(&call);
        if let Err(failure) = &sent {
            assert_failure(failure, FailureClass::Trap, "total size of fields exceeds limit");
        }
        sent.is_ok()
    };
    let (mut most, mut too_much) = (1, 32 * 1024 + 1);
    while too_much - most > 1 {
        let middle = (most + too_much) / 2;
        if sends(middle) { most = middle } else { too_much = middle }
    }
    assert!(sends(most) && !sends(too_much));
    assert!(most > 31 * 1024, "{most}");
}

#[test]
fn redirects_are_handed_to_the_guest() {
    let server = Server::answering(
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
    );
    let setup = granted(&server.origin(), Limits::default());
    assert_eq!(get(&setup, &server.origin())["ok"]["status"], 302);
}

#[test]
fn a_connection_that_is_refused_is_an_error_the_guest_can_read() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let origin = format!("http://{unused}");
    let probed = get(&granted(&origin, Limits::default()), &origin);
    assert!(probed["error"].is_string(), "{probed}");
    assert_ne!(probed["kind"], "denied", "{probed}");
}

#[test]
fn a_silent_or_dripping_server_meets_the_deadline() {
    let limits = Limits { http_total_ms: 300, ..Limits::default() };
    let silent = Server::start(|_, stream| {
        let _ = (&stream).read(&mut [0; 1]);
    });
    let dripping = Server::start(|_, mut stream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
        let mut alive = stream.write_all(head.as_bytes()).is_ok();
        while alive {
            std::thread::sleep(Duration::from_millis(20));
            alive = stream.write_all(b"x").is_ok();
        }
    });
    for server in [silent, dripping] {
        let setup = granted(&server.origin(), limits.clone());
        let started = Instant::now();
        let probed = get(&setup, &server.origin());
        assert!(probed["error"].is_string(), "{probed}");
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(5), "{took:?}");
    }
}

#[test]
fn bodies_are_bounded_both_ways() {
    let endless = Server::start(|_, mut stream| {
        let mut alive = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").is_ok();
        while alive {
            alive = stream.write_all(&[b'x'; 16 * 1024]).is_ok();
        }
    });
    let limits =
        Limits { http_response_bytes: 100_000, http_request_bytes: 1000, ..Limits::default() };
    let setup = granted(&endless.origin(), limits);
    let probed = get(&setup, &endless.origin());
    assert!(probed["error"].is_string(), "{probed}");

    let server = Server::answering(OK);
    let limits = Limits { http_request_bytes: 1000, ..Limits::default() };
    let setup = granted(&server.origin(), limits);
    let post = |bytes: usize| {
        let body = "x".repeat(bytes);
        setup.probe(&json!({"try": "http", "url": server.origin(), "method": "POST", "body": body}))
    };
    assert_eq!(post(1000)["ok"]["status"], 200);
    assert_eq!(post(999)["ok"]["status"], 200);
    let probed = post(1001);
    assert!(probed["error"].is_string(), "{probed}");
}

#[test]
fn calls_are_counted_by_delivery() {
    let server = Server::answering(OK);
    let limits = Limits { http_calls: 0, ..Limits::default() };
    let probed = get(&granted(&server.origin(), limits), &server.origin());
    assert!(probed["error"].as_str().unwrap().contains("may make 0 http calls"), "{probed}");
    let limits = Limits { http_calls: 1, ..Limits::default() };
    let setup = granted(&server.origin(), limits);
    for _ in 0..3 {
        assert_eq!(get(&setup, &server.origin())["ok"]["status"], 200, "one in each delivery");
    }
}
