//! A reader of `/events/stream`.

use anyhow::{Context as _, Result, bail};
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use usher_api::{StreamQuery, routes};
use usher_client::Outcome;

use crate::http::Client;

/// An open stream.
pub struct EventStream(usher_client::EventStream);

/// One event of the stream.
#[derive(Clone, Debug)]
pub struct Streamed {
    /// The `id:` field: the sequence.
    pub id: String,
    /// The stored event.
    pub stored: Value,
}

impl EventStream {
    /// Opens a stream; `last` is a `Last-Event-ID`.
    ///
    /// # Errors
    /// The router refused the stream.
    pub fn open(client: &Client, query: &StreamQuery, last: Option<&str>) -> Result<Self> {
        let mut request = client.inner().call(routes::STREAM, &[]).query(query);
        if let Some(last) = last {
            let name = HeaderName::from_static("last-event-id");
            request = request.header(name, HeaderValue::from_str(last)?);
        }
        match request.stream()? {
            Outcome::Done(stream) => Ok(Self(stream)),
            Outcome::Busy(_) => bail!("too many streams are open"),
            Outcome::Refused(refusal) => bail!("{refusal}"),
        }
    }

    /// The next event.
    ///
    /// # Errors
    /// The stream ended or timed out.
    pub fn read(&mut self) -> Result<Streamed> {
        loop {
            match self.0.read().context("reading the stream")? {
                None => bail!("the stream ended"),
                Some(usher_client::Streamed::KeepAlive) => {}
                Some(usher_client::Streamed::Event { id, data }) => {
                    let stored = serde_json::from_str(&data)
                        .with_context(|| format!("the stream brought something else: {data}"))?;
                    return Ok(Streamed { id, stored });
                }
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
