//! Tries one capability and tells what it got, as `test.probed`: `{"ok":VALUE}` or
//! `{"error":TEXT,"kind":"denied|unavailable|timed-out|limit|invalid"}`. The payload says what to
//! try, as `{"try":T}`:
//!
//! - `http` with `"url"`, and maybe `"method"`, `"headers"`, `"body"`, `"timeout_ms"`: status,
//!   headers and body;
//! - `config` with `"key"`: its value; `all-config`: all of them;
//! - `state` with `"key"`, and maybe `"set"`: the value before;
//! - `keys`: the keys of the state;
//! - `put-blob` with `"content"`, `get-blob` and `delete-blob` with `"digest"`, `list-blobs`;
//! - `log` with `"line"`: to the log, to stdout and to stderr;
//! - `flood` with `"bytes"`: that many bytes to the log;
//! - `env`: environment variables and arguments;
//! - `file` with `"path"`, `connect` with `"address"`: what a guest must never reach;
//! - `allocate` with `"bytes"`: that much memory;
//! - `recurse`: the stack, to its end;
//! - `panic` with `"after"`, a list of such payloads: what they got, the time and a random number, in
//!   the words of a panic.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};
use usher_sdk::prelude::*;
use usher_sdk::{blobs, config, http, log, state};

#[derive(Deserialize)]
#[serde(tag = "try", rename_all = "kebab-case")]
enum Try {
    Http(Call),
    Config { key: String },
    AllConfig,
    State { key: String, set: Option<String> },
    Keys,
    PutBlob { content: String },
    GetBlob { digest: String },
    DeleteBlob { digest: String },
    ListBlobs,
    Log { line: String },
    Flood { bytes: usize },
    Env,
    File { path: String },
    Connect { address: String },
    Allocate { bytes: usize },
    Recurse,
    Panic { after: Vec<Try> },
}

#[derive(Deserialize)]
struct Call {
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    timeout_ms: Option<u64>,
}

struct Probe;

impl Listener for Probe {
    fn describe() -> Description {
        Description::new("probe", env!("CARGO_PKG_VERSION"), "Tries one capability")
            .subscribe("probe", Filter::event_type("test.probe"))
            .wants(Capability::Config, "to see whether it is granted")
            .wants(Capability::Secrets, "to see whether it is granted")
            .wants(Capability::State, "to see whether it is granted")
            .wants(Capability::Blobs, "to see whether it is granted")
            .wants(Capability::Http, "to see whether it is granted")
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let probed = match attempt(delivery.event.json()?) {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": error.to_string(), "kind": kind(&error) }),
        };
        Ok(vec![Emission::new("test.probed").json(&probed)?])
    }
}

fn attempt(what: Try) -> Result<Value, Error> {
    Ok(match what {
        Try::Http(call) => return request(call),
        Try::Config { key } => json!(config::get(&key)?),
        Try::AllConfig => json!(config::all()?),
        Try::State { key, set } => {
            let bucket = state::bucket("probe")?;
            let before =
                bucket.get(&key)?.map(|value| String::from_utf8_lossy(&value).into_owned());
            if let Some(value) = set {
                bucket.set(&key, value.as_bytes())?;
            }
            json!(before)
        }
        Try::Keys => json!(state::bucket("probe")?.keys()?),
        Try::PutBlob { content } => json!(blobs::put(content.as_bytes(), "text/plain")?),
        Try::GetBlob { digest } => match blobs::get(&digest)? {
            Some(blob) => json!(String::from_utf8_lossy(&blob.content)),
            None => Value::Null,
        },
        Try::DeleteBlob { digest } => json!(blobs::delete(&digest)?),
        Try::ListBlobs => {
            json!(blobs::list(None)?.into_iter().map(|info| info.digest).collect::<Vec<_>>())
        }
        Try::Log { line } => {
            log::info!("{line}");
            println!("{line}");
            eprintln!("{line}");
            Value::Null
        }
        Try::Flood { bytes } => {
            let line = "x".repeat(1000);
            (0..bytes.div_ceil(line.len())).for_each(|_| log::info!("{line}"));
            Value::Null
        }
        Try::Env => {
            json!({ "env": std::env::vars().collect::<Vec<_>>(), "args": std::env::args().collect::<Vec<_>>() })
        }
        Try::File { path } => json!(std::fs::read_to_string(path).map_err(denied)?),
        Try::Connect { address } => {
            std::net::TcpStream::connect(address).map_err(denied)?;
            json!("connected")
        }
        Try::Allocate { bytes } => json!(std::hint::black_box(vec![1_u8; bytes]).len()),
        Try::Recurse => json!(recurse(0)),
        #[allow(clippy::panic, reason = "it is what is tried")]
        Try::Panic { after } => {
            let told: Vec<_> = after
                .into_iter()
                .map(|what| attempt(what).unwrap_or_else(|error| json!(error.to_string())))
                .collect();
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let random = RandomState::new().hash_one(());
            panic!("{} at {} {random}", json!(told), time.as_millis())
        }
    })
}

fn request(call: Call) -> Result<Value, Error> {
    let mut request = http::Request::new(call.method.unwrap_or_else(|| "GET".to_owned()), call.url);
    request.headers = call.headers;
    request.body = call.body.into_bytes();
    if let Some(timeout_ms) = call.timeout_ms {
        request.timeout = Duration::from_millis(timeout_ms);
    }
    let response = request.send()?;
    Ok(json!({
        "status": response.status,
        "headers": response.headers,
        "body": String::from_utf8_lossy(&response.body),
    }))
}

fn denied(error: std::io::Error) -> Error {
    Error::Denied(error.to_string())
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Denied(_) => "denied",
        Error::Unavailable(_) => "unavailable",
        Error::TimedOut(_) => "timed-out",
        Error::Limit(_) => "limit",
        Error::Invalid(_) => "invalid",
    }
}

/// Named, so that a test can look for it in a backtrace.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    std::hint::black_box(if depth == u64::MAX { 0 } else { recurse(depth + 1) + 1 })
}

usher_sdk::export!(Probe);
