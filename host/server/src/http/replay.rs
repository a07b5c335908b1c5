//! `/subscriptions/{plugin}/{name}/replay` and `dry-run`: redelivers part of the log, for real or
//! without effects. One request is one step; the client requests the next.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use usher_broker::{Disposition, Operated, Operation, REPLAY_MAX_EVENTS, ReplayQuery, Replayable};

use super::answers;
use super::client::Client;
use super::events::FIRST_SEQUENCE;
use super::params::{Params, PathParams, filter, subscription};
use super::problem::ApiError;
use super::state::Api;
use crate::access::Identity;
use crate::project;
use usher_api::{DryRuns, Replayed};

/// Default number of events in one step of a dry run.
const DRY_RUN_EVENTS: usize = 16;

/// A step of a dry run ends after this many bytes of emissions; the last delivery may exceed it.
const DRY_RUN_MAX_BYTES: usize = 4 * 1024 * 1024;

/// What the broker is asked for.
fn query(
    identity: &Identity,
    asked: usher_api::ReplayQuery,
    plugin: &str,
    local: &str,
    default_max: usize,
) -> Result<ReplayQuery, ApiError> {
    let max = asked.max.unwrap_or(default_max);
    if !(1..=REPLAY_MAX_EVENTS).contains(&max) {
        return Err(ApiError::invalid(format!("max: use 1 to {REPLAY_MAX_EVENTS}")));
    }
    let from = asked.from.unwrap_or(FIRST_SEQUENCE);
    if asked.to.is_some_and(|to| to < from) {
        return Err(ApiError::invalid("to: must not be less than from"));
    }
    let subscription = subscription(plugin, local)?;
    let filter = filter(identity, asked.type_prefix.as_deref(), asked.filter.as_deref())?;
    Ok(ReplayQuery { subscription, from, to: asked.to, filter, max })
}

/// Redelivers events.
pub(super) async fn replay(
    State(api): State<Api>,
    identity: Identity,
    PathParams((plugin, local)): PathParams<(String, String)>,
    Params(asked): Params<usher_api::ReplayQuery>,
) -> Result<Json<Replayed>, ApiError> {
    let query = query(&identity, asked, &plugin, &local, REPLAY_MAX_EVENTS)?;
    let operation = Operation::Replay(query);
    match api.running.broker.operate(&identity.actor, operation).await? {
        Operated::Replayed(replayed) => Ok(Json(project::replayed(replayed))),
        _ => Err(ApiError::internal("a replay came to something else")),
    }
}

/// Runs the plugin on events and reports the results; effects are dropped.
pub(super) async fn dry_run(
    State(api): State<Api>,
    identity: Identity,
    client: Client,
    PathParams((plugin, local)): PathParams<(String, String)>,
    Params(asked): Params<usher_api::ReplayQuery>,
) -> Result<Response, ApiError> {
    let query = query(&identity, asked, &plugin, &local, DRY_RUN_EVENTS)?;
    let Ok(_permit) = api.dry_runs.try_acquire() else {
        return Err(ApiError::busy("other dry runs are under way; try again"));
    };
    let name = query.subscription.clone();
    let Replayable { events, to, mut next } = api.running.broker.replayable(query).await?;
    let (mut deliveries, mut bytes) = (Vec::with_capacity(events.len()), 0);
    for stored in events {
        if bytes >= DRY_RUN_MAX_BYTES {
            next = Some(stored.sequence);
            break;
        }
        let (sequence, ty) = (stored.sequence, stored.event.ty().to_owned());
        let Some(run) = api.running.router.dry_run(&name, stored).await else {
            return Err(ApiError::conflict(format!(
                "nothing serves subscription {name} now; see /subscriptions for the reason"
            )));
        };
        if let Disposition::Ack(changes) = &run.disposition {
            bytes += changes.emissions.iter().map(|new| new.event.encoded().len()).sum::<usize>();
        }
        deliveries.push(project::dry_run(sequence, ty, run));
    }
    // Reserved last: plugins may be slow, and memory up to here has its own bound.
    let room = answers::room(&api, &client).await?;
    let mut runs = DryRuns { deliveries, to, next };
    identity.hide_data(&mut runs);
    answers::json(room, &runs)
}
