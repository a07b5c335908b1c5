//! `GET /events`, `GET /events/{sequence}` and what became of an event for a subscription: reading
//! the log.

use axum::Json;
use axum::extract::{Path, State};
use usher_broker::EventQuery;

use super::params::{Choice, Params, number, page, subscription};
use super::problem::ApiError;
use super::shapes::{Events, Explanation, Stored};
use super::state::Api;
use crate::serving::Serving;

/// Where the log starts.
pub(super) const FIRST_SEQUENCE: u64 = 1;

/// A page of the log.
pub(super) async fn list(
    State(api): State<Api>,
    Params(choice): Params<Choice>,
) -> Result<Json<Events>, ApiError> {
    let query = EventQuery {
        from: choice.from.unwrap_or(FIRST_SEQUENCE),
        max: page(choice.max)?,
        filter: choice.filter()?,
    };
    let page = api.app.broker.events(query).await?;
    Ok(Json(Events {
        events: page.events.into_iter().map(Into::into).collect(),
        next: page.next,
        last: *api.app.broker.committed().borrow(),
    }))
}

/// One event.
pub(super) async fn one(
    State(api): State<Api>,
    Path(sequence): Path<String>,
) -> Result<Json<Stored>, ApiError> {
    let sequence = number("sequence", &sequence)?;
    match api.app.broker.event(sequence).await? {
        Some(stored) => Ok(Json(stored.into())),
        None => Err(ApiError::not_found(format!("there is no event {sequence}"))),
    }
}

/// What became of an event for a subscription, or why nothing did.
pub(super) async fn delivery(
    State(api): State<Api>,
    Path((sequence, plugin, local)): Path<(String, String, String)>,
) -> Result<Json<Explanation>, ApiError> {
    let sequence = number("sequence", &sequence)?;
    let name = subscription(&plugin, &local)?;
    match api.app.broker.explain(sequence, &name).await? {
        Some(explanation) => {
            let served = Serving::now(&api.app).of(&name);
            Ok(Json(Explanation::new(sequence, name, explanation, served)))
        }
        None => Err(ApiError::not_found(format!("there is no event {sequence}"))),
    }
}
