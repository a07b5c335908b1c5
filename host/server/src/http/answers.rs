//! Answers that are put together whole. The memory for one is taken first, from the budget that all
//! answers share, and given back when it has gone out.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, header};
use serde::Serialize;

use super::budget::Share;
use super::clients::Client;
use super::problem::ApiError;
use super::state::Api;

/// Set aside for one answer while it is put together. Pages of the broker have half of that, or less.
const WHOLE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Room for one answer; waits until others have gone out.
pub(super) async fn room(api: &Api, client: &Arc<Client>) -> Result<Share, ApiError> {
    let room = api.answers.take(client, WHOLE_MAX_BYTES).await;
    room.ok_or_else(|| ApiError::unavailable("the router is stopping"))
}

/// An answer in JSON.
pub(super) fn json(room: Share, value: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(value).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(json_bytes(Body::from(room.charged(body))))
}

/// A body that is JSON.
pub(super) fn json_bytes(body: Body) -> Response {
    let mut response = body.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
