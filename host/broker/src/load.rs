//! Loads the ledger's state from a store. The cost depends on unfinished deliveries, the duplicates
//! window and the number of blobs, never on the length of the log.

use std::collections::{BTreeMap, HashMap};

use usher_event::ScheduleName;

use crate::ledger::{DelayedEmission, Recovered};
use crate::log;
use crate::store::lost::Lost;
use crate::store::rows::{
    Counters, CursorRow, IdentitiesRow, RetryRow, ScheduleRow, SubscriptionRow, read_blob,
    read_parked, read_record, read_usage,
};
use crate::store::{Space, StoreFailure, View, keys};

/// Reads everything.
pub(crate) fn load(view: &dyn View) -> Result<Recovered, StoreFailure> {
    let counters = counters(view)?;
    Ok(Recovered {
        counters,
        newest_recorded_ms: newest_recorded_ms(view)?,
        subscriptions: subscriptions(view)?,
        retries: retries(view)?,
        parked: parked(view)?,
        delayed: delayed(view)?,
        usage: usage(view)?,
        blob_bytes: blob_bytes(view)?,
        identities: identities(view, counters.last_sequence)?,
        next_audit: next_audit(view)?,
        schedules: schedules(view)?,
    })
}

fn counters(view: &dyn View) -> Result<Counters, StoreFailure> {
    let counters = log::counters(view)?;
    // Both are written in one batch: a mismatch means that a table is lost.
    let newest = match view.range(Space::Events, &[], None).next_back() {
        Some(row) => keys::first_number(&row?.0).unwrap_or(u64::MAX),
        None => 0,
    };
    // If all events have expired, their rows may or may not have been removed.
    let is_empty = counters.first_sequence > counters.last_sequence;
    let lost = Lost::read_from(view)?;
    let is_known = (is_empty && newest < counters.last_sequence)
        || lost.has(newest + 1, counters.last_sequence);
    if newest != counters.last_sequence && !is_known {
        return Err(StoreFailure(format!(
            "the log ends at {newest}, but {} events were appended",
            counters.last_sequence
        )));
    }
    Ok(counters)
}

/// When the newest event was recorded; 0 if there is none.
fn newest_recorded_ms(view: &dyn View) -> Result<u64, StoreFailure> {
    let Some(row) = view.range(Space::Events, &[], None).next_back() else { return Ok(0) };
    let (key, value) = row?;
    Ok(log::read_event(&key, &value)?.recorded_ms)
}

fn subscriptions(view: &dyn View) -> Result<Vec<(u32, SubscriptionRow, CursorRow)>, StoreFailure> {
    let mut subscriptions = Vec::new();
    for row in view.range(Space::Subscriptions, &[], None) {
        let (key, value) = row?;
        let damaged = || StoreFailure::damaged(Space::Subscriptions, &key);
        let id = keys::first_subscription(&key).ok_or_else(damaged)?;
        let row = SubscriptionRow::read(&value).ok_or_else(damaged)?;
        let cursor = view.get(Space::Cursors, &key)?;
        let cursor = cursor
            .and_then(|row| CursorRow::read(&row))
            .ok_or_else(|| StoreFailure::damaged(Space::Cursors, &key))?;
        subscriptions.push((id, row, cursor));
    }
    Ok(subscriptions)
}

fn retries(view: &dyn View) -> Result<Vec<(u32, u64, RetryRow)>, StoreFailure> {
    let mut retries = Vec::new();
    for row in view.range(Space::Retries, &[], None) {
        let (key, value) = row?;
        let retry = (|| {
            let id = keys::first_subscription(&key)?;
            Some((id, keys::last_number(&key)?, RetryRow::read(&value)?))
        })();
        retries.push(retry.ok_or_else(|| StoreFailure::damaged(Space::Retries, &key))?);
    }
    Ok(retries)
}

fn parked(view: &dyn View) -> Result<Vec<(u32, u64, u64)>, StoreFailure> {
    let mut parked = Vec::new();
    for row in view.range(Space::Parked, &[], None) {
        let (key, value) = row?;
        let delivery = (|| {
            let id = keys::first_subscription(&key)?;
            Some((id, keys::last_number(&key)?, read_parked(&value)?))
        })();
        parked.push(delivery.ok_or_else(|| StoreFailure::damaged(Space::Parked, &key))?);
    }
    Ok(parked)
}

fn delayed(view: &dyn View) -> Result<Vec<DelayedEmission>, StoreFailure> {
    let mut delayed = Vec::new();
    for row in view.range(Space::Delayed, &[], None) {
        let (key, value) = row?;
        let emission = (|| {
            let (due_ms, number) = (keys::first_number(&key)?, keys::last_number(&key)?);
            let stored = read_record(0, &value)?;
            let subscription = stored.cause?.subscription;
            let emitted_ms = stored.recorded_ms;
            Some(DelayedEmission { due_ms, number, emitted_ms, flow: stored.flow, subscription })
        })();
        delayed.push(emission.ok_or_else(|| StoreFailure::damaged(Space::Delayed, &key))?);
    }
    Ok(delayed)
}

/// One above the newest record, which is never removed.
fn next_audit(view: &dyn View) -> Result<u64, StoreFailure> {
    let Some(row) = view.range(Space::Audit, &[], None).next_back() else { return Ok(1) };
    let (key, _) = row?;
    let newest = keys::first_number(&key);
    newest.map(|newest| newest + 1).ok_or_else(|| StoreFailure::damaged(Space::Audit, &key))
}

fn schedules(view: &dyn View) -> Result<BTreeMap<ScheduleName, ScheduleRow>, StoreFailure> {
    let mut schedules = BTreeMap::new();
    for row in view.range(Space::Schedules, &[], None) {
        let (key, value) = row?;
        let read = || Some((keys::schedule_name(&key)?, ScheduleRow::read(&value)?));
        let (name, row) = read().ok_or_else(|| StoreFailure::damaged(Space::Schedules, &key))?;
        schedules.insert(name, row);
    }
    Ok(schedules)
}

fn usage(
    view: &dyn View,
) -> Result<HashMap<usher_event::PluginName, usher_event::StateUsage>, StoreFailure> {
    let mut usage = HashMap::new();
    for row in view.range(Space::StateUsage, &[], None) {
        let (key, value) = row?;
        let entry = (|| {
            let plugin = std::str::from_utf8(&key).ok()?.parse().ok()?;
            Some((plugin, read_usage(&value)?))
        })();
        let (plugin, used) = entry.ok_or_else(|| StoreFailure::damaged(Space::StateUsage, &key))?;
        usage.insert(plugin, used);
    }
    Ok(usage)
}

/// Summed from the blobs themselves: a stored total could be wrong.
fn blob_bytes(view: &dyn View) -> Result<HashMap<Box<str>, u64>, StoreFailure> {
    let mut sums = HashMap::<Box<str>, u64>::new();
    for row in view.range(Space::Blobs, &[], None) {
        let (key, value) = row?;
        let read = || {
            let (digest, plugin) = keys::blob_parts(&key)?;
            Some((plugin, read_blob(digest, &value)?.0.size_bytes))
        };
        let (plugin, bytes) = read().ok_or_else(|| StoreFailure::damaged(Space::Blobs, &key))?;
        match sums.get_mut(plugin) {
            Some(sum) => *sum += bytes,
            None => drop(sums.insert(plugin.into(), bytes)),
        }
    }
    Ok(sums)
}

fn identities(view: &dyn View, last: u64) -> Result<Vec<(u64, IdentitiesRow)>, StoreFailure> {
    let mut rows = Vec::new();
    let mut expected = None;
    for row in view.range(Space::Identities, &[], None) {
        let (key, value) = row?;
        let damaged = || StoreFailure::damaged(Space::Identities, &key);
        let first = keys::first_number(&key).ok_or_else(damaged)?;
        let row = IdentitiesRow::read(&value).ok_or_else(damaged)?;
        if expected.is_some_and(|expected| expected != first) {
            return Err(damaged());
        }
        expected = Some(first + row.identities.len() as u64);
        rows.push((first, row));
    }
    // A window that was reset has no rows yet.
    let begins = Lost::read_from(view)?.window_from.max(1);
    if expected.unwrap_or(begins) != last + 1 {
        return Err(StoreFailure("the duplicates window does not end with the log".to_owned()));
    }
    Ok(rows)
}
