//! Sample events for the benchmarks.

use std::path::Path;

use anyhow::{Context as _, ensure};
use usher_event::{Event, json};

/// The type that the hop listener emits; everything else is its input.
pub(crate) const HOP_EMITS: &str = "hop.done";

/// The type that the counting listener emits.
pub(crate) const STATE_EMITS: &str = "test.counted";

/// A set of events to cycle through.
pub(crate) struct Sample {
    events: Vec<Event>,
}

impl Sample {
    pub(crate) fn of(event: Event) -> Self {
        Self { events: vec![event] }
    }

    /// The event at position `index` of a run: the sample's events in turn, each with a unique id.
    pub(crate) fn event(&self, index: usize) -> anyhow::Result<Event> {
        let template = self.template(index);
        let mut builder = Event::builder(format!("{index}"), template.source(), template.ty());
        if let Some(content_type) = template.datacontenttype() {
            builder = builder.datacontenttype(content_type);
        }
        if let Some(subject) = template.subject() {
            builder = builder.subject(subject);
        }
        if let Some(time) = template.time() {
            builder = builder.time(time);
        }
        for (name, value) in template.extensions() {
            builder = builder.extension(name, value);
        }
        if let Some(data) = template.data() {
            builder = builder.data(data);
        }
        Ok(builder.build()?)
    }

    /// The sample's event at `index`, modulo its length.
    #[allow(clippy::indexing_slicing, reason = "a sample is never empty; the index is reduced")]
    pub(crate) fn template(&self, index: usize) -> &Event {
        &self.events[index % self.events.len()]
    }

    /// Mean size of an event in the storage encoding.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.events.iter().map(|event| event.encoded().len()).sum::<usize>() / self.events.len()
    }
}

/// Events of `size_bytes` in the storage encoding, with JSON data.
pub(crate) fn events_of_size(size_bytes: usize) -> anyhow::Result<Sample> {
    let build = |padding: usize| {
        let data = serde_json::json!({
            "order": "o-1001",
            "amount_cents": 8500,
            "seat": { "section": "B", "row": "4", "number": 12 },
            "note": "x".repeat(padding),
        });
        Event::builder("1000000", "/bench", "hop.go")
            .subject("o-1001")
            .time("2026-01-01T00:00:00Z")
            .datacontenttype("application/json")
            .data(data.to_string())
            .build()
    };
    let bare = build(0)?.encoded().len();
    ensure!(bare <= size_bytes, "an event without padding already has {bare} bytes");
    Ok(Sample { events: vec![build(size_bytes - bare)?] })
}

/// Events of about 256 bytes that cycle through `keys` keys, both as subject and in the data.
pub(crate) fn events_about(keys: usize) -> anyhow::Result<Sample> {
    let event = |key: usize| {
        let data = serde_json::json!({
            "key": format!("k-{key}"),
            "amount_cents": 8500,
            "note": "x".repeat(96),
        });
        Event::builder("1000000", "/bench", "hop.go")
            .subject(format!("k-{key}"))
            .time("2026-01-01T00:00:00Z")
            .datacontenttype("application/json")
            .data(data.to_string())
            .build()
    };
    Ok(Sample { events: (0..keys).map(event).collect::<Result<_, _>>()? })
}

/// Reads CloudEvents from a file with one JSON object per line.
pub(crate) fn read(file: &Path) -> anyhow::Result<Sample> {
    let text = std::fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
    let events = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(json::from_slice)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("{} is not CloudEvents", file.display()))?;
    ensure!(!events.is_empty(), "{} has no events", file.display());
    Ok(Sample { events })
}
