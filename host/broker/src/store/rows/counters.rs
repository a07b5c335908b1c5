//! `meta`: what counts through all tables.

use bytes::Bytes;

use super::VERSION;
use crate::store::varint::{Parts, put};

/// Names of the counters' row.
pub(crate) const COUNTERS_KEY: &[u8] = b"counters";

/// Numbers that only rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) last_sequence: u64,
    pub(crate) next_dead: u64,
    pub(crate) next_delayed: u64,
    pub(crate) next_subscription: u32,
    /// How many dead letters there are; this and `log_bytes` may fall.
    pub(crate) dead_letters: u64,
    /// The oldest event the log still has; one above the newest if it has none.
    pub(crate) first_sequence: u64,
    /// Size of the events in the log, as they are encoded.
    pub(crate) log_bytes: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            last_sequence: 0,
            next_dead: 1,
            next_delayed: 1,
            next_subscription: 1,
            dead_letters: 0,
            first_sequence: 1,
            log_bytes: 0,
        }
    }
}

impl Counters {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut row = vec![VERSION];
        put(&mut row, self.last_sequence);
        put(&mut row, self.next_dead);
        put(&mut row, self.next_delayed);
        put(&mut row, self.next_subscription.into());
        put(&mut row, self.dead_letters);
        put(&mut row, self.first_sequence);
        put(&mut row, self.log_bytes);
        row
    }

    pub(crate) fn read(row: &Bytes) -> Option<Self> {
        let mut parts = Parts::versioned(row, VERSION)?;
        let mut counters = Self {
            last_sequence: parts.number()?,
            next_dead: parts.number()?,
            next_delayed: parts.number()?,
            next_subscription: parts.number_as()?,
            dead_letters: parts.number()?,
            ..Self::default()
        };
        if parts.is_empty() {
            // Format 1 kept everything and didn't count it.
            return Some(counters);
        }
        (counters.first_sequence, counters.log_bytes) = (parts.number()?, parts.number()?);
        parts.end().map(|()| counters)
    }
}
