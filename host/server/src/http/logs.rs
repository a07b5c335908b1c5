//! `GET /logs`: what plugins wrote, as far as it is in memory.

use axum::Json;
use axum::extract::State;
use usher_api::{Logs, LogsQuery};

use super::params::{Params, page};
use super::problem::ApiError;
use super::state::Api;

/// The newest lines that match.
pub(super) async fn list(
    State(api): State<Api>,
    Params(asked): Params<LogsQuery>,
) -> Result<Json<Logs>, ApiError> {
    let max = page(asked.max)?;
    Ok(Json(Logs { lines: api.running.log_lines.newest(&asked, max) }))
}
