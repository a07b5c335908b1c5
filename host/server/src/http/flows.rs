//! `GET /flows/{id}`: an event and all that it caused.

use axum::Json;
use axum::extract::{Path, State};

use super::params::number;
use super::problem::ApiError;
use super::shapes::Flow;
use super::state::Api;

/// The flow of an event (by sequence), or the newest one with a `correlationid`.
pub(super) async fn one(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Flow>, ApiError> {
    let broker = &api.app.broker;
    let sequence = if id.bytes().all(|byte| byte.is_ascii_digit()) {
        Some(number("id", &id)?)
    } else {
        broker.flows_by_correlation(&id, FLOWS_MAX).await?.last().copied()
    };
    let flow = match sequence {
        Some(sequence) => broker.flow(sequence).await?,
        None => None,
    };
    match flow {
        Some(flow) => Ok(Json(flow.into())),
        None => Err(ApiError::not_found(format!(
            "there is no flow {id}; use the sequence of one of its events, or its correlationid"
        ))),
    }
}

/// How many flows with the same `correlationid` are looked at to find the newest.
const FLOWS_MAX: usize = 1000;
