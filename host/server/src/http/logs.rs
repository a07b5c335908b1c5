//! `GET /logs`: what plugins wrote, as far as it is in memory.

use axum::extract::State;
use axum::response::Response;
use usher_api::{Logs, LogsQuery};

use super::answers;
use super::client::Client;
use super::params::{Params, page};
use super::problem::ApiError;
use super::state::Api;

/// The newest lines that match.
pub(super) async fn list(
    State(api): State<Api>,
    client: Client,
    Params(asked): Params<LogsQuery>,
) -> Result<Response, ApiError> {
    let max = page(asked.max)?;
    let room = answers::room(&api, &client).await?;
    answers::json(room, &Logs { lines: api.running.log_lines.newest(&asked, max) })
}
