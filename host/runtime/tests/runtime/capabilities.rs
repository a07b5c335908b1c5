//! Each capability, granted and denied; what a failed delivery leaves behind.

use serde_json::{Value, json};
use usher_event::{FailureClass, StateRead, StateWrite, Verdict};
use usher_runtime::{Grants, Limits, Secret};

use crate::support::logs::capture;
use crate::support::{Setup, assert_failure, delivery, guest, setup};

fn state() -> Grants {
    Grants::default().allowing("state")
}

fn blobs() -> Grants {
    Grants::default().allowing("blobs")
}

#[track_caller]
fn assert_denied(probed: &Value) {
    assert_eq!(probed["kind"], "denied", "{probed}");
}

/// Invariant 10: nothing beyond the grants; each denial is counted, and logged once.
#[test]
fn without_grants_everything_is_denied_and_counted_and_logged_once() {
    let setup = setup("probe", Grants::default());
    let tries = [
        json!({"try": "config", "key": "gateway"}),
        json!({"try": "state", "key": "k"}),
        json!({"try": "put-blob", "content": "x"}),
        json!({"try": "http", "url": "https://x.example/path"}),
    ];
    let (_, lines) = capture(|| {
        for _ in 0..2 {
            for what in &tries {
                let probed = setup.probe(what);
                assert!(probed["error"].is_string(), "{what}: {probed}");
            }
        }
    });
    let stats = setup.listener.stats();
    for grant in ["config", "state", "blobs", "http"] {
        assert_eq!(stats.denied[grant], 2, "{grant}");
    }
    let denials: Vec<_> = lines.iter().filter(|line| line.contains("is not granted")).collect();
    assert_eq!(denials.len(), tries.len(), "{denials:#?}");
    let told = |words: &str| denials.iter().any(|line| line.contains(words));
    assert!(told("state is not granted: add state = true to [plugin.probe.grants]"));
    assert!(told("http to https://x.example is not granted"), "{denials:#?}");
}

#[test]
fn denials_name_the_grant_to_the_guest() {
    let setup = setup("probe", Grants::default());
    let error = |what: Value| setup.probe(&what)["error"].as_str().unwrap().to_owned();
    let config = error(json!({"try": "config", "key": "gateway"}));
    assert!(config.contains("[plugin.probe.config]"), "{config}");
    let blobs = error(json!({"try": "list-blobs"}));
    assert!(blobs.contains("add blobs = true to [plugin.probe.grants]"), "{blobs}");
    let http = error(json!({"try": "http", "url": "https://x.example:8443/"}));
    assert!(http.contains("add http = [\"https://x.example:8443\"]"), "{http}");
    assert_denied(&setup.probe(&json!({"try": "state", "key": "k"})));
}

/// Invariant 10, for what can't be granted.
#[test]
fn there_are_no_files_no_sockets_and_no_environment() {
    let setup = setup("probe", state());
    assert_eq!(setup.probe(&json!({"try": "env"}))["ok"], json!({"env": [], "args": []}));
    let file = setup.probe(&json!({"try": "file", "path": "/etc/passwd"}));
    assert!(file["error"].is_string(), "{file}");
    let connect = setup.probe(&json!({"try": "connect", "address": "127.0.0.1:1"}));
    assert!(connect["error"].is_string(), "{connect}");
}

#[test]
fn config_and_secrets_are_read() {
    let setup = setup(
        "probe",
        Grants::default()
            .with_config([("gateway".to_owned(), "http://127.0.0.1:9".to_owned())].into())
            .with_secrets([("KEY".to_owned(), Secret::new("hunter2"))].into()),
    );
    let get = |key: &str| setup.probe(&json!({"try": "config", "key": key}))["ok"].clone();
    assert_eq!(get("gateway"), "http://127.0.0.1:9");
    // It was read, and redacted from the event that was to carry it.
    assert_eq!(get("KEY"), "[redacted]");
    assert_eq!(get("other"), Value::Null);
    let all = setup.probe(&json!({"try": "all-config"})).to_string();
    assert!(all.contains("gateway") && !all.contains("hunter2"), "{all}");
}

#[test]
fn state_is_kept_when_committed() {
    let setup = setup("state", state());
    for expected in 1..=3 {
        let emissions = setup.deliver(&json!({"key": "k"})).unwrap();
        let data: Value = serde_json::from_slice(emissions[0].data.as_ref().unwrap()).unwrap();
        assert_eq!(data["value"], expected);
    }
    assert_eq!(setup.state.dump(), [("counts/k".to_owned(), "3".to_owned())]);
}

#[test]
fn effects_carry_what_was_read_and_the_exact_size_before() {
    let setup = setup("state", state());
    setup.deliver(&json!({"key": "k"})).unwrap();
    let effects = setup.handle(&delivery(&json!({"key": "k", "by": "reading"}))).effects;
    let [StateRead::Key { address, version: 1 }] = &effects.reads[..] else {
        panic!("expected one read of version 1, found {:?}", effects.reads)
    };
    assert_eq!((&*address.bucket, &*address.key), ("counts", "k"));
    let [StateWrite { value: Some(value), previous_bytes: Some(1), .. }] = &effects.writes[..]
    else {
        panic!("expected one write over one byte, found {:?}", effects.writes)
    };
    assert_eq!(&value[..], b"2");
}

#[test]
fn a_failed_delivery_leaves_no_state() {
    let setup = setup("state", state());
    setup.deliver(&json!({"key": "k"})).unwrap();
    let failure = setup.deliver(&json!({"key": "k", "fail": true})).unwrap_err();
    assert_failure(&failure, FailureClass::Retry, "asked to fail");
    // The same warm instance continues from the committed state.
    let emissions = setup.deliver(&json!({"key": "k"})).unwrap();
    let data: Value = serde_json::from_slice(emissions[0].data.as_ref().unwrap()).unwrap();
    assert_eq!(data["value"], 2);
    assert_eq!(setup.listener.stats().instances_made, 1);
}

#[test]
fn an_idle_instance_holds_no_snapshot_however_its_delivery_ended() {
    let counting = setup("state", state());
    counting.deliver(&json!({"key": "k"})).unwrap();
    counting.deliver(&json!({"key": "k", "fail": true})).unwrap_err();
    let limits = Limits { state_value_bytes: 1, ..Limits::default() };
    let limited = Setup::new(&guest("probe"), state(), limits);
    limited.deliver(&json!({"try": "state", "key": "k", "set": "12"})).unwrap_err();
    for setup in [&counting, &limited] {
        assert_eq!(setup.listener.stats().instances_idle, 1, "there to hold something");
        assert_eq!(setup.state.snapshots_held(), 0);
    }
}

#[test]
fn state_beyond_its_quota_fails_the_delivery_whatever_the_guest_makes_of_it() {
    let limits = Limits { state_keys: 2, state_value_bytes: 10, ..Limits::default() };
    let setup = Setup::new(&guest("probe"), state(), limits);
    let set =
        |key: &str, value: &str| setup.deliver(&json!({"try": "state", "key": key, "set": value}));
    assert!(set("a", "0123456789").is_ok());
    assert!(set("b", "1").is_ok());
    assert!(set("a", "2").is_ok(), "a key that is there may change");
    // The probe reports the error in an emission and returns ok.
    let keys = set("c", "3").unwrap_err();
    assert_failure(&keys, FailureClass::Limit, "state has 2 keys, which is the limit");
    let value = set("a", "01234567890").unwrap_err();
    assert_failure(&value, FailureClass::Limit, "the value has 11 bytes, the limit is 10");
    assert_eq!(setup.state.dump().len(), 2);
}

#[test]
fn blobs_are_put_read_listed_and_deleted() {
    let setup = setup("probe", blobs());
    let digest = setup.probe(&json!({"try": "put-blob", "content": "hello"}))["ok"].clone();
    assert_eq!(digest, usher_event::Digest::of(b"hello").to_string());
    let get = json!({"try": "get-blob", "digest": digest});
    assert_eq!(setup.probe(&get)["ok"], "hello");
    assert_eq!(setup.probe(&json!({"try": "list-blobs"}))["ok"], json!([digest]));
    setup.probe(&json!({"try": "delete-blob", "digest": digest}));
    assert_eq!(setup.probe(&get)["ok"], Value::Null);
    assert_eq!(setup.probe(&json!({"try": "list-blobs"}))["ok"], json!([]));
}

#[test]
fn blobs_beyond_their_quota_fail_the_delivery() {
    let limits = Limits { blob_bytes: 10, blobs_bytes: 15, ..Limits::default() };
    let setup = Setup::new(&guest("probe"), blobs(), limits);
    let put = |content: &str| setup.deliver(&json!({"try": "put-blob", "content": content}));
    assert!(put("0123456789").is_ok());
    assert_failure(&put("01234567890").unwrap_err(), FailureClass::Limit, "blob has 11 bytes");
    assert!(put("01234").is_ok());
    assert_failure(&put("x").unwrap_err(), FailureClass::Limit, "more than 15 bytes");
    let digest = usher_event::Digest::of(b"01234").to_string();
    setup.probe(&json!({"try": "delete-blob", "digest": digest}));
    assert!(put("x").is_ok(), "what was deleted no longer counts");
}

/// What a delivery has staged counts against its plugin's quota until it is committed or dropped,
/// so that failing deliveries can't fill the disk together.
#[test]
fn staged_blobs_count_until_they_are_committed_or_dropped() {
    let limits = Limits { blobs_bytes: 10, ..Limits::default() };
    let setup = Setup::new(&guest("probe"), blobs(), limits);
    let put =
        |content: &str| setup.handle(&delivery(&json!({"try": "put-blob", "content": content})));
    let staged = put("123456");
    let effects = &staged.effects;
    assert_eq!((effects.staged.len(), effects.quota.blobs_bytes), (1, 10));
    let Verdict::Retry { failure, .. } = put("12345").verdict else { panic!("it fitted") };
    assert_failure(&failure, FailureClass::Limit, "more than 10 bytes");
    assert_eq!(put("1234").effects.staged.len(), 1, "it fits exactly");
    // None of it was committed.
    drop(staged);
    assert_eq!(put("1234567890").effects.staged.len(), 1);
}
