//! `/subscriptions`: where they stand, and removing one that nobody will serve again.

use axum::Json;
use axum::extract::State;

use super::params::{PathParams, subscription};
use super::problem::ApiError;
use super::state::Api;
use usher_api::{SubscriptionGone, Subscriptions};

/// All subscriptions and where they stand.
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Subscriptions>, ApiError> {
    Ok(Json(Subscriptions { subscriptions: api.running.subscriptions().await? }))
}

/// Forgets a subscription: its place in the log, and what waits for it.
pub(super) async fn remove(
    State(api): State<Api>,
    PathParams((plugin, local)): PathParams<(String, String)>,
) -> Result<Json<SubscriptionGone>, ApiError> {
    let name = subscription(&plugin, &local)?;
    if api.running.router.active_subscriptions().contains(&name) {
        return Err(ApiError::conflict(format!(
            "subscription {name} is being served: remove the file of plugin {plugin}, or switch \
             the subscription off in its configuration"
        )));
    }
    if api.running.broker.unsubscribe(&name).await? {
        tracing::info!(subscription = %name, "subscription removed");
        Ok(Json(SubscriptionGone { name }))
    } else {
        Err(ApiError::not_found(format!("there is no subscription {name}; see /subscriptions")))
    }
}
