//! Loads the ledger's state from a store. The cost depends on unfinished deliveries, the duplicates
//! window and the number of blobs, never on the length of the log.

use std::collections::{BTreeMap, HashMap};

use usher_event::{PluginName, ScheduleName, StateUsage};

use crate::api::StoredEvent;
use crate::ledger::{DelayedEmission, Recovered};
use crate::log;
use crate::store::lost::Lost;
use crate::store::rows::{
    Counters, CursorRow, IdentitiesRow, RetryRow, ScheduleRow, SubscriptionRow,
};
use crate::store::schema::{self, Entry};
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
        documents: documents(view)?,
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
    let newest = view.rows::<schema::Events>().next_back().transpose()?;
    Ok(newest.map_or(0, |(_, stored)| stored.recorded_ms))
}

fn subscriptions(view: &dyn View) -> Result<Vec<(u32, SubscriptionRow, CursorRow)>, StoreFailure> {
    let with_cursor = |row: Entry<schema::Subscriptions>| {
        let (id, row) = row?;
        let key = keys::subscription(id);
        let missing = StoreFailure::damaged(Space::Cursors, &key);
        Ok((id, row, view.row::<schema::Cursors>(key)?.ok_or(missing)?))
    };
    view.rows::<schema::Subscriptions>().map(with_cursor).collect()
}

fn retries(view: &dyn View) -> Result<Vec<(u32, u64, RetryRow)>, StoreFailure> {
    let rows = view.rows::<schema::Retries>();
    rows.map(|row| row.map(|((id, sequence), row)| (id, sequence, row))).collect()
}

fn parked(view: &dyn View) -> Result<Vec<(u32, u64, u64)>, StoreFailure> {
    let rows = view.rows::<schema::Parked>();
    rows.map(|row| row.map(|((id, sequence), lane)| (id, sequence, lane))).collect()
}

fn delayed(view: &dyn View) -> Result<Vec<DelayedEmission>, StoreFailure> {
    let emission = |row: Entry<schema::Delayed>| {
        let ((due_ms, number), stored) = match row {
            Ok(row) => row,
            Err(failure) => return Some(Err(failure)),
        };
        let StoredEvent { recorded_ms: emitted_ms, flow, cause, .. } = stored;
        let subscription = cause?.subscription;
        Some(Ok(DelayedEmission { due_ms, number, emitted_ms, flow, subscription }))
    };
    view.rows::<schema::Delayed>().filter_map(emission).collect()
}

/// One above the newest record, which is never removed.
fn next_audit(view: &dyn View) -> Result<u64, StoreFailure> {
    let Some(row) = view.range(Space::Audit, &[], None).next_back() else { return Ok(1) };
    // Its key is enough: what it says may be of a newer version.
    let (key, _) = row?;
    let newest = keys::first_number(&key);
    newest.map(|newest| newest + 1).ok_or_else(|| StoreFailure::damaged(Space::Audit, &key))
}

fn schedules(view: &dyn View) -> Result<BTreeMap<ScheduleName, ScheduleRow>, StoreFailure> {
    view.rows::<schema::Schedules>().collect()
}

/// The size of each.
fn documents(view: &dyn View) -> Result<BTreeMap<Box<str>, usize>, StoreFailure> {
    let rows = view.rows::<schema::Documents>();
    rows.map(|row| row.map(|(name, content)| (name, content.len()))).collect()
}

fn usage(view: &dyn View) -> Result<HashMap<PluginName, StateUsage>, StoreFailure> {
    view.rows::<schema::StateUsage>().collect()
}

/// Summed from the blobs themselves: a stored total could be wrong.
fn blob_bytes(view: &dyn View) -> Result<HashMap<Box<str>, u64>, StoreFailure> {
    let mut sums = HashMap::<Box<str>, u64>::new();
    for row in view.rows::<schema::Blobs>() {
        let ((_, plugin), (info, _)) = row?;
        match sums.get_mut(plugin.as_str()) {
            Some(sum) => *sum += info.size_bytes,
            None => drop(sums.insert(plugin.as_str().into(), info.size_bytes)),
        }
    }
    Ok(sums)
}

fn identities(view: &dyn View, last: u64) -> Result<Vec<(u64, IdentitiesRow)>, StoreFailure> {
    let mut rows = Vec::new();
    let mut expected = None;
    for row in view.rows::<schema::Identities>() {
        let (first, row) = row?;
        if expected.is_some_and(|expected| expected != first) {
            return Err(StoreFailure::damaged(Space::Identities, &keys::number(first)));
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
