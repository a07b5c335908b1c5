//! What is not a valid filter, and how the error states it.

use proptest::prelude::*;
use usher_filter::{
    FILTER_MAX_BYTES, FILTER_MAX_DEPTH, FILTER_MAX_EXPRESSIONS, Filter, VALUE_MAX_BYTES,
};

#[test]
fn what_is_refused_and_where() {
    let cases = [
        ("", "filter: not a filter in JSON: EOF"),
        ("{", "filter: not a filter in JSON: EOF"),
        ("null", r#"filter: expected an object such as {"exact":{"type":"a"}}, found null"#),
        ("3", r#"filter: expected an object such as {"exact":{"type":"a"}}, found a number"#),
        ("{}", "filter: is empty: name a dialect, such as exact"),
        ("[{}]", "filter, at [0]: is empty: name a dialect, such as exact"),
        ("[[]]", "filter, at [0]: expected an object such as"),
        (r#"{"exact":{}}"#, "filter, at exact: is empty: name an attribute"),
        (
            r#"{"prefix":[]}"#,
            "filter, at prefix: expected an object of attributes and strings, found an array",
        ),
        (r#"{"exact":{"":"a"}}"#, "filter, at exact: an attribute's name must not be empty"),
        (r#"{"exact":{"type":""}}"#, "filter, at exact.type: must not be empty"),
        (r#"{"suffix":{"type":null}}"#, "filter, at suffix.type: expected a string, found null"),
        (r#"{"exact":{"number":5}}"#, "filter, at exact.number: expected a string, found a number"),
        (
            r#"{"exact":{"Type":"a"}}"#,
            r#"filter, at exact: no attribute can be named "Type": names are a-z and 0-9"#,
        ),
        (
            r#"{"exact":{"data":"a"}}"#,
            "filter, at exact: data is not an attribute and can't be compared",
        ),
        (r#"{"all":[]}"#, "filter, at all: is empty: at least one filter is needed"),
        (r#"{"any":[]}"#, "filter, at any: is empty: at least one filter is needed"),
        (
            r#"{"any":{"exact":{"type":"a"}}}"#,
            "filter, at any: expected an array of filters, found an object",
        ),
        (r#"{"not":{}}"#, "filter, at not: is empty: name a dialect, such as exact"),
        (r#"{"not":[{"exact":{"type":"a"}}]}"#, "filter, at not: expected an object such as"),
        (
            r#"{"any":[{"exact":{"type":"a"}},{"all":[{"not":{"prefix":{"type":""}}}]}]}"#,
            "filter, at any[1].all[0].not.prefix.type: must not be empty",
        ),
        (
            r#"{"SQL":"type = 'a'"}"#,
            "filter, at SQL: is not a dialect there is: use exact, prefix, suffix, all, any, not, sql or \
             data",
        ),
        (r#"{"sql":["type"]}"#, "filter, at sql: expected an expression, found an array"),
        (
            r#"{"sql":"type = "}"#,
            "filter, at sql: at character 8: expected a value, found the end\n  type = \n         ^",
        ),
        (
            r#"{"sql":"LENGHT(type) = 3"}"#,
            "filter, at sql: at character 1: there is no function LENGHT with 1 argument",
        ),
        (r#"{"sql":"1 + 1"}"#, "filter, at sql: at character 1: the value is always Integer"),
        (r#"{"data":[]}"#, "filter, at data: expected an object of paths and conditions"),
        (r#"{"data":{}}"#, "filter, at data: is empty: name a path, such as /order/total"),
        (r#"{"data":{"a":1}}"#, "filter, at data.a: is no path: /member for a JSON Pointer"),
        (r#"{"data":{"/~":1}}"#, "filter, at data./~: has a ~ that is neither ~0 nor ~1"),
        (r#"{"data":{"$[":1}}"#, "filter, at data.$[: has a segment that is none of .name, "),
        (r#"{"data":{"$..a..b":1}}"#, "filter, at data.$..a..b: has more than one descendant"),
        (r#"{"data":{"/a":[]}}"#, "filter, at data./a: is empty: at least one alternative"),
        (r#"{"data":{"/a":{}}}"#, "filter, at data./a: is empty: use prefix, suffix, "),
        (
            r#"{"data":{"/a":{"like":"x"}}}"#,
            "filter, at data./a.like: is no operator there is: use",
        ),
        (
            r#"{"data":{"/a":{"gt":"1"}}}"#,
            "filter, at data./a.gt: expected a number, found a string",
        ),
        (
            r#"{"data":{"/a":[1,{"cidr":"10.0/8"}]}}"#,
            r#"filter, at data./a[1].cidr: "10.0/8" is no"#,
        ),
        (r#"{"data":{"/a":{"exists":1}}}"#, "filter, at data./a.exists: expected true or false"),
        (
            r#"{"data":{"/a":12345678901234567890123}}"#,
            "filter: 12345678901234567890123 has more digits than a 64-bit number keeps",
        ),
        (
            r#"{"exact":{"type":"a"},"prefix":{"type":"a"}}"#,
            "filter: has more than one dialect: combine them with all or any",
        ),
        (
            r#"{"exact":{"type":"a"},"exact":{"type":"b"}}"#,
            r#"filter: not a filter in JSON: member "exact" is there twice"#,
        ),
        (
            r#"{"exact":{"type":"a","type":"b"}}"#,
            r#"filter: not a filter in JSON: member "type" is there twice"#,
        ),
    ];
    for (text, expected) in cases {
        let error = Filter::parse(text).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text}\n  gives {error}\n  not {expected}");
    }
}

fn nested(depth: usize) -> String {
    let nots = depth - 1;
    format!(r#"{}{{"exact":{{"id":"a"}}}}{}"#, r#"{"not":"#.repeat(nots), "}".repeat(nots))
}

#[test]
fn limits() {
    assert!(Filter::parse(&nested(FILTER_MAX_DEPTH)).is_ok());
    let deep = Filter::parse(&nested(FILTER_MAX_DEPTH + 1)).unwrap_err();
    assert_eq!(deep.reason(), "nests deeper than 16");
    assert_eq!(deep.path(), ["not"; FILTER_MAX_DEPTH].join("."));
    assert!(Filter::parse(&nested(1_000)).is_err());

    let any = |count: usize| {
        let of = vec![r#"{"exact":{"id":"a"}}"#; count].join(",");
        Filter::parse(&format!(r#"{{"any":[{of}]}}"#))
    };
    // Each is an expression and an attribute; the root is one more.
    let most = (FILTER_MAX_EXPRESSIONS - 1) / 2;
    assert!(any(most).is_ok());
    let error = any(most + 1).unwrap_err();
    assert_eq!(
        error.reason(),
        "the filter has more than 1024 expressions, attributes and conditions"
    );

    let value =
        |length: usize| Filter::parse(&format!(r#"{{"exact":{{"id":"{}"}}}}"#, "v".repeat(length)));
    assert!(value(VALUE_MAX_BYTES).is_ok());
    let error = value(VALUE_MAX_BYTES + 1).unwrap_err();
    assert_eq!(error.to_string(), "filter, at exact.id: has 4097 bytes, at most 4096 are allowed");

    let error = Filter::parse(&" ".repeat(FILTER_MAX_BYTES + 1)).unwrap_err();
    assert_eq!(error.to_string(), "filter: has 65537 bytes, at most 65536 are allowed");
}

/// A parsed filter can be written and parsed again: the broker stores filters that way.
fn survives(text: &str) -> bool {
    let Ok(filter) = Filter::parse(text) else { return false };
    assert_eq!(Filter::from_json(&filter.to_json()), Ok(filter), "{text}");
    true
}

#[test]
fn what_fits_into_an_array_fits_into_what_it_becomes() {
    let one = r#"{"exact":{"id":"a"}}"#;
    // One member is used as it is; two become the members of an `all`, one level deeper.
    assert!(survives(&format!("[{}]", nested(FILTER_MAX_DEPTH))));
    assert!(survives(&format!("[{},{one}]", nested(FILTER_MAX_DEPTH - 1))));
    assert!(!survives(&format!("[{},{one}]", nested(FILTER_MAX_DEPTH))));

    // Each is an expression and an attribute; the `all` is one more.
    let many = |count: usize| survives(&format!("[{}]", vec![one; count].join(",")));
    assert!(many((FILTER_MAX_EXPRESSIONS - 1) / 2));
    assert!(!many(FILTER_MAX_EXPRESSIONS / 2));
}

#[test]
fn filters_are_combined_within_the_limits_only() {
    let filter = |text: &str| Filter::parse(text).unwrap();
    let one = filter(r#"{"exact":{"id":"a"}}"#);
    let deep = |depth| Filter::try_all([one.clone(), filter(&nested(depth))]);
    let all = deep(FILTER_MAX_DEPTH - 1).unwrap();
    assert_eq!(Filter::from_json(&all.to_json()), Ok(all));
    assert_eq!(deep(FILTER_MAX_DEPTH).unwrap_err().reason(), "nests deeper than 16");
    assert!(Filter::try_all([filter(&nested(FILTER_MAX_DEPTH))]).is_ok());

    let many = |count| Filter::try_all(vec![one.clone(); count]);
    let all = many((FILTER_MAX_EXPRESSIONS - 1) / 2).unwrap();
    assert_eq!(Filter::from_json(&all.to_json()), Ok(all));
    let error = many(FILTER_MAX_EXPRESSIONS / 2).unwrap_err();
    assert_eq!(
        error.reason(),
        "the filter has more than 1024 expressions, attributes and conditions"
    );
}

/// Filters around both limits: nested to `depth`, next to `width` others.
fn around_the_limits() -> impl Strategy<Value = String> {
    let depth = FILTER_MAX_DEPTH - 2..=FILTER_MAX_DEPTH + 1;
    let width =
        prop_oneof![0..4_usize, FILTER_MAX_EXPRESSIONS / 2 - 12..FILTER_MAX_EXPRESSIONS / 2];
    let around = prop_oneof![Just(("[", "]")), Just((r#"{"all":["#, "]}"))];
    (depth, width, around).prop_map(|(depth, width, (open, close))| {
        let others = r#",{"exact":{"id":"a"}}"#.repeat(width);
        format!("{open}{}{others}{close}", nested(depth))
    })
}

#[test]
fn errors_are_short_and_printable() {
    let error = Filter::parse(&format!("{{\"{}\\n\":1}}", "d".repeat(60_000))).unwrap_err();
    assert!(error.to_string().len() < 400, "{error}");
    let error = Filter::parse("{\"a\\nb\":1}").unwrap_err();
    assert_eq!(error.path(), "a\\nb");
}

proptest! {
    #[test]
    fn any_text_is_harmless(text in "[{}\\[\\]:,\"a-z ]{0,60}") {
        survives(&text);
    }

    #[test]
    fn what_is_read_survives_at_the_limits(text in around_the_limits()) {
        survives(&text);
    }
}
