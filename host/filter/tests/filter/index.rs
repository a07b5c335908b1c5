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

fn expression() -> impl Strategy<Value = Json> {
    let attribute = prop_oneof![3 => Just("type"), 1 => Just("subject"), 1 => Just("id")];
    let dialect = prop_oneof![3 => Just("exact"), 3 => Just("prefix"), 1 => Just("suffix")];
    let leaf = (dialect, prop::collection::btree_map(attribute, text(), 1..3))
        .prop_map(|(dialect, attributes)| json!({ dialect: attributes }));
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(|of| json!({ "all": of })),
            vec(inner.clone(), 1..4).prop_map(|of| json!({ "any": of })),
            inner.prop_map(|inner| json!({ "not": inner })),
        ]
    })
}

pub(crate) fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof![
        1 => Just(Filter::everything()),
        20 => expression().prop_map(|json| Filter::from_json(&json).expect("it is valid")),
    ]
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    (text(), text(), prop::option::of(text())).prop_map(|(id, ty, subject)| {
        let builder = Event::builder(id, "/s", ty);
        subject.into_iter().fold(builder, |b, subject| b.subject(subject)).build().expect("valid")
    })
}

fn found(index: &FilterIndex<u8>, event: &Event) -> Vec<u8> {
    let mut keys = Vec::new();
    index.for_each_match(event, |key| keys.push(*key));
    keys.sort_unstable();
    keys
}

proptest! {
    #[test]
    fn as_brute_force(
        changes in vec((0_u8..12, prop::option::weighted(0.8, filter())), 0..40),
        events in vec(event(), 1..10),
    ) {
        let mut index = FilterIndex::new();
        let mut plain = BTreeMap::new();
        for (key, filter) in changes {
            match filter {
                Some(filter) => {
                    index.insert(key, &filter);
                    plain.insert(key, filter);
                }
                None => prop_assert_eq!(index.remove(&key), plain.remove(&key).is_some()),
            }
            prop_assert_eq!(index.len(), plain.len());
            for event in &events {
                let expected: Vec<u8> = plain
                    .iter()
                    .filter_map(|(key, filter)| filter.matches(event).then_some(*key))
                    .collect();
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
