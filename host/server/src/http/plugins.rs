//! `/plugins`: status and operator actions.

use axum::Json;
use axum::extract::State;
use usher_event::PluginName;
use usher_router::Standing;

use super::params::PathParams;
use super::problem::ApiError;
use super::state::Api;
use crate::access::Identity;
use crate::project;
use usher_api::{PluginHistory, PluginStanding, Plugins, Sinks};
use usher_plugins::ControlError;

/// Lists plugins and refused files.
pub(super) async fn list(State(api): State<Api>) -> Json<Plugins> {
    Json(Plugins { plugins: api.running.plugins.status() })
}

/// Lists sinks.
pub(super) async fn sinks(State(api): State<Api>) -> Json<Sinks> {
    Json(Sinks { sinks: api.running.sinks.status() })
}

/// Pauses deliveries to a plugin.
pub(super) async fn pause(
    State(api): State<Api>,
    identity: Identity,
    PathParams(name): PathParams<String>,
) -> Result<Json<PluginStanding>, ApiError> {
    let name = plugin(&name)?;
    answer(name.clone(), api.running.control.pause(&identity.actor, &name).await)
}

/// Resumes deliveries to a paused plugin.
pub(super) async fn resume(
    State(api): State<Api>,
    identity: Identity,
    PathParams(name): PathParams<String>,
) -> Result<Json<PluginStanding>, ApiError> {
    let name = plugin(&name)?;
    answer(name.clone(), api.running.control.resume(&identity.actor, &name).await)
}

/// Lifts a plugin's quarantine.
pub(super) async fn release(
    State(api): State<Api>,
    identity: Identity,
    PathParams(name): PathParams<String>,
) -> Result<Json<PluginStanding>, ApiError> {
    let name = plugin(&name)?;
    answer(name.clone(), api.running.control.release(&identity.actor, &name).await)
}

/// Rolls a plugin back to its previous version.
pub(super) async fn rollback(
    State(api): State<Api>,
    identity: Identity,
    PathParams(name): PathParams<String>,
) -> Result<Json<PluginStanding>, ApiError> {
    let name = plugin(&name)?;
    answer(name.clone(), api.running.control.rollback(&identity.actor, &name).await)
}

/// Returns the outcomes of a plugin's changes.
pub(super) async fn history(
    State(api): State<Api>,
    PathParams(name): PathParams<String>,
) -> Result<Json<PluginHistory>, ApiError> {
    let name = plugin(&name)?;
    let history = api.running.control.history(&name)?;
    let history = history.into_iter().map(project::plugin_change).collect();
    Ok(Json(PluginHistory { name, history }))
}

pub(super) fn plugin(name: &str) -> Result<PluginName, ApiError> {
    name.parse().map_err(|error| ApiError::invalid(format!("plugin: {error}")))
}

fn answer(
    name: PluginName,
    done: Result<Standing, ControlError>,
) -> Result<Json<PluginStanding>, ApiError> {
    done.map(|standing| Json(project::standing(name, &standing))).map_err(Into::into)
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Broker(error) => error.into(),
            error @ ControlError::NoPlugin(_) => Self::not_found(error.to_string()),
            error @ ControlError::Conflict(_) => Self::conflict(error.to_string()),
            error @ ControlError::Disk(_) => Self::internal(error.to_string()),
        }
    }
}
