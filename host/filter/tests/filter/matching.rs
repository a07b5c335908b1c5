//! What matches and what doesn't.

use usher_event::{Event, Value};
use usher_filter::Filter;

fn event() -> Event {
    Event::builder("A234", "https://github.com/cloudevents", "com.github.push")
        .subject("https://github.com/cloudevents/spec")
        .time("2018-04-05T17:31:00Z")
        .extension("number", Value::Integer(-5))
        .extension("flag", Value::Boolean(true))
        .extension("bytes", Value::Binary(vec![255, 0].into()))
        .extension("blank", Value::String(String::new()))
        .build()
        .unwrap()
}

#[test]
fn dialects() {
    let cases = [
        // The examples of the Subscriptions API.
        (
            r#"{"exact":{"type":"com.github.push","subject":"https://github.com/cloudevents/spec"}}"#,
            true,
        ),
        (r#"{"prefix":{"type":"com.github.","subject":"https://github.com/cloudevents"}}"#, true),
        (r#"{"suffix":{"type":".created","subject":"/cloudevents/spec"}}"#, false),
        (
            r#"{"all":[{"exact":{"type":"com.github.push"}},{"exact":{"subject":"https://github.com/cloudevents/spec"}}]}"#,
            true,
        ),
        (
            r#"{"any":[{"exact":{"type":"com.github.pull"}},{"exact":{"subject":"https://github.com/cloudevents/spec"}}]}"#,
            true,
        ),
        (r#"{"not":{"exact":{"type":"com.github.push"}}}"#, false),
        // Case and length matter; all attributes of an object must match.
        (r#"{"exact":{"type":"com.github.Push"}}"#, false),
        (r#"{"exact":{"type":"com.github.pus"}}"#, false),
        (r#"{"prefix":{"type":"com.github.push"}}"#, true),
        (r#"{"prefix":{"type":"com.github.push."}}"#, false),
        (r#"{"suffix":{"type":"push"}}"#, true),
        (r#"{"suffix":{"source":"push"}}"#, false),
        (r#"{"exact":{"type":"com.github.push","id":"other"}}"#, false),
        // Any attribute, in its string form.
        (r#"{"exact":{"id":"A234"}}"#, true),
        (r#"{"exact":{"specversion":"1.0"}}"#, true),
        (r#"{"prefix":{"time":"2018-04"}}"#, true),
        (r#"{"exact":{"number":"-5"}}"#, true),
        (r#"{"exact":{"flag":"true"}}"#, true),
        (r#"{"exact":{"bytes":"/wA="}}"#, true),
        (r#"{"prefix":{"blank":"x"}}"#, false),
        // A missing attribute matches nothing, so its negation matches.
        (r#"{"exact":{"dataschema":"x"}}"#, false),
        (r#"{"prefix":{"missing":"x"}}"#, false),
        (r#"{"suffix":{"missing":"x"}}"#, false),
        (r#"{"not":{"exact":{"missing":"x"}}}"#, true),
        (r#"{"not":{"not":{"exact":{"missing":"x"}}}}"#, false),
        (r#"{"any":[{"exact":{"missing":"x"}},{"not":{"exact":{"missing":"y"}}}]}"#, true),
        // An array requires all of its filters.
        ("[]", true),
        (r#"[{"exact":{"type":"com.github.push"}},{"exact":{"id":"A234"}}]"#, true),
        (r#"[{"exact":{"type":"com.github.push"}},{"exact":{"id":"B"}}]"#, false),
    ];
    let event = event();
    for (filter, expected) in cases {
        let filter = Filter::parse(filter).unwrap_or_else(|e| panic!("{filter}: {e}"));
        assert_eq!(filter.matches(&event), expected, "{filter}");
        assert_eq!(Filter::from_json(&filter.to_json()), Ok(filter.clone()), "{filter}");
        assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
    }
}

#[test]
fn all_combines() {
    let ty = Filter::parse(r#"{"prefix":{"type":"com."}}"#).unwrap();
    let id = Filter::parse(r#"{"exact":{"id":"B"}}"#).unwrap();
    assert!(Filter::everything().is_everything());
    assert!(Filter::everything().matches(&event()));
    assert_eq!(Filter::try_all([]), Ok(Filter::everything()));
    assert_eq!(Filter::try_all([Filter::everything(), ty.clone()]), Ok(ty.clone()));
    let both = Filter::try_all([ty.clone(), id.clone()]).unwrap();
    assert_eq!(Filter::try_all([ty.clone(), id.clone()]).unwrap(), both);
    assert!(ty.matches(&event()) && !id.matches(&event()) && !both.matches(&event()));
    assert_eq!(both.to_string(), r#"{"all":[{"prefix":{"type":"com."}},{"exact":{"id":"B"}}]}"#);
}

#[test]
fn the_order_of_attributes_means_nothing() {
    let one = Filter::parse(r#"{"exact":{"type":"a","id":"b"}}"#).unwrap();
    assert_eq!(one, Filter::parse(r#"{"exact":{"id":"b","type":"a"}}"#).unwrap());
}

#[test]
fn a_filter_names_the_types_it_asks_for() {
    let cases = [
        (r#"{"exact":{"type":"dev.usher.delivery.dead"}}"#, true),
        (r#"{"prefix":{"type":"dev.usher."}}"#, true),
        (r#"{"any":[{"exact":{"type":"a"}},{"all":[{"prefix":{"type":"dev.usher.d"}}]}]}"#, true),
        (r#"{"prefix":{"type":"dev."}}"#, false),
        (r#"{"suffix":{"type":"dev.usher.delivery.dead"}}"#, false),
        (r#"{"exact":{"subject":"dev.usher.delivery.dead"}}"#, false),
        (r#"{"not":{"exact":{"type":"dev.usher.delivery.dead"}}}"#, false),
    ];
    for (filter, expected) in cases {
        let parsed = Filter::parse(filter).unwrap();
        assert_eq!(parsed.selects_type_prefix("dev.usher."), expected, "{filter}");
    }
    assert!(!Filter::everything().selects_type_prefix("dev.usher."));
}
