//! The plugin's log: attributed, escaped, cut, without secrets.

use serde_json::json;
use usher_event::FailureClass;
use usher_runtime::{Grants, Limits, Secret};

use crate::support::logs::capture;
use crate::support::{Setup, assert_failure, guest, setup};

#[test]
fn lines_are_attributed_to_plugin_delivery_and_stream() {
    let setup = setup("probe", Grants::default());
    let (_, lines) = capture(|| setup.probe(&json!({"try": "log", "line": "hello"})));
    let attribution = |stream: &str| {
        format!(
            "INFO plugin message=hello plugin=\"probe\" sequence=42 \
             subscription=\"tested/all\" attempt=1 stream=\"{stream}\""
        )
    };
    for stream in ["log", "stdout", "stderr"] {
        assert!(lines.contains(&attribution(stream)), "{stream}: {lines:#?}");
    }
}

#[test]
fn control_characters_are_escaped() {
    let setup = setup("probe", Grants::default());
    let line = "\u{1b}[31mred\r\nWARN forged\u{202e}";
    let (_, lines) = capture(|| setup.probe(&json!({"try": "log", "line": line})));
    assert!(!lines.is_empty());
    for line in &lines {
        assert!(!line.contains(['\u{1b}', '\r', '\n', '\u{202e}']), "{line:?}");
    }
    assert!(lines.iter().any(|line| line.contains("\\u{1b}[31mred\\r")), "{lines:#?}");
}

#[test]
fn a_flood_is_cut_at_the_limit() {
    let limits = Limits { log_bytes: 10_000, ..Limits::default() };
    let setup = Setup::new(&guest("probe"), Grants::default(), limits);
    for _ in 0..2 {
        let flood = json!({"try": "flood", "bytes": 1 << 20});
        let (_, lines) = capture(|| setup.probe(&flood));
        let bytes: usize = lines.iter().map(|line| line.matches('x').count()).sum();
        assert!(bytes <= 10_000, "{bytes}");
        let cuts = lines.iter().filter(|line| line.contains("log cut")).count();
        assert_eq!(cuts, 1, "said once for each delivery");
    }
}

#[test]
fn secrets_are_taken_out() {
    let grants =
        Grants::default().with_secrets([("KEY".to_owned(), Secret::new("hunter2"))].into());
    let setup = setup("probe", grants);
    let line = json!({"try": "log", "line": "the key is hunter2!"});
    let (_, lines) = capture(|| setup.probe(&line));
    assert!(lines.iter().all(|line| !line.contains("hunter2")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("the key is [redacted]!")), "{lines:#?}");
}

#[test]
fn a_secret_of_several_lines_is_taken_out_of_each() {
    let secret = "-----BEGIN KEY-----\nMIIEvQIBADANBg";
    let grants = Grants::default().with_secrets([("KEY".to_owned(), Secret::new(secret))].into());
    let setup = setup("probe", grants);
    let (_, lines) = capture(|| setup.probe(&json!({"try": "log", "line": secret})));
    assert!(lines.iter().all(|line| !line.contains("MIIEvQ")), "{lines:#?}");
    let redacted = lines.iter().filter(|line| line.contains("[redacted]"));
    assert_eq!(redacted.count(), 1 + 2 + 2, "one for the log, one for each line of a stream");
}

#[test]
fn a_panics_message_is_logged_and_part_of_the_reason() {
    let setup = setup("trap", Grants::default());
    let (failure, lines) = capture(|| setup.deliver(&json!(null)).unwrap_err());
    assert_failure(&failure, FailureClass::Trap, "trapped on attempt 1");
    assert!(lines.iter().any(|line| line.contains("trapped on attempt 1")), "{lines:#?}");
}
