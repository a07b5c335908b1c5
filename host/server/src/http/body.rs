//! Reads request bodies, bounded in bytes, in time, and by a budget that all bodies share.
//!
//! The budget is charged as bytes arrive, not by `Content-Length`, so a client holds no more than
//! it has sent. When the budget is exhausted, at most one partly read body waits for room and the
//! others are refused, which frees it: several waiting for each other would deadlock.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use super::budget::{Budget, Share};
use super::connections::Kind;
use super::connections::{Connection, Connections};
use super::problem::ApiError;

/// How long a body of which nothing has been read waits for room.
const BEGIN_PATIENCE: Duration = Duration::from_secs(2);

/// Limit on the buffer allocated for a body before any of it arrives.
const BEGIN_MAX_BYTES: usize = 64 * 1024;

/// A byte order mark, which JSON may not begin with (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The budget for all request bodies.
pub(super) struct BodyBudget {
    budget: Budget,
    /// Held by the one partly read body that may wait for more room.
    waiting: Semaphore,
}

impl BodyBudget {
    /// A budget of `total_bytes`.
    pub(super) fn new(total_bytes: usize, clients: &Arc<Connections>) -> Self {
        Self { budget: Budget::new(Kind::Bodies, total_bytes, clients), waiting: Semaphore::new(1) }
    }

    /// Takes room for an unregistered client, which is never cut.
    #[cfg(test)]
    pub(super) fn hold(&self, bytes: usize) -> Option<Share> {
        self.budget.try_take(&Connection::alone(), bytes)
    }

    /// Adds to the share of a body that arrives; waits for room where that can't deadlock.
    ///
    /// # Errors
    /// 429 when the budget is exhausted.
    async fn charge(
        &self,
        client: &Arc<Connection>,
        bytes: usize,
        share: &mut Option<Share>,
    ) -> Result<(), ApiError> {
        merge(self.take(client, bytes).await, share)
    }

    /// Adds to the share of a body that has arrived, without waiting.
    ///
    /// # Errors
    /// 429 when the budget is exhausted.
    pub(super) fn charge_now(
        &self,
        client: &Arc<Connection>,
        bytes: usize,
        share: &mut Option<Share>,
    ) -> Result<(), ApiError> {
        merge(self.budget.try_take(client, bytes), share)
    }

    async fn take(&self, client: &Arc<Connection>, bytes: usize) -> Option<Share> {
        if let Some(share) = self.budget.try_take(client, bytes) {
            return Some(share);
        }
        // The router's turn: while it waits for room, the client must not fall behind.
        client.request_began();
        if !client.is_holding(Kind::Bodies) {
            return self.budget.take_within(client, bytes, BEGIN_PATIENCE).await;
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        self.budget.take(client, bytes).await
    }
}

fn merge(more: Option<Share>, share: &mut Option<Share>) -> Result<(), ApiError> {
    let more = more.ok_or_else(|| {
        ApiError::busy("more is being published than the router takes at once; try again")
    })?;
    match share {
        Some(share) => share.merge(more),
        None => *share = Some(more),
    }
    Ok(())
}

/// A body and its share of the budget, which is released on drop.
pub(super) struct RequestBody {
    /// The content.
    pub(super) bytes: Bytes,
    _share: Option<Share>,
}

impl RequestBody {
    pub(super) fn new(bytes: Bytes, share: Option<Share>) -> Self {
        Self { bytes, _share: share }
    }

    /// The content, to be parsed as JSON.
    ///
    /// # Errors
    /// 400 if it begins with a byte order mark, which parsers misreport as a missing value.
    pub(super) fn json(&self) -> Result<&Bytes, ApiError> {
        if self.bytes.starts_with(BYTE_ORDER_MARK) {
            return Err(ApiError::invalid(
                "the body begins with a byte order mark; send UTF-8 without one",
            ));
        }
        Ok(&self.bytes)
    }
}

/// Reads `body` whole.
///
/// # Errors
/// 413 above `max_bytes`; 408 after `timeout`, or when the client is cut because it is too slow and
/// others wait for its room; 429 when the budget is exhausted; 400 when the client disconnects.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    client: &Arc<Connection>,
    (max_bytes, timeout): (usize, Duration),
    room: &BodyBudget,
) -> Result<RequestBody, ApiError> {
    let too_large = || ApiError::too_large(format!("the body is larger than {max_bytes} bytes"));
    let announced_bytes = announced_bytes(headers).unwrap_or_default();
    let announced_bytes = usize::try_from(announced_bytes)
        .ok()
        .filter(|bytes| *bytes <= max_bytes)
        .ok_or_else(too_large)?;
    let mut share: Option<Share> = None;
    let reading = async {
        let mut bytes = BytesMut::with_capacity(announced_bytes.min(BEGIN_MAX_BYTES));
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| ApiError::invalid(format!("the body broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > max_bytes {
                return Err(too_large());
            }
            room.charge(client, data.len(), &mut share).await?;
            bytes.extend_from_slice(&data);
        }
        Ok(RequestBody::new(bytes.freeze(), share))
    };
    tokio::select! {
        biased;
        read = tokio::time::timeout(timeout, reading) => read.unwrap_or_else(|_| {
            Err(ApiError::timeout(format!("the body took longer than {} ms", timeout.as_millis())))
        }),
        () = client.cut() => {
            Err(ApiError::timeout("the body hardly moved while others waited; send it faster"))
        }
    }
}

fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::connections::Origin;
    use super::*;
    use axum::response::IntoResponse;
    use futures_util::StreamExt as _;
    use http::StatusCode;

    const FOREVER: Duration = Duration::from_secs(3600);

    fn never() -> Body {
        Body::from_stream(futures_util::stream::pending::<Result<Bytes, String>>())
    }

    fn room(bytes: usize) -> (BodyBudget, Arc<Connections>) {
        let clients = Connections::new(Default::default());
        (BodyBudget::new(bytes, &clients), clients)
    }

    async fn status(body: Body, announced: Option<&str>, room_bytes: usize) -> StatusCode {
        let mut headers = HeaderMap::new();
        if let Some(announced) = announced {
            headers.insert(header::CONTENT_LENGTH, announced.parse().unwrap());
        }
        let (room, clients) = room(room_bytes);
        let entry = clients.enter(Origin::LOCAL, false);
        match read(&headers, body, entry.client(), (8, FOREVER), &room).await {
            Ok(intake) => {
                assert!(intake.bytes.len() <= 8);
                StatusCode::OK
            }
            Err(error) => error.into_response().status(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_bounded() {
        assert_eq!(status(Body::from("8 bytes!"), None, 8).await, StatusCode::OK);
        assert_eq!(status(Body::from("9 bytes!!"), None, 99).await, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(status(Body::empty(), Some("9"), 99).await, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_only_announced_takes_no_room() {
        let (room, clients) = room(8);
        let (announcing, sending) =
            (clients.enter(Origin::LOCAL, false), clients.enter(Origin::LOCAL, false));
        let headers: HeaderMap =
            [(header::CONTENT_LENGTH, "8".parse().unwrap())].into_iter().collect();
        let announced = read(&headers, never(), announcing.client(), (8, FOREVER), &room);
        let sent = async {
            let body = Body::from("8 bytes!");
            let limits = (8, FOREVER);
            read(&HeaderMap::new(), body, sending.client(), limits, &room).await.is_ok()
        };
        tokio::select! {
            is_taken = sent => assert!(is_taken),
            _ = announced => panic!("it never ends"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_makes_room_for_one_that_moves() {
        let (room, clients) = room(8);
        let (standing, moving) =
            (clients.enter(Origin::LOCAL, false), clients.enter(Origin::LOCAL, false));
        let frames = futures_util::stream::iter([Ok::<_, String>(Bytes::from_static(b"7 bytes"))]);
        let body = Body::from_stream(frames.chain(futures_util::stream::pending()));
        let stands = async {
            standing.client().request_began();
            let headers = HeaderMap::new();
            let reading = read(&headers, body, standing.client(), (8, FOREVER), &room);
            standing.client().awaits_body();
            reading.await.err().map(|error| error.into_response().status())
        };
        let moves = async {
            // Behind the other.
            tokio::task::yield_now().await;
            let headers = HeaderMap::new();
            read(&headers, Body::from("8 bytes!"), moving.client(), (8, FOREVER), &room)
                .await
                .is_ok()
        };
        let (stood, is_taken) = tokio::join!(stands, moves);
        assert_eq!((stood, is_taken), (Some(StatusCode::REQUEST_TIMEOUT), true));
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_never_end_time_out() {
        assert_eq!(status(never(), None, 8).await, StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn the_share_is_given_back() {
        let (room, clients) = room(8);
        let entry = clients.enter(Origin::LOCAL, false);
        let (headers, body) = (HeaderMap::new(), Body::from("8 bytes!"));
        let intake = read(&headers, body, entry.client(), (8, FOREVER), &room)
            .await
            .unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(room.budget.free_bytes(), 0);
        drop(intake);
        assert_eq!(room.budget.free_bytes(), 8);
    }
}
