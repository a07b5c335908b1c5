//! `dead`: deliveries that were given up, each with its event.

use bytes::Bytes;

use super::{VERSION, put_record, read_attempt, read_record, write_attempt};
use crate::api::{AttemptRecord, StoredEvent};
use crate::store::varint::{Parts, put, put_bytes};

/// A dead letter as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct DeadRow {
    pub(crate) time_ms: u64,
    pub(crate) subscription_id: u32,
    pub(crate) subscription: usher_event::SubscriptionName,
    pub(crate) attempt_count: u32,
    /// Failed attempts in the rounds before.
    pub(crate) before: u32,
    pub(crate) attempts: Vec<AttemptRecord>,
    pub(crate) stored: StoredEvent,
}

impl DeadRow {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut row = vec![VERSION];
        put(&mut row, self.time_ms);
        put(&mut row, self.subscription_id.into());
        put(&mut row, self.stored.sequence);
        put(&mut row, self.attempt_count.into());
        put(&mut row, self.before.into());
        put_bytes(&mut row, self.subscription.as_str().as_bytes());
        put(&mut row, self.attempts.len() as u64);
        for attempt in &self.attempts {
            put_bytes(&mut row, &write_attempt(attempt));
        }
        let StoredEvent { recorded_ms, flow, depth, cause, event, .. } = &self.stored;
        put_record(&mut row, *recorded_ms, *flow, *depth, cause.as_ref(), event);
        row
    }

    pub(crate) fn read(row: &Bytes) -> Option<Self> {
        let mut parts = Parts::versioned(row, VERSION)?;
        let time_ms = parts.number()?;
        let subscription_id = parts.number_as()?;
        let sequence = parts.number()?;
        let attempt_count = parts.number_as()?;
        let before = parts.number_as()?;
        let subscription = parts.text()?.parse().ok()?;
        let mut attempts = Vec::new();
        for _ in 0..parts.number()? {
            attempts.push(read_attempt(&parts.bytes()?)?);
        }
        let stored = read_record(sequence, &parts.rest())?;
        Some(Self {
            time_ms,
            subscription_id,
            subscription,
            attempt_count,
            before,
            attempts,
            stored,
        })
    }
}
