//! Responses that are buffered whole. Memory for one is reserved from the shared response budget
//! before it is built, and released once it has been sent.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, header};
use serde::Serialize;

use super::budget::Share;
use super::client::Client;
use super::problem::ApiError;
use super::state::Front;

/// Reserved for one response while it is built: at least twice the size of a page of the broker.
const WHOLE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Reserves memory for one response; waits while the budget is exhausted.
pub(super) async fn room(front: &Front, client: &Client) -> Result<Share, ApiError> {
    let room = front.answers.take(client.connection(), WHOLE_MAX_BYTES).await;
    room.ok_or_else(|| ApiError::unavailable("the router is stopping"))
}

/// Builds a JSON response and reduces the reservation to its size.
pub(super) fn json(room: Share, value: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(value).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(json_bytes(Body::from(room.charged(body))))
}

/// Wraps a body that already is JSON.
pub(super) fn json_bytes(body: Body) -> Response {
    let mut response = body.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
