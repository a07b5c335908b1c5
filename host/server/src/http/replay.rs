//! `/subscriptions/{plugin}/{name}/replay` and `dry-run`: part of the log once more, for real or
//! only to see what would become of it. One request is one step; the client asks for the next.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use usher_broker::{Disposition, ReplayQuery, Replayable};

use super::answers;
use super::clients::Caller;
use super::events::FIRST_SEQUENCE;
use super::params::{Choice, Params, PathParams, subscription};
use super::problem::ApiError;
use super::shapes::{DryRun, DryRuns, Replayed};
use super::state::Api;

/// Events of one step of a dry run, unless the client says otherwise.
const DRY_RUN_EVENTS: usize = 16;

/// Bytes of emissions after which a step of a dry run ends; it may go over by one delivery.
const DRY_RUN_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Which events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    from: Option<u64>,
    /// The sequence to end before.
    to: Option<u64>,
    max: Option<usize>,
    #[serde(rename = "type")]
    type_prefix: Option<String>,
    filter: Option<String>,
}

impl Part {
    fn query(self, plugin: &str, local: &str, default_max: usize) -> Result<ReplayQuery, ApiError> {
        let Self { from, to, max, type_prefix, filter } = self;
        let most = usher_broker::REPLAY_MAX_EVENTS;
        let max = max.unwrap_or(default_max);
        if !(1..=most).contains(&max) {
            return Err(ApiError::invalid(format!("max: use 1 to {most}")));
        }
        let from = from.unwrap_or(FIRST_SEQUENCE);
        if to.is_some_and(|to| to < from) {
            return Err(ApiError::invalid("to: must not be less than from"));
        }
        let subscription = subscription(plugin, local)?;
        let filter = Choice { type_prefix, filter, ..Choice::default() }.filter()?;
        Ok(ReplayQuery { subscription, from, to, filter, max })
    }
}

/// Has events delivered again.
pub(super) async fn replay(
    State(api): State<Api>,
    PathParams((plugin, local)): PathParams<(String, String)>,
    Params(part): Params<Part>,
) -> Result<Json<Replayed>, ApiError> {
    let query = part.query(&plugin, &local, usher_broker::REPLAY_MAX_EVENTS)?;
    Ok(Json(api.app.broker.replay(query).await?.into()))
}

/// Says what the plugin would do with events.
pub(super) async fn dry_run(
    State(api): State<Api>,
    Caller(client): Caller,
    PathParams((plugin, local)): PathParams<(String, String)>,
    Params(part): Params<Part>,
) -> Result<Response, ApiError> {
    let query = part.query(&plugin, &local, DRY_RUN_EVENTS)?;
    let Ok(_permit) = api.dry_runs.try_acquire() else {
        return Err(ApiError::busy("other dry runs are under way; try again"));
    };
    let name = query.subscription.clone();
    let Replayable { events, to, mut next } = api.app.broker.replayable(query).await?;
    let (mut deliveries, mut bytes) = (Vec::with_capacity(events.len()), 0);
    for stored in events {
        if bytes >= DRY_RUN_MAX_BYTES {
            next = Some(stored.sequence);
            break;
        }
        let (sequence, ty) = (stored.sequence, stored.event.ty().to_owned());
        let Some(run) = api.app.router.dry_run(&name, stored).await else {
            return Err(ApiError::conflict(format!(
                "nothing serves subscription {name} now; see /subscriptions for the reason"
            )));
        };
        if let Disposition::Ack(changes) = &run.disposition {
            bytes += changes.emissions.iter().map(|new| new.event.encoded().len()).sum::<usize>();
        }
        deliveries.push(DryRun::new(sequence, ty, run));
    }
    // Taken last: plugins take their time, and the memory until here has a bound of its own.
    let room = answers::room(&api, &client).await?;
    answers::json(room, &DryRuns { deliveries, to, next })
}
