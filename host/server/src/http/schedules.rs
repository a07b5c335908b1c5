//! `/schedules`: when each has its next tick, and what became of those before.

use axum::Json;
use axum::extract::State;

use super::problem::ApiError;
use super::shapes::Schedules;
use super::state::Api;

/// All schedules and where they stand.
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Schedules>, ApiError> {
    let schedules = api.app.broker.schedules().await?.into_iter().map(Into::into).collect();
    Ok(Json(Schedules { schedules }))
}
