//! Serves HTTP as components for other hosts do, and answers as its event's type says:
//!
//! - `http.binary`, `http.structured`: 200 with an event;
//! - `http.STATUS`: that, with a body, and for 503 a `retry-after` of 7 s;
//! - `http.echo`: what the request was, as an event's data;
//! - `http.long`: a body without end; `http.silent`: no response; `http.kept`: none, and
//!   what would take it is kept open; `http.unfinished`: so is the body; `http.never`: no return;
//! - `http.forbidden`: a header that no component may set;
//! - `http.broken`: an event that is none; `http.panic`: a panic.

use serde_json::json;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::OutputStream;

struct Component;

/// How much a stream takes at a time.
const PIECE_BYTES: usize = 4_096;

impl Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let fields = request.headers();
        let header = |name: &str| {
            let value = fields.get(name).into_iter().next().unwrap_or_default();
            String::from_utf8_lossy(&value).into_owned()
        };
        let event = |data: &str| {
            format!(
                r#"{{"specversion":"1.0","id":"1","source":"/c","type":"done.http","data":{data}}}"#
            )
        };
        let structured: [(&str, &str); 1] = [("content-type", "application/cloudevents+json")];
        match header("ce-type").trim_start_matches("http.") {
            "binary" => {
                let headers = [
                    ("ce-specversion", "1.0"),
                    ("ce-id", "1"),
                    ("ce-source", "/c"),
                    ("ce-type", "done.http"),
                    ("ce-subject", "s"),
                    ("content-type", "application/json"),
                ];
                respond(out, 200, &headers, b"[1,2]");
            }
            "structured" => respond(out, 202, &structured, event("3").as_bytes()),
            "echo" => {
                let headers: Vec<_> = fields.entries().into_iter().map(|(name, _)| name).collect();
                let echo = json!({
                    "path": request.path_with_query(),
                    "authority": request.authority(),
                    "subscription": header("usher-subscription"),
                    "attempt": header("usher-attempt"),
                    "has_key": !header("idempotency-key").is_empty(),
                    "id": header("ce-id"),
                    "body": body(&request),
                    "headers": headers,
                });
                respond(out, 200, &structured, event(&echo.to_string()).as_bytes());
            }
            "long" => {
                let (response, outgoing) = begin(200, &[]);
                ResponseOutparam::set(out, Ok(response));
                if let Ok(stream) = outgoing.write() {
                    while write(&stream, &[b'x'; PIECE_BYTES]) {}
                }
            }
            "silent" => {}
            "kept" => std::mem::forget(out),
            "unfinished" => {
                let (response, outgoing) = begin(200, &[]);
                ResponseOutparam::set(out, Ok(response));
                std::mem::forget(outgoing);
            }
            "never" => loop {
                wasip2::clocks::monotonic_clock::subscribe_duration(1_000_000).block();
            },
            "forbidden" => {
                let refused = Fields::new().append("connection", b"close").is_err();
                respond(out, if refused { 400 } else { 200 }, &[], b"connection can't be set");
            }
            "broken" => respond(out, 200, &structured, b"{}"),
            #[allow(clippy::panic, reason = "it is what is asked for")]
            "panic" => panic!("asked to"),
            status => {
                let wait: &[(&str, &str)] =
                    if status == "503" { &[("retry-after", "7")] } else { &[] };
                respond(out, status.parse().unwrap_or(500), wait, b"as asked for");
            }
        }
    }
}

fn body(request: &IncomingRequest) -> String {
    let mut bytes = Vec::new();
    if let Ok(body) = request.consume()
        && let Ok(stream) = body.stream()
    {
        while let Ok(piece) = stream.blocking_read(PIECE_BYTES as u64) {
            bytes.extend(piece);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn begin(status: u16, headers: &[(&str, &str)]) -> (OutgoingResponse, OutgoingBody) {
    let fields = Fields::new();
    for (name, value) in headers {
        // All are ones that may be set.
        let _ = fields.append(name, value.as_bytes());
    }
    let response = OutgoingResponse::new(fields);
    let _ = response.set_status_code(status);
    #[allow(clippy::expect_used, reason = "it is taken once")]
    let body = response.body().expect("a body");
    (response, body)
}

fn respond(out: ResponseOutparam, status: u16, headers: &[(&str, &str)], text: &[u8]) {
    let (response, body) = begin(status, headers);
    ResponseOutparam::set(out, Ok(response));
    if let Ok(stream) = body.write() {
        for piece in text.chunks(PIECE_BYTES) {
            write(&stream, piece);
        }
    }
    let _ = OutgoingBody::finish(body, None);
}

fn write(stream: &OutputStream, piece: &[u8]) -> bool {
    stream.blocking_write_and_flush(piece).is_ok()
}

wasip2::http::proxy::export!(Component);
