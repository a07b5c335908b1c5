//! What machines ask of a router: whether it lives, whether it is ready, its numbers, and the
//! description of its API.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use super::problem::ApiError;
use super::shapes::Health;
use super::state::Api;

/// The description of this API.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// 200 as long as the broker is not poisoned.
pub(super) async fn healthz(State(api): State<Api>) -> Result<Json<Health>, ApiError> {
    alive(&api)?;
    Ok(ok())
}

/// 200 once the broker has recovered and the plugins folder was read.
pub(super) async fn readyz(State(api): State<Api>) -> Result<Json<Health>, ApiError> {
    alive(&api)?;
    api.app.readiness.check().map_err(ApiError::unavailable)?;
    Ok(ok())
}

/// Everything that is counted, as OpenMetrics text.
pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, ApiError> {
    let subscriptions = api.app.subscriptions().await?;
    let plugins = api.app.plugins.status();
    let text = api
        .metrics
        .render(&api.app.broker.stats(), &subscriptions, &plugins)
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

/// The OpenAPI document.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// Fails with 503 once the broker is poisoned.
pub(super) fn alive(api: &Api) -> Result<(), ApiError> {
    match &*api.app.broker.poisoned().borrow() {
        None => Ok(()),
        Some(reason) => Err(ApiError::unavailable(format!(
            "the store failed and refuses all work until restarted: {reason}"
        ))),
    }
}

fn ok() -> Json<Health> {
    Json(Health { status: "ok".to_owned() })
}
