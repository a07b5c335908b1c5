//! The router's event log, as returned by its API.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::http::Client;

/// One event of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    pub(super) id: String,
    pub(super) source: String,
    pub(super) ty: String,
    /// Parent sequence and subscription, if it is an emission.
    pub(super) cause: Option<(u64, String)>,
    /// Key and value reported by a counter.
    pub(super) counted: Option<(String, u64)>,
    /// The digest and size of a ticket's PDF.
    pub(super) pdf: Option<(String, u64)>,
    /// Hash of everything stored.
    hash: u64,
    /// Hash of what the producer sent.
    pub(super) event_hash: u64,
}

/// Hashes an event without attributes that the router may add.
pub(super) fn event_hash(event: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    for name in ["id", "source", "type", "subject", "datacontenttype", "data"] {
        event.get(name).unwrap_or(&Value::Null).to_string().hash(&mut hasher);
    }
    hasher.finish()
}

impl Entry {
    pub(super) fn of(stored: &Value) -> Option<Self> {
        let event = stored.get("event")?;
        let text = |name: &str| event.get(name)?.as_str().map(ToOwned::to_owned);
        let data = |name: &str| event.get("data")?.get(name);
        let cause = match stored.get("cause")? {
            Value::Null => None,
            cause => Some((
                cause.get("parent")?.as_u64()?,
                cause.get("subscription")?.as_str()?.to_owned(),
            )),
        };
        let ty = text("type")?;
        let counted = match ty.as_str() {
            "test.counted" => Some((data("key")?.as_str()?.to_owned(), data("value")?.as_u64()?)),
            _ => None,
        };
        let pdf = match ty.as_str() {
            "ticket.generated" => {
                Some((data("pdf")?.as_str()?.to_owned(), data("size_bytes")?.as_u64()?))
            }
            _ => None,
        };
        let mut hasher = DefaultHasher::new();
        stored.to_string().hash(&mut hasher);
        Some(Self {
            sequence: stored.get("sequence")?.as_u64()?,
            id: text("id")?,
            source: text("source")?,
            ty,
            cause,
            counted,
            pdf,
            hash: hasher.finish(),
            event_hash: event_hash(event),
        })
    }
}

/// Reads the log from this sequence to its end.
pub(super) fn read(client: &Client, mut from: u64) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    loop {
        let page = client.get_json(&format!("/events?from={from}&max=1000"))?;
        let events = page.get("events").and_then(Value::as_array).context("no events")?;
        for stored in events {
            let entry = Entry::of(stored);
            entries.push(entry.with_context(|| format!("not a stored event: {stored}"))?);
        }
        let number = |name: &str| page.get(name).and_then(Value::as_u64);
        from = number("next").context("a page without next")?;
        if from > number("last").context("a page without last")? {
            return Ok(entries);
        }
    }
}
