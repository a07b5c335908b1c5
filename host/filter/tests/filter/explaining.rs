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
    let payload = r#"{"a":{"b":[1,"x\u0041"]},"s":"\u202e"}"#;
    let event = Event::builder("1", "/s", "ticket.paid").data(payload).build().unwrap();
    let cases = [
        (r#"{"/a/b":1}"#, r#"/a/b is [1,"x\u0041"], needs to be 1 (at data./a/b)"#),
        (r#"{"/a/b/1":"xB"}"#, r#"/a/b/1 is "x\u0041", needs to be "xB" (at data./a/b/1)"#),
        (r#"{"/a/c":[1,2]}"#, "/a/c is not there, needs to be one of [1,2] (at data./a/c)"),
        (
            r#"{"/a/b/0":{"gt":1,"lte":5}}"#,
            "/a/b/0 is 1, needs to be above 1 and be at most 5 (at data./a/b/0)",
        ),
        (
            r#"{"/a/b/0":{"not":{"gte":1}}}"#,
            "/a/b/0 is 1, needs to be there and not be at least 1 (at data./a/b/0)",
        ),
        (
            r#"{"$.a.b[*]":{"all":{"lt":3}}}"#,
            "$.a.b[*] is 1 (and 1 more), needs to have only elements to be below 3 (at data.$.a.b[*])",
        ),
        (
            r#"{"$.x[*]":{"exists":true}}"#,
            "$.x[*] selects nothing, needs to be there (at data.$.x[*])",
        ),
        (r#"{"/s":""}"#, r#"/s is "\u202e", needs to be "" (at data./s)"#),
    ];
    for (conditions, expected) in cases {
        let filter = Filter::parse(&format!(r#"{{"data":{conditions}}}"#)).unwrap();
        let mismatch = filter.explain(&event).map(|no| no.to_string());
        assert_eq!(mismatch.as_deref(), Some(expected), "{conditions}");
    }
    let reads = Filter::parse(r#"{"not":{"data":{"/a":{"exists":false}}}}"#).unwrap();
    assert!(reads.matches(&event) && reads.reads_data());
    for (ty, data, expected) in [
        (None, None, "there is no data (at data)"),
        (Some("text/plain"), Some("{}"), "data is text/plain, no JSON (at data)"),
        (None, Some("{"), "data is no valid JSON: EOF while parsing an object at line 1 column 1"),
    ] {
        let builder = Event::builder("1", "/s", "t");
        let builder = ty.into_iter().fold(builder, |builder, ty| builder.datacontenttype(ty));
        let builder = data.into_iter().fold(builder, |builder, data| builder.data(data));
        let filter = Filter::parse(r#"{"data":{"/a":{"exists":false}}}"#).unwrap();
        let words = filter.explain(&builder.build().unwrap()).unwrap().to_string();
        assert!(words.starts_with(expected), "{words}");
    }
    // Such a number is valid JSON, and compared like any other.
    let far = Event::builder("1", "/s", "t").data(r#"{"a":1e999,"b":[1]}"#).build().unwrap();
    assert!(Filter::parse(r#"{"data":{"/a":{"gt":5},"$.b[*]":1}}"#).unwrap().matches(&far));
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    let deep = Event::builder("1", "/s", "t").data(deep).build().unwrap();
    for condition in [r#"{"exists":false}"#, "1"] {
        let filter = Filter::parse(&format!(r#"{{"data":{{"$..b":{condition}}}}}"#)).unwrap();
        let words = filter.explain(&deep).unwrap().to_string();
        assert!(words.starts_with("data is nested deeper than the 16 levels"), "{words}");
    }
    let sql = Filter::parse(r#"{"sql":"type = 'ticket.paid' AND subject = 'a'"}"#).unwrap();
    assert_eq!(
        sql.explain(&event).unwrap().to_string(),
        "subject fails: the event doesn't have the attribute: subject is not there (at sql)"
    );
    let event = Event::builder("1", "/s", "ticket.paid").build().unwrap();
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
