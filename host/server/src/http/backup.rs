//! `/backup`: a copy of the data folder, made while the router works.

use std::path::{Path, PathBuf};

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::params::Params;
use super::problem::ApiError;
use super::shapes::Backup;
use super::state::Api;

/// Where the copy goes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    folder: PathBuf,
}

/// Answers when the copy is whole and on the disk. It is made to its end even if the client goes.
pub(super) async fn make(
    State(api): State<Api>,
    Params(target): Params<Target>,
) -> Result<Json<Backup>, ApiError> {
    let kept = api.app.control.kept();
    let beside = Box::new(move |folder: &Path| kept.copy_to(folder));
    let report = api.app.broker.backup(target.folder, beside).await?;
    tracing::info!(
        folder = %report.folder.display(),
        last_sequence = report.last_sequence,
        bytes = report.bytes,
        "a backup was made"
    );
    Ok(Json(report.into()))
}
