//! Keeps the docs in sync with the code: the example in docs/configuration.md loads and states the
//! defaults, and the tables of limits there and in docs/security.md are the runtime's.

use std::os::unix::fs::PermissionsExt;

use usher_runtime::{FIXED_LIMITS, Limits};

use super::*;

const SECURITY: &str = include_str!("../../../docs/security.md");
const FILTERS: &str = include_str!("../../../docs/filters.md");
const REFERENCE: &str = include_str!("../../../docs/configuration.md");

fn example() -> &'static str {
    let (_, rest) = REFERENCE.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_example_loads_and_states_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    let secret = folder.path().join("api-key");
    std::fs::write(&secret, "s3cret\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = folder.path().join("usher.toml");
    std::fs::write(&file, example()).unwrap();

    let config = load(&Flags { config: Some(file), ..Flags::default() })
        .unwrap_or_else(|problems| panic!("{problems}"));

    let http = HttpConfig { max_connections: None, ..config.http };
    assert_eq!(http, HttpConfig::default());
    assert!(config.http.max_connections.is_some(), "it says what the default depends on");
    assert_eq!(config.compiler, CompilerConfig::default());
    // Unlimited by default; the example shows the syntax.
    let broker = &config.broker;
    assert!(broker.retention.max_age.is_some() && broker.retention.max_bytes.is_some());
    assert!(broker.backlog_max_events.is_some() && broker.duplicates_window.is_some());
    let kept = BrokerConfig {
        retention: Retention::default(),
        backlog_max_events: None,
        duplicates_window: None,
        ..config.broker
    };
    assert_eq!(kept, BrokerConfig::default());
    assert_eq!(config.webhooks.len(), 1);
    let shop = config.tokens.get(&"shop".parse().unwrap()).unwrap();
    assert!(shop.expires_ms.is_some() && shop.permissions.source_prefix.is_some());
    assert_eq!(config.retry, RetryPolicy::default());
    let (name, payment) = config.plugin.first_key_value().unwrap();
    assert_eq!(name.as_str(), "payment");
    assert_eq!(payment.instances, PluginConfig::default().instances);
    assert_eq!(payment.limits, Limits { wall_ms: 10_000, ..Limits::default() });
    assert_eq!(payment.grants.http().len(), 1);
    assert!(payment.grants.secret("API_KEY").is_some());
    assert!(payment.grants.config().is_some());
    assert!(payment.subscriptions.contains_key("purchases"));
}

#[test]
fn the_table_of_limits_is_the_runtimes() {
    for row in Limits::ROWS {
        let start = format!("| `{}` | {} |", row.name, row.summary.trim().trim_end_matches('.'));
        let end = format!("| {} | {} | {} |", row.default, row.min, row.max);
        let written =
            REFERENCE.lines().any(|line| line.starts_with(&start) && line.ends_with(&end));
        assert!(written, "docs/configuration.md needs a row `{start} … {end}`");
    }
}

#[test]
fn the_limits_of_filters_are_the_readers() {
    use usher_filter::{
        FILTER_MAX_BYTES, FILTER_MAX_DEPTH, FILTER_MAX_EXPRESSIONS, PROJECTION_MAX_PATHS,
        VALUE_MAX_BYTES,
    };
    for (what, limit) in [
        ("levels of a filter", FILTER_MAX_DEPTH),
        ("expressions, attributes, paths and conditions of a filter", FILTER_MAX_EXPRESSIONS),
        ("bytes of a value to compare with", VALUE_MAX_BYTES),
        ("bytes of a filter as JSON", FILTER_MAX_BYTES),
        ("paths of `project`, and of `redact`", PROJECTION_MAX_PATHS),
    ] {
        let row = format!("| {what} | {limit} |");
        let written = FILTERS.lines().any(|line| line == row);
        assert!(written, "docs/filters.md needs a row `{row}`");
    }
}

#[test]
fn the_limits_of_the_security_page_are_the_runtimes() {
    let rows = Limits::ROWS.iter().map(|row| {
        let summary = row.summary.trim().trim_end_matches('.');
        format!("| `{}` | {summary} | {} | {} |", row.name, row.default, row.max)
    });
    let fixed = FIXED_LIMITS.iter().map(|(what, limit)| format!("| {what} | {limit} |"));
    let wanted: Vec<String> = rows.chain(fixed).collect();
    for row in &wanted {
        assert!(SECURITY.lines().any(|line| line == row), "docs/security.md needs a row `{row}`");
    }
    let (_, limits) = SECURITY.split_once("## Limits").unwrap();
    let written = limits.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(written, Limits::ROWS.len(), "docs/security.md has rows of limits that are no more");
}
