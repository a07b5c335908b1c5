//! `/dead-letters`: what was given up, and what an operator can do about it.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::params::{Params, number, page};
use super::problem::ApiError;
use super::shapes::{DeadLetter, DeadLetterGone, DeadLetters};
use super::state::Api;

/// Which dead letters to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    after: Option<u64>,
    max: Option<usize>,
}

/// Dead letters, oldest first.
pub(super) async fn list(
    State(api): State<Api>,
    Params(range): Params<Range>,
) -> Result<Json<DeadLetters>, ApiError> {
    let found = api.app.broker.dead_letters(range.after, page(range.max)?).await?;
    Ok(Json(DeadLetters { dead_letters: found.into_iter().map(DeadLetter::listed).collect() }))
}

/// One dead letter, with its attempts.
pub(super) async fn one(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<DeadLetter>, ApiError> {
    let id = number("id", &id)?;
    match api.app.broker.dead_letter(id).await? {
        Some(dead) => Ok(Json(DeadLetter::whole(dead))),
        None => Err(missing(id)),
    }
}

/// Delivers the event to its subscription again.
pub(super) async fn redrive(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<DeadLetterGone>, ApiError> {
    let id = number("id", &id)?;
    gone(id, api.app.broker.redrive(id).await?)
}

/// Drops the dead letter for good.
pub(super) async fn discard(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<DeadLetterGone>, ApiError> {
    let id = number("id", &id)?;
    gone(id, api.app.broker.discard(id).await?)
}

fn gone(id: u64, was_there: bool) -> Result<Json<DeadLetterGone>, ApiError> {
    if was_there { Ok(Json(DeadLetterGone { id })) } else { Err(missing(id)) }
}

fn missing(id: u64) -> ApiError {
    ApiError::not_found(format!(
        "there is no dead letter {id}; it may have been redriven or discarded"
    ))
}
