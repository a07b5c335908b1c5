//! Converts the types of the broker, the router and the plugin registry to the API's. The HTTP API,
//! the metrics and the states all use these conversions.

use std::time::Duration;

use usher_api as api;
use usher_api::Timestamp;
use usher_broker as broker;
use usher_event::{
    BlobChange, Failure, FailureClass, PluginName, Recording, StateWrite, SubscriptionName, millis,
};
use usher_router::{Recorded, Standing};

use usher_plugins::HistoryEntry;

// The API's clients know the limit without knowing the broker.
const _: () = assert!(api::REPLAY_MAX_EVENTS == broker::REPLAY_MAX_EVENTS);

pub(crate) fn backup(report: broker::BackupReport) -> api::Backup {
    let broker::BackupReport { folder, last_sequence, segments, blobs, bytes, linked_bytes } =
        report;
    let folder = folder.display().to_string();
    api::Backup { folder, last_sequence, segments, blobs, bytes, linked_bytes }
}

pub(crate) fn stored(stored: broker::StoredEvent) -> api::Stored {
    api::Stored {
        sequence: stored.sequence,
        recorded: Timestamp::from_ms(stored.recorded_ms),
        flow: stored.flow,
        depth: stored.depth,
        cause: stored.cause.map(cause),
        event: stored.event.into(),
    }
}

pub(crate) fn mismatch(mismatch: &usher_filter::Mismatch) -> api::Mismatch {
    let (path, reason) = (mismatch.path().to_owned(), mismatch.reason().to_owned());
    api::Mismatch { path, reason }
}

fn cause(cause: broker::Cause) -> api::Cause {
    api::Cause {
        kind: cause.kind.as_str().to_owned(),
        parent: cause.parent,
        subscription: cause.subscription,
        attempt: cause.attempt,
        took_us: cause.took_us,
    }
}

pub(crate) fn flow(flow: broker::Flow) -> api::Flow {
    let events: Vec<_> = flow.events.into_iter().map(flow_event).collect();
    let ended = |delivery: &api::DeliveryReport| {
        matches!(delivery.state, api::DeliveryState::Done | api::DeliveryState::Dead)
    };
    api::Flow {
        flow: flow.root,
        // Deliveries of the omitted events are unknown and may be in flight.
        settled: !flow.truncated
            && flow.delayed.is_empty()
            && events.iter().all(|event| event.deliveries.iter().all(ended)),
        truncated: flow.truncated,
        events,
        delayed: flow.delayed.into_iter().map(delayed).collect(),
    }
}

fn flow_event(event: broker::FlowEvent) -> api::FlowEvent {
    api::FlowEvent {
        stored: stored(event.stored),
        deliveries: event.deliveries.into_iter().map(delivery).collect(),
    }
}

fn delayed(delayed: broker::DelayedEvent) -> api::Delayed {
    api::Delayed {
        due: Timestamp::from_ms(delayed.due_ms),
        cause: cause(delayed.cause),
        event: delayed.event.into(),
    }
}

fn delivery(status: broker::DeliveryStatus) -> api::DeliveryReport {
    let mut report = api::DeliveryReport {
        plugin: status.subscription.plugin().to_owned(),
        subscription: status.subscription,
        state: api::DeliveryState::Pending,
        round: later_round(status.round),
        attempt: None,
        due: None,
        behind: None,
        dead_letter: None,
        failures: status.failures.into_iter().map(past_attempt).collect(),
    };
    report.state = match status.state {
        broker::DeliveryState::Pending => api::DeliveryState::Pending,
        broker::DeliveryState::InFlight { attempt } => {
            report.attempt = Some(attempt);
            api::DeliveryState::InFlight
        }
        broker::DeliveryState::Parked { behind } => {
            report.behind = behind;
            api::DeliveryState::Parked
        }
        broker::DeliveryState::Waiting { due_ms } => {
            report.due = Some(Timestamp::from_ms(due_ms));
            api::DeliveryState::Waiting
        }
        broker::DeliveryState::Done => api::DeliveryState::Done,
        broker::DeliveryState::Dead { id } => {
            report.dead_letter = id;
            api::DeliveryState::Dead
        }
    };
    report
}

/// `paused_because` is the reason why nothing serves the subscription, if nothing does.
pub(crate) fn explanation(
    sequence: u64,
    subscription: SubscriptionName,
    explanation: broker::Explanation,
    paused_because: Option<String>,
) -> api::Explanation {
    let mut told = api::Explanation {
        sequence,
        plugin: subscription.plugin().to_owned(),
        subscription,
        served: subscription_state(paused_because.as_ref()),
        paused_because,
        outcome: api::Outcome::Expired,
        mismatch: None,
        begins: None,
        expires: None,
        ahead: None,
        held_up: None,
        behind: None,
        round: None,
        attempt: None,
        due: None,
        dead_letter: None,
        filter_from: None,
        may_be_superseded: false,
        failures: Vec::new(),
    };
    match explanation {
        broker::Explanation::Expired { first_sequence, expires } => {
            (told.begins, told.expires) = (Some(first_sequence), Some(expires));
        }
        broker::Explanation::BeforeStart { first } => {
            (told.outcome, told.begins) = (api::Outcome::BeforeStart, Some(first));
        }
        broker::Explanation::Unmatched(mismatch) => {
            told.outcome = api::Outcome::Unmatched;
            told.mismatch = Some(self::mismatch(&mismatch));
        }
        broker::Explanation::Delivery {
            status,
            ahead,
            held_up: by,
            filter_from,
            may_be_superseded,
        } => {
            let report = delivery(status);
            told.outcome = api::Outcome::Delivery(report.state);
            told.ahead = (report.state == api::DeliveryState::Pending).then_some(ahead);
            told.held_up = by.map(held_up);
            told.behind = match by {
                Some(broker::BlockReason::Total { behind }) => Some(behind),
                _ => report.behind,
            };
            (told.round, told.attempt, told.due) = (report.round, report.attempt, report.due);
            (told.dead_letter, told.filter_from) = (report.dead_letter, filter_from);
            (told.failures, told.may_be_superseded) = (report.failures, may_be_superseded);
        }
    }
    told
}

fn held_up(held_up: broker::BlockReason) -> api::BlockReason {
    match held_up {
        broker::BlockReason::InFlight => api::BlockReason::InFlight,
        broker::BlockReason::Total { .. } => api::BlockReason::Total,
        broker::BlockReason::Retrying => api::BlockReason::Retrying,
        broker::BlockReason::Parked => api::BlockReason::Parked,
        broker::BlockReason::Memory => api::BlockReason::Memory,
        broker::BlockReason::Alone => api::BlockReason::Alone,
        broker::BlockReason::Backlog => api::BlockReason::Backlog,
        broker::BlockReason::Rate => api::BlockReason::Rate,
        broker::BlockReason::KeyRate => api::BlockReason::KeyRate,
        broker::BlockReason::Debounce => api::BlockReason::Debounce,
    }
}

/// `paused_because` is the reason why nothing serves it, if nothing does.
pub(crate) fn subscription(
    status: broker::SubscriptionStatus,
    paused_because: Option<String>,
) -> api::Subscription {
    let recorded = status.oldest_unsettled_ms.map(Timestamp::from_ms);
    let unsettled = |sequence| api::Unsettled { sequence, recorded };
    let broker::Subscription {
        name,
        filter,
        start,
        order,
        retry,
        max_in_flight,
        pace,
        projection,
        expires,
    } = &*status.subscription;
    let Pace { max_per_second, max_per_second_per_key, debounce_ms, debounce_max_ms } =
        self::pace(pace);
    let owned = |paths: Vec<&str>| paths.into_iter().map(str::to_owned).collect();
    api::Subscription {
        plugin: name.plugin().to_owned(),
        name: name.clone(),
        state: subscription_state(paused_because.as_ref()),
        paused_because,
        filter: filter.to_json(),
        start: self::start(*start),
        order: self::order(order.clone()),
        retry: self::retry(retry.clone()),
        max_per_second,
        max_per_second_per_key,
        debounce_ms,
        debounce_max_ms,
        project: projection.project().map(owned),
        redact: owned(projection.redact()),
        cursor: status.cursor,
        lag: status.lag,
        holds_back: status.holds_back.map(|holds_back| match holds_back {
            broker::Backpressure::Producers => api::Backpressure::Producers,
            broker::Backpressure::Plugins => api::Backpressure::Plugins,
        }),
        held_back_by: status.held_back_by,
        oldest_unsettled: status.oldest_unsettled.map(unsettled),
        in_flight: status.in_flight,
        retrying: status.retrying,
        next_retry: status.next_retry_ms.map(Timestamp::from_ms),
        delayed: status.delayed,
        parked: status.parked,
        stalled_lanes: status.stalled_lanes,
        acked: status.acked,
        failed: status.failed,
        superseded: status.superseded,
        dead: status.dead,
        expires: *expires,
        expired: status.expired,
        max_in_flight: *max_in_flight,
    }
}

/// A pace in the terms of the API and the configuration.
pub(crate) struct Pace {
    pub(crate) max_per_second: Option<f64>,
    pub(crate) max_per_second_per_key: Option<f64>,
    pub(crate) debounce_ms: Option<u64>,
    pub(crate) debounce_max_ms: Option<u64>,
}

pub(crate) fn pace(pace: &broker::Pace) -> Pace {
    Pace {
        max_per_second: pace.max_rate.map(broker::Rate::as_per_second),
        max_per_second_per_key: pace.max_rate_per_key.map(broker::Rate::as_per_second),
        debounce_ms: pace.debounce.map(|debounce| millis(debounce.quiet)),
        debounce_max_ms: pace.debounce.map(|debounce| millis(debounce.max)),
    }
}

fn subscription_state(paused_because: Option<&String>) -> api::SubscriptionState {
    match paused_because {
        None => api::SubscriptionState::Active,
        Some(_) => api::SubscriptionState::Paused,
    }
}

pub(crate) fn start(start: broker::Start) -> api::Start {
    match start {
        broker::Start::Latest => api::Start::Latest,
        broker::Start::Earliest => api::Start::Earliest,
        broker::Start::Sequence(sequence) => api::Start::Sequence(sequence),
        broker::Start::Time(time_ms) => api::Start::Time(Timestamp::from_ms(time_ms)),
    }
}

pub(crate) fn order(order: broker::Order) -> api::Order {
    match order {
        broker::Order::None => api::Order::None,
        broker::Order::Key(attribute) => api::Order::Key(attribute),
        broker::Order::Total => api::Order::Total,
    }
}

pub(crate) fn retry(policy: broker::RetryPolicy) -> api::Retry {
    let class = |(class, own): (FailureClass, broker::ClassRetry)| {
        let own = api::ClassRetry {
            first_delay_ms: own.first_delay.map(millis),
            factor: own.factor,
            max_delay_ms: own.max_delay.map(millis),
            max_attempts: own.max_attempts,
        };
        (class.as_str().to_owned(), own)
    };
    api::Retry {
        first_delay_ms: millis(policy.first_delay),
        factor: policy.factor,
        max_delay_ms: millis(policy.max_delay),
        jitter: policy.jitter,
        max_attempts: policy.max_attempts,
        max_age_ms: millis(policy.max_age),
        classes: policy.classes.into_iter().map(class).collect(),
    }
}

/// The round, unless it is the first.
fn later_round(round: u32) -> Option<u32> {
    Some(round).filter(|round| *round > 1)
}

fn past_attempt(past: broker::PastAttempt) -> api::Attempt {
    api::Attempt { round: later_round(past.round), ..attempt(past.record) }
}

fn attempt(record: broker::AttemptRecord) -> api::Attempt {
    api::Attempt {
        round: None,
        attempt: record.attempt,
        time: Timestamp::from_ms(record.time_ms),
        took_us: record.took_us,
        class: record.class.as_str().to_owned(),
        reason: record.reason,
        backtrace: record.backtrace,
        digest: record.digest,
        version: record.version,
        counted: record.counted,
        asked_ms: record.asked_ms,
    }
}

/// Class of the last failure; empty if no attempt was made.
pub(crate) fn class_of(dead: &broker::DeadLetter) -> String {
    dead.class().map_or("", FailureClass::as_str).to_owned()
}

/// A dead letter without its attempts, for lists.
pub(crate) fn listed_dead_letter(dead: broker::DeadLetter) -> api::DeadLetter {
    api::DeadLetter { attempts: None, ..dead_letter(dead) }
}

/// What a delivery was told.
pub(crate) fn recording(recording: Recording) -> api::Recording {
    let Recording { digest, version, given, size_bytes } = recording;
    api::Recording { digest, version, given, size_bytes }
}

/// A recorded delivery without what it was told.
pub(crate) fn recorded(recorded: &Recorded) -> api::RecordedDelivery {
    let failure = recorded.failure.as_ref();
    api::RecordedDelivery {
        number: recorded.number,
        time: Timestamp::from_ms(recorded.time_ms),
        sequence: recorded.sequence,
        subscription: recorded.subscription.clone(),
        attempt: recorded.attempt,
        verdict: recorded.verdict.to_owned(),
        class: failure.map(|failure| failure.class.to_string()),
        reason: failure.map(|failure| failure.reason.clone()),
        backtrace: None,
        digest: recorded.digest,
        version: recorded.version.clone(),
        recording: None,
    }
}

pub(crate) fn dead_letter(dead: broker::DeadLetter) -> api::DeadLetter {
    let (class, reason) = (class_of(&dead), dead.reason().to_owned());
    api::DeadLetter {
        id: dead.id,
        time: Timestamp::from_ms(dead.time_ms),
        plugin: dead.subscription.plugin().to_owned(),
        subscription: dead.subscription,
        attempt_count: dead.attempt_count,
        class,
        reason,
        event: stored(dead.stored),
        attempts: Some(dead.attempts.into_iter().map(attempt).collect()),
    }
}

pub(crate) fn audit_record(record: broker::AuditRecord) -> api::AuditRecord {
    let plugin = record.subscription.as_ref().map(|name| name.plugin().to_owned());
    let mut written = api::AuditRecord {
        number: record.number,
        time: Timestamp::from_ms(record.time_ms),
        actor: record.actor.to_string(),
        action: record.action.as_str().to_owned(),
        plugin,
        token: None,
        folder: None,
        node: None,
        subscription: record.subscription,
        dead_letter: None,
        sequence: None,
        replay: None,
    };
    match record.action {
        broker::AuditAction::Redrive(dead) | broker::AuditAction::Discard(dead) => {
            written.dead_letter = Some(audited_dead_letter(dead));
        }
        broker::AuditAction::RedriveEdited { dead, sequence } => {
            written.dead_letter = Some(audited_dead_letter(dead));
            written.sequence = Some(sequence);
        }
        broker::AuditAction::Replay { first, last, events } => {
            written.replay = Some(api::AuditedReplay { first, last, events });
        }
        broker::AuditAction::Unsubscribe => {}
        broker::AuditAction::Change(change) => match change {
            broker::Change::Plugin { plugin, .. } => written.plugin = Some(plugin.to_string()),
            broker::Change::Token { token, .. } => written.token = Some(token),
            broker::Change::Backup { folder } => written.folder = Some(folder),
            broker::Change::Node { node, .. } => written.node = Some(node),
        },
    }
    written
}

fn audited_dead_letter(dead: broker::AuditedDeadLetter) -> api::AuditedDeadLetter {
    api::AuditedDeadLetter {
        id: dead.id,
        time: Timestamp::from_ms(dead.time_ms),
        class: dead.class.map(|class| class.as_str().to_owned()),
        sequence: dead.sequence,
        source: dead.source,
        event_id: dead.event_id,
        ty: dead.ty,
    }
}

pub(crate) fn schedule(status: broker::ScheduleStatus) -> api::Schedule {
    let broker::ScheduleStatus { schedule, next_ms, last_ms, emitted, passed_over } = status;
    let broker::Schedule { name, calendar, missed, event } = schedule;
    api::Schedule {
        name,
        cron: calendar.cron().to_owned(),
        time_zone: calendar.zone().to_owned(),
        missed: missed.as_str().to_owned(),
        ty: event.ty().to_owned(),
        source: event.source().to_owned(),
        next: next_ms.map(Timestamp::from_ms),
        last: last_ms.map(Timestamp::from_ms),
        emitted,
        passed_over,
    }
}

pub(crate) fn blob(record: broker::BlobRecord) -> api::Blob {
    api::Blob {
        digest: record.info.digest,
        size_bytes: record.info.size_bytes,
        content_type: record.info.content_type,
        plugin: record.plugin,
        created: Timestamp::from_ms(record.created_ms),
    }
}

pub(crate) fn standing(name: PluginName, standing: &Standing) -> api::PluginStanding {
    api::PluginStanding {
        name,
        paused: standing.is_paused,
        quarantined: standing.quarantine.is_some(),
        breaker: api::Breaker::from_is_open(standing.open.is_some()),
        digest: standing.digest,
    }
}

pub(crate) fn plugin_change(past: HistoryEntry) -> api::PluginChange {
    api::PluginChange {
        time: Timestamp::from_ms(past.time_ms),
        outcome: past.outcome.as_str().to_owned(),
        reason: past.outcome.reason().map(str::to_owned),
        digest: past.digest,
        version: past.version,
    }
}

pub(crate) fn replayed(replayed: broker::Replayed) -> api::Replayed {
    let broker::Replayed { events, pending, dead, to, next } = replayed;
    api::Replayed { events, pending, dead, to, next }
}

/// The result of a dry run of the event with this sequence and type.
pub(crate) fn dry_run(sequence: u64, ty: String, run: usher_router::DryRun) -> api::DryRun {
    let (verdict, failure, changes) = match run.disposition {
        broker::Disposition::Ack(changes) => ("ack", None, changes),
        broker::Disposition::Retry { failure, after } => {
            ("retry", Some(dry_run_failure(failure, after)), broker::Changes::default())
        }
        broker::Disposition::Reject { failure } => {
            ("reject", Some(dry_run_failure(failure, None)), broker::Changes::default())
        }
        broker::Disposition::Release => ("retry", None, broker::Changes::default()),
    };
    let broker::Changes { emissions, writes, blobs, .. } = changes;
    api::DryRun {
        sequence,
        ty,
        digest: run.digest,
        version: run.version,
        verdict: verdict.to_owned(),
        failure,
        took_us: usher_event::micros(run.took),
        emissions: emissions.into_iter().map(dry_run_emission).collect(),
        writes: writes.into_iter().map(dry_run_write).collect(),
        blobs: blobs.into_iter().map(dry_run_blob).collect(),
    }
}

fn dry_run_failure(failure: Failure, after: Option<Duration>) -> api::DryRunFailure {
    let Failure { class, reason, backtrace, recording: _ } = failure;
    let after_ms = after.map(millis);
    api::DryRunFailure { class: class.as_str().to_owned(), reason, backtrace, after_ms }
}

fn dry_run_emission(new: broker::NewEvent) -> api::DryRunEmission {
    api::DryRunEmission { delay_ms: new.delay.map(millis), event: new.event.into() }
}

fn dry_run_write(write: StateWrite) -> api::DryRunWrite {
    api::DryRunWrite {
        bucket: write.address.bucket.to_string(),
        key: write.address.key.to_string(),
        size_bytes: write.value.map(|value| value.len() as u64),
    }
}

fn dry_run_blob(change: BlobChange) -> api::DryRunBlob {
    match change {
        BlobChange::Put(info) => api::DryRunBlob {
            digest: info.digest,
            size_bytes: Some(info.size_bytes),
            content_type: Some(info.content_type),
        },
        BlobChange::Delete(digest) => {
            api::DryRunBlob { digest, size_bytes: None, content_type: None }
        }
    }
}
