//! `/plugins`: status and operator actions.

use std::fs::File;
use std::io::Read as _;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header;
use usher_event::{Digest, PluginName};
use usher_router::Standing;

use super::answers;
use super::blobs::PATIENCE;
use super::client::Client;
use super::dead_letters::read_recording;
use super::detached::detached;
use super::params::{PathParams, number};
use super::problem::ApiError;
use super::state::Api;
use crate::access::Identity;
use crate::project;
use usher_api::{
    PluginHistory, PluginSettings, PluginStanding, Plugins, RecordedDelivery, Recordings, Sinks,
};
use usher_plugins::ControlError;

/// Lists plugins and refused files.
pub(super) async fn list(State(api): State<Api>) -> Json<Plugins> {
    let registry = &api.running.plugins;
    Json(Plugins { plugins: registry.status(), loading: registry.loading() })
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
    let (name, by) = (plugin(&name)?, identity.actor);
    let own = name.clone();
    answer(name, detached(async move { api.running.control.pause(&by, &own).await }).await)
}

/// Resumes deliveries to a paused plugin.
pub(super) async fn resume(
    State(api): State<Api>,
    identity: Identity,
    PathParams(name): PathParams<String>,
) -> Result<Json<PluginStanding>, ApiError> {
    let (name, by) = (plugin(&name)?, identity.actor);
    let own = name.clone();
    answer(name, detached(async move { api.running.control.resume(&by, &own).await }).await)
}

/// Lifts a plugin's quarantine.
pub(super) async fn release(
    State(api): State<Api>,
    identity: Identity,
    PathParams(name): PathParams<String>,
) -> Result<Json<PluginStanding>, ApiError> {
    let (name, by) = (plugin(&name)?, identity.actor);
    let own = name.clone();
    answer(name, detached(async move { api.running.control.release(&by, &own).await }).await)
}

/// Rolls a plugin back to its previous version.
pub(super) async fn rollback(
    State(api): State<Api>,
    identity: Identity,
    PathParams(name): PathParams<String>,
) -> Result<Json<PluginStanding>, ApiError> {
    let (name, by) = (plugin(&name)?, identity.actor);
    let own = name.clone();
    answer(name, detached(async move { api.running.control.rollback(&by, &own).await }).await)
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

/// Returns what a plugin's deliveries are given whatever the event.
pub(super) async fn settings(
    State(api): State<Api>,
    PathParams(name): PathParams<String>,
) -> Result<Json<PluginSettings>, ApiError> {
    serving(&api, &plugin(&name)?).map(Json)
}

fn serving(api: &Api, name: &PluginName) -> Result<PluginSettings, ApiError> {
    let settings = api.running.plugins.settings(name);
    settings.ok_or_else(|| ApiError::not_found(format!("plugin {name} doesn't serve")))
}

/// Lists a plugin's recordings.
pub(super) async fn recordings(
    State(api): State<Api>,
    PathParams(name): PathParams<String>,
) -> Result<Json<Recordings>, ApiError> {
    let name = plugin(&name)?;
    // Refuses one that there isn't.
    api.running.control.history(&name)?;
    let recorded = api.running.router.recordings().of(&name);
    Ok(Json(Recordings { recordings: recorded.iter().map(project::recorded).collect() }))
}

/// Returns one of a plugin's recordings.
pub(super) async fn recording(
    State(api): State<Api>,
    client: Client,
    PathParams((name, asked)): PathParams<(String, String)>,
) -> Result<Response, ApiError> {
    let (name, asked) = (plugin(&name)?, number("number", &asked)?);
    let room = answers::room(&api, &client).await?;
    let recorded = api.running.router.recordings().get(&name, asked);
    let recorded = recorded.ok_or_else(|| {
        ApiError::not_found(format!("plugin {name} has no recording {asked}, or no longer"))
    })?;
    let backtrace = recorded.failure.as_ref().and_then(|failure| failure.backtrace.clone());
    let recording = Some(read_recording(&recorded.recording)?);
    answers::json(room, &RecordedDelivery { backtrace, recording, ..project::recorded(&recorded) })
}

/// Returns the bytes of the component that serves a plugin.
pub(super) async fn component(
    State(api): State<Api>,
    client: Client,
    PathParams(name): PathParams<String>,
) -> Result<Response, ApiError> {
    let PluginSettings { name, digest, .. } = serving(&api, &plugin(&name)?)?;
    let missing = || ApiError::not_found(format!("the bytes of plugin {name} are not kept"));
    let path = api.running.control.kept().kept(&name, digest).ok_or_else(missing)?;
    let failed = |error: std::io::Error| ApiError::internal(error.to_string());
    // Not removed by a change of the plugin while it is read.
    let file = File::open(&path).map_err(failed)?;
    let size_bytes = usize::try_from(file.metadata().map_err(failed)?.len()).unwrap_or(usize::MAX);
    let room = api.blobs.take_within(client.connection(), size_bytes, PATIENCE).await;
    let room = room.ok_or_else(|| ApiError::busy("too much is being read; try again"))?;
    // The read owns the reservation, since it continues if the client disconnects.
    let read = tokio::task::spawn_blocking(move || {
        let mut content = Vec::with_capacity(size_bytes);
        let read = file.take(size_bytes as u64).read_to_end(&mut content);
        let found = Digest::of(&content);
        (room, read.map(|_| (content, found)))
    });
    let (room, read) = read.await.map_err(|error| ApiError::internal(error.to_string()))?;
    let (content, found) = read.map_err(failed)?;
    if found != digest {
        return Err(ApiError::internal(format!("{} was changed", path.display())));
    }
    let headers = [
        (header::CONTENT_TYPE, "application/wasm".to_owned()),
        (header::ETAG, format!("\"{digest}\"")),
    ];
    Ok((headers, Body::from(room.charged(content))).into_response())
}

pub(super) fn plugin(name: &str) -> Result<PluginName, ApiError> {
    name.parse().map_err(|error| ApiError::invalid(format!("plugin: {error}")))
}

fn answer(
    name: PluginName,
    done: Result<Standing, ApiError>,
) -> Result<Json<PluginStanding>, ApiError> {
    done.map(|standing| Json(project::standing(name, &standing)))
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Broker(error) => error.into(),
            error @ ControlError::NoPlugin(_) => Self::not_found(error.to_string()),
            error @ ControlError::Conflict(_) => Self::conflict(error.to_string()),
        }
    }
}
