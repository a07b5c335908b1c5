//! From the broker's and the router's types to the shapes.

use std::collections::BTreeSet;
use std::time::Duration;

use usher_broker as broker;
use usher_event::{PluginName, SubscriptionName};
use usher_router::Standing;

use super::{
    Attempt, AuditRecord, AuditedDeadLetter, AuditedReplay, Backup, Blob, Breaker, Capability,
    Cause, ClassRetry, DeadLetter, Delayed, DeliveryReport, DeliveryState, Explanation, Flow,
    FlowEvent, HeldUp, HoldsBack, Mismatch, Order, Outcome, Plugin, PluginChange, PluginStanding,
    PluginState, PluginStats, Refused, Retry, Schedule, Start, StateHeld, Stored, Subscription,
    SubscriptionState, Timestamp, Unsettled,
};
use crate::app;
use crate::config::State;
use crate::plugins::Past;
use crate::serving::Served;

impl From<broker::BackupReport> for Backup {
    fn from(report: broker::BackupReport) -> Self {
        let broker::BackupReport { folder, last_sequence, rows, blobs, bytes } = report;
        Self { folder: folder.display().to_string(), last_sequence, rows, blobs, bytes }
    }
}

impl From<(State, BTreeSet<String>)> for StateHeld {
    fn from((state, concerned): (State, BTreeSet<String>)) -> Self {
        let (name, meaning) = (state.as_str().to_owned(), state.meaning().to_owned());
        Self { name, meaning, concerned: concerned.into_iter().collect() }
    }
}

impl From<broker::StoredEvent> for Stored {
    fn from(stored: broker::StoredEvent) -> Self {
        Self {
            sequence: stored.sequence,
            recorded: Timestamp::from_ms(stored.recorded_ms),
            flow: stored.flow,
            depth: stored.depth,
            cause: stored.cause.map(Into::into),
            event: stored.event.into(),
        }
    }
}

impl From<broker::Cause> for Cause {
    fn from(cause: broker::Cause) -> Self {
        Self {
            kind: cause.kind.as_str().to_owned(),
            parent: cause.parent,
            subscription: cause.subscription,
            attempt: cause.attempt,
            took_us: cause.took_us,
        }
    }
}

impl From<broker::Flow> for Flow {
    fn from(flow: broker::Flow) -> Self {
        let events: Vec<FlowEvent> = flow.events.into_iter().map(Into::into).collect();
        let ended = |delivery: &DeliveryReport| {
            matches!(delivery.state, DeliveryState::Done | DeliveryState::Dead)
        };
        Self {
            flow: flow.root,
            // Of a truncated flow nobody knows what the rest is doing.
            settled: !flow.truncated
                && flow.delayed.is_empty()
                && events.iter().all(|event| event.deliveries.iter().all(ended)),
            truncated: flow.truncated,
            events,
            delayed: flow.delayed.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<broker::FlowEvent> for FlowEvent {
    fn from(event: broker::FlowEvent) -> Self {
        Self {
            stored: event.stored.into(),
            deliveries: event.deliveries.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<broker::DelayedEvent> for Delayed {
    fn from(delayed: broker::DelayedEvent) -> Self {
        Self {
            due: Timestamp::from_ms(delayed.due_ms),
            cause: delayed.cause.into(),
            event: delayed.event.into(),
        }
    }
}

impl From<broker::DeliveryStatus> for DeliveryReport {
    fn from(status: broker::DeliveryStatus) -> Self {
        let mut report = Self {
            plugin: status.subscription.plugin().to_owned(),
            subscription: status.subscription,
            state: DeliveryState::Pending,
            round: later(status.round),
            attempt: None,
            due: None,
            behind: None,
            dead_letter: None,
            failures: status.failures.into_iter().map(Into::into).collect(),
        };
        report.state = match status.state {
            broker::DeliveryState::Pending => DeliveryState::Pending,
            broker::DeliveryState::InFlight { attempt } => {
                report.attempt = Some(attempt);
                DeliveryState::InFlight
            }
            broker::DeliveryState::Parked { behind } => {
                report.behind = behind;
                DeliveryState::Parked
            }
            broker::DeliveryState::Waiting { due_ms } => {
                report.due = Some(Timestamp::from_ms(due_ms));
                DeliveryState::Waiting
            }
            broker::DeliveryState::Done => DeliveryState::Done,
            broker::DeliveryState::Dead { id } => {
                report.dead_letter = id;
                DeliveryState::Dead
            }
        };
        report
    }
}

impl Explanation {
    /// What the broker says of an event and a subscription, and whether that is served.
    pub(crate) fn new(
        sequence: u64,
        subscription: SubscriptionName,
        explanation: broker::Explanation,
        served: Served,
    ) -> Self {
        let (served, paused_because) = served.into();
        let mut told = Self {
            sequence,
            plugin: subscription.plugin().to_owned(),
            subscription,
            served,
            paused_because,
            outcome: Outcome::Expired,
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
            failures: Vec::new(),
        };
        match explanation {
            broker::Explanation::Expired { first_sequence, expires } => {
                (told.begins, told.expires) = (Some(first_sequence), Some(expires));
            }
            broker::Explanation::BeforeStart { first } => {
                (told.outcome, told.begins) = (Outcome::BeforeStart, Some(first));
            }
            broker::Explanation::Unmatched(mismatch) => {
                (told.outcome, told.mismatch) = (Outcome::Unmatched, Some(mismatch.into()));
            }
            broker::Explanation::Delivery { status, ahead, held_up, filter_from } => {
                let report = DeliveryReport::from(status);
                told.outcome = Outcome::Delivery(report.state);
                told.ahead = (report.state == DeliveryState::Pending).then_some(ahead);
                told.held_up = held_up.map(Into::into);
                told.behind = match held_up {
                    Some(broker::HeldUp::Total { behind }) => Some(behind),
                    _ => report.behind,
                };
                (told.round, told.attempt, told.due) = (report.round, report.attempt, report.due);
                (told.dead_letter, told.filter_from) = (report.dead_letter, filter_from);
                told.failures = report.failures;
            }
        }
        told
    }
}

impl From<usher_filter::Mismatch> for Mismatch {
    fn from(mismatch: usher_filter::Mismatch) -> Self {
        Self { path: mismatch.path().to_owned(), reason: mismatch.reason().to_owned() }
    }
}

impl From<broker::HeldUp> for HeldUp {
    fn from(held_up: broker::HeldUp) -> Self {
        match held_up {
            broker::HeldUp::InFlight => Self::InFlight,
            broker::HeldUp::Total { .. } => Self::Total,
            broker::HeldUp::Retrying => Self::Retrying,
            broker::HeldUp::Parked => Self::Parked,
            broker::HeldUp::Memory => Self::Memory,
            broker::HeldUp::Alone => Self::Alone,
            broker::HeldUp::Backlog => Self::Backlog,
        }
    }
}

impl From<broker::HoldsBack> for HoldsBack {
    fn from(holds_back: broker::HoldsBack) -> Self {
        match holds_back {
            broker::HoldsBack::Producers => Self::Producers,
            broker::HoldsBack::Plugins => Self::Plugins,
        }
    }
}

impl From<broker::Order> for Order {
    fn from(order: broker::Order) -> Self {
        match order {
            broker::Order::None => Self::None,
            broker::Order::Key(attribute) => Self::Key(attribute),
            broker::Order::Total => Self::Total,
        }
    }
}

impl From<broker::Start> for Start {
    fn from(start: broker::Start) -> Self {
        match start {
            broker::Start::Latest => Self::Latest,
            broker::Start::Earliest => Self::Earliest,
            broker::Start::Sequence(sequence) => Self::Sequence(sequence),
            broker::Start::Time(time_ms) => Self::Time(Timestamp::from_ms(time_ms)),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<broker::RetryPolicy> for Retry {
    fn from(policy: broker::RetryPolicy) -> Self {
        let class = |(class, own): (usher_event::FailureClass, broker::ClassRetry)| {
            let own = ClassRetry {
                first_delay_ms: own.first_delay.map(millis),
                factor: own.factor,
                max_delay_ms: own.max_delay.map(millis),
                max_attempts: own.max_attempts,
            };
            (class.as_str().to_owned(), own)
        };
        Self {
            first_delay_ms: millis(policy.first_delay),
            factor: policy.factor,
            max_delay_ms: millis(policy.max_delay),
            jitter: policy.jitter,
            max_attempts: policy.max_attempts,
            max_age_ms: millis(policy.max_age),
            classes: policy.classes.into_iter().map(class).collect(),
        }
    }
}

impl From<Served> for (SubscriptionState, Option<String>) {
    fn from(served: Served) -> Self {
        match served {
            Served::Active => (SubscriptionState::Active, None),
            Served::Paused(reason) => (SubscriptionState::Paused, Some(reason)),
        }
    }
}

/// A round, where it isn't the first.
fn later(round: u32) -> Option<u32> {
    Some(round).filter(|round| *round > 1)
}

impl From<broker::PastAttempt> for Attempt {
    fn from(past: broker::PastAttempt) -> Self {
        Self { round: later(past.round), ..past.record.into() }
    }
}

impl From<broker::AttemptRecord> for Attempt {
    fn from(attempt: broker::AttemptRecord) -> Self {
        Self {
            round: None,
            attempt: attempt.attempt,
            time: Timestamp::from_ms(attempt.time_ms),
            took_us: attempt.took_us,
            class: attempt.class.as_str().to_owned(),
            reason: attempt.reason,
            backtrace: attempt.backtrace,
            digest: attempt.digest,
            version: attempt.version,
            counted: attempt.counted,
            asked_ms: attempt.asked_ms,
        }
    }
}

impl DeadLetter {
    /// A dead letter as one of many: without its attempts.
    pub(crate) fn listed(dead: broker::DeadLetter) -> Self {
        Self { attempts: None, ..Self::whole(dead) }
    }

    /// A dead letter with its attempts.
    pub(crate) fn whole(dead: broker::DeadLetter) -> Self {
        let attempts: Vec<Attempt> = dead.attempts.into_iter().map(Into::into).collect();
        let (class, reason) = attempts
            .last()
            .map(|last| (last.class.clone(), last.reason.clone()))
            .unwrap_or_default();
        Self {
            id: dead.id,
            time: Timestamp::from_ms(dead.time_ms),
            plugin: dead.subscription.plugin().to_owned(),
            subscription: dead.subscription,
            attempt_count: dead.attempt_count,
            class,
            reason,
            event: dead.stored.into(),
            attempts: Some(attempts),
        }
    }
}

impl From<broker::AuditRecord> for AuditRecord {
    fn from(record: broker::AuditRecord) -> Self {
        let action = record.action.as_str().to_owned();
        let mut written = Self {
            number: record.number,
            time: Timestamp::from_ms(record.time_ms),
            action,
            plugin: record
                .subscription
                .as_ref()
                .map(|name| name.plugin())
                .unwrap_or_default()
                .into(),
            subscription: record.subscription,
            dead_letter: None,
            sequence: None,
            replay: None,
        };
        match record.action {
            broker::AuditAction::Redrive(dead) | broker::AuditAction::Discard(dead) => {
                written.dead_letter = Some(dead.into());
            }
            broker::AuditAction::RedriveEdited { dead, sequence } => {
                (written.dead_letter, written.sequence) = (Some(dead.into()), Some(sequence));
            }
            broker::AuditAction::Replay { first, last, events } => {
                written.replay = Some(AuditedReplay { first, last, events });
            }
            broker::AuditAction::Plugin { plugin, .. } => written.plugin = plugin.to_string(),
        }
        written
    }
}

impl From<broker::AuditedDeadLetter> for AuditedDeadLetter {
    fn from(dead: broker::AuditedDeadLetter) -> Self {
        Self {
            id: dead.id,
            time: Timestamp::from_ms(dead.time_ms),
            class: dead.class.map(|class| class.as_str().to_owned()),
            sequence: dead.sequence,
            source: dead.source,
            event_id: dead.event_id,
            ty: dead.ty,
        }
    }
}

impl From<broker::ScheduleStatus> for Schedule {
    fn from(status: broker::ScheduleStatus) -> Self {
        let broker::ScheduleStatus { schedule, next_ms, last_ms, emitted, passed_over } = status;
        let broker::Schedule { name, calendar, missed, event } = schedule;
        Self {
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
}

impl From<broker::BlobRecord> for Blob {
    fn from(record: broker::BlobRecord) -> Self {
        Self {
            digest: record.info.digest,
            size_bytes: record.info.size_bytes,
            content_type: record.info.content_type,
            plugin: record.plugin,
            created: Timestamp::from_ms(record.created_ms),
        }
    }
}

impl From<app::PluginStatus> for Plugin {
    fn from(status: app::PluginStatus) -> Self {
        Self {
            name: status.name,
            version: status.version,
            summary: status.summary,
            digest: status.digest,
            file: status.file,
            state: match status.state {
                app::PluginState::Serving => PluginState::Serving,
                app::PluginState::Paused => PluginState::Paused,
                app::PluginState::Quarantined => PluginState::Quarantined,
                app::PluginState::Removed => PluginState::Removed,
                app::PluginState::Refused => PluginState::Refused,
            },
            breaker: breaker(status.is_breaker_open),
            reason: status.reason,
            refused: status.refused.map(Into::into),
            isolation: status.isolation.map(|isolation| isolation.as_str().to_owned()),
            subscriptions: status.subscriptions,
            capabilities: status.capabilities.into_iter().map(Into::into).collect(),
            stats: status.stats.into(),
        }
    }
}

fn breaker(is_open: bool) -> Breaker {
    if is_open { Breaker::Open } else { Breaker::Closed }
}

impl PluginStanding {
    /// How the router has a plugin.
    pub(crate) fn new(name: PluginName, standing: &Standing) -> Self {
        Self {
            name,
            paused: standing.is_paused,
            quarantined: standing.quarantine.is_some(),
            breaker: breaker(standing.open.is_some()),
            digest: standing.digest,
        }
    }
}

impl From<Past> for PluginChange {
    fn from(past: Past) -> Self {
        Self {
            time: Timestamp::from_ms(past.time_ms),
            outcome: past.outcome.as_str().to_owned(),
            reason: past.outcome.reason().map(str::to_owned),
            digest: past.digest,
            version: past.version,
        }
    }
}

impl From<app::Refused> for Refused {
    fn from(refused: app::Refused) -> Self {
        Self {
            file: refused.file,
            digest: refused.digest,
            reason: refused.reason,
            time: Timestamp::from_ms(refused.time_ms),
        }
    }
}

impl From<app::CapabilityStatus> for Capability {
    fn from(capability: app::CapabilityStatus) -> Self {
        let app::CapabilityStatus { name, reason, granted, added } = capability;
        Self { name, reason, granted, added }
    }
}

impl From<app::PluginStats> for PluginStats {
    fn from(stats: app::PluginStats) -> Self {
        Self {
            handled: stats.handled,
            failed: stats.failed.into_iter().map(|(class, n)| (class.to_owned(), n)).collect(),
            denied: stats.denied,
            handle_time_us: stats.handle_time_us,
            instances: stats.instances,
        }
    }
}

impl From<app::SubscriptionReport> for Subscription {
    fn from(report: app::SubscriptionReport) -> Self {
        let (state, paused_because) = report.served.into();
        let recorded = report.oldest_unsettled_ms.map(Timestamp::from_ms);
        Self {
            plugin: report.name.plugin().to_owned(),
            name: report.name,
            state,
            paused_because,
            filter: report.filter,
            start: report.start.into(),
            order: report.order.into(),
            retry: report.retry.into(),
            cursor: report.cursor,
            lag: report.lag,
            holds_back: report.holds_back.map(Into::into),
            held_back_by: report.held_back_by,
            oldest_unsettled: report
                .oldest_unsettled
                .map(|sequence| Unsettled { sequence, recorded }),
            in_flight: report.in_flight,
            retrying: report.retrying,
            next_retry: report.next_retry_ms.map(Timestamp::from_ms),
            delayed: report.delayed,
            parked: report.parked,
            stalled_lanes: report.stalled_lanes,
            acked: report.acked,
            failed: report.failed,
            dead: report.dead,
            expires: report.expires,
            expired: report.expired,
            max_in_flight: report.max_in_flight,
        }
    }
}
