//! `GET /events/stream`: the log as server-sent events, from any point on and as it grows.
//!
//! A stream reads the log when its client takes data and holds one small page at most, so a slow
//! client costs a place among the open streams and nothing else: it makes nobody wait and fills
//! no memory. A client that breaks off goes on with `Last-Event-ID`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event as Line, KeepAlive};
use futures_util::{Stream, stream};
use http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tracing::warn;
use usher_broker::{EventQuery, StoredEvent};
use usher_filter::Filter;

use super::params::{Choice, Params, number};
use super::problem::ApiError;
use super::serve::stopped;
use super::shapes::Stored;
use super::state::Api;
use super::status::alive;
use crate::metrics::Open;

/// Events read at once for one stream.
const PAGE_EVENTS: usize = 16;

/// A comment goes out after this much silence, so that both ends notice a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events from a point on, and all that follow.
pub(super) async fn follow(
    State(api): State<Api>,
    Params(choice): Params<Choice>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Line, Infallible>>>, ApiError> {
    if choice.max.is_some() {
        return Err(ApiError::invalid("max: a stream has no end; leave it out"));
    }
    let filter = choice.filter()?;
    alive(&api)?;
    let committed = api.app.broker.committed();
    let next = match headers.get("last-event-id") {
        Some(seen) => number("last-event-id", seen.to_str().unwrap_or_default())?.saturating_add(1),
        None => choice.from.unwrap_or_else(|| committed.borrow().saturating_add(1)),
    };
    let permit = Arc::clone(&api.streams)
        .try_acquire_owned()
        .map_err(|_| ApiError::busy("too many streams are open; close one or try again"))?;
    let reader = Reader {
        filter,
        next,
        committed,
        stop: api.stop.clone(),
        page: VecDeque::new(),
        _permit: permit,
        _open: api.metrics.stream(),
        api,
    };
    let lines = stream::unfold(reader, |mut reader| async move {
        let stored = reader.next().await?;
        Some((Ok(line(stored)), reader))
    });
    Ok(Sse::new(lines).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn line(stored: StoredEvent) -> Line {
    let id = stored.sequence.to_string();
    match Line::default().id(id).json_data(Stored::from(stored)) {
        Ok(line) => line,
        Err(error) => Line::default().comment(error.to_string()),
    }
}

/// One client's place in the log.
struct Reader {
    api: Api,
    filter: Option<Filter>,
    next: u64,
    committed: watch::Receiver<u64>,
    stop: watch::Receiver<bool>,
    page: VecDeque<StoredEvent>,
    _permit: OwnedSemaphorePermit,
    _open: Open,
}

impl Reader {
    /// The next event, as soon as there is one; `None` when the router stops or can't be read.
    async fn next(&mut self) -> Option<StoredEvent> {
        loop {
            if *self.stop.borrow() {
                return None;
            }
            if let Some(stored) = self.page.pop_front() {
                return Some(stored);
            }
            self.wait().await?;
            let query =
                EventQuery { from: self.next, max: PAGE_EVENTS, filter: self.filter.clone() };
            match self.api.app.broker.events(query).await {
                Ok(page) if page.next <= self.next => {
                    // To ask again would be to ask for ever.
                    warn!(from = self.next, "an event stream ends: the log can't be read on");
                    return None;
                }
                Ok(page) => {
                    self.next = page.next;
                    self.page = page.events.into();
                }
                Err(error) => {
                    warn!(%error, "an event stream ends");
                    return None;
                }
            }
        }
    }

    /// Waits until the log has reached `next`; `None` when the router stops.
    async fn wait(&mut self) -> Option<()> {
        let next = self.next;
        tokio::select! {
            biased;
            () = stopped(&mut self.stop) => None,
            reached = self.committed.wait_for(|last| *last >= next) => reached.ok().map(|_| ()),
        }
    }
}
