//! A reader of `/events/stream`: server-sent events, one stored event each.

use std::io::{BufRead as _, BufReader, Read};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::http::Client;

/// An open stream.
pub struct EventStream {
    lines: BufReader<Box<dyn Read + Send>>,
}

/// One event of the stream.
#[derive(Clone, Debug)]
pub struct Streamed {
    /// The `id:` field: the sequence.
    pub id: String,
    /// The stored event.
    pub stored: Value,
}

impl EventStream {
    /// Opens a stream; `query` begins with `?` or is empty, `last` is a `Last-Event-ID`.
    ///
    /// # Errors
    /// The router refused the stream.
    pub fn open(client: &Client, query: &str, last: Option<&str>) -> Result<Self> {
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last.map(|id| ("last-event-id", id)));
        let reader = client.open(&format!("/events/stream{query}"), &headers)?;
        Ok(Self { lines: BufReader::new(Box::new(reader)) })
    }

    /// The next event.
    ///
    /// # Errors
    /// The stream ended or timed out.
    pub fn read(&mut self) -> Result<Streamed> {
        let mut id = String::new();
        let mut data = String::new();
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).context("reading the stream")? == 0 {
                bail!("the stream ended");
            }
            match line.trim_end_matches(['\r', '\n']).split_once(':') {
                Some(("id", value)) => value.trim_start().clone_into(&mut id),
                Some(("data", value)) => data.push_str(value.strip_prefix(' ').unwrap_or(value)),
                None if line.trim().is_empty() && !data.is_empty() => {
                    let stored = serde_json::from_str(&data)
                        .with_context(|| format!("the stream brought something else: {data}"))?;
                    return Ok(Streamed { id, stored });
                }
                _ => {}
            }
        }
    }

    /// The next `count` events.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn take(&mut self, count: usize) -> Result<Vec<Streamed>> {
        (0..count).map(|_| self.read()).collect()
    }
}
