//! `/audit`: the record of operator actions.

use axum::Json;
use axum::extract::State;

use super::params::{Params, page};
use super::problem::ApiError;
use super::state::Node;
use crate::project;
use usher_api::{Audit, AuditQuery};

/// Operator actions, oldest first.
pub(super) async fn list(
    State(node): State<Node>,
    Params(range): Params<AuditQuery>,
) -> Result<Json<Audit>, ApiError> {
    let found = node.log.audit(range.after, page(range.max)?).await?;
    Ok(Json(Audit { records: found.into_iter().map(project::audit_record).collect() }))
}
