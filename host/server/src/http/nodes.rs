//! `/nodes`: the nodes of the router, and what an operator has them do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use usher_api::{Nodes, Plugin};
use usher_broker::{Change, NodeChange, Operation};
use usher_jetstream::{NAME_MAX_CHARS, is_name};

use super::params::PathParams;
use super::problem::ApiError;
use super::state::Api;
use crate::access::Identity;
use crate::cluster::{Cluster, NodeError};

/// Lists them.
pub(super) async fn list(State(api): State<Api>) -> Json<Nodes> {
    Json(all(&api, &api.running.plugins.status()))
}

/// Has a node take no deliveries.
pub(super) async fn drain(
    State(api): State<Api>,
    identity: Identity,
    PathParams(name): PathParams<String>,
) -> Result<Json<Nodes>, ApiError> {
    change(&api, &identity, &name, NodeChange::Drain).await
}

/// Has a node take deliveries again.
pub(super) async fn resume(
    State(api): State<Api>,
    identity: Identity,
    PathParams(name): PathParams<String>,
) -> Result<Json<Nodes>, ApiError> {
    change(&api, &identity, &name, NodeChange::Resume).await
}

/// Leaves the journal to a node.
pub(super) async fn promote(
    State(api): State<Api>,
    identity: Identity,
    PathParams(name): PathParams<String>,
) -> Result<Json<Nodes>, ApiError> {
    change(&api, &identity, &name, NodeChange::Promote).await
}

async fn change(
    api: &Api,
    identity: &Identity,
    name: &str,
    change: NodeChange,
) -> Result<Json<Nodes>, ApiError> {
    if !is_name(name) {
        let what = format!("node: use 1 to {NAME_MAX_CHARS} letters, digits, - and _");
        return Err(ApiError::invalid(what));
    }
    let cluster = api.running.cluster.as_ref().ok_or_else(|| {
        let what = "the router has one node: its journal is in its data folder";
        ApiError::conflict(what.to_owned())
    })?;
    cluster.check(name, change).await?;
    let recorded = Operation::Record(Change::Node { node: name.to_owned(), change });
    api.running.broker.operate(&identity.actor, recorded).await?;
    cluster.change(name, change).await?;
    Ok(Json(all(api, &api.running.plugins.status())))
}

/// All of them, of which this one has these plugins.
pub(super) fn all(api: &Api, plugins: &[Plugin]) -> Nodes {
    let status = |cluster: &Arc<Cluster>| cluster.status(plugins);
    Nodes { nodes: api.running.cluster.as_ref().map(status).unwrap_or_default() }
}

impl From<NodeError> for ApiError {
    fn from(error: NodeError) -> Self {
        let what = error.to_string();
        match error {
            NodeError::Unknown(_) => Self::not_found(what),
            NodeError::Conflict(_) => Self::conflict(what),
            NodeError::Unanswered { .. } => Self::unavailable(what),
        }
    }
}
