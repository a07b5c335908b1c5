//! `[plugin.NAME.trial]`: when a new version is rolled back.

use usher_router::TrialPolicy;

use super::table::Table;

/// Maximum length of a trial.
const DELIVERIES_MAX: u64 = 10_000;

/// Reads the policy, `None` if trials are disabled; missing keys take the router's defaults.
pub(crate) fn read(table: Table<'_>) -> Option<TrialPolicy> {
    let default = TrialPolicy::default();
    let count = |key| {
        let count = table.integer(key, 1..=DELIVERIES_MAX);
        count.and_then(|count| u32::try_from(count).ok())
    };
    let policy = TrialPolicy {
        deliveries: count("deliveries").unwrap_or(default.deliveries),
        failures: count("failures").unwrap_or(default.failures),
    };
    let TrialPolicy { deliveries, failures } = policy;
    if failures > deliveries
        && let Some(value) = table.value("failures").or_else(|| table.value("deliveries"))
    {
        let what =
            format!("failures = {failures} can never be reached: deliveries is {deliveries}");
        let hint = format!("lower failures to {deliveries} or less, or raise deliveries");
        table.source().problem(&value.span(), what, Some(hint));
    }
    let is_enabled = table.boolean("enabled").unwrap_or(true);
    table.finish();
    is_enabled.then_some(policy)
}
