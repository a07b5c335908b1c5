//! Reads that ask the committer, while that waits for servers that keep the journal.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::time::sleep;
use usher_broker::BrokerError;

use super::problem::ApiError;
use super::state::Api;

/// How long a read may take once the servers are away, and how often it is looked whether they are.
const PATIENCE: Duration = Duration::from_secs(1);

/// Refuses a read that isn't answered while the servers are away: one that reads metrics, say, is to know soon.
/// What changes something waits with the commit, and is done once they are back.
pub(super) async fn read(State(api): State<Api>, request: Request, next: Next) -> Response {
    let is_away = || api.running.broker.stats().is_journal_away;
    let away = async {
        let mut was_away = is_away();
        loop {
            sleep(PATIENCE).await;
            if was_away && is_away() {
                break;
            }
            was_away = is_away();
        }
    };
    tokio::select! {
        biased;
        response = next.run(request) => response,
        () = away => ApiError::from(BrokerError::Away { retry_after: PATIENCE }).into_response(),
    }
}
