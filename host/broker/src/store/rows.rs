//! Values of the tables, to bytes and back. Reading answers `None` where the bytes can't be a row
//! of that table. The forms are described in `docs/storage.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use usher_event::{BlobInfo, Digest, Event, FailureClass, Identity, StateUsage};
use usher_filter::Filter;

use super::varint::{Parts, put, put_bytes};
use crate::api::{
    AttemptRecord, Cause, CauseKind, ClassRetry, Order, RetryPolicy, Start, StoredEvent,
    Subscription,
};

/// The version of all rows that have one.
const VERSION: u8 = 1;

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

/// A subscription as it is stored: its name is bound to a number that is never used again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SubscriptionRow {
    pub(crate) first: u64,
    /// The lowest sequence that its present filter has judged.
    pub(crate) filter_from: u64,
    pub(crate) subscription: Subscription,
}

impl SubscriptionRow {
    pub(crate) fn write(&self) -> Vec<u8> {
        let Subscription { name, filter, start, order, retry, max_in_flight, expires } =
            &self.subscription;
        let mut row = json!({
            "v": VERSION,
            "name": name,
            "first": self.first,
            "filter": filter.to_json(),
            "start": match start {
                Start::Latest => json!("latest"),
                Start::Earliest => json!("earliest"),
                Start::Sequence(sequence) => json!({ "sequence": sequence }),
                Start::Time(time_ms) => json!({ "time_ms": time_ms }),
            },
            "order": match order {
                Order::None => Value::Null,
                Order::Key(attribute) => json!({ "key": attribute }),
                Order::Total => json!("total"),
            },
            "max_in_flight": max_in_flight,
            "retry": {
                "first_delay_ms": millis(retry.first_delay),
                "factor": retry.factor,
                "max_delay_ms": millis(retry.max_delay),
                "jitter": retry.jitter,
                "max_attempts": retry.max_attempts,
                "max_age_ms": millis(retry.max_age),
            },
        });
        if *expires && let Value::Object(members) = &mut row {
            members.insert("expires".to_owned(), json!(true));
        }
        if self.filter_from > self.first
            && let Value::Object(members) = &mut row
        {
            members.insert("filter_from".to_owned(), json!(self.filter_from));
        }
        if !retry.classes.is_empty()
            && let Some(retry_row) = row.get_mut("retry").and_then(Value::as_object_mut)
        {
            let classes = retry.classes.iter();
            let classes = classes.map(|(class, own)| (class.as_str().to_owned(), write_class(own)));
            retry_row.insert("classes".to_owned(), classes.collect());
        }
        row.to_string().into_bytes()
    }

    pub(crate) fn read(row: &Bytes) -> Option<Self> {
        let row: Value = serde_json::from_slice(row).ok()?;
        if row.get("v")?.as_u64()? != u64::from(VERSION) {
            return None;
        }
        let retry = row.get("retry")?;
        let retry_ms = |field| Some(Duration::from_millis(retry.get(field)?.as_u64()?));
        let first = row.get("first")?.as_u64()?;
        Some(Self {
            first,
            filter_from: row.get("filter_from").map_or(Some(first), Value::as_u64)?,
            subscription: Subscription {
                name: row.get("name")?.as_str()?.parse().ok()?,
                filter: Filter::from_json(row.get("filter")?).ok()?,
                start: match row.get("start")? {
                    Value::String(word) if word == "latest" => Start::Latest,
                    Value::String(word) if word == "earliest" => Start::Earliest,
                    start => match (start.get("sequence"), start.get("time_ms")) {
                        (Some(sequence), None) => Start::Sequence(sequence.as_u64()?),
                        (None, Some(time_ms)) => Start::Time(time_ms.as_u64()?),
                        _ => return None,
                    },
                },
                order: match row.get("order") {
                    None | Some(Value::Null) => Order::None,
                    Some(Value::String(total)) if total == "total" => Order::Total,
                    Some(order) => Order::Key(order.get("key")?.as_str()?.to_owned()),
                },
                max_in_flight: row.get("max_in_flight")?.as_u64()?.try_into().ok()?,
                expires: row.get("expires").map_or(Some(false), Value::as_bool)?,
                retry: RetryPolicy {
                    first_delay: retry_ms("first_delay_ms")?,
                    factor: retry.get("factor")?.as_f64()?,
                    max_delay: retry_ms("max_delay_ms")?,
                    jitter: retry.get("jitter")?.as_f64()?,
                    max_attempts: retry.get("max_attempts")?.as_u64()?.try_into().ok()?,
                    max_age: retry_ms("max_age_ms")?,
                    classes: match retry.get("classes") {
                        None => BTreeMap::new(),
                        Some(classes) => {
                            classes.as_object()?.iter().map(read_class).collect::<Option<_>>()?
                        }
                    },
                },
            },
        })
    }
}

fn write_class(own: &ClassRetry) -> Value {
    json!({
        "first_delay_ms": own.first_delay.map(millis),
        "factor": own.factor,
        "max_delay_ms": own.max_delay.map(millis),
        "max_attempts": own.max_attempts,
    })
}

fn read_class((name, own): (&String, &Value)) -> Option<(FailureClass, ClassRetry)> {
    let number = |member| match own.get(member)? {
        Value::Null => Some(None),
        number => number.as_u64().map(Some),
    };
    let own = ClassRetry {
        first_delay: number("first_delay_ms")?.map(Duration::from_millis),
        factor: match own.get("factor")? {
            Value::Null => None,
            factor => Some(factor.as_f64()?),
        },
        max_delay: number("max_delay_ms")?.map(Duration::from_millis),
        max_attempts: match number("max_attempts")? {
            None => None,
            Some(number) => Some(number.try_into().ok()?),
        },
    };
    Some((FailureClass::from_name(name)?, own))
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How far a subscription has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CursorRow {
    /// The lowest sequence that was never handed out.
    pub(crate) next: u64,
    /// Dead letters it has now.
    pub(crate) dead: u64,
    /// Below `next`, neither settled nor waiting for a retry; rising.
    pub(crate) open: Vec<u64>,
    /// Deliveries that were not over when their event left the log.
    pub(crate) expired: u64,
}

impl CursorRow {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(16 + 3 * self.open.len());
        row.push(VERSION);
        put(&mut row, self.next);
        put(&mut row, self.dead);
        put(&mut row, self.open.len() as u64);
        let mut before = 0;
        for sequence in &self.open {
            put(&mut row, sequence - before);
            before = *sequence;
        }
        if self.expired > 0 {
            put(&mut row, self.expired);
        }
        row
    }

    pub(crate) fn read(row: &Bytes) -> Option<Self> {
        let mut parts = Parts::versioned(row, VERSION)?;
        let (next, dead, count) = (parts.number()?, parts.number()?, parts.number()?);
        let mut open = Vec::new();
        let mut before = 0u64;
        for _ in 0..count {
            before = before.checked_add(parts.number()?)?;
            open.push(before);
        }
        let expired = if parts.is_empty() { 0 } else { parts.number()? };
        parts.end().map(|()| Self { next, dead, open, expired })
    }
}

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

/// Writes what a plugin uses.
pub(crate) fn write_usage(usage: StateUsage) -> Vec<u8> {
    let mut row = vec![VERSION];
    put(&mut row, usage.bytes);
    put(&mut row, usage.keys);
    row
}

/// Reads what a plugin uses.
pub(crate) fn read_usage(row: &Bytes) -> Option<StateUsage> {
    let mut parts = Parts::versioned(row, VERSION)?;
    let usage = StateUsage { bytes: parts.number()?, keys: parts.number()? };
    parts.end().map(|()| usage)
}

/// Writes a blob's row.
pub(crate) fn write_blob(info: &BlobInfo, created_ms: u64) -> Vec<u8> {
    let mut row = vec![VERSION];
    put(&mut row, info.size_bytes);
    put(&mut row, created_ms);
    put_bytes(&mut row, info.content_type.as_bytes());
    row
}

/// Reads a blob's row: what it is, and when it was committed.
pub(crate) fn read_blob(digest: Digest, row: &Bytes) -> Option<(BlobInfo, u64)> {
    let mut parts = Parts::versioned(row, VERSION)?;
    let size_bytes = parts.number()?;
    let created_ms = parts.number()?;
    let content_type = parts.text()?;
    parts.end().map(|()| (BlobInfo { digest, size_bytes, content_type }, created_ms))
}

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
