//! Reading a request's body: bounded in bytes, in time, and together with all other bodies.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::ApiError;

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
    let announced_bytes = announced_bytes(headers).unwrap_or_default();
    let announced_bytes = usize::try_from(announced_bytes)
        .ok()
        .filter(|bytes| *bytes <= max_bytes)
        .ok_or_else(too_large)?;
    // Room first, memory second: what is announced may come, so it counts from the start.
    let mut share: Option<OwnedSemaphorePermit> = None;
    let mut taken_bytes = announced_bytes;
    take(room, announced_bytes, &mut share)?;
    let reading = async {
        let mut bytes = BytesMut::with_capacity(announced_bytes);
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| ApiError::invalid(format!("the body broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            let read_bytes = bytes.len() + data.len();
            if read_bytes > max_bytes {
                return Err(too_large());
            }
            take(room, read_bytes.saturating_sub(taken_bytes), &mut share)?;
            taken_bytes = taken_bytes.max(read_bytes);
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

    #[tokio::test]
    async fn what_is_announced_has_its_room_before_it_comes() {
        let announced = status(Body::empty(), Some("8"), 7).await;
        assert_eq!(announced, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(status(Body::from("8 bytes!"), Some("8"), 8).await, StatusCode::OK);
        assert_eq!(status(Body::from("8 bytes!"), Some("3"), 8).await, StatusCode::OK);
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
