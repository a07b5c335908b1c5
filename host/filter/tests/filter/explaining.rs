//! Why an event doesn't match, in words.

use proptest::prelude::*;
use usher_event::Event;
use usher_filter::Filter;

use crate::index::{event, filter};

#[test]
fn the_part_that_says_no_is_named() {
    let cases = [
        (
            r#"{"prefix":{"type":"order."}}"#,
            r#"type is "ticket.paid", needs to begin with "order." (at prefix.type)"#,
        ),
        (
            r#"{"exact":{"id":"1","subject":"s"}}"#,
            r#"subject is not there, needs to be "s" (at exact.subject)"#,
        ),
        (
            r#"[{"exact":{"id":"1"}},{"suffix":{"type":".due"}}]"#,
            r#"type is "ticket.paid", needs to end with ".due" (at all[1].suffix.type)"#,
        ),
        (r#"{"any":[{"exact":{"id":"2"}}]}"#, r#"id is "1", needs to be "2" (at any[0].exact.id)"#),
        (
            r#"{"any":[{"exact":{"id":"2"}},{"not":{"exact":{"id":"1"}}}]}"#,
            r#"none of 2 filters matches: [0] id is "1", needs to be "2"; [1] id is "1", must not be that (at any)"#,
        ),
        (
            r#"{"not":{"prefix":{"type":"ticket."}}}"#,
            r#"type is "ticket.paid", must not begin with "ticket." (at not.prefix.type)"#,
        ),
        (
            r#"{"not":{"not":{"exact":{"id":"2"}}}}"#,
            r#"id is "1", needs to be "2" (at not.not.exact.id)"#,
        ),
        (
            r#"{"not":{"any":[{"exact":{"id":"1"}},{"exact":{"id":"2"}}]}}"#,
            r#"must not match {"any":[{"exact":{"id":"1"}},{"exact":{"id":"2"}}]}, and does (at not)"#,
        ),
    ];
    let event = Event::builder("1", "/s", "ticket.paid").build().unwrap();
    for (filter, expected) in cases {
        let mismatch = Filter::parse(filter).unwrap().explain(&event);
        assert_eq!(mismatch.map(|no| no.to_string()).as_deref(), Some(expected), "{filter}");
    }
    let many = [r#"{"exact":{"id":"2"}}"#; 9].join(",");
    let many = Filter::parse(&format!(r#"{{"any":[{many}]}}"#)).unwrap();
    let mismatch = many.explain(&event).unwrap();
    assert!(mismatch.reason().ends_with("and so on, 9 in all"), "{mismatch}");
}

#[test]
fn words_are_short_and_printable() {
    let long = "x".repeat(4_000);
    let event = Event::builder("1", "/s", "t").subject(long.clone()).build().unwrap();
    let filter = Filter::parse(&format!(r#"{{"exact":{{"subject":"a\u001b{long}"}}}}"#)).unwrap();
    let words = filter.explain(&event).unwrap().to_string();
    assert!(words.len() < 300 && !words.contains('\u{1b}'), "{words:?}");
}

proptest! {
    #[test]
    fn there_is_a_reason_exactly_when_it_does_not_match(filter in filter(), event in event()) {
        let mismatch = filter.explain(&event);
        prop_assert_eq!(mismatch.is_none(), filter.matches(&event));
        if let Some(mismatch) = mismatch {
            prop_assert!(!mismatch.path().is_empty() && !mismatch.reason().is_empty());
        }
    }
}
