//! Queries answered from the store alone: events, dead letters, blobs.

use bytes::Bytes;
use usher_event::{Digest, PluginName};

use crate::PAGE_MAX;
use crate::api::{
    AuditRecord, BlobRecord, DeadLetter, DeadLetterPage, DeadLetterQuery, EventPage, EventQuery,
    ReadOrder, StateRecord, StoredEvent, SubscriptionStatus,
};
use crate::store::rows::{COUNTERS_KEY, Counters, DeadRow, read_blob, read_record};
use crate::store::{Found, RowsAt, Space, Store, StoreFailure, View, audit, keys};

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
    let key = keys::number(sequence);
    let row = view.get(Space::Events, &key)?;
    row.map(|row| read_event(&key, &row)).transpose()
}

/// The event in a row of the log.
pub(crate) fn read_event(key: &[u8], value: &Bytes) -> Result<StoredEvent, StoreFailure> {
    let read = || read_record(keys::first_number(key)?, value);
    read().ok_or_else(|| StoreFailure::damaged(Space::Events, key))
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
    let at = |found: Option<Found>| -> Result<Option<(u64, u64)>, StoreFailure> {
        let Some((key, value)) = found.transpose()? else { return Ok(None) };
        let stored = read_event(&key, &value)?;
        Ok(Some((stored.sequence, stored.recorded_ms)))
    };
    let newest = at(view.range(Space::Events, &[], None).next_back())?;
    let oldest = at(view.range(Space::Events, &keys::number(oldest(view)?), None).next())?;
    let (Some((mut low, _)), Some((newest, _))) = (oldest, newest) else {
        return self::oldest(view);
    };
    let mut high = newest + 1;
    while low < high {
        let middle = low + (high - low) / 2;
        let next = at(view.range(Space::Events, &keys::number(middle), None).next())?;
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
    let rows = view.range(Space::Events, &keys::number(from), Some(&keys::number(to)));
    let rows: Box<dyn Iterator<Item = Found>> =
        if is_backward { Box::new(rows.rev()) } else { Box::new(rows) };
    let mut left = PAGE_MAX_LOOKED_AT;
    for row in rows.take(if max == 0 { 0 } else { PAGE_MAX_LOOKED_AT }) {
        left -= 1;
        let (key, value) = row?;
        let stored = read_event(&key, &value)?;
        page.next = if is_backward { stored.sequence } else { stored.sequence + 1 };
        if query.filter.as_ref().is_none_or(|filter| filter.matches(&stored.event)) {
            page.events.push(stored);
            bytes += value.len();
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
    let prefix = keys::correlation_prefix(correlationid);
    let read = |row: Found| {
        let (key, _) = row?;
        keys::last_number(&key).ok_or_else(|| StoreFailure::damaged(Space::Correlations, &key))
    };
    let newest = view.prefix(Space::Correlations, &prefix).rev().take(max.min(PAGE_MAX));
    let mut sequences = newest.map(read).collect::<Result<Vec<_>, _>>()?;
    sequences.reverse();
    Ok(sequences)
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
        let dead = read_dead(&key, &value)?;
        let id = dead.id;
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
    let read = |row: Found| {
        let (key, value) = row?;
        let read = || audit::read(keys::first_number(&key)?, &value);
        read().ok_or_else(|| StoreFailure::damaged(Space::Audit, &key))
    };
    view.range(Space::Audit, &from, None).take(max.min(PAGE_MAX)).map(read).collect()
}

/// One dead letter.
pub(crate) fn dead_letter(view: &dyn View, id: u64) -> Result<Option<DeadLetter>, StoreFailure> {
    let key = keys::number(id);
    let row = view.get(Space::Dead, &key)?;
    row.map(|row| read_dead(&key, &row)).transpose()
}

/// The recording of a dead letter.
pub(crate) fn recording(view: &dyn View, id: u64) -> Result<Option<Bytes>, StoreFailure> {
    view.get(Space::Recordings, &keys::number(id))
}

fn read_dead(key: &[u8], row: &bytes::Bytes) -> Result<DeadLetter, StoreFailure> {
    let read = || Some((keys::first_number(key)?, DeadRow::read(row)?));
    let (id, dead) = read().ok_or_else(|| StoreFailure::damaged(Space::Dead, key))?;
    Ok(DeadLetter {
        id,
        time_ms: dead.time_ms,
        subscription: dead.subscription,
        stored: dead.stored,
        attempts: dead.attempts,
        attempt_count: dead.attempt_count,
    })
}

/// State of a plugin by bucket and key, what follows `after`.
pub(crate) fn state(
    view: &dyn View,
    plugin: &PluginName,
    after: Option<&(String, String)>,
    max: usize,
) -> Result<Vec<StateRecord>, StoreFailure> {
    let prefix = keys::buckets(plugin);
    let to = keys::after_prefix(&prefix);
    let from = state_from(plugin, after);
    state_records(&prefix, view.range(Space::State, &from, to.as_deref()), max)
}

/// State of a plugin as it stood once an event was appended; the sequence from which on that is known,
/// if it isn't.
pub(crate) fn state_at(
    store: &dyn Store,
    plugin: &PluginName,
    after: Option<&(String, String)>,
    max: usize,
    sequence: u64,
) -> Result<Result<Vec<StateRecord>, u64>, StoreFailure> {
    let prefix = keys::buckets(plugin);
    match store.rows_at(Space::State, &prefix, sequence)? {
        RowsAt::Before(known) => Ok(Err(known)),
        RowsAt::There(rows) => {
            let from = state_from(plugin, after);
            let rows = rows.range(Bytes::from(from)..);
            let rows = rows.map(|(key, value)| Ok((key.clone(), value.clone())));
            state_records(&prefix, rows, max).map(Ok)
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
    prefix: &[u8],
    rows: impl Iterator<Item = Found>,
    max: usize,
) -> Result<Vec<StateRecord>, StoreFailure> {
    let mut records = Vec::new();
    let mut bytes = 0;
    for row in rows {
        if records.len() >= max.min(PAGE_MAX) || bytes >= PAGE_MAX_BYTES {
            break;
        }
        let (key, value) = row?;
        bytes += key.len() + value.len();
        let record = keys::bucket_and_key(prefix, &key).map(|(bucket, key)| StateRecord {
            bucket,
            key,
            value,
        });
        records.push(record.ok_or_else(|| StoreFailure::damaged(Space::State, &key))?);
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
    for row in view.range(Space::Blobs, &from, None) {
        if records.len() >= max.min(PAGE_MAX) {
            break;
        }
        let (key, value) = row?;
        let record = (|| {
            let (digest, plugin) = key.split_first_chunk::<32>()?;
            let (info, created_ms) = read_blob(Digest::from_bytes(*digest), &value)?;
            let plugin = std::str::from_utf8(plugin).ok()?.parse().ok()?;
            Some(BlobRecord { info, plugin, created_ms })
        })();
        let record = record.ok_or_else(|| StoreFailure::damaged(Space::Blobs, &key))?;
        if records.last().is_none_or(|last| last.info.digest != record.info.digest) {
            records.push(record);
        }
    }
    Ok(records)
}
