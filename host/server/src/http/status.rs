//! Endpoints for machines: liveness, readiness, states, metrics, and the OpenAPI document.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use super::nodes;
use super::problem::ApiError;
use super::state::Api;
use crate::metrics::Now;
use crate::serving;
use crate::states;
use usher_api::{Health, Overview, StateHeld, States, Timestamp};

/// 200 as long as the broker is not poisoned.
pub(super) async fn healthz(State(api): State<Api>) -> Result<Json<Health>, ApiError> {
    alive(&api)?;
    Ok(ok())
}

/// 200 once the broker has recovered and the plugins are loaded, unless a state in `unready_on` is
/// active.
pub(super) async fn readyz(State(api): State<Api>) -> Result<Json<Health>, ApiError> {
    alive(&api)?;
    api.running.readiness.check().map_err(ApiError::unavailable)?;
    let unready_on = &api.running.config.http.unready_on;
    if unready_on.is_empty() {
        return Ok(ok());
    }
    let states = states::now(&api.running).await;
    let states = states.map_err(|error| ApiError::unavailable(error.to_string()))?;
    match states.keys().find(|state| unready_on.contains(state)) {
        None => Ok(ok()),
        Some(state) => {
            let words = format!("{}: {}; see `usher states`", state.as_str(), state.meaning());
            Err(ApiError::unavailable(words))
        }
    }
}

/// Active states in which producers are refused or deliveries are held.
pub(super) async fn states(State(api): State<Api>) -> Result<Json<States>, ApiError> {
    let held = states::now(&api.running).await?.into_iter();
    let states = held.map(|(state, concerned)| StateHeld {
        name: state.as_str().to_owned(),
        meaning: state.meaning().to_owned(),
        concerned: concerned.into_iter().collect(),
    });
    Ok(Json(States { states: states.collect() }))
}

/// The router as a whole, now and in the last hour.
pub(super) async fn overview(State(api): State<Api>) -> Json<Overview> {
    let running = &api.running;
    let stats = running.broker.stats();
    let retention = running.config.broker.retention;
    Json(Overview {
        version: usher_executors::VERSION.to_owned(),
        now: Timestamp::from_ms(running.clock.now_ms()),
        first_sequence: stats.first_sequence,
        last_sequence: stats.last_sequence,
        log_bytes: stats.log_bytes,
        retention_max_age_s: retention.max_age.map(|age| age.as_secs()),
        retention_max_bytes: retention.max_bytes,
        disk_free_bytes: stats.disk_free_bytes,
        dead_letters: stats.dead_letters,
        delayed: stats.delayed,
        certificate_ends: certificate_ends(&api),
        samples: running.samples.all(),
    })
}

fn certificate_ends(api: &Api) -> Option<Timestamp> {
    let tls = api.tls.as_ref();
    tls.map(|tls| Timestamp::from_ms(tls.certificate().not_after_ms))
}

/// All metrics, as OpenMetrics text.
pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, ApiError> {
    let broker = api.running.broker.stats();
    let subscriptions = match broker.is_journal_away {
        // How they stand is known again once it is back.
        true => Vec::new(),
        false => serving::subscriptions(&api.running).await?,
    };
    let plugins = api.running.plugins.status();
    let states = states::of(
        &api.running.busy,
        &broker,
        subscriptions.iter().map(states::Standing::from),
        &plugins,
    );
    let text = api
        .metrics
        .render(Now {
            broker: &broker,
            subscriptions: &subscriptions,
            plugins: &plugins,
            states: &states,
            certificate_ends: certificate_ends(&api),
            nodes: &nodes::all(&api, &plugins).nodes,
            spans: api.running.exporter.as_ref().map(|exporter| exporter.counts()),
        })
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

/// The OpenAPI document.
pub(super) async fn openapi() -> Result<Response, ApiError> {
    let document = usher_api::document().map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], document).into_response())
}

/// Fails with 503 once the broker is poisoned.
pub(super) fn alive(api: &Api) -> Result<(), ApiError> {
    match &*api.running.broker.poisoned().borrow() {
        None => Ok(()),
        Some(reason) => Err(ApiError::unavailable(format!(
            "the store failed and refuses all work until restarted: {reason}"
        ))),
    }
}

pub(super) fn ok() -> Json<Health> {
    Json(Health { status: "ok".to_owned() })
}
