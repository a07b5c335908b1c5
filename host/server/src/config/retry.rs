//! `[retry]` tables: the backoff of failed deliveries.

use usher_broker::RetryPolicy;

use super::table::Table;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A retry policy; what the table leaves out is as in `default`.
pub(crate) fn read(table: Table<'_>, default: &RetryPolicy) -> RetryPolicy {
    let policy = RetryPolicy {
        first_delay: table.millis("first_delay_ms", 0..=DAY_MS).unwrap_or(default.first_delay),
        factor: table.number("factor", 1.0..=100.0).unwrap_or(default.factor),
        max_delay: table.millis("max_delay_ms", 0..=7 * DAY_MS).unwrap_or(default.max_delay),
        jitter: table.number("jitter", 0.0..=1.0).unwrap_or(default.jitter),
        max_attempts: table
            .integer("max_attempts", 1..=10_000)
            .and_then(|attempts| u32::try_from(attempts).ok())
            .unwrap_or(default.max_attempts),
        max_age: table.millis("max_age_ms", 0..=365 * DAY_MS).unwrap_or(default.max_age),
    };
    if policy.first_delay > policy.max_delay
        && let Some(value) = table.value("first_delay_ms").or_else(|| table.value("max_delay_ms"))
    {
        let what = format!(
            "first_delay_ms = {} is longer than max_delay_ms = {}",
            policy.first_delay.as_millis(),
            policy.max_delay.as_millis()
        );
        let hint = "the first delay grows towards the longest one; make it the shorter of the two";
        table.source().problem(&value.span(), what, Some(hint.to_owned()));
    }
    table.finish();
    policy
}
