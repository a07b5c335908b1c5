//! `schedules`: how far each has come.

use bytes::Bytes;

use super::VERSION;
use crate::store::varint::{Parts, put};

/// How far a schedule has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScheduleRow {
    /// Every tick up to here is dealt with.
    pub(crate) until_ms: u64,
    /// The newest tick that became an event; 0 if none did.
    pub(crate) last_ms: u64,
    /// Ticks that became events.
    pub(crate) emitted: u64,
    /// Ticks that were missed and passed over.
    pub(crate) passed_over: u64,
}

impl ScheduleRow {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut row = vec![VERSION];
        for number in [self.until_ms, self.last_ms, self.emitted, self.passed_over] {
            put(&mut row, number);
        }
        row
    }

    pub(crate) fn read(row: &Bytes) -> Option<Self> {
        let mut parts = Parts::versioned(row, VERSION)?;
        let (until_ms, last_ms) = (parts.number()?, parts.number()?);
        let (emitted, passed_over) = (parts.number()?, parts.number()?);
        parts.end().map(|()| Self { until_ms, last_ms, emitted, passed_over })
    }
}
