//! `GET /plugins` and `GET /subscriptions`.

use axum::Json;
use axum::extract::State;

use super::problem::ApiError;
use super::shapes::{Plugins, Subscriptions};
use super::state::Api;

/// All plugins, and files that did not become one.
pub(super) async fn plugins(State(api): State<Api>) -> Json<Plugins> {
    let plugins = api.app.plugins.status().into_iter().map(Into::into).collect();
    Json(Plugins { plugins })
}

/// All subscriptions and where they stand.
pub(super) async fn subscriptions(State(api): State<Api>) -> Result<Json<Subscriptions>, ApiError> {
    let subscriptions = api.app.subscriptions().await?.into_iter().map(Into::into).collect();
    Ok(Json(Subscriptions { subscriptions }))
}
