//! Reading a request's body: bounded in bytes, in time, and together with all other bodies.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::ApiError;

/// How much of a body that is too large is read and thrown away, so that the client gets to read
/// the answer instead of a reset connection.
const DISCARD_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// How long that may take.
const DISCARD_MAX_MS: u64 = 2_000;

/// A body, with its share of what all bodies together may hold. The share is given back on drop.
pub(super) struct Intake {
    /// The content.
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Reads `body` whole.
///
/// # Errors
/// 413 above `max_bytes`; 408 after `timeout`; 429 when all bodies together are too much; 400 when
/// the client breaks off.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    max_bytes: usize,
    timeout: Duration,
    room: &Arc<Semaphore>,
) -> Result<Intake, ApiError> {
    let too_large = || ApiError::too_large(format!("the body is larger than {max_bytes} bytes"));
    let announced = announced_bytes(headers);
    if announced.is_some_and(|bytes| bytes > max_bytes as u64) {
        // Who waits for "100 Continue" has not sent the body, and reading would ask for it.
        if !headers.contains_key(header::EXPECT) {
            discard(&mut body, announced).await;
        }
        return Err(too_large());
    }
    let reading = async {
        let mut bytes = BytesMut::with_capacity(announced.unwrap_or_default() as usize);
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| ApiError::invalid(format!("the body broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > max_bytes {
                discard(&mut body, None).await;
                return Err(too_large());
            }
            take(room, data.len(), &mut share)?;
            bytes.extend_from_slice(&data);
        }
        Ok(Intake { bytes: bytes.freeze(), _share: share })
    };
    match tokio::time::timeout(timeout, reading).await {
        Ok(read) => read,
        Err(_) => {
            Err(ApiError::timeout(format!("the body took longer than {} ms", timeout.as_millis())))
        }
    }
}

/// Takes room for `bytes` more.
fn take(
    room: &Arc<Semaphore>,
    bytes: usize,
    share: &mut Option<OwnedSemaphorePermit>,
) -> Result<(), ApiError> {
    let more = u32::try_from(bytes)
        .ok()
        .and_then(|bytes| Arc::clone(room).try_acquire_many_owned(bytes).ok())
        .ok_or_else(|| {
            ApiError::busy("more is being published than the router takes at once; try again")
        })?;
    match share {
        Some(share) => share.merge(more),
        None => *share = Some(more),
    }
    Ok(())
}

fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads on for a moment and keeps nothing.
async fn discard(body: &mut Body, announced: Option<u64>) {
    if announced.is_some_and(|bytes| bytes > DISCARD_MAX_BYTES) {
        return;
    }
    let discarding = async {
        let mut read_bytes: u64 = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if read_bytes > DISCARD_MAX_BYTES {
                break;
            }
        }
    };
    // Whether it ended or not makes no difference to the answer.
    let _ = tokio::time::timeout(Duration::from_millis(DISCARD_MAX_MS), discarding).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use http::StatusCode;

    const SECOND: Duration = Duration::from_secs(1);

    async fn status(body: Body, announced: Option<&str>, room_bytes: usize) -> StatusCode {
        let mut headers = HeaderMap::new();
        if let Some(announced) = announced {
            headers.insert(header::CONTENT_LENGTH, announced.parse().unwrap());
        }
        match read(&headers, body, 8, SECOND, &Arc::new(Semaphore::new(room_bytes))).await {
            Ok(intake) => {
                assert!(intake.bytes.len() <= 8);
                StatusCode::OK
            }
            Err(error) => error.into_response().status(),
        }
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        assert_eq!(status(Body::from("8 bytes!"), None, 8).await, StatusCode::OK);
        assert_eq!(status(Body::from("9 bytes!!"), None, 99).await, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(status(Body::empty(), Some("9"), 99).await, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(status(Body::from("8 bytes!"), None, 7).await, StatusCode::TOO_MANY_REQUESTS);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_never_end_time_out() {
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, String>>());
        assert_eq!(status(never, None, 8).await, StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn the_share_is_given_back() {
        let room = Arc::new(Semaphore::new(8));
        let intake = read(&HeaderMap::new(), Body::from("8 bytes!"), 8, SECOND, &room)
            .await
            .unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(room.available_permits(), 0);
        drop(intake);
        assert_eq!(room.available_permits(), 8);
    }
}
