//! Finds the events to replay in the log.

use std::sync::Arc;

use crate::api::{BrokerError, ReplayQuery, Replayable, StoredEvent, Subscription};
use crate::log;
use crate::store::{StoreFailure, View, keys, schema};
use crate::{REPLAY_MAX_EVENTS, REPLAY_MAX_LOOKED_AT};

/// Maximum bytes of events per step; may be exceeded by one event.
const REPLAY_MAX_BYTES: usize = 8 * 1_024 * 1_024;

/// An event to replay, with its delivery history from the store.
pub(crate) struct Candidate {
    pub(crate) stored: StoredEvent,
    /// Failed attempts on record, in all rounds.
    pub(crate) before: u32,
    /// Its dead letter, if it was given up; 0 if an operator has resolved that.
    pub(crate) letter: Option<u64>,
}

/// Result of scanning part of the log.
pub(crate) struct Found {
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) to: u64,
    pub(crate) next: Option<u64>,
}

impl From<Found> for Replayable {
    fn from(found: Found) -> Self {
        let events = found.candidates.into_iter().map(|candidate| candidate.stored).collect();
        Self { events, to: found.to, next: found.next }
    }
}

/// Scans for the events to replay, up to the limits of one step.
pub(crate) fn find(
    view: &dyn View,
    query: &ReplayQuery,
) -> Result<Result<Found, BrokerError>, StoreFailure> {
    let Some((id, subscription)) = subscription(view, query)? else {
        return Ok(Err(BrokerError::NoSubscription(query.subscription.clone())));
    };
    let end = log::newest(view)? + 1;
    let to = query.to.map_or(end, |to| to.min(end));
    let from = query.from.max(log::oldest(view)?);
    let max = query.max.clamp(1, REPLAY_MAX_EVENTS);
    let (mut candidates, mut bytes, mut next) = (Vec::new(), 0, to.max(from));
    for (looked_at, stored) in log::events_in(view, from, to.max(from)).enumerate() {
        let stored = stored?;
        if looked_at >= REPLAY_MAX_LOOKED_AT || candidates.len() >= max || bytes >= REPLAY_MAX_BYTES
        {
            next = stored.sequence;
            break;
        }
        let is_asked_for = query.filter.as_ref().is_none_or(|filter| filter.matches(&stored.event));
        if is_asked_for && stored.mismatch(&subscription).is_none() {
            bytes += stored.event.encoded().len();
            candidates.push(candidate(view, stored, id)?);
        }
    }
    Ok(Ok(Found { candidates, to, next: (next < to).then_some(next) }))
}

fn subscription(
    view: &dyn View,
    query: &ReplayQuery,
) -> Result<Option<(u32, Arc<Subscription>)>, StoreFailure> {
    for row in view.rows::<schema::Subscriptions>() {
        let (id, row) = row?;
        if row.subscription.name == query.subscription {
            return Ok(Some((id, row.subscription)));
        }
    }
    Ok(None)
}

fn candidate(view: &dyn View, stored: StoredEvent, id: u32) -> Result<Candidate, StoreFailure> {
    let delivery = keys::delivery(stored.sequence, id);
    let newest = view.rows_with::<schema::Attempts>(&delivery).next_back().transpose()?;
    let before = newest.map_or(0, |((.., number), _)| number);
    let letter = view.row::<schema::DeadByDelivery>(delivery)?;
    Ok(Candidate { stored, before, letter })
}
