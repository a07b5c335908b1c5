//! `GET /events/stream`: the log as server-sent events, from any sequence on and as it grows.
//!
//! A stream reads the log only when its client reads, and holds at most one small page, so a slow
//! client costs one of the open streams and little else. One whose filter names types, once it has
//! read all there is, waits for the next event of such a type; others look at every commit. A client
//! resumes with `Last-Event-ID`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderMap, HeaderValue, header};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tracing::warn;
use usher_broker::{ReadOrder, Watch};

use super::client::Client;
use super::log::Reader;
use super::params::{Params, filter, number};
use super::problem::ApiError;
use super::state::{Front, Node, stopped};
use crate::access::Identity;
use crate::metrics::Open;
use usher_api::{Stored, StreamQuery};

/// Events read at once for one stream.
const PAGE_EVENTS: usize = 1_000;

/// A stream that has read and found nothing waits so long before it looks again.
const EMPTY_PAUSE: Duration = Duration::from_millis(50);

/// A comment is sent after this much silence, so that both ends notice a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// An empty comment.
pub(super) const COMMENT: &[u8] = b":\n\n";

/// Streams events from a sequence on, without an end.
pub(super) async fn follow(
    State(node): State<Node>,
    identity: Identity,
    client: Client,
    Params(asked): Params<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let filter = filter(&identity, asked.type_prefix.as_deref(), asked.filter.as_deref())?;
    node.log.check()?;
    let committed = node.log.committed();
    let place = Place::take(&node)?;
    let watch = match &filter {
        Some(filter) => node.log.watch(filter).await?,
        None => None,
    };
    let next = match headers.get("last-event-id") {
        Some(seen) => number("last-event-id", seen.to_str().unwrap_or_default())?.saturating_add(1),
        None => asked.from.unwrap_or_else(|| committed.borrow().saturating_add(1)),
    };
    let following = Following {
        committed,
        watch,
        is_begun: false,
        stop: node.stop.clone(),
        _place: place,
        reader: Reader::new(node, identity, client, filter, next..u64::MAX, ReadOrder::OldestFirst),
    };
    let lines = stream::unfold(following, |mut following| async move {
        let lines = following.next().await?;
        Some((Ok::<_, Infallible>(lines), following))
    });
    Ok(sent_events(lines, "no-cache"))
}

/// A place among the streams that may be open, counted while it is held.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _open: Open,
}

impl Place {
    /// Takes one.
    ///
    /// # Errors
    /// 429 if all are taken.
    pub(super) fn take(front: &Front) -> Result<Self, ApiError> {
        let permit = Arc::clone(&front.streams).try_acquire_owned();
        let permit = permit
            .map_err(|_| ApiError::busy("too many streams are open; close one or try again"))?;
        Ok(Self { _permit: permit, _open: front.metrics.stream() })
    }
}

/// A response of server-sent events.
pub(super) fn sent_events(
    events: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
    cache_control: &'static str,
) -> Response {
    let mut response = Body::from_stream(events).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
    response
}

/// One open stream.
struct Following {
    reader: Reader,
    committed: watch::Receiver<u64>,
    /// Where only some events are wanted.
    watch: Option<Watch>,
    is_begun: bool,
    stop: watch::Receiver<bool>,
    _place: Place,
}

impl Following {
    /// An empty event with an id makes no event for a client, but sets where it resumes (WHATWG HTML,
    /// section 9.2.6): one that has had none yet misses nothing either.
    fn position(&self) -> Bytes {
        format!(":\nid: {}\n\n", self.reader.next().saturating_sub(1)).into()
    }

    /// Its position at first. Then waits for events and returns them, or the position after
    /// [`KEEP_ALIVE`]; `None` when the router stops or the log can't be read.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.is_begun, true) {
            return Some(self.position());
        }
        loop {
            let from = self.reader.next();
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return None,
                news = news(&mut self.committed, self.watch.as_mut(), from) => {
                    self.reader.skip_to(news?);
                }
                () = tokio::time::sleep(KEEP_ALIVE) => {
                    return self.reader.may_go_on().then(|| self.position());
                }
            }
            if !self.reader.may_go_on() {
                return None;
            }
            let from = self.reader.next();
            match self.reader.page(PAGE_EVENTS).await {
                Ok(_) if self.reader.next() <= from => {
                    // No progress: retrying would loop forever.
                    warn!(from, "an event stream ends: the log can't be read on");
                    return None;
                }
                // What comes within the pause is read in one go.
                Ok(page) if page.is_empty() => tokio::time::sleep(EMPTY_PAUSE).await,
                Ok(page) => {
                    let id = |_: usize, stored: &Stored| format!("id: {}\ndata: ", stored.sequence);
                    return page
                        .written("", (id, "\n\n"), "")
                        .inspect_err(|error| warn!(%error, "an event stream ends"))
                        .ok();
                }
                Err(error) => {
                    warn!(%error, "an event stream ends");
                    return None;
                }
            }
        }
    }
}

/// Waits until there is something to read from `from` on; returns where. `None` when the router
/// stops.
async fn news(
    committed: &mut watch::Receiver<u64>,
    watch: Option<&mut Watch>,
    mut from: u64,
) -> Option<u64> {
    let Some(watch) = watch else {
        return committed.wait_for(|last| *last >= from).await.ok().map(|_| from);
    };
    // All below `from` has been read, and what is committed from now on is watched for.
    while *committed.borrow() < from {
        from = from.max(watch.matched().await?);
    }
    Some(from)
}
