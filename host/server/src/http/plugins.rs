//! `/plugins`: how they stand, and what an operator can do about it.

use axum::Json;
use axum::extract::{Path, State};
use usher_event::PluginName;
use usher_router::Standing;

use super::problem::ApiError;
use super::shapes::{PluginStanding, Plugins};
use super::state::Api;
use crate::plugins::ControlError;

/// All plugins, and files that did not become one.
pub(super) async fn list(State(api): State<Api>) -> Json<Plugins> {
    let plugins = api.app.plugins.status().into_iter().map(Into::into).collect();
    Json(Plugins { plugins })
}

/// Keeps deliveries from a plugin.
pub(super) async fn pause(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<PluginStanding>, ApiError> {
    let name = plugin(&name)?;
    answer(name.clone(), api.app.control.pause(&name).await)
}

/// Lets a paused plugin have deliveries again.
pub(super) async fn resume(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<PluginStanding>, ApiError> {
    let name = plugin(&name)?;
    answer(name.clone(), api.app.control.resume(&name).await)
}

/// Lifts a plugin's quarantine.
pub(super) async fn release(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<PluginStanding>, ApiError> {
    let name = plugin(&name)?;
    answer(name.clone(), api.app.control.release(&name).await)
}

fn plugin(name: &str) -> Result<PluginName, ApiError> {
    name.parse().map_err(|error| ApiError::invalid(format!("plugin: {error}")))
}

fn answer(
    name: PluginName,
    done: Result<Standing, ControlError>,
) -> Result<Json<PluginStanding>, ApiError> {
    match done {
        Ok(standing) => Ok(Json(PluginStanding::new(name, &standing))),
        Err(ControlError::Broker(error)) => Err(error.into()),
        Err(error @ ControlError::NoPlugin(_)) => Err(ApiError::not_found(error.to_string())),
        Err(error @ ControlError::Needless(_)) => Err(ApiError::conflict(error.to_string())),
        Err(error @ ControlError::Disk(_)) => Err(ApiError::internal(error.to_string())),
    }
}
