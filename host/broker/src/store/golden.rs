//! Holds the codecs of rows to the format that `docs/storage.md` describes: a row written by this
//! version is, byte for byte, what the golden file has, and what it has can be read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use usher_event::{
    BlobInfo, Digest, Event, FailureClass, Identity, PluginName, StateAddress, StateUsage,
};
use usher_filter::{Filter, Projection};

use super::lost::Lost;
use super::{audit, keys, rows};
use crate::api::{
    Actor, AttemptRecord, AuditAction, AuditRecord, AuditedDeadLetter, Cause, CauseKind, Change,
    ClassRetry, Debounce, Order, Pace, PluginChange, Rate, RetryPolicy, Start, StoredEvent,
    Subscription,
};

const GOLDEN: &str = include_str!("../../tests/golden/rows-v3.txt");

/// As format 2 wrote them.
const GOLDEN_2: &str = include_str!("../../tests/golden/rows-v2.txt");

/// As format 1 wrote them.
const GOLDEN_1: &str = include_str!("../../tests/golden/rows-v1.txt");

fn attempt() -> AttemptRecord {
    AttemptRecord {
        attempt: 3,
        time_ms: 1_800_000_000_123,
        took_us: 250_000,
        class: FailureClass::Timeout,
        reason: "missed its deadline".into(),
        backtrace: Some("0: handle".into()),
        digest: Some(Digest::from_bytes([7; 32])),
        version: Some("1.2.0".into()),
        counted: false,
        asked_ms: Some(315_360_000_000),
        ended: false,
    }
}

/// What a delivery was given up with.
fn last_attempt() -> AttemptRecord {
    AttemptRecord { ended: true, asked_ms: None, ..attempt() }
}

fn emission() -> StoredEvent {
    StoredEvent {
        sequence: 300,
        recorded_ms: 1_800_000_000_456,
        flow: 200,
        depth: 2,
        cause: Some(Cause {
            kind: CauseKind::Emission,
            parent: 299,
            subscription: "printer/tickets".parse().unwrap(),
            attempt: 2,
            took_us: 1_500,
        }),
        event: Event::builder("299/printer/tickets/0", "/plugins/printer", "ticket.generated")
            .data("pdf")
            .build()
            .unwrap(),
    }
}

fn dead() -> rows::DeadRow {
    let mut short = attempt();
    (short.backtrace, short.digest, short.version, short.attempt) = (None, None, None, 1);
    (short.counted, short.asked_ms) = (true, None);
    rows::DeadRow {
        time_ms: 1_800_000_000_789,
        subscription_id: 5,
        subscription: "printer/tickets".parse().unwrap(),
        attempt_count: 3,
        before: 1,
        attempts: vec![short, attempt()],
        stored: emission(),
    }
}

fn subscription() -> rows::SubscriptionRow {
    rows::SubscriptionRow {
        first: 12,
        filter_from: 12,
        subscription: Arc::new(Subscription {
            name: "printer/tickets".parse().unwrap(),
            filter: Filter::parse(r#"{"exact":{"type":"ticket.paid"}}"#).unwrap(),
            start: Start::Latest,
            order: Order::Key("subject".into()),
            retry: RetryPolicy {
                first_delay: Duration::from_millis(250),
                classes: [(FailureClass::Trap, CLASS)].into(),
                ..Default::default()
            },
            max_in_flight: 16,
            pace: Default::default(),
            projection: Default::default(),
            expires: false,
        }),
    }
}

fn expiring() -> rows::SubscriptionRow {
    let row = subscription();
    let expiring = Subscription { expires: true, ..(*row.subscription).clone() };
    rows::SubscriptionRow { subscription: Arc::new(expiring), ..row }
}

fn paced() -> rows::SubscriptionRow {
    let row = subscription();
    let quiet = Duration::from_millis(500);
    let pace = Pace {
        max_rate: Rate::per_second(2.5),
        max_rate_per_key: Rate::per_second(1.0),
        debounce: Some(Debounce { quiet, max: quiet * 10 }),
    };
    let projection = Projection::new(Some(&["/order", "/total"]), &["$.order..card"]).unwrap();
    let paced = Subscription { pace, projection, ..(*row.subscription).clone() };
    rows::SubscriptionRow { subscription: Arc::new(paced), ..row }
}

fn lost() -> Lost {
    Lost { window_from: 2_001, runs: vec![(7, 9), (1_001, 2_000)] }
}

fn identities() -> rows::IdentitiesRow {
    let identities = vec![Identity::from_bytes([3; 16]), Identity::from_bytes([4; 16])];
    rows::IdentitiesRow { identities, recorded_ms: Some(1_800_000_000_456) }
}

fn written_identities() -> Vec<u8> {
    let mut row: Vec<u8> = identities().identities.iter().flat_map(|one| *one.as_bytes()).collect();
    rows::end_identities(&mut row, 1_800_000_000_456);
    row
}

fn refiltered() -> rows::SubscriptionRow {
    rows::SubscriptionRow { filter_from: 40, ..subscription() }
}

const CLASS: ClassRetry = ClassRetry {
    first_delay: Some(Duration::from_millis(5)),
    factor: Some(1.5),
    max_delay: None,
    max_attempts: Some(3),
};

const COUNTERS: rows::Counters = rows::Counters {
    last_sequence: 1_000_000,
    next_dead: 4,
    next_delayed: 77,
    next_subscription: 6,
    dead_letters: 2,
    first_sequence: 7,
    log_bytes: 300,
};

const LANE: u64 = 0x0102_0304_0506_0708;

const RETRY: rows::RetryRow = rows::RetryRow {
    failures: 2,
    due_ms: 1_800_000_003_000,
    first_ms: 1_800_000_000_000,
    before: 1,
    replay: Some(0),
    lane: Some(LANE),
    uncounted: 1,
    counts: [0, 0, 1, 0, 0, 0, 0],
};

const SCHEDULE: rows::ScheduleRow = rows::ScheduleRow {
    until_ms: 1_800_000_060_000,
    last_ms: 1_800_000_000_000,
    emitted: 300,
    passed_over: 2,
};

fn cursor() -> rows::CursorRow {
    rows::CursorRow { next: 1_000, dead: 2, open: vec![7, 8, 500], expired: 0 }
}

fn cursor_past_expired() -> rows::CursorRow {
    rows::CursorRow { expired: 300, ..cursor() }
}

fn blob() -> BlobInfo {
    BlobInfo {
        digest: Digest::from_bytes([9; 32]),
        size_bytes: 70_000,
        content_type: "application/pdf".into(),
    }
}

fn record(stored: &StoredEvent) -> Vec<u8> {
    let mut row = Vec::new();
    let StoredEvent { recorded_ms, flow, depth, cause, event, .. } = stored;
    rows::put_record(&mut row, *recorded_ms, *flow, *depth, cause.as_ref(), event);
    row
}

fn published() -> StoredEvent {
    StoredEvent { flow: 300, depth: 0, cause: None, ..emission() }
}

/// The same, having come about in another way.
fn caused_by(kind: CauseKind) -> StoredEvent {
    let mut stored = emission();
    stored.cause = stored.cause.map(|cause| Cause { kind, ..cause });
    stored
}

fn audited() -> AuditRecord {
    let dead = dead();
    let event = &dead.stored.event;
    let dead = AuditedDeadLetter::new(4, dead.time_ms, &dead.attempts, 300, event);
    AuditRecord {
        number: 9,
        time_ms: 1_800_000_001_000,
        actor: Actor::local(),
        subscription: Some("printer/tickets".parse().unwrap()),
        action: AuditAction::RedriveEdited { dead, sequence: 301 },
    }
}

fn audited_plugin() -> AuditRecord {
    let (plugin, change) = ("printer".parse().unwrap(), PluginChange::Release);
    let action = AuditAction::Change(Change::Plugin { plugin, change });
    AuditRecord {
        number: 9,
        time_ms: 1_800_000_001_000,
        actor: Actor::local(),
        subscription: None,
        action,
    }
}

fn written() -> Vec<(&'static str, Vec<u8>)> {
    let plugin: PluginName = "printer".parse().unwrap();
    let address = StateAddress { plugin, bucket: "default".into(), key: "sold".into() };
    vec![
        ("counters", COUNTERS.write()),
        ("lost", lost().write()),
        ("record of a published event", record(&published())),
        ("record of an emission", record(&emission())),
        ("record of a redriven event", record(&caused_by(CauseKind::Redrive))),
        ("record of a report", record(&caused_by(CauseKind::Report))),
        ("subscription", subscription().write()),
        ("subscription, filter changed", refiltered().write()),
        ("subscription, expires", expiring().write()),
        ("subscription, paced and projected", paced().write()),
        ("cursor", cursor().write()),
        ("cursor, some expired", cursor_past_expired().write()),
        ("identities", written_identities()),
        ("retry", RETRY.write()),
        ("parked", rows::write_parked(LANE)),
        ("attempt", rows::write_attempt(&attempt())),
        ("last attempt", rows::write_attempt(&last_attempt())),
        ("dead letter", dead().write()),
        ("audit", audit::write(&audited())),
        ("schedule", SCHEDULE.write()),
        ("audit of a plugin", audit::write(&audited_plugin())),
        ("usage", rows::write_usage(StateUsage { bytes: 300, keys: 2 })),
        ("blob", rows::write_blob(&blob(), 1_800_000_000_000)),
        ("key of state", keys::state(&address)),
        ("key of a retry", keys::retry(5, 300)),
        ("key of an attempt", keys::attempt(300, 5, 3)),
        ("key of a correlation", keys::correlation("order-1", 300)),
        ("key of a plugin's blob", keys::plugin_blob("printer", &blob().digest)),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn golden(text: &'static str) -> BTreeMap<&'static str, Bytes> {
    let unhex = |text: &str| -> Bytes {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(": ").unwrap()).map(|(name, row)| (name, unhex(row))).collect()
}

#[test]
fn rows_are_written_as_the_format_says() {
    let golden = golden(GOLDEN);
    let written = written();
    assert_eq!(golden.len(), written.len());
    for (name, row) in written {
        let expected = &golden[name];
        if name.starts_with("subscription") || name.starts_with("audit") {
            // JSON: the order of members means nothing.
            let json = |row: &[u8]| serde_json::from_slice::<serde_json::Value>(row).unwrap();
            assert_eq!(json(&row), json(expected));
        } else {
            assert_eq!(hex(&row), hex(expected), "{name}");
        }
    }
}

#[test]
fn rows_of_the_format_are_read() {
    let golden = golden(GOLDEN);
    let row = |name: &str| &golden[name];
    assert_eq!(rows::Counters::read(row("counters")), Some(COUNTERS));
    assert_eq!(rows::SubscriptionRow::read(row("subscription")), Some(subscription()));
    let changed = rows::SubscriptionRow::read(row("subscription, filter changed"));
    assert_eq!(changed, Some(refiltered()));
    assert_eq!(Lost::read(row("lost")), Some(lost()));
    assert_eq!(rows::IdentitiesRow::read(row("identities")), Some(identities()));
    // Without the time it is one that an older version wrote.
    let untimed = row("identities").slice(..32);
    let before = rows::IdentitiesRow { recorded_ms: None, ..identities() };
    assert_eq!(rows::IdentitiesRow::read(&untimed), Some(before));
    let expired = rows::CursorRow::read(row("cursor, some expired"));
    assert_eq!(expired, Some(cursor_past_expired()));
    assert_eq!(rows::SubscriptionRow::read(row("subscription, expires")), Some(expiring()));
    let found = rows::SubscriptionRow::read(row("subscription, paced and projected"));
    assert_eq!(found, Some(paced()));
    assert_eq!(rows::CursorRow::read(row("cursor")), Some(cursor()));
    assert_eq!(rows::RetryRow::read(row("retry")), Some(RETRY));
    assert_eq!(rows::read_parked(row("parked")), Some(LANE));
    assert_eq!(rows::read_attempt(row("attempt")), Some(attempt()));
    assert_eq!(rows::read_attempt(row("last attempt")), Some(last_attempt()));
    assert_eq!(rows::ScheduleRow::read(row("schedule")), Some(SCHEDULE));
    let usage = rows::read_usage(row("usage"));
    assert_eq!(usage, Some(StateUsage { bytes: 300, keys: 2 }));
    let read = rows::read_blob(blob().digest, row("blob"));
    assert_eq!(read, Some((blob(), 1_800_000_000_000)));
    assert_eq!(audit::read(9, row("audit")), Some(audited()));
    assert_eq!(audit::read(9, row("audit of a plugin")), Some(audited_plugin()));
    for (name, expected) in [
        ("record of a published event", published()),
        ("record of an emission", emission()),
        ("record of a redriven event", caused_by(CauseKind::Redrive)),
        ("record of a report", caused_by(CauseKind::Report)),
    ] {
        let stored = rows::read_record(300, row(name)).unwrap();
        assert_eq!((stored.flow, stored.depth), (expected.flow, expected.depth), "{name}");
        assert_eq!((stored.cause, stored.event), (expected.cause, expected.event), "{name}");
    }
    let letter = rows::DeadRow::read(row("dead letter")).unwrap();
    assert_eq!((letter.attempts, letter.before), (dead().attempts, 1));
    assert_eq!(letter.stored.event, emission().event);
}

/// What format 2 added is absent in rows of format 1.
#[test]
fn rows_of_format_1_are_read() {
    let golden = golden(GOLDEN_1);
    let row = |name: &str| &golden[name];
    let mut before = subscription();
    Arc::make_mut(&mut before.subscription).order = Order::None;
    Arc::make_mut(&mut before.subscription).retry.classes.clear();
    assert_eq!(rows::SubscriptionRow::read(row("subscription")), Some(before));
    let before = rows::RetryRow { lane: None, uncounted: 0, counts: [0; 7], ..RETRY };
    assert_eq!(rows::RetryRow::read(row("retry")), Some(before));
    let before = rows::Counters { first_sequence: 1, log_bytes: 0, ..COUNTERS };
    assert_eq!(rows::Counters::read(row("counters")), Some(before));
    let unchanged = ["cursor", "attempt", "dead letter", "usage", "blob"];
    let second = self::golden(GOLDEN_2);
    for name in unchanged {
        assert_eq!(row(name), &second[name], "{name}");
    }
}

/// What format 3 added is absent in rows of format 2.
#[test]
fn rows_of_format_2_are_read() {
    let golden = golden(GOLDEN_2);
    let row = |name: &str| &golden[name];
    let before = rows::RetryRow { uncounted: 0, counts: [0; 7], ..RETRY };
    assert_eq!(rows::RetryRow::read(row("retry")), Some(before));
    let mut before = subscription();
    Arc::make_mut(&mut before.subscription).retry.classes.clear();
    assert_eq!(rows::SubscriptionRow::read(row("subscription")), Some(before));
    let before = AttemptRecord { version: None, counted: true, asked_ms: None, ..attempt() };
    assert_eq!(rows::read_attempt(row("attempt")), Some(before.clone()));
    let letter = rows::DeadRow::read(row("dead letter")).unwrap();
    assert_eq!(letter.attempts.last(), Some(&before));
    let new = self::golden(GOLDEN);
    for (name, row) in &golden {
        let is_changed = ["attempt", "dead letter", "retry"].contains(name);
        if !is_changed && !name.starts_with("subscription") {
            assert_eq!(row, &new[name], "{name}");
        }
    }
}

/// Cut anywhere, a row is refused or read as something, but nothing panics.
#[test]
fn cut_rows_do_no_harm() {
    for (name, row) in written() {
        for length in 0..row.len() {
            let cut = Bytes::copy_from_slice(&row[..length]);
            match name {
                // Cut to what format 1 had, it is a row of format 1.
                "counters" => drop(rows::Counters::read(&cut)),
                "cursor" => assert_eq!(rows::CursorRow::read(&cut), None),
                "retry" => assert_eq!(rows::RetryRow::read(&cut), None),
                "parked" => assert_eq!(rows::read_parked(&cut), None),
                "audit" | "audit of a plugin" => assert_eq!(audit::read(9, &cut), None),
                "schedule" => assert_eq!(rows::ScheduleRow::read(&cut), None),
                "attempt" => assert_eq!(rows::read_attempt(&cut), None),
                "subscription" => assert_eq!(rows::SubscriptionRow::read(&cut), None),
                "dead letter" => drop(rows::DeadRow::read(&cut)),
                name if name.starts_with("record") => drop(rows::read_record(1, &cut)),
                _ => {}
            }
        }
    }
}
