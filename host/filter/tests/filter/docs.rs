//! Every example of docs/filters.md.

use serde_json::{Value as Json, json};
use usher_event::{Event, json as event_json};
use usher_filter::{Filter, Projection, from_eventbridge};

const DOCS: &str = include_str!("../../../../docs/filters.md");

/// The cells of the tables with this head.
fn rows(head: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut is_within = false;
    for line in DOCS.lines() {
        is_within = line == head || (is_within && line.starts_with('|'));
        let cells = line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`'));
        if is_within && line.starts_with("| `") {
            rows.push(cells.map(str::to_owned).collect());
        }
    }
    rows
}

/// A whole event, made of the members that an example names.
fn event(members: &str) -> Event {
    let mut event = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t" });
    let Json::Object(given) = serde_json::from_str(members).unwrap() else { unreachable!() };
    // As it is written, for numbers.
    let data = members.split_once(r#""data":"#).map(|(_, data)| &data[..data.len() - 1]);
    for (name, value) in given {
        if name != "data" {
            event[name] = value;
        }
    }
    let mut text = event.to_string();
    if let Some(data) = data {
        text.truncate(text.len() - 1);
        text += &format!(r#","data":{data}}}"#);
    }
    event_json::from_slice(text.as_bytes()).unwrap()
}

#[test]
fn filters_match_as_the_tables_say() {
    let rows = rows("| filter | matches | doesn't match |");
    assert!(rows.len() > 40, "only {} rows are found", rows.len());
    for row in rows {
        let [filter, matches, other] = row.as_slice() else { panic!("{row:?} has no three cells") };
        let filter = Filter::parse(filter).unwrap();
        assert_eq!(filter.explain(&event(matches)), None, "{row:?}");
        assert!(filter.explain(&event(other)).is_some(), "{row:?}");
        assert_eq!(Filter::from_json(&filter.to_json()), Ok(filter));
    }
}

#[test]
fn plugins_get_what_the_table_says() {
    let rows = rows("| project | redact | data | what the plugin gets |");
    assert!(rows.len() > 5, "only {} rows are found", rows.len());
    for row in rows {
        let [project, redact, data, part] = row.as_slice() else { panic!("{row:?} is no row") };
        let project: Option<Vec<String>> = serde_json::from_str(project).unwrap();
        let redact: Vec<String> = serde_json::from_str(redact).unwrap();
        let projection = Projection::new(project.as_deref(), &redact).unwrap();
        let found = projection.apply(&event(&format!(r#"{{"data":{data}}}"#)));
        assert_eq!(std::str::from_utf8(found.data_slice().unwrap()), Ok(part.as_str()));
    }
}

#[test]
fn patterns_become_the_filters_that_the_table_has() {
    let rows = rows("| pattern | filter |");
    assert!(rows.len() > 20, "only {} rows are found", rows.len());
    for row in rows {
        let [pattern, filter] = row.as_slice() else { panic!("{row:?} has no two cells") };
        let translated = from_eventbridge(&serde_json::from_str(pattern).unwrap()).unwrap();
        assert_eq!(translated.untranslated, [""; 0], "{row:?}");
        let expected: Json = serde_json::from_str(filter).unwrap();
        assert_eq!(translated.filter.to_json(), expected, "{row:?}");
    }
}

#[test]
fn what_has_no_counterpart_is_told() {
    let pattern = json!({
        "account": ["1"],
        "source": [{ "cidr": "10.0.0.0/8" }],
        "detail": {
            "a": [{ "prefix": { "equals-ignore-case": "x" } }],
            "b": [{ "numeric": [">", "x"] }],
            "c": "x",
            "d": [1],
            "e": [],
            "f": [{ "numeric": [] }],
            "g": [{ "numeric": [">", 1, ">", 5] }],
            "$or": [],
        },
    });
    let translated = from_eventbridge(&pattern).unwrap();
    assert_eq!(translated.filter.to_json(), json!({ "data": { "/d": { "any": 1 } } }));
    let places = translated.untranslated.iter().map(|one| one.split(':').next().unwrap());
    let expected = ["account", "$or", "/a", "/b", "/c", "/e", "/f", "/g", "source"];
    assert_eq!(places.collect::<Vec<_>>(), expected);
    let quoted =
        from_eventbridge(&json!({ "source": [{ "equals-ignore-case": "A\\'B" }] })).unwrap();
    let event = Event::builder("1", "a\\'b", "t").build();
    assert!(event.map_or(true, |event| quoted.filter.matches(&event)), "{:?}", quoted.filter);
    assert!(from_eventbridge(&json!([])).is_err());
}
