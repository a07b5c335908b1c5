//! `/subscriptions`: status, and removal of one that is no longer served.

use axum::Json;
use axum::extract::State;
use usher_broker::{Operated, Operation};

use super::params::{PathParams, subscription};
use super::problem::ApiError;
use super::state::Api;
use crate::access::Identity;
use crate::serving;
use usher_api::{SubscriptionGone, Subscriptions};

/// Lists all subscriptions with their status.
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Subscriptions>, ApiError> {
    Ok(Json(Subscriptions { subscriptions: serving::subscriptions(&api.running).await? }))
}

/// Removes a subscription: its cursor and its pending deliveries. 409 while it is being served.
pub(super) async fn remove(
    State(api): State<Api>,
    identity: Identity,
    PathParams((plugin, local)): PathParams<(String, String)>,
) -> Result<Json<SubscriptionGone>, ApiError> {
    let name = subscription(&plugin, &local)?;
    if api.running.router.active_subscriptions().contains(&name) {
        return Err(ApiError::conflict(format!(
            "subscription {name} is being served: remove the file of plugin {plugin}, or switch \
             the subscription off in its configuration"
        )));
    }
    let operation = Operation::Unsubscribe(name.clone());
    match api.running.broker.operate(&identity.actor, operation).await? {
        Operated::NotFound => {
            let what = format!("there is no subscription {name}; see /subscriptions");
            Err(ApiError::not_found(what))
        }
        _ => {
            tracing::info!(subscription = %name, by = %identity.actor, "subscription removed");
            Ok(Json(SubscriptionGone { name }))
        }
    }
}
