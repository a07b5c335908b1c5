//! `GET /flows/{id}`: an event and everything it caused.

use axum::extract::State;
use axum::response::Response;

use super::answers;
use super::client::Client;
use super::params::{PathParams, number};
use super::problem::ApiError;
use super::state::Api;
use crate::access::Identity;
use crate::project;

/// The flow of an event (by sequence), or the newest one with a `correlationid`.
pub(super) async fn one(
    State(api): State<Api>,
    identity: Identity,
    client: Client,
    PathParams(id): PathParams<String>,
) -> Result<Response, ApiError> {
    let room = answers::room(&api, &client).await?;
    let broker = &api.running.broker;
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
        Some(flow) => {
            let mut flow = project::flow(flow);
            identity.hide_data(&mut flow);
            answers::json(room, &flow)
        }
        None => Err(ApiError::not_found(format!(
            "there is no flow {id}; use the sequence of one of its events, or its correlationid"
        ))),
    }
}

/// Limit on flows with the same `correlationid` that are searched for the newest.
const FLOWS_MAX: usize = 1000;
