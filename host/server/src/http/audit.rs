//! `/audit`: what operators did.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::params::{Params, page};
use super::problem::ApiError;
use super::shapes::{Audit, AuditRecord};
use super::state::Api;

/// Which records to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    after: Option<u64>,
    max: Option<usize>,
}

/// What operators did, oldest first.
pub(super) async fn list(
    State(api): State<Api>,
    Params(range): Params<Range>,
) -> Result<Json<Audit>, ApiError> {
    let found = api.app.broker.audit(range.after, page(range.max)?).await?;
    Ok(Json(Audit { records: found.into_iter().map(AuditRecord::from).collect() }))
}
