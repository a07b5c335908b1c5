#!/usr/bin/env bash
# hyper 1.12.0 (HTTP/1 server): a request whose head it can't take is answered by hyper itself, with a
# status line and no content: 414 for a target beyond 65,534 bytes, 431 for more than 100 header fields,
# 400 for a header that isn't one. The service is never called, there is no hook to write the answer,
# and a header that doesn't arrive in time closes the connection with no answer at all. A server that
# promises an error format for every refusal (such as RFC 9457) has to look at what hyper writes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
http-body-util = "=0.1.3"
hyper = { version = "=1.12.0", features = ["http1", "server"] }
hyper-util = { version = "=0.1.21", features = ["tokio"] }
tokio = { version = "=1.54.1", features = ["io-util", "macros", "net", "rt", "time"] }
TOML
cat > "$folder/src/main.rs" <<'RUST'
use std::convert::Infallible;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn say(_: Request<hyper::body::Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("the service was called")))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_millis(200))
                .serve_connection(TokioIo::new(socket), service_fn(say));
            tokio::spawn(connection);
        }
    });
    let fields: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (what, request) in [
        ("fine", "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned()),
        ("long target", format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(65_535))),
        ("many fields", format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")),
        ("no header", "GET / HTTP/1.1\r\nhost\r\n\r\n".to_owned()),
        ("late header", "GET / HTTP/1.1\r\nhost: a\r\n".to_owned()),
    ] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is as good as a close here.
        let _ = socket.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.lines().next().unwrap_or("no answer");
        let has_type = head.to_ascii_lowercase().contains("content-type");
        println!("{what}: {status}, {} bytes of content, content-type: {has_type}", body.len());
    }
}
RUST
cd "$folder"
found=$(cargo run --quiet)
expected='fine: HTTP/1.1 200 OK, 22 bytes of content, content-type: false
long target: HTTP/1.1 414 URI Too Long, 0 bytes of content, content-type: false
many fields: HTTP/1.1 431 Request Header Fields Too Large, 0 bytes of content, content-type: false
no header: HTTP/1.1 400 Bad Request, 0 bytes of content, content-type: false
late header: no answer, 0 bytes of content, content-type: false'
printf '%s\n' "$found"
[[ "$found" == "$expected" ]] || { printf 'it is otherwise now; expected:\n%s\n' "$expected" >&2; exit 1; }
