//! Reads the log: `GET /events`, `GET /events/{sequence}`, and the state of an event's delivery to
//! a subscription.

use std::io;
use std::ops::Range;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tracing::warn;
use usher_broker::ReadOrder;

use super::answers::json_bytes;
use super::client::Client;
use super::log::Reader;
use super::params::{Params, PathParams, filter, number, page, subscription};
use super::problem::ApiError;
use super::state::{Api, Node};
use crate::access::Identity;
use crate::project;
use crate::serving::Serving;
use usher_api::{EventsQuery, Explanation, Stored};

/// The first sequence of every log.
pub(super) const FIRST_SEQUENCE: u64 = 1;

/// Streams part of the log as one JSON response.
pub(super) async fn list(
    State(node): State<Node>,
    identity: Identity,
    client: Client,
    Params(asked): Params<EventsQuery>,
) -> Result<Response, ApiError> {
    let missing = page(asked.max)?;
    let filter = filter(&identity, asked.type_prefix.as_deref(), asked.filter.as_deref())?;
    let order = match asked.order.unwrap_or_default() {
        usher_api::ReadOrder::Oldest => ReadOrder::OldestFirst,
        usher_api::ReadOrder::Newest => ReadOrder::NewestFirst,
    };
    let part = part(&node, &asked).await?;
    let reader = Reader::new(node.clone(), identity, client, filter, part, order);
    let mut listing = Listing { node, reader, missing, is_begun: false, is_over: false };
    // An error before the first chunk becomes an error response; a later one aborts the body.
    let first = listing.next().await?.unwrap_or_default();
    if listing.is_over {
        return Ok(json_bytes(Body::from(first)));
    }
    let rest = stream::try_unfold(listing, |mut listing| async move {
        let more = listing.next().await.map_err(|error| {
            warn!(error = error.detail(), "an answer is broken off: the log can't be read on");
            io::Error::other(error.detail().to_owned())
        })?;
        Ok::<_, io::Error>(more.map(|more| (more, listing)))
    });
    let body = stream::once(std::future::ready(Ok(first))).chain(rest);
    Ok(json_bytes(Body::from_stream(body)))
}

/// The part of the log that is asked for, by sequences and by times.
async fn part(node: &Node, asked: &EventsQuery) -> Result<Range<u64>, ApiError> {
    let log = &node.log;
    let mut part = asked.from.unwrap_or(FIRST_SEQUENCE)..asked.to.unwrap_or(u64::MAX);
    if let Some(since) = asked.since {
        part.start = part.start.max(log.first_since(since.as_ms()).await?);
    }
    if let Some(until) = asked.until {
        part.end = part.end.min(log.first_since(until.as_ms()).await?);
    }
    Ok(part)
}

/// Produces `{"events":[…],"next":N,"last":N}` in chunks.
struct Listing {
    node: Node,
    reader: Reader,
    /// How many events may still be sent.
    missing: usize,
    is_begun: bool,
    is_over: bool,
}

impl Listing {
    /// Returns the next chunk; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        if self.is_over {
            return Ok(None);
        }
        let page = self.reader.page(self.missing).await?;
        self.missing = self.missing.saturating_sub(page.len());
        let last = *self.node.log.committed().borrow();
        self.is_over = self.missing == 0 || page.is_empty() || self.reader.is_done(last);
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let begin = if is_first { "{\"events\":[" } else { "" };
        let comma = |position: usize, _: &Stored| {
            if is_first && position == 0 { String::new() } else { ",".to_owned() }
        };
        let end = format!("],\"next\":{},\"last\":{last}}}", self.reader.next());
        let end = if self.is_over { &*end } else { "" };
        let written = page.written(begin, (comma, ""), end);
        written.map(Some).map_err(|error| ApiError::internal(error.to_string()))
    }
}

/// One event.
pub(super) async fn one(
    State(node): State<Node>,
    identity: Identity,
    PathParams(sequence): PathParams<String>,
) -> Result<Json<Stored>, ApiError> {
    let sequence = number("sequence", &sequence)?;
    match node.log.event(sequence).await? {
        Some(stored) => {
            let mut stored = project::stored(stored);
            identity.hide_data(&mut stored);
            Ok(Json(stored))
        }
        None => Err(ApiError::not_found(format!("there is no event {sequence}"))),
    }
}

/// The state of an event's delivery to a subscription, or why there is none.
pub(super) async fn delivery(
    State(api): State<Api>,
    PathParams((sequence, plugin, local)): PathParams<(String, String, String)>,
) -> Result<Json<Explanation>, ApiError> {
    let sequence = number("sequence", &sequence)?;
    let name = subscription(&plugin, &local)?;
    match api.running.broker.explain(sequence, &name).await? {
        Some(explanation) => {
            let paused_because = Serving::now(&api.running).paused_because(&name);
            Ok(Json(project::explanation(sequence, name, explanation, paused_because)))
        }
        None => Err(ApiError::not_found(format!("there is no event {sequence}"))),
    }
}
