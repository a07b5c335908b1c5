//! `[plugin.NAME.breaker]` and `[sink.NAME.breaker]`: when a failing plugin's breaker opens, and when it is quarantined.

use std::time::Duration;

use usher_router::BreakerPolicy;

use super::table::Table;

const FAILURES_MAX: u64 = 1_000;
const QUARANTINE_FAILURES_MAX: u64 = 10_000;
const HOUR_MS: u64 = 60 * 60 * 1_000;

/// Reads the policy; missing keys take the default's.
pub(crate) fn read(table: Table<'_>, default: BreakerPolicy) -> BreakerPolicy {
    let count = |key, max| table.integer(key, 1..=max).and_then(|count| u32::try_from(count).ok());
    let wait = |key| table.millis(key, 10..=HOUR_MS);
    let policy = BreakerPolicy {
        failures: count("failures", FAILURES_MAX).unwrap_or(default.failures),
        first_wait: wait("first_wait_ms").unwrap_or(default.first_wait),
        max_wait: wait("max_wait_ms").unwrap_or(default.max_wait),
        quarantine_failures: count("quarantine_failures", QUARANTINE_FAILURES_MAX)
            .unwrap_or(default.quarantine_failures),
        quarantine_window: table
            .millis("quarantine_window_ms", 1_000..=24 * HOUR_MS)
            .unwrap_or(default.quarantine_window),
    };
    check_waits(&table, policy.first_wait, policy.max_wait);
    table.finish();
    policy
}

fn check_waits(table: &Table<'_>, first: Duration, longest: Duration) {
    if first > longest
        && let Some(value) = table.value("first_wait_ms").or_else(|| table.value("max_wait_ms"))
    {
        let (first_ms, longest_ms) = (first.as_millis(), longest.as_millis());
        let what = format!("first_wait_ms = {first_ms} is longer than max_wait_ms = {longest_ms}");
        let hint = "the first wait grows towards the longest one; make it the shorter of the two";
        table.source().problem(&value.span(), what, Some(hint.to_owned()));
    }
}
