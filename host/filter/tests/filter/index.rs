//! The index finds exactly what trying every filter finds, whatever was added and removed.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use usher_event::Event;
use usher_filter::{Filter, FilterIndex};

/// Few and related texts, so that filters often match events.
fn text() -> impl Strategy<Value = String> {
    "(a|b|é|\\.){1,4}"
}

/// Few and related values, so that conditions often hold.
fn scalar() -> BoxedStrategy<Json> {
    prop_oneof![
        text().prop_map(Json::from),
        (-3..6_i32).prop_map(Json::from),
        (-3..6_i32).prop_map(|half| Json::from(f64::from(half) / 2.0)),
        any::<bool>().prop_map(Json::from),
        Just(Json::Null),
    ]
    .boxed()
}

fn condition() -> BoxedStrategy<Json> {
    let text_operator =
        prop_oneof![Just("prefix"), Just("suffix"), Just("equals_ignore_case"), Just("wildcard"),];
    let side = prop_oneof![Just("gt"), Just("gte"), Just("lt"), Just("lte")];
    let number = || (-3..6_i32).prop_map(|half| Json::from(f64::from(half) / 2.0));
    let leaf = prop_oneof![
        3 => scalar(),
        3 => vec(scalar(), 1..4).prop_map(Json::from),
        2 => (text_operator, text()).prop_map(|(name, text)| json!({ name: text })),
        2 => (side, number()).prop_map(|(side, number)| json!({ side: number })),
        2 => (number(), number()).prop_map(|(low, high)| json!({ "gte": low, "lt": high })),
        1 => any::<bool>().prop_map(|exists| json!({ "exists": exists })),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| json!({ "not": inner })),
            inner.clone().prop_map(|inner| json!({ "any": inner })),
            inner.clone().prop_map(|inner| json!({ "all": inner })),
            vec(inner, 1..3).prop_map(Json::from),
        ]
    })
    .boxed()
}

fn path() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => Just("/a"), 3 => Just("/a/b"), 2 => Just("/c"), 1 => Just(""), 1 => Just("/c/0"),
        1 => Just("$.c[*]"), 1 => Just("$['a']"), 1 => Just("$..b"), 1 => Just("$.c[0]"),
    ]
}

fn sql() -> BoxedStrategy<Json> {
    let attribute = || prop_oneof![Just("type"), Just("subject"), Just("id")];
    let one = || {
        prop_oneof![
            (attribute(), text()).prop_map(|(name, text)| format!("{name} = '{text}'")),
            (attribute(), text()).prop_map(|(name, text)| format!("{name} LIKE '{text}%'")),
            (attribute(), text()).prop_map(|(name, text)| format!("{name} != '{text}'")),
            attribute().prop_map(|name| format!("EXISTS {name}")),
        ]
    };
    let operator = prop_oneof![Just("AND"), Just("OR")];
    (one(), operator, one())
        .prop_map(|(left, operator, right)| json!({ "sql": format!("{left} {operator} {right}") }))
        .boxed()
}

fn expression() -> BoxedStrategy<Json> {
    let attribute = prop_oneof![3 => Just("type"), 1 => Just("subject"), 1 => Just("id")];
    let dialect = prop_oneof![3 => Just("exact"), 3 => Just("prefix"), 1 => Just("suffix")];
    let attributes = (dialect, prop::collection::btree_map(attribute, text(), 1..3))
        .prop_map(|(dialect, attributes)| json!({ dialect: attributes }));
    let data = prop::collection::btree_map(path(), condition(), 1..3)
        .prop_map(|members| json!({ "data": members }));
    let leaf = prop_oneof![3 => attributes, 3 => data, 1 => sql()];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(|of| json!({ "all": of })),
            vec(inner.clone(), 1..4).prop_map(|of| json!({ "any": of })),
            inner.prop_map(|inner| json!({ "not": inner })),
        ]
    })
    .boxed()
}

fn payload() -> BoxedStrategy<String> {
    let value = || {
        prop_oneof![
            4 => scalar(),
            1 => vec(scalar(), 0..3).prop_map(Json::from),
            1 => vec(vec(scalar(), 0..3), 0..3).prop_map(Json::from),
            1 => scalar().prop_map(|inner| json!({ "b": inner })),
        ]
    };
    // Valid, but no reader of values takes them.
    let unreadable = prop_oneof![
        Just("1e999"),
        Just("\"\\ud800\""),
        Just("{\"\\ud800\":1}"),
        Just("{\"b\":1e999}"),
    ];
    prop_oneof![
        8 => (value(), value()).prop_map(|(a, c)| json!({ "a": a, "c": c }).to_string()),
        1 => value().prop_map(|value| value.to_string()),
        1 => (value(), value()).prop_map(|(one, two)| format!(r#"{{"a":{one},"a":{two}}}"#)),
        1 => (value(), unreadable).prop_map(|(one, two)| format!(r#"{{"a":{one},"c":{two}}}"#)),
        1 => Just("{".to_owned()),
    ]
    .boxed()
}

pub(crate) fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof![
        1 => Just(Filter::everything()),
        20 => expression().prop_map(|json| Filter::from_json(&json).expect("it is valid")),
    ]
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let data = prop::option::weighted(0.8, (payload(), prop::bool::weighted(0.9)));
    (text(), text(), prop::option::of(text()), data).prop_map(|(id, ty, subject, data)| {
        let builder = Event::builder(id, "/s", ty);
        let builder = subject.into_iter().fold(builder, |b, subject| b.subject(subject));
        let builder = data.into_iter().fold(builder, |b, (data, is_json)| {
            let ty = if is_json { "application/json" } else { "text/plain" };
            b.datacontenttype(ty).data(data.into_bytes())
        });
        builder.build().expect("valid")
    })
}

fn found(index: &FilterIndex<u8>, event: &Event) -> Vec<u8> {
    let mut keys = Vec::new();
    index.for_each_match(event, |key| keys.push(*key));
    keys.sort_unstable();
    keys
}

proptest! {
    // About a million filters are compared with an event.
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn as_brute_force(
        changes in vec((0_u8..48, prop::option::weighted(0.8, filter())), 0..80),
        events in vec(event(), 1..10),
    ) {
        let mut index = FilterIndex::new();
        let mut plain = BTreeMap::new();
        for some in changes.chunks(8) {
            for (key, filter) in some {
                match filter {
                    Some(filter) => {
                        index.insert(*key, filter);
                        plain.insert(*key, filter);
                    }
                    None => prop_assert_eq!(index.remove(key), plain.remove(key).is_some()),
                }
                prop_assert_eq!(index.len(), plain.len());
            }
            for event in &events {
                let matching = plain.iter().filter(|(_, filter)| filter.matches(event));
                let expected: Vec<u8> = matching.map(|(key, _)| *key).collect();
                // Equal as lists: none is missing, none is repeated.
                prop_assert_eq!(found(&index, event), expected);
            }
        }
    }

    #[test]
    fn filters_survive_json(filter in filter()) {
        prop_assert_eq!(Filter::from_json(&filter.to_json()), Ok(filter));
    }
}

#[test]
fn an_emptied_index_finds_nothing() {
    let mut index = FilterIndex::default();
    let filters = [
        r#"{"exact":{"type":"ab"}}"#,
        r#"{"prefix":{"type":"a"}}"#,
        r#"{"any":[{"prefix":{"type":"a"}},{"exact":{"type":"ab"}}]}"#,
        r#"{"suffix":{"type":"b"}}"#,
        "[]",
    ];
    for (key, filter) in (0..).zip(filters) {
        index.insert(key, &Filter::parse(filter).unwrap());
    }
    let event = Event::builder("1", "/s", "ab").build().unwrap();
    assert_eq!(found(&index, &event), [0, 1, 2, 3, 4]);
    for key in 0..5 {
        assert!(index.remove(&key));
        assert!(!index.remove(&key));
    }
    assert!(index.is_empty());
    assert!(found(&index, &event).is_empty());
}
