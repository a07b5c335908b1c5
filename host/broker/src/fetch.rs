//! Executes the reads that the ledger requests.

use usher_filter::FilterIndex;

use crate::api::{AttemptRecord, StoredEvent};
use crate::ledger::{
    Behind, Expired, Fetch, Fetched, FetchedDelivery, FetchedEmission, SCAN_MAX_LOOKED_AT,
    ScanFound, Unseen,
};
use crate::log;
use crate::store::{StoreFailure, View, keys, schema};

/// Maximum matching events returned by one scan for a subscription.
const SCAN_MAX_EVENTS: usize = 1_024;

/// Maximum bytes of them; may be exceeded by one event.
const SCAN_MAX_BYTES: usize = 4 * 1_024 * 1_024;

/// Maximum matching events returned by one scan for all of its subscriptions; may be exceeded by one for
/// each.
const SCANS_MAX_EVENTS: usize = 65_536;

/// Maximum bytes of them, where those that several take count for each; may be exceeded likewise.
const SCANS_MAX_BYTES: usize = 64 * 1_024 * 1_024;

/// Maximum deliveries, over all subscriptions, named in a result about expired events; may be
/// exceeded by one per subscription.
const UNSEEN_MAX_SEQUENCES: usize = 65_536;

/// Executes one read.
pub(crate) fn fetch(view: &dyn View, fetch: Fetch) -> Result<Fetched, StoreFailure> {
    match fetch {
        Fetch::Scan { parts, to } => scan(view, parts, to).map(|found| Fetched::Scan { found }),
        Fetch::Deliveries { subscription, epoch, sequences } => {
            let delivery = |sequence| {
                let stored = log::record(view, sequence)?;
                let attempts = attempts(view, sequence, subscription)?;
                Ok(FetchedDelivery { sequence, stored, attempts })
            };
            let deliveries: Result<_, StoreFailure> = sequences.into_iter().map(delivery).collect();
            Ok(Fetched::Deliveries { subscription, epoch, deliveries: deliveries? })
        }
        Fetch::Expired { from, to, older_than_ms, excess_bytes, watched } => {
            expired(view, (from, to), older_than_ms, excess_bytes, &watched).map(Fetched::Expired)
        }
        Fetch::Delayed { keys: wanted } => {
            let emission = |(due_ms, number)| {
                let stored = view.row::<schema::Delayed>(keys::pair(due_ms, number))?;
                let stored = stored.map(|stored| {
                    let identity = stored.event.identity();
                    (stored, identity)
                });
                Ok(FetchedEmission { key: (due_ms, number), stored })
            };
            let emissions: Result<_, StoreFailure> = wanted.into_iter().map(emission).collect();
            Ok(Fetched::Delayed { emissions: emissions? })
        }
    }
}

/// Finds those of them that an event matches, by position.
fn index_of(behind: &[Behind]) -> FilterIndex<usize> {
    let mut index = FilterIndex::new();
    for (n, one) in behind.iter().enumerate() {
        index.insert(n, &one.filter);
    }
    index
}

/// Reads the log once for several subscriptions.
fn scan(view: &dyn View, parts: Vec<Behind>, to: u64) -> Result<Vec<ScanFound>, StoreFailure> {
    struct Part {
        asked: Behind,
        events: Vec<StoredEvent>,
        bytes: usize,
        /// Where it has enough.
        next: Option<u64>,
    }
    let from = parts.iter().map(|part| part.from).min().unwrap_or(to);
    let index = index_of(&parts);
    let mut parts: Vec<Part> = parts
        .into_iter()
        .map(|asked| Part { asked, events: Vec::new(), bytes: 0, next: None })
        .collect();
    let (mut reached, mut looked_at, mut in_all, mut in_all_bytes) = (from, 0, 0, 0);
    let mut unfinished = parts.len();
    for stored in log::events_in(view, from, to) {
        if unfinished == 0
            || looked_at >= SCAN_MAX_LOOKED_AT
            || in_all >= SCANS_MAX_EVENTS
            || in_all_bytes >= SCANS_MAX_BYTES
        {
            break;
        }
        let stored = stored?;
        looked_at += 1;
        reached = stored.sequence + 1;
        let bytes = stored.event.encoded().len();
        index.for_each_match(&stored.event, |n| {
            let Some(part) = parts.get_mut(*n) else { return };
            let is_asked_for = part.next.is_none() && stored.sequence >= part.asked.from;
            if !is_asked_for || !stored.may_reach(&part.asked.filter) {
                return;
            }
            part.bytes += bytes;
            part.events.push(stored.clone());
            in_all += 1;
            in_all_bytes += bytes;
            if part.events.len() >= SCAN_MAX_EVENTS || part.bytes >= SCAN_MAX_BYTES {
                part.next = Some(reached);
                unfinished -= 1;
            }
        });
    }
    if looked_at == 0 {
        // The range has no events, so all of it was scanned.
        reached = to;
    }
    let found = |Part { asked, events, next, .. }: Part| ScanFound {
        subscription: asked.subscription,
        epoch: asked.epoch,
        events,
        next: next.unwrap_or(reached).max(asked.from),
    };
    Ok(parts.into_iter().map(found).collect())
}

/// Events at the start of the log that exceed the retention limits.
fn expired(
    view: &dyn View,
    (from, to): (u64, u64),
    older_than_ms: u64,
    excess_bytes: u64,
    watched: &[Behind],
) -> Result<Expired, StoreFailure> {
    let none_yet = |watched: &Behind| {
        let Behind { subscription, epoch, .. } = *watched;
        Unseen { subscription, epoch, sequences: Vec::new() }
    };
    let mut expired = Expired {
        upto: from,
        bytes: 0,
        correlations: Vec::new(),
        unseen: watched.iter().map(none_yet).collect(),
        has_more: false,
    };
    let mut unseen_count = 0;
    let index = index_of(watched);
    for (looked_at, stored) in log::events_in(view, from, to).enumerate() {
        let stored = stored?;
        let sequence = stored.sequence;
        if stored.recorded_ms >= older_than_ms && expired.bytes >= excess_bytes {
            break;
        }
        if looked_at >= SCAN_MAX_LOOKED_AT || unseen_count >= UNSEEN_MAX_SEQUENCES {
            expired.has_more = true;
            break;
        }
        index.for_each_match(&stored.event, |n| {
            if let (Some(watched), Some(unseen)) = (watched.get(*n), expired.unseen.get_mut(*n))
                && sequence >= watched.from
                && stored.may_reach(&watched.filter)
            {
                unseen.sequences.push(sequence);
                unseen_count += 1;
            }
        });
        expired.bytes += stored.event.encoded().len() as u64;
        expired.upto = sequence + 1;
        if stored.cause.is_none()
            && let Some(correlationid) = stored.event.attribute("correlationid")
        {
            expired.correlations.push(keys::correlation(&correlationid, sequence));
        }
    }
    Ok(expired)
}

/// The failed attempts of a delivery in all its rounds, oldest first, with their numbers.
fn attempts(
    view: &dyn View,
    sequence: u64,
    subscription: u32,
) -> Result<Vec<(u32, AttemptRecord)>, StoreFailure> {
    let rows = view.rows_with::<schema::Attempts>(&keys::delivery(sequence, subscription));
    rows.map(|row| row.map(|((.., number), attempt)| (number, attempt))).collect()
}
