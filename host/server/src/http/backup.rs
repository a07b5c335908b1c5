//! `/backup`: an online copy of the data folder.

use std::path::{Path, PathBuf};

use axum::Json;
use axum::extract::State;
use usher_broker::{Change, Operation};

use super::params::Params;
use super::problem::ApiError;
use super::state::Api;
use crate::access::Identity;
use crate::project;
use usher_api::{Backup, BackupQuery};

/// Returns once the copy is complete and fsynced. The copy is finished even if the client
/// disconnects.
pub(super) async fn make(
    State(api): State<Api>,
    identity: Identity,
    Params(target): Params<BackupQuery>,
) -> Result<Json<Backup>, ApiError> {
    let kept = api.running.control.kept();
    let beside = Box::new(move |folder: &Path| kept.copy_versions_to(folder));
    let change = Change::Backup { folder: target.folder.clone() };
    api.running.broker.operate(&identity.actor, Operation::Record(change)).await?;
    let (to, base) = (target.folder.into(), target.base.map(PathBuf::from));
    let report = api.running.broker.backup(to, base, beside).await?;
    tracing::info!(
        by = %identity.actor,
        folder = %report.folder.display(),
        last_sequence = report.last_sequence,
        bytes = report.bytes,
        "a backup was made"
    );
    Ok(Json(project::backup(report)))
}
