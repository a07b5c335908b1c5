//! `/schedules`: the next tick of each, and counters of past ones.

use axum::Json;
use axum::extract::State;

use usher_broker::{CLOCK_STEP_MAX, Clock as _, SystemClock};

use super::problem::ApiError;
use super::state::Api;
use crate::project;
use usher_api::Schedules;

/// Lists all schedules with their status.
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Schedules>, ApiError> {
    let schedules =
        api.running.broker.schedules().await?.into_iter().map(project::schedule).collect();
    let behind_ms =
        api.running.broker.stats().newest_recorded_ms.saturating_sub(SystemClock.now_ms());
    let clock_behind_ms = Some(behind_ms).filter(|ms| u128::from(*ms) > CLOCK_STEP_MAX.as_millis());
    Ok(Json(Schedules { schedules, clock_behind_ms }))
}
