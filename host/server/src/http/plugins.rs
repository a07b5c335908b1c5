//! `GET /plugins`.

use axum::Json;
use axum::extract::State;

use super::shapes::Plugins;
use super::state::Api;

/// All plugins, and files that did not become one.
pub(super) async fn plugins(State(api): State<Api>) -> Json<Plugins> {
    let plugins = api.app.plugins.status().into_iter().map(Into::into).collect();
    Json(Plugins { plugins })
}
