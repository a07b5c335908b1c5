//! `/dead-letters`: deliveries that were given up, and how to redrive or discard them.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use usher_broker::{DeadLetterPage, DeadLetterQuery, Operated, Operation};
use usher_event::FailureClass;

use super::connections::Caller;
use super::params::{Params, PathParams, number, page};
use super::problem::ApiError;
use super::state::Api;
use super::{answers, ingest};
use crate::access::Identity;
use crate::project;
use usher_api::{DeadLetter, DeadLetterGone, DeadLetters, DeadLettersQuery, Timestamp};

fn query(asked: DeadLettersQuery) -> Result<DeadLetterQuery, ApiError> {
    let class = |name: String| {
        FailureClass::from_name(&name).ok_or_else(|| {
            let known: Vec<_> = FailureClass::ALL.map(FailureClass::as_str).into();
            ApiError::invalid(format!("class: use one of {}", known.join(", ")))
        })
    };
    Ok(DeadLetterQuery {
        after: asked.after,
        max: page(asked.max)?,
        subscription: asked.subscription,
        plugin: asked.plugin,
        class: asked.class.map(class).transpose()?,
        type_prefix: asked.type_prefix,
        from_ms: asked.since.map(Timestamp::as_ms),
        to_ms: asked.until.map(Timestamp::as_ms),
    })
}

/// Dead letters, oldest first.
pub(super) async fn list(
    State(api): State<Api>,
    identity: Identity,
    Caller(client): Caller,
    Params(asked): Params<DeadLettersQuery>,
) -> Result<Response, ApiError> {
    let room = answers::room(&api, &client).await?;
    let DeadLetterPage { letters, next, last } =
        api.running.broker.dead_letters(query(asked)?).await?;
    let dead_letters = letters.into_iter().map(project::listed_dead_letter).collect();
    let mut found = DeadLetters { dead_letters, next, last };
    identity.hide_data(&mut found);
    answers::json(room, &found)
}

/// One dead letter, with its attempts.
pub(super) async fn one(
    State(api): State<Api>,
    identity: Identity,
    PathParams(id): PathParams<String>,
) -> Result<Json<DeadLetter>, ApiError> {
    let id = number("id", &id)?;
    match api.running.broker.dead_letter(id).await? {
        Some(dead) => {
            let mut dead = project::dead_letter(dead);
            identity.hide_data(&mut dead);
            Ok(Json(dead))
        }
        None => Err(missing(id)),
    }
}

/// Delivers the event to its subscription again.
pub(super) async fn redrive(
    State(api): State<Api>,
    identity: Identity,
    PathParams(id): PathParams<String>,
) -> Result<Json<DeadLetterGone>, ApiError> {
    let id = number("id", &id)?;
    gone(id, operate(&api, &identity, Operation::Redrive(id)).await?)
}

/// Deletes the dead letter.
pub(super) async fn discard(
    State(api): State<Api>,
    identity: Identity,
    PathParams(id): PathParams<String>,
) -> Result<Json<DeadLetterGone>, ApiError> {
    let id = number("id", &id)?;
    gone(id, operate(&api, &identity, Operation::Discard(id)).await?)
}

/// Delivers the event in the request body instead of the original.
pub(super) async fn redrive_edited(
    State(api): State<Api>,
    identity: Identity,
    Caller(client): Caller,
    PathParams(id): PathParams<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<DeadLetterGone>, ApiError> {
    let id = number("id", &id)?;
    let event = ingest::one_structured(&api, &client, &headers, body).await?;
    gone(id, operate(&api, &identity, Operation::RedriveEdited { id, edited: event }).await?)
}

async fn operate(
    api: &Api,
    identity: &Identity,
    operation: Operation,
) -> Result<Operated, ApiError> {
    Ok(api.running.broker.operate(&identity.actor, operation).await?)
}

fn gone(id: u64, operated: Operated) -> Result<Json<DeadLetterGone>, ApiError> {
    let sequence = match operated {
        Operated::NotFound => return Err(missing(id)),
        Operated::Appended(sequence) => Some(sequence),
        Operated::Done | Operated::Replayed(_) => None,
    };
    Ok(Json(DeadLetterGone { id, sequence }))
}

fn missing(id: u64) -> ApiError {
    ApiError::not_found(format!(
        "there is no dead letter {id}; it may have been redriven or discarded"
    ))
}
