//! `events`, `delayed` and `identities`: events with what the log knows of them.

use bytes::Bytes;
use usher_event::{Event, Identity};

use super::VERSION;
use crate::api::{Cause, CauseKind, StoredEvent};
use crate::store::varint::{Parts, put, put_bytes};

/// The identities of the events of one commit, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdentitiesRow {
    pub(crate) identities: Vec<Identity>,
    /// When they were recorded, where that is known.
    pub(crate) recorded_ms: Option<u64>,
}

/// Ends a row of identities, which stand one after another, with the time they were recorded at.
pub(crate) fn end_identities(row: &mut Vec<u8>, recorded_ms: u64) {
    row.extend_from_slice(&recorded_ms.to_be_bytes());
}

impl IdentitiesRow {
    pub(crate) fn read(row: &Bytes) -> Option<Self> {
        const IDENTITY_BYTES: usize = 16;
        let (identities, time) = row.as_chunks::<IDENTITY_BYTES>();
        let recorded_ms = match time {
            [] => None,
            time => Some(u64::from_be_bytes(time.try_into().ok()?)),
        };
        let identities = identities.iter().copied().map(Identity::from_bytes).collect();
        Some(Self { identities, recorded_ms })
    }
}

/// The record of an event.
pub(crate) fn write_record(stored: &StoredEvent) -> Vec<u8> {
    let StoredEvent { recorded_ms, flow, depth, cause, event, .. } = stored;
    let mut row = Vec::with_capacity(64 + event.encoded().len());
    put_record(&mut row, *recorded_ms, *flow, *depth, cause.as_ref(), event);
    row
}

/// Appends the record of an event.
pub(crate) fn put_record(
    buffer: &mut Vec<u8>,
    recorded_ms: u64,
    flow: u64,
    depth: u16,
    cause: Option<&Cause>,
    event: &Event,
) {
    buffer.push(VERSION);
    put(buffer, recorded_ms);
    put(buffer, flow);
    put(buffer, depth.into());
    match cause {
        None => buffer.push(0),
        Some(cause) => {
            buffer.push(match cause.kind {
                CauseKind::Emission => 1,
                CauseKind::Redrive => 2,
                CauseKind::Report => 3,
            });
            put(buffer, cause.parent);
            put(buffer, cause.attempt.into());
            put(buffer, cause.took_us);
            put_bytes(buffer, cause.subscription.as_str().as_bytes());
        }
    }
    buffer.extend_from_slice(event.encoded());
}

/// Reads a record; the event shares the row's memory.
pub(crate) fn read_record(sequence: u64, row: &Bytes) -> Option<StoredEvent> {
    let mut parts = Parts::versioned(row, VERSION)?;
    let recorded_ms = parts.number()?;
    let flow = parts.number()?;
    let depth = parts.number_as()?;
    let kind = match parts.byte()? {
        0 => None,
        1 => Some(CauseKind::Emission),
        2 => Some(CauseKind::Redrive),
        3 => Some(CauseKind::Report),
        _ => return None,
    };
    let cause = match kind {
        None => None,
        Some(kind) => Some(Cause {
            kind,
            parent: parts.number()?,
            attempt: parts.number_as()?,
            took_us: parts.number()?,
            subscription: parts.text()?.parse().ok()?,
        }),
    };
    let event = Event::from_encoded(parts.rest()).ok()?;
    Some(StoredEvent { sequence, recorded_ms, flow, depth, cause, event })
}
