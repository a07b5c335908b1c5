//! Queries answered from the store alone: events, dead letters, blobs.

use std::collections::BTreeMap;

use bytes::Bytes;
use usher_event::{Digest, PluginName, StateAddress};

use crate::PAGE_MAX;
use crate::api::{
    AuditRecord, BlobRecord, DeadLetter, DeadLetterPage, DeadLetterQuery, EventPage, EventQuery,
    ReadOrder, StateRecord, StoredEvent, SubscriptionStatus,
};
use crate::store::rows::{COUNTERS_KEY, Counters, DeadRow};
use crate::store::schema::{self, Entry};
use crate::store::{RowsAt, Space, StoreFailure, View, Views, keys};

/// Maximum events scanned per page.
const PAGE_MAX_LOOKED_AT: usize = 10_000;

/// Maximum bytes of rows scanned per page of dead letters; may be exceeded by one row.
const DEAD_MAX_BYTES_LOOKED_AT: usize = 4 * PAGE_MAX_BYTES;

/// Maximum bytes of events or dead letters per page; may be exceeded by one.
pub(crate) const PAGE_MAX_BYTES: usize = 8 * 1_024 * 1_024;

/// The oldest sequence in the log. Rows below it may remain on disk for a while.
pub(crate) fn oldest(view: &dyn View) -> Result<u64, StoreFailure> {
    Ok(counters(view)?.first_sequence)
}

/// The stored counters; those of an empty log if there are none.
pub(crate) fn counters(view: &dyn View) -> Result<Counters, StoreFailure> {
    let Some(row) = view.get(Space::Meta, COUNTERS_KEY)? else { return Ok(Counters::default()) };
    Counters::read(&row).ok_or_else(|| StoreFailure::damaged(Space::Meta, COUNTERS_KEY))
}

/// The newest sequence.
pub(crate) fn newest(view: &dyn View) -> Result<u64, StoreFailure> {
    Ok(counters(view)?.last_sequence)
}

/// One event; `None` once retention has removed it.
pub(crate) fn event(view: &dyn View, sequence: u64) -> Result<Option<StoredEvent>, StoreFailure> {
    if sequence < oldest(view)? { Ok(None) } else { record(view, sequence) }
}

/// One event, even if retention has removed it: redriving a dead letter restores its event.
pub(crate) fn record(view: &dyn View, sequence: u64) -> Result<Option<StoredEvent>, StoreFailure> {
    view.row::<schema::Events>(keys::number(sequence))
}

/// Events from one sequence on, before another.
pub(crate) fn events_in(
    view: &dyn View,
    from: u64,
    to: u64,
) -> impl DoubleEndedIterator<Item = Result<StoredEvent, StoreFailure>> {
    let rows = view.rows_in::<schema::Events>(&keys::number(from), Some(&keys::number(to)));
    rows.map(|row| row.map(|(_, stored)| stored))
}

/// Adds when each oldest unsettled event was recorded, unless the log no longer has it.
pub(crate) fn with_times(
    view: &dyn View,
    mut statuses: Vec<SubscriptionStatus>,
) -> Result<Vec<SubscriptionStatus>, StoreFailure> {
    for status in &mut statuses {
        if let Some(oldest) = status.oldest_unsettled {
            let stored = event(view, oldest)?;
            status.oldest_unsettled_ms = stored.map(|stored| stored.recorded_ms);
        }
    }
    Ok(statuses)
}

/// The first sequence recorded at or after this time; one above the newest if there is none. If the
/// clock was set back, times don't rise with sequences, and the result is one of the sequences at
/// which the time is passed.
pub(crate) fn first_since(view: &dyn View, time_ms: u64) -> Result<u64, StoreFailure> {
    let at = |found: Option<Result<StoredEvent, StoreFailure>>| {
        let stored = found.transpose()?;
        Ok::<_, StoreFailure>(stored.map(|stored| (stored.sequence, stored.recorded_ms)))
    };
    let newest = at(events_in(view, 0, u64::MAX).next_back())?;
    let oldest = at(events_in(view, oldest(view)?, u64::MAX).next())?;
    let (Some((mut low, _)), Some((newest, _))) = (oldest, newest) else {
        return self::oldest(view);
    };
    let mut high = newest + 1;
    while low < high {
        let middle = low + (high - low) / 2;
        let next = at(events_in(view, middle, u64::MAX).next())?;
        match next {
            Some((_, recorded_ms)) if recorded_ms < time_ms => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Part of the log, up to `max_bytes`; may exceed it by one event.
pub(crate) fn events(
    view: &dyn View,
    query: &EventQuery,
    max_bytes: usize,
) -> Result<EventPage, StoreFailure> {
    let from = query.from.max(oldest(view)?);
    let to = query.to.unwrap_or(u64::MAX);
    let max = query.max.min(PAGE_MAX);
    let is_backward = query.order == ReadOrder::NewestFirst;
    let mut page = EventPage { events: Vec::new(), next: from };
    let mut bytes = 0;
    let rows = events_in(view, from, to);
    let rows: Box<dyn Iterator<Item = _>> =
        if is_backward { Box::new(rows.rev()) } else { Box::new(rows) };
    let mut left = PAGE_MAX_LOOKED_AT;
    for row in rows.take(if max == 0 { 0 } else { PAGE_MAX_LOOKED_AT }) {
        left -= 1;
        let stored = row?;
        page.next = if is_backward { stored.sequence } else { stored.sequence + 1 };
        if query.filter.as_ref().is_none_or(|filter| filter.matches(&stored.event)) {
            bytes += stored.event.encoded().len();
            page.events.push(stored);
            if page.events.len() >= max || bytes >= max_bytes {
                return Ok(page);
            }
        }
    }
    if is_backward && left > 0 {
        page.next = 0;
    }
    Ok(page)
}

/// The first events of the newest flows with this correlation, oldest first.
pub(crate) fn flows_by_correlation(
    view: &dyn View,
    correlationid: &str,
    max: usize,
) -> Result<Vec<u64>, StoreFailure> {
    let rows = view.rows_with::<schema::Correlations>(&keys::correlation_prefix(correlationid));
    let newest = rows.rev().take(max.min(PAGE_MAX)).map(|row| row.map(|(sequence, ())| sequence));
    let mut sequences = newest.collect::<Result<Vec<_>, _>>()?;
    sequences.reverse();
    Ok(sequences)
}

/// Documents whose names begin with a prefix.
pub(crate) fn documents(
    view: &dyn View,
    prefix: &str,
) -> Result<BTreeMap<Box<str>, Bytes>, StoreFailure> {
    view.rows_with::<schema::Documents>(prefix.as_bytes()).collect()
}

/// Dead letters that match the query.
pub(crate) fn dead_letters(
    view: &dyn View,
    query: &DeadLetterQuery,
) -> Result<DeadLetterPage, StoreFailure> {
    let from = keys::number(query.after.map_or(0, |after| after.saturating_add(1)));
    let max = query.max.clamp(1, PAGE_MAX);
    let last = counters(view)?.next_dead.saturating_sub(1);
    let mut letters = Vec::new();
    let (mut bytes, mut bytes_looked_at) = (0, 0);
    for row in view.range(Space::Dead, &from, None) {
        let (key, value) = row?;
        let (id, dead) = schema::read::<schema::Dead>(&key, &value)?;
        let dead = letter(id, dead);
        bytes_looked_at += value.len();
        if query.takes(&dead) {
            bytes += value.len();
            letters.push(dead);
        }
        if letters.len() >= max
            || bytes >= PAGE_MAX_BYTES
            || bytes_looked_at >= DEAD_MAX_BYTES_LOOKED_AT
        {
            return Ok(DeadLetterPage { letters, next: Some(id), last });
        }
    }
    Ok(DeadLetterPage { letters, next: None, last })
}

/// Audit records with numbers above `after`.
pub(crate) fn audit(
    view: &dyn View,
    after: Option<u64>,
    max: usize,
) -> Result<Vec<AuditRecord>, StoreFailure> {
    let from = keys::number(after.map_or(0, |after| after.saturating_add(1)));
    let rows = view.rows_in::<schema::Audit>(&from, None).take(max.min(PAGE_MAX));
    rows.map(|row| row.map(|(_, record)| record)).collect()
}

/// One dead letter.
pub(crate) fn dead_letter(view: &dyn View, id: u64) -> Result<Option<DeadLetter>, StoreFailure> {
    Ok(view.row::<schema::Dead>(keys::number(id))?.map(|dead| letter(id, dead)))
}

/// The recording of a dead letter.
pub(crate) fn recording(view: &dyn View, id: u64) -> Result<Option<Bytes>, StoreFailure> {
    view.row::<schema::Recordings>(keys::number(id))
}

fn letter(id: u64, dead: DeadRow) -> DeadLetter {
    DeadLetter {
        id,
        time_ms: dead.time_ms,
        subscription: dead.subscription,
        stored: dead.stored,
        attempts: dead.attempts,
        attempt_count: dead.attempt_count,
    }
}

/// State of a plugin by bucket and key, what follows `after`.
pub(crate) fn state(
    view: &dyn View,
    plugin: &PluginName,
    after: Option<&(String, String)>,
    max: usize,
) -> Result<Vec<StateRecord>, StoreFailure> {
    let to = keys::after_prefix(&keys::buckets(plugin));
    let from = state_from(plugin, after);
    state_records(view.rows_in::<schema::State>(&from, to.as_deref()), max)
}

/// State of a plugin as it stood once an event was appended; the sequence from which on that is known,
/// if it isn't.
pub(crate) fn state_at(
    views: &dyn Views,
    plugin: &PluginName,
    after: Option<&(String, String)>,
    max: usize,
    sequence: u64,
) -> Result<Result<Vec<StateRecord>, u64>, StoreFailure> {
    let prefix = keys::buckets(plugin);
    match views.rows_at(Space::State, &prefix, sequence)? {
        RowsAt::Before(known) => Ok(Err(known)),
        RowsAt::There(rows) => {
            let from = state_from(plugin, after);
            let rows = rows.range(Bytes::from(from)..);
            let rows = rows.map(|(key, value)| schema::read::<schema::State>(key, value));
            state_records(rows, max).map(Ok)
        }
    }
}

fn state_from(plugin: &PluginName, after: Option<&(String, String)>) -> Vec<u8> {
    match after {
        None => keys::buckets(plugin),
        Some((bucket, key)) => keys::after_state(plugin, bucket, key),
    }
}

fn state_records(
    rows: impl Iterator<Item = Entry<schema::State>>,
    max: usize,
) -> Result<Vec<StateRecord>, StoreFailure> {
    let mut records = Vec::new();
    let mut bytes = 0;
    for row in rows {
        if records.len() >= max.min(PAGE_MAX) || bytes >= PAGE_MAX_BYTES {
            break;
        }
        let (address, value) = row?;
        bytes += address.name_bytes() + value.len();
        let StateAddress { bucket, key, .. } = address;
        let (bucket, key) = (bucket.to_string(), key.to_string());
        records.push(StateRecord { bucket, key, value });
    }
    Ok(records)
}

/// Blobs after `after`, each once, with the first plugin that keeps it.
pub(crate) fn blobs(
    view: &dyn View,
    after: Option<Digest>,
    max: usize,
) -> Result<Vec<BlobRecord>, StoreFailure> {
    let from = match after {
        None => Vec::new(),
        Some(after) => match keys::after_prefix(after.as_bytes()) {
            Some(from) => from,
            None => return Ok(Vec::new()),
        },
    };
    let mut records: Vec<BlobRecord> = Vec::new();
    for row in view.rows_in::<schema::Blobs>(&from, None) {
        if records.len() >= max.min(PAGE_MAX) {
            break;
        }
        let ((_, plugin), (info, created_ms)) = row?;
        if records.last().is_none_or(|last| last.info.digest != info.digest) {
            records.push(BlobRecord { info, plugin, created_ms });
        }
    }
    Ok(records)
}
