//! Executes the reads that the ledger requests.

use crate::api::AttemptRecord;
use crate::ledger::{Expired, Fetch, Fetched, FetchedDelivery, FetchedEmission, Unseen, Watched};
use crate::log;
use crate::store::{StoreFailure, View, keys, schema};

/// Maximum matching events returned by one scan.
const SCAN_MAX_EVENTS: usize = 1_024;

/// Maximum bytes of matching events returned by one scan; may be exceeded by one event.
const SCAN_MAX_BYTES: usize = 4 * 1_024 * 1_024;

/// Maximum events looked at by one scan.
const SCAN_MAX_LOOKED_AT: usize = 16_384;

/// Maximum deliveries, over all subscriptions, named in a result about expired events; may be
/// exceeded by one per subscription.
const UNSEEN_MAX_SEQUENCES: usize = 65_536;

/// Executes one read.
pub(crate) fn fetch(view: &dyn View, fetch: Fetch) -> Result<Fetched, StoreFailure> {
    match fetch {
        Fetch::Scan { subscription, epoch, filter, from, to } => {
            let (mut events, mut bytes, mut next) = (Vec::new(), 0, from);
            for stored in log::events_in(view, from, to).take(SCAN_MAX_LOOKED_AT) {
                let stored = stored?;
                next = stored.sequence + 1;
                if stored.matches(&filter) {
                    bytes += stored.event.encoded().len();
                    events.push(stored);
                    if events.len() >= SCAN_MAX_EVENTS || bytes >= SCAN_MAX_BYTES {
                        return Ok(Fetched::Scan { subscription, epoch, events, next });
                    }
                }
            }
            if next == from {
                // The range has no events, so all of it was scanned.
                next = to;
            }
            Ok(Fetched::Scan { subscription, epoch, events, next })
        }
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

/// Events at the start of the log that exceed the retention limits.
fn expired(
    view: &dyn View,
    (from, to): (u64, u64),
    older_than_ms: u64,
    excess_bytes: u64,
    watched: &[Watched],
) -> Result<Expired, StoreFailure> {
    let none_yet = |watched: &Watched| {
        let Watched { subscription, epoch, .. } = *watched;
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
        for (watched, unseen) in watched.iter().zip(&mut expired.unseen) {
            if sequence >= watched.from && stored.matches(&watched.filter) {
                unseen.sequences.push(sequence);
                unseen_count += 1;
            }
        }
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
