//! The JSON batch format: all or none.

use usher_event::limits::{BATCH_MAX_BYTES, BATCH_MAX_EVENTS};
use usher_event::{BatchError, EventErrorKind, json};

fn member(id: usize) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","data":[{id}]}}"#)
}

fn batch(members: &[String]) -> String {
    format!("[{}]", members.join(" ,\n"))
}

fn refused(text: &str) -> BatchError {
    json::batch_from_slice(text.as_bytes()).expect_err("the batch is bad")
}

#[test]
fn members_come_in_order() {
    let members: Vec<_> = (0..BATCH_MAX_EVENTS).map(member).collect();
    let events = json::batch_from_slice(batch(&members).as_bytes()).unwrap();
    assert_eq!(events.len(), BATCH_MAX_EVENTS);
    for (i, event) in events.iter().enumerate() {
        assert_eq!(event.id(), i.to_string());
        assert_eq!(event.data().unwrap(), format!("[{i}]").into_bytes());
    }
}

#[test]
fn an_empty_batch_is_fine() {
    assert_eq!(json::batch_from_slice(b" [ ] "), Ok(vec![]));
}

#[test]
fn one_bad_member_refuses_the_batch() {
    let bad = [
        (r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#, "must not be empty"),
        ("null", "not an event in JSON: invalid type: null"),
        ("[]", "not an event in JSON: invalid type: sequence"),
    ];
    for (bad, reason) in bad {
        let error = refused(&batch(&[member(0), member(1), bad.to_owned(), member(3)]));
        assert_eq!(error.member, Some(2));
        assert!(error.to_string().starts_with("member 2 of the batch (from 0): "), "{error}");
        assert!(error.reason.to_string().contains(reason), "{error}");
    }
}

#[test]
fn the_batch_itself_can_be_bad() {
    let one_too_many: Vec<_> = (0..=BATCH_MAX_EVENTS).map(member).collect();
    let cases = [
        ("", EventErrorKind::Malformed, "not a batch in JSON: EOF"),
        ("{}", EventErrorKind::Malformed, "not a batch in JSON: invalid type: map"),
        ("[{},]", EventErrorKind::Malformed, "not a batch in JSON: trailing comma"),
        ("[] []", EventErrorKind::Malformed, "not a batch in JSON: trailing characters"),
        (
            &batch(&one_too_many),
            EventErrorKind::TooLarge,
            "the batch must have at most 1000 events",
        ),
        (
            &" ".repeat(BATCH_MAX_BYTES + 1),
            EventErrorKind::TooLarge,
            "the batch's JSON must have at most 16777216 bytes, found 16777217",
        ),
    ];
    for (text, kind, reason) in cases {
        let error = refused(text);
        assert_eq!((error.member, error.reason.kind()), (None, kind), "{error}");
        assert!(error.to_string().starts_with(reason), "{error}");
    }
}
