//! Projections beside the same done on a tree.

use proptest::prelude::*;
use serde_json::Value as Json;
use usher_event::Event;
use usher_filter::Projection;

type Steps = Vec<&'static str>;

const NAMES: [&str; 6] = ["a", "b", "0", "1", "é", "a/~\""];

fn payload() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        "[a\\\\\"\u{e9}\u{1}]{0,4}".prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 60, 5, |inner| {
        let name = proptest::sample::select(&NAMES[..]);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            proptest::collection::btree_map(name, inner, 0..4)
                .prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

fn paths() -> impl Strategy<Value = Vec<Steps>> {
    let steps = proptest::collection::vec(proptest::sample::select(&NAMES[..]), 1..4);
    proptest::collection::vec(steps, 0..4)
}

/// The steps that are left behind a part of this name.
fn behind(paths: &[Steps], name: &str) -> Vec<Steps> {
    let taken = paths.iter().filter(|steps| steps.first() == Some(&name));
    taken.map(|steps| steps[1..].to_vec()).collect()
}

/// What is left of a value; `None` for nothing.
fn part(value: &Json, keep: Option<&[Steps]>, hide: &[Steps]) -> Option<Json> {
    let ends = |paths: &[Steps]| paths.iter().any(Vec::is_empty);
    if ends(hide) {
        return None;
    }
    let keep = keep.filter(|paths| !ends(paths));
    let inner = |name: &str, value: &Json| {
        let keep = keep.map(|paths| behind(paths, name));
        part(value, keep.as_deref(), &behind(hide, name))
    };
    let (is_empty, left) = match value {
        Json::Object(members) => {
            let left =
                members.iter().filter_map(|(name, one)| Some((name.clone(), inner(name, one)?)));
            let left: serde_json::Map<String, Json> = left.collect();
            (left.is_empty(), Json::Object(left))
        }
        Json::Array(elements) => {
            let elements = elements.iter().enumerate();
            let left = elements.filter_map(|(n, one)| inner(&n.to_string(), one));
            let left: Vec<Json> = left.collect();
            (left.is_empty(), Json::Array(left))
        }
        scalar => (true, scalar.clone()),
    };
    (keep.is_none() || !is_empty).then_some(left)
}

fn pointers(paths: &[Steps]) -> Vec<String> {
    let escaped = |step: &&str| format!("/{}", step.replace('~', "~0").replace('/', "~1"));
    paths.iter().map(|steps| steps.iter().map(escaped).collect()).collect()
}

proptest! {
    #[test]
    fn a_projection_is_what_a_tree_would_be(
        value in payload(),
        project in proptest::option::of(paths()),
        redact in paths(),
    ) {
        let kept = project.as_deref().map(pointers);
        let projection = Projection::new(kept.as_deref(), &pointers(&redact)).unwrap();
        let event = Event::builder("1", "/s", "t").data(value.to_string()).build().unwrap();
        let found = projection.apply(&event).data().map(|data| serde_json::from_slice(&data).unwrap());
        let expected = part(&value, project.as_deref(), &redact).or(match value {
            Json::Object(_) => Some(Json::Object(Default::default())),
            Json::Array(_) => Some(Json::Array(Vec::new())),
            _ => None,
        });
        prop_assert_eq!(found, expected);
    }
}
