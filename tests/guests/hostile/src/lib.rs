//! Misbehaves in every way that Rust can express; the rest is written as WebAssembly text. The
//! payload says how, as `{"mode":M}`:
//!
//! - `slow` with `"ms"`: works that long, which is legal;
//! - `insist`: writes state that is too large, again and again;
//! - `overrun`: the same once, and answers as if nothing had happened;
//! - `fill` with `"keys"` and `"bytes"`: that many keys of so many bytes;
//! - `leave` with `"key"`: a key, for others to look for; `look` with `"key"`, and `"bucket"`
//!   where it is another's: whether it is there;
//! - `half`: emissions, state and a blob, and then a trap;
//! - `again`: a trap at the first attempt; tells at the next what is left of it;
//! - `emit` with `"count"`, `"type"`, `"data_bytes"`, `"delay_ms"`, `"extensions"`: emissions;
//! - `split` with `"into"` and `"doublings"`: an emission of that type that sends another one back,
//!   and so on; two of them at each of the first doublings;
//! - `log` with `"lines"` and `"bytes"`: lines, and a flood;
//! - `http` with `"url"`, `"method"`, `"headers"`, `"body"`: what the call brings;
//! - `leak` with `"key"`: a secret in the log and in a failure's reason; `tell`: in an event.
//!
//! What it finds goes out as `hostile.done`. Each row of the catalogue gets a copy of its own, with
//! another name: see `NAME`.

#![allow(clippy::panic, reason = "trapping is what this guest is for")]

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use usher_sdk::prelude::*;
use usher_sdk::{blobs, config, http, log, state};

/// The plugin's name. Whoever makes copies of this component writes other bytes in its place, so
/// the compiler must not know what they are: it would put them into its instructions.
static NAME: &str = "row-00-a";

/// What a delivery may leave behind in an instance that goes on.
static LEFT: AtomicU32 = AtomicU32::new(0);

const BUCKET: &str = "hostile";

#[derive(Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
enum Mode {
    Slow { ms: u64 },
    Insist,
    Overrun,
    Fill { keys: u32, bytes: usize },
    Leave { key: String },
    Look { key: String, bucket: Option<String> },
    Half,
    Again,
    Emit(Emit),
    Split { into: String, doublings: u32 },
    Log { lines: Vec<String>, bytes: usize },
    Http(Call),
    Leak { key: String },
    Tell { key: String },
}

#[derive(Deserialize)]
#[serde(default)]
struct Emit {
    count: u32,
    #[serde(rename = "type")]
    ty: String,
    data_bytes: usize,
    delay_ms: u64,
    extensions: Vec<(String, String, String)>,
}

impl Default for Emit {
    fn default() -> Self {
        let ty = "hostile.done".to_owned();
        Self { count: 1, ty, data_bytes: 0, delay_ms: 0, extensions: Vec::new() }
    }
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
}

struct Hostile;

impl Listener for Hostile {
    fn describe() -> Description {
        Description::new(black_box(NAME), env!("CARGO_PKG_VERSION"), "Misbehaves")
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let found = match delivery.event.json()? {
            Mode::Slow { ms } => {
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(ms) {
                    black_box(ms);
                }
                Value::Null
            }
            Mode::Insist => insist(),
            Mode::Overrun => {
                let refused = state::bucket(BUCKET)?.set("large", &vec![0; 1 << 20]);
                json!(refused.err().map(|error| error.to_string()))
            }
            Mode::Fill { keys, bytes } => fill(keys, bytes)?,
            Mode::Leave { key } => {
                state::bucket(BUCKET)?.set(&key, b"left")?;
                Value::Null
            }
            Mode::Look { key, bucket } => {
                let bucket = state::bucket(bucket.as_deref().unwrap_or(BUCKET));
                match bucket.and_then(|all| all.exists(&key)) {
                    Ok(there) => json!(there),
                    Err(error) => told(&error),
                }
            }
            Mode::Half => half(&delivery)?,
            Mode::Again => {
                let before = LEFT.fetch_add(1, Ordering::Relaxed);
                if delivery.attempt == 1 {
                    panic!("the first attempt ends here");
                }
                json!(before)
            }
            Mode::Emit(emit) => return Ok(emissions(&emit)),
            Mode::Split { into, doublings } => {
                let (count, left) = if doublings > 0 { (2, doublings - 1) } else { (1, 0) };
                let back = json!({ "mode": "split", "into": delivery.event.ty, "doublings": left });
                return (0..count).map(|_| Ok(Emission::new(&into).json(&back)?)).collect();
            }
            Mode::Log { lines, bytes } => {
                for line in &lines {
                    log::info!("{line}");
                    println!("{line}");
                }
                let line = "x".repeat(1000);
                (0..bytes / line.len()).for_each(|_| log::info!("{line}"));
                Value::Null
            }
            Mode::Http(call) => request(call),
            Mode::Leak { key } => return leak(&key),
            Mode::Tell { key } => json!(config::get(&key)?),
        };
        Ok(vec![Emission::new("hostile.done").json(&found)?])
    }
}

/// Asks for the same until it gets it.
fn insist() -> Value {
    loop {
        let written =
            state::bucket(BUCKET).and_then(|bucket| bucket.set("large", &vec![0; 1 << 20]));
        if written.is_ok() {
            return Value::Null;
        }
    }
}

/// Goes on when it is told to stop.
fn fill(keys: u32, bytes: usize) -> Result<Value, Error> {
    let bucket = state::bucket(BUCKET)?;
    let value = vec![b'x'; bytes];
    let refused = (0..keys).filter_map(|key| bucket.set(&format!("{key}"), &value).err()).count();
    Ok(json!(refused))
}

/// Everything a delivery can do, and a trap.
fn half(delivery: &Delivery) -> Result<Value, Error> {
    let done: Vec<Emission> = (0..5).map(|_| Emission::new("hostile.done")).collect();
    state::bucket(BUCKET)?.set("half", b"done")?;
    blobs::put(b"half done", "text/plain")?;
    panic!("trapped after {} emissions of event {}", done.len(), delivery.event.id);
}

fn emissions(emit: &Emit) -> Vec<Emission> {
    let one = || {
        let mut emission = Emission::new(&emit.ty);
        if emit.data_bytes > 0 {
            emission = emission.data(vec![b'x'; emit.data_bytes], "text/plain");
        }
        if emit.delay_ms > 0 {
            emission = emission.delay(Duration::from_millis(emit.delay_ms));
        }
        emit.extensions.iter().fold(emission, |emission, (name, kind, text)| {
            emission.extension(name, value(kind, text))
        })
    };
    (0..emit.count).map(|_| one()).collect()
}

fn value(kind: &str, text: &str) -> usher_sdk::Value {
    match kind {
        "timestamp" => usher_sdk::Value::Timestamp(text.to_owned()),
        "uri" => usher_sdk::Value::Uri(text.to_owned()),
        _ => usher_sdk::Value::Text(text.to_owned()),
    }
}

fn request(call: Call) -> Value {
    let mut request = http::Request::new(call.method.unwrap_or_else(|| "GET".to_owned()), call.url);
    request.headers = call.headers;
    request.body = call.body.into_bytes();
    match request.send() {
        Ok(response) => json!({
            "status": response.status,
            "bytes": response.body.len(),
            "start": String::from_utf8_lossy(response.body.get(..64).unwrap_or(&response.body)),
        }),
        Err(error) => told(&error),
    }
}

fn told(error: &Error) -> Value {
    let kind = match error {
        Error::Denied(_) => "denied",
        Error::Unavailable(_) => "unavailable",
        Error::TimedOut(_) => "timed-out",
        Error::Limit(_) => "limit",
        Error::Invalid(_) => "invalid",
    };
    json!({ "error": error.to_string(), "kind": kind })
}

/// A secret in the log and in the reason of a failure.
fn leak(key: &str) -> Result<Vec<Emission>, Failure> {
    let secret = config::get(key)?.unwrap_or_default();
    log::info!("the secret is {secret}");
    println!("the secret is {secret}");
    Err(Failure::reject(format!("the secret is {secret}, and https://x.example/?key={secret}")))
}

usher_sdk::export!(Hostile);
