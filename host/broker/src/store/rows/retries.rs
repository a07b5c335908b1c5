//! `retries`, `parked` and `attempts`: deliveries that are not over.

use bytes::Bytes;
use usher_event::{Digest, FailureClass};

use super::VERSION;
use crate::api::AttemptRecord;
use crate::store::varint::{Parts, put, put_bytes};

/// A delivery that waits for another attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RetryRow {
    /// Failed attempts in this round.
    pub(crate) failures: u32,
    pub(crate) due_ms: u64,
    /// When the first attempt of this round failed.
    pub(crate) first_ms: u64,
    /// Failed attempts in the rounds before.
    pub(crate) before: u32,
    /// The audit record of what an operator asked for, where one did; 0 in rows of older versions.
    pub(crate) replay: Option<u64>,
    /// The lane it belongs to, if the subscription has lanes.
    pub(crate) lane: Option<u64>,
    /// Failures of this round that don't count.
    pub(crate) uncounted: u32,
    /// Those that do, by class in the order of [`FailureClass::ALL`]. What an older version left
    /// behind is missing here and is of no class in particular.
    pub(crate) counts: [u32; FailureClass::ALL.len()],
}

/// Writes the lane of a parked delivery.
pub(crate) fn write_parked(lane: u64) -> Vec<u8> {
    [&[VERSION][..], &lane.to_be_bytes()].concat()
}

/// Reads the lane of a parked delivery.
pub(crate) fn read_parked(row: &Bytes) -> Option<u64> {
    let mut parts = Parts::versioned(row, VERSION)?;
    let lane = u64::from_be_bytes(parts.array()?);
    parts.end().map(|()| lane)
}

impl RetryRow {
    const REPLAY: u64 = 1;
    const LANE: u64 = 2;
    const COUNTS: u64 = 4;
    const RECORD: u64 = 8;

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut row = vec![VERSION];
        put(&mut row, self.failures.into());
        put(&mut row, self.due_ms);
        put(&mut row, self.first_ms);
        put(&mut row, self.before.into());
        let has_counts = self.uncounted > 0 || self.counts.iter().any(|count| *count > 0);
        let record = self.replay.filter(|record| *record != 0);
        let flags = [
            (self.replay.is_some(), Self::REPLAY),
            (self.lane.is_some(), Self::LANE),
            (has_counts, Self::COUNTS),
            (record.is_some(), Self::RECORD),
        ];
        put(&mut row, flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
        if let Some(lane) = self.lane {
            row.extend_from_slice(&lane.to_be_bytes());
        }
        if has_counts {
            put(&mut row, self.uncounted.into());
            put(&mut row, self.counts.len() as u64);
            self.counts.iter().for_each(|count| put(&mut row, (*count).into()));
        }
        if let Some(record) = record {
            put(&mut row, record);
        }
        row
    }

    pub(crate) fn read(row: &Bytes) -> Option<Self> {
        let mut parts = Parts::versioned(row, VERSION)?;
        let (failures, due_ms) = (parts.number_as()?, parts.number()?);
        let (first_ms, before) = (parts.number()?, parts.number_as()?);
        let flags = parts.number()?;
        if flags > Self::REPLAY | Self::LANE | Self::COUNTS | Self::RECORD {
            return None;
        }
        let lane = if flags & Self::LANE != 0 { Some(parts.array()?) } else { None };
        let lane = lane.map(u64::from_be_bytes);
        let (mut uncounted, mut counts) = (0, [0; FailureClass::ALL.len()]);
        if flags & Self::COUNTS != 0 {
            uncounted = parts.number_as()?;
            let classes: usize = parts.number_as()?;
            for count in counts.get_mut(..classes)? {
                *count = parts.number_as()?;
            }
        }
        let record = if flags & Self::RECORD != 0 { parts.number()? } else { 0 };
        let replay = (flags & Self::REPLAY != 0).then_some(record);
        parts.end()?;
        Some(Self { failures, due_ms, first_ms, before, replay, lane, uncounted, counts })
    }
}

/// Writes a failed attempt.
pub(crate) fn write_attempt(attempt: &AttemptRecord) -> Vec<u8> {
    let mut row = Vec::with_capacity(64 + attempt.reason.len());
    row.push(VERSION);
    put(&mut row, attempt.attempt.into());
    put(&mut row, attempt.time_ms);
    put(&mut row, attempt.took_us);
    let class = FailureClass::ALL.iter().position(|class| *class == attempt.class);
    row.push(class.and_then(|class| u8::try_from(class).ok()).unwrap_or(u8::MAX));
    put_bytes(&mut row, attempt.reason.as_bytes());
    let flags = [
        attempt.backtrace.is_some(),
        attempt.digest.is_some(),
        attempt.version.is_some(),
        !attempt.counted,
        attempt.asked_ms.is_some(),
        attempt.ended,
    ];
    row.push(flags.iter().rev().fold(0, |byte, flag| byte << 1 | u8::from(*flag)));
    if let Some(backtrace) = &attempt.backtrace {
        put_bytes(&mut row, backtrace.as_bytes());
    }
    if let Some(digest) = &attempt.digest {
        row.extend_from_slice(digest.as_bytes());
    }
    if let Some(version) = &attempt.version {
        put_bytes(&mut row, version.as_bytes());
    }
    if let Some(asked_ms) = attempt.asked_ms {
        put(&mut row, asked_ms);
    }
    row
}

/// Reads a failed attempt.
pub(crate) fn read_attempt(row: &Bytes) -> Option<AttemptRecord> {
    let mut parts = Parts::versioned(row, VERSION)?;
    let attempt = parts.number_as()?;
    let time_ms = parts.number()?;
    let took_us = parts.number()?;
    let class = *FailureClass::ALL.get(usize::from(parts.byte()?))?;
    let reason = parts.text()?;
    let flags = parts.byte()?;
    let backtrace = if flags & 1 != 0 { Some(parts.text()?) } else { None };
    let digest = if flags & 2 != 0 { Some(Digest::from_bytes(parts.array()?)) } else { None };
    let version = if flags & 4 != 0 { Some(parts.text()?) } else { None };
    let counted = flags & 8 == 0;
    let asked_ms = if flags & 16 != 0 { Some(parts.number()?) } else { None };
    let ended = flags & 32 != 0;
    parts.end()?;
    Some(AttemptRecord {
        attempt,
        time_ms,
        took_us,
        class,
        reason,
        backtrace,
        digest,
        version,
        counted,
        asked_ms,
        ended,
    })
}
