//! `[retry]` tables: the backoff of failed deliveries.

use std::time::Duration;

use usher_broker::{ClassRetry, RetryPolicy};
use usher_event::FailureClass;

use super::table::Table;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

const ATTEMPTS_MAX: u64 = 10_000;
const DELAY_MAX_MS: u64 = 7 * DAY_MS;

/// Reads a retry policy; missing keys are taken from `default`.
pub(crate) fn read(table: Table<'_>, default: &RetryPolicy) -> RetryPolicy {
    let mut classes = default.classes.clone();
    // Rejected deliveries are never retried.
    for class in FailureClass::ALL.into_iter().filter(|class| *class != FailureClass::Reject) {
        if let Some(own) = table.table(class.as_str()) {
            let present = classes.get(&class).copied().unwrap_or_default();
            classes.insert(class, read_class(&own, present));
            own.finish();
        }
    }
    let policy = RetryPolicy {
        first_delay: table.millis("first_delay_ms", 0..=DAY_MS).unwrap_or(default.first_delay),
        factor: table.number("factor", 1.0..=100.0).unwrap_or(default.factor),
        max_delay: table.millis("max_delay_ms", 0..=DELAY_MAX_MS).unwrap_or(default.max_delay),
        jitter: table.number("jitter", 0.0..=1.0).unwrap_or(default.jitter),
        max_attempts: attempts(&table).unwrap_or(default.max_attempts),
        max_age: table.millis("max_age_ms", 0..=365 * DAY_MS).unwrap_or(default.max_age),
        classes,
    };
    check_delays(&table, policy.first_delay, policy.max_delay);
    for (class, own) in &policy.classes {
        // Inherited classes were checked when [retry] was read.
        if let Some(table) = table.table(class.as_str()) {
            let first = own.first_delay.unwrap_or(policy.first_delay);
            check_delays(&table, first, own.max_delay.unwrap_or(policy.max_delay));
        }
    }
    table.finish();
    policy
}

fn read_class(table: &Table<'_>, default: ClassRetry) -> ClassRetry {
    ClassRetry {
        first_delay: table.millis("first_delay_ms", 0..=DAY_MS).or(default.first_delay),
        factor: table.number("factor", 1.0..=100.0).or(default.factor),
        max_delay: table.millis("max_delay_ms", 0..=DELAY_MAX_MS).or(default.max_delay),
        max_attempts: attempts(table).or(default.max_attempts),
    }
}

fn attempts(table: &Table<'_>) -> Option<u32> {
    table.integer("max_attempts", 1..=ATTEMPTS_MAX)?.try_into().ok()
}

fn check_delays(table: &Table<'_>, first_delay: Duration, max_delay: Duration) {
    if first_delay > max_delay
        && let Some(value) = table.value("first_delay_ms").or_else(|| table.value("max_delay_ms"))
    {
        let what = format!(
            "first_delay_ms = {} is longer than max_delay_ms = {}",
            first_delay.as_millis(),
            max_delay.as_millis()
        );
        let hint = "the first delay grows towards the longest one; make it the shorter of the two";
        table.source().problem(&value.span(), what, Some(hint.to_owned()));
    }
}
